"""A caller of one tenant tries each way to another's data, and gets none; on both kinds of log."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from kora.compliance.v1.compliance_service_pb2 import GetRequestRequest, GetScreeningRequest, GetSubjectRequest
from kora.compliance.v1.watch_events_pb2 import (
    GAP_POLICY_SKIP,
    START_POSITION_EARLIEST,
    EventFilter,
    WatchEventsRequest,
)

import messages
from access_methods import METHODS, refusal
from gateway import Gateway, StartGateway
from nats_server import NatsServer
from program import PATIENCE
from tenant_koras import TenantKoras
from webhooks import new_events, offer

OWN, OTHER = "alpha", "beta"

PATH = "/webhooks/compliance"


@dataclass
class Stream:
    """What a stream sent, and the reason of its end, `OK` if there is none."""

    end: str
    ids: list[str]
    tokens: set[str]


@dataclass
class Place:
    """A gateway of two tenants, each with a caller and events; a third caller acts for both."""

    gateway: Gateway
    koras: TenantKoras

    def options(self, caller: str, *tenants: str, **more: str) -> dict[str, Any]:
        metadata = [("authorization", f"Bearer token-of-{caller}")]
        metadata += [("x-kora-tenant", tenant) for tenant in tenants]
        metadata += [(name.replace("_", "-"), text) for name, text in more.items()]
        return {"metadata": metadata, "timeout": PATIENCE}

    def offer(self, path: str, signed_by: str, body: bytes) -> int:
        return offer(self.gateway.addresses["webhook"], path, f"secret-of-{signed_by}", body)

    def take(self, tenant: str, name: str) -> None:
        """Takes an event of a tenant, which is about that tenant's subject and screening."""
        assert self.offer(f"{PATH}/{tenant}", tenant, event(tenant, name)) == 200

    def outcome(self, method: str, request: Any, options: dict[str, Any]) -> str:
        """The reason of a refusal; `OK` if there is none."""
        try:
            getattr(self.gateway.stub, method)(request, **options)
        except grpc.RpcError as raised:
            return refusal(raised)[0]
        return "OK"

    def past(self, options: dict[str, Any], **request: Any) -> Stream:
        """A stream over the past, to its end."""
        asked = WatchEventsRequest(until_caught_up=True, **request)
        stream = Stream("OK", [], set())
        try:
            for message in self.gateway.stub.WatchEvents(asked, **options):
                stream.ids += [one.event_id for one in message.events]
                opened, gap = message.opened, message.gap
                stream.tokens |= {message.resume_token, opened.oldest_token, opened.head_token, gap.to_token} - {""}
        except grpc.RpcError as raised:
            stream.end = refusal(raised)[0]
        return stream


def event(tenant: str, name: str) -> bytes:
    data = {"screening_id": f"scr-{tenant}", "subject_id": f"sub-{tenant}", "decision": {"outcome": "APPROVE"}}
    return json.dumps({"id": f"{name}-{tenant}", "event": "screening.completed", "data": data}).encode()


@pytest.fixture(params=["file", "nats"])
def event_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file":
        yield f"file:{tmp_path}/logs"
        return
    server = NatsServer(tmp_path / "nats")
    yield server.url
    server.kill()


@pytest.fixture
def place(event_log: str, start_gateway: StartGateway, tmp_path: Path) -> Iterator[Place]:
    koras = TenantKoras(OWN, OTHER)
    text = "".join(koras.settings(tenant, tmp_path) for tenant in (OWN, OTHER))
    for name, tenants in (("own", [OWN]), ("other", [OTHER]), ("both", [OWN, OTHER])):
        digest = hashlib.sha256(f"token-of-{name}".encode()).hexdigest()
        rights = ["screen", "subjects", "watch", "raw_json"]
        text += f'[[callers]]\nname = "{name}"\ntoken_sha256 = ["{digest}"]\n'
        text += f"tenants = {tenants}\nrights = {rights}\n"
    (tmp_path / "gateway.toml").write_text(text)
    flags = ("--config", str(tmp_path / "gateway.toml"), "--event-log", event_log)
    place = Place(start_gateway(*flags, emulator=False), koras)
    for name in ("first", "second"):
        for tenant in (OTHER, OWN):
            place.take(tenant, name)
    yield place
    assert koras.strangers == []
    koras.close()


# Callers who may not, or do not now, act for the other tenant.
AS_OWN = pytest.mark.parametrize(("caller", "tenants"), [("own", ()), ("own", (OWN,)), ("both", (OWN,))])


@AS_OWN
def test_no_start_filter_or_token_shows_anothers_past(place: Place, caller: str, tenants: tuple[str, ...]) -> None:
    options, mine = place.options(caller, *tenants), [f"first-{OWN}", f"second-{OWN}"]
    for start in ({"position": START_POSITION_EARLIEST}, {"from_time": Timestamp(seconds=1)}):
        assert place.past(options, **start).ids == mine
        for theirs in ({"subject_ids": [f"sub-{OTHER}"]}, {"screening_ids": [f"scr-{OTHER}"]}):
            assert place.past(options, **start, filter=EventFilter(**theirs)).ids == []
        assert place.past(options, **start, filter=EventFilter(types=["screening.*"])).ids == mine
    tokens = place.past(place.options("other"), position=START_POSITION_EARLIEST).tokens
    assert tokens
    for token in tokens:
        assert place.past(options, resume_token=token) == Stream("TOKEN_FOREIGN", [], set())
        skipped = place.past(options, resume_token=token, on_gap=GAP_POLICY_SKIP)
        assert (skipped.end, skipped.ids) == ("OK", mine)
        # Their positions stay theirs; the one that was asked for is said back.
        assert skipped.tokens & tokens <= {token}


