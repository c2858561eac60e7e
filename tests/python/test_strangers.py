"""Whoever has no identity takes nothing away from those who have one."""

from __future__ import annotations

import hashlib
import socket
import ssl
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub

import messages
from authority import Authority, Issued
from gateway import Gateway, StartGateway, connect
from http2_client import PREFACE
from program import PATIENCE

# A SETTINGS frame that sets nothing.
NO_SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))

TOKEN = "token-of-the-caller"

# How many connections the port takes.
CONNECTIONS = 4

# How many requests of health and reflection there are at a time, and how many go on one connection.
STANDARD_REQUESTS = 4096
STREAMS_PER_CONNECTION = 1024


def callers(folder: Path, *names: str) -> tuple[str, str]:
    """The settings of one caller, known by its token and by these names in its certificate."""
    file = folder / "gateway.toml"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    known = f'token_sha256 = ["{digest}"]\n' + (f"san = {list(names)}\n" if names else "")
    file.write_text(f'[[callers]]\nname = "caller"\n{known}rights = ["screen"]\n')
    return "--config", str(file)


def screen(channel: grpc.Channel, token: str | None = TOKEN) -> grpc.StatusCode:
    metadata = [("authorization", f"Bearer {token}")] if token else []
    try:
        ComplianceServiceStub(channel).Screen(messages.screen(), metadata=metadata, timeout=PATIENCE)
    except grpc.RpcError as raised:
        return raised.code()
    return grpc.StatusCode.OK


def watch(channel: grpc.Channel) -> grpc.Future:
    """Opens a stream of the gateway's health, which never ends by itself."""
    stream = HealthStub(channel).Watch(HealthCheckRequest())
    next(stream)
    return stream


def test_streams_of_health_keep_no_connection_from_a_caller(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = start_gateway(*callers(tmp_path), "--max-connections", str(CONNECTIONS))
    for _ in range(2):
        strangers = [connect(gateway.addresses["grpc"]) for _ in range(CONNECTIONS)]
        streams = [watch(channel) for channel in strangers]
        with connect(gateway.addresses["grpc"]) as channel:
            assert screen(channel) == grpc.StatusCode.OK
        assert sum(stream.done() for stream in streams) <= 1
        for channel in strangers:
            channel.close()


def test_the_oldest_stream_of_health_makes_room(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = start_gateway(*callers(tmp_path), env={"RUST_LOG": "info"})
    channels = [connect(gateway.addresses["grpc"]) for _ in range(STANDARD_REQUESTS // STREAMS_PER_CONNECTION + 1)]
    first = watch(channels[0])
    others = [watch(channels[1 + number // STREAMS_PER_CONNECTION]) for number in range(STANDARD_REQUESTS - 1)]
    assert not first.done()
    last = watch(channels[0])
    with pytest.raises(grpc.RpcError) as raised:
        next(first)
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert not any(stream.done() for stream in (*others, last))
    for channel in channels:
        channel.close()


def tls(authority: Authority, own: Issued, *, with_client_ca: bool) -> tuple[str, ...]:
    files = ("--tls-cert", str(own.certificate), "--tls-key", str(own.key))
    return (*files, "--tls-client-ca", str(authority.root.certificate)) if with_client_ca else files


def is_resumed(gateway: Gateway, context: ssl.SSLContext) -> bool:
    """Whether the gateway goes on with the session of an earlier connection."""
    session = None
    for _ in range(2):
        host, _, port = gateway.addresses["grpc"].rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE) as plain:
            with context.wrap_socket(plain, server_hostname=host, session=session) as connection:
                connection.sendall(PREFACE + NO_SETTINGS)
                # What could be resumed comes before the first bytes (TLS 1.3).
                assert connection.recv(1)
                session, resumed = connection.session, connection.session_reused
    return bool(resumed)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("with_client_ca", [True, False])
def test_a_certificate_is_looked_at_on_each_connection(
    start_gateway: StartGateway, tmp_path: Path, version: ssl.TLSVersion, with_client_ca: bool
) -> None:
    authority = Authority(tmp_path / "authority")
    own = authority.issue("gateway", "IP:127.0.0.1")
    gateway = start_gateway(*tls(authority, own, with_client_ca=with_client_ca))
    context = ssl.create_default_context(cafile=authority.root.certificate)
    shown = authority.issue("caller", "URI:spiffe://bank.example/caller")
    context.load_cert_chain(shown.certificate, shown.key)
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    # An expired certificate would be good for ever where sessions are resumed.
    assert is_resumed(gateway, context) == (not with_client_ca)


@pytest.mark.parametrize(
    ("shown", "code"),
    [
        ("DNS:ONBOARDING.internal", grpc.StatusCode.OK),
        ("URI:onboarding.internal", grpc.StatusCode.UNAUTHENTICATED),
        ("URI:spiffe://bank.example/onboarding", grpc.StatusCode.OK),
        ("URI:spiffe://bank.example/Onboarding", grpc.StatusCode.UNAUTHENTICATED),
    ],
)
def test_a_uri_is_no_dns_name(start_gateway: StartGateway, tmp_path: Path, shown: str, code: grpc.StatusCode) -> None:
    authority = Authority(tmp_path / "authority")
    own = authority.issue("gateway", "IP:127.0.0.1")
    names = ("onboarding.internal", "spiffe://bank.example/onboarding")
    gateway = start_gateway(*callers(tmp_path, *names), *tls(authority, own, with_client_ca=True))
    with authority.connect(gateway.addresses["grpc"], authority.issue("caller", shown)) as channel:
        assert screen(channel, None) == code
