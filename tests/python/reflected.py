"""What a client knows that has no stubs: everything through gRPC reflection."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, Parse
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from program import PATIENCE


class Reflection:
    """The descriptors that a server hands out."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._database = ProtoReflectionDescriptorDatabase(channel)

    def services(self) -> set[str]:
        return set(self._database.get_services())

    def file_of(self, symbol: str) -> FileDescriptorProto:
        return self._database.FindFileContainingSymbol(symbol)

    def call(self, method: str, body: str) -> dict[str, Any]:
        """Makes a unary call, JSON in, JSON's values out, as a command-line client does."""
        service, _, name = method.partition("/")
        # A pool of its own knows nothing but what the server says.
        described = DescriptorPool(self._database).FindServiceByName(service).methods_by_name[name]
        request = Parse(body, GetMessageClass(described.input_type)())
        multi_callable = self._channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(described.output_type).FromString,
        )
        answer = multi_callable(request, timeout=PATIENCE)
        return MessageToDict(answer, preserving_proto_field_name=True)