@AS_OWN
def test_an_open_stream_has_nothing_of_anothers(place: Place, caller: str, tenants: tuple[str, ...]) -> None:
    everything = EventFilter(screening_ids=[f"scr-{OWN}", f"scr-{OTHER}"])
    streams = [
        place.gateway.stub.WatchEvents(WatchEventsRequest(filter=wanted), **place.options(caller, *tenants))
        for wanted in (None, everything)
    ]
    for stream in streams:
        assert [next(stream).WhichOneof("signal") for _ in range(2)] == ["opened", "caught_up"]
    place.take(OTHER, "third")
    place.take(OWN, "third")
    for stream in streams:
        assert [one.event_id for one in new_events(stream, 1)] == [f"third-{OWN}"]
        stream.cancel()


@AS_OWN
def test_a_request_id_is_its_tenants(place: Place, caller: str, tenants: tuple[str, ...]) -> None:
    stub, options = place.gateway.stub, place.options(caller, *tenants)
    for their_caller in {"other", caller} - {"own"}:
        request_id = str(uuid.uuid4())
        theirs = stub.Screen(messages.screen(request_id=request_id), **place.options(their_caller, OTHER))
        assert theirs.screening.subject_id == f"sub-{OTHER}"
        asked = GetRequestRequest(request_id=request_id)
        assert place.outcome("GetRequest", asked, options) == "REQUEST_NOT_FOUND"
        # It is free for the caller's own tenant: neither their answer nor a word about theirs comes back.
        mine = stub.Screen(messages.screen(messages.PEP, request_id=request_id), **options)
        assert mine.screening.subject_id == f"sub-{OWN}"
        assert stub.GetRequest(asked, **options).record.screening.subject_id == f"sub-{OWN}"
        kept = stub.GetRequest(asked, **place.options(their_caller, OTHER)).record
        assert kept.screening.subject_id == f"sub-{OTHER}"
    assert not place.koras.keys[OWN] & place.koras.keys[OTHER]


@AS_OWN
def test_an_id_of_koras_is_asked_of_the_callers_own(place: Place, caller: str, tenants: tuple[str, ...]) -> None:
    options = place.options(caller, *tenants)
    for kind, request in (("screening", GetScreeningRequest), ("subject", GetSubjectRequest)):
        method, field = f"Get{kind.title()}", f"{kind}_id"
        assert place.outcome(method, request(**{field: f"x-{OWN}"}), options) == "OK"
        assert place.outcome(method, request(**{field: f"x-{OTHER}"}), options) == f"{kind.upper()}_NOT_FOUND"
        for crooked in (f"../../{OTHER}/{kind}s/x-{OTHER}", f"..%2f..%2f{OTHER}%2f{kind}s%2fx-{OTHER}", ".."):
            assert place.outcome(method, request(**{field: crooked}), options) != "OK"


def test_metadata_gives_no_other_tenant(place: Place) -> None:
    [*calls] = [method for method in METHODS if not method.name.startswith(("GetRequest", "WatchEvents"))]
    assert len(calls) == 6
    stub = place.gateway.stub
    for named in (OTHER, f"id-of-{OTHER}", OTHER.upper(), OWN.upper(), "*", "", f"{OWN},{OTHER}", "nobody's"):
        options = place.options("own", named)
        assert {method.outcome(stub, options["metadata"])[0] for method in METHODS} == {"PERMISSION_MISSING tenant"}
    for options in (place.options("own", OWN, OTHER), place.options("both"), place.options("both", OTHER, OWN)):
        assert {method.outcome(stub, options["metadata"])[0] for method in METHODS} == {"INVALID_REQUEST"}
    # Names that mean nothing here, though they do at Kora or elsewhere.
    for more in ({"x_tenant_id": f"id-of-{OTHER}"}, {"x_kora_tenant_id": OTHER}, {"tenant": OTHER}):
        options = place.options("own", **more)
        assert {method.outcome(stub, options["metadata"])[0] for method in calls} == {f"let in for {OWN}"}
        assert place.past(options, position=START_POSITION_EARLIEST).ids == [f"first-{OWN}", f"second-{OWN}"]


def test_no_webhook_gets_to_another(place: Place) -> None:
    body = event(OTHER, "third")
    assert place.offer(f"{PATH}/{OWN}", OTHER, body) == 401
    assert place.offer(f"{PATH}/{OTHER}", OWN, body) == 401
    for path in (PATH, f"{PATH}/", f"{PATH}/{OWN}/../{OTHER}", f"{PATH}/id-of-{OTHER}", f"{PATH}/{OTHER.upper()}"):
        for secret in (OWN, OTHER):
            assert place.offer(path, secret, body) == 404
    for tenant, caller in ((OWN, "own"), (OTHER, "other")):
        past = place.past(place.options(caller), position=START_POSITION_EARLIEST)
        assert past.ids == [f"first-{tenant}", f"second-{tenant}"]
