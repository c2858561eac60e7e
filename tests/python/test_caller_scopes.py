"""A request id stays its caller's: whatever the caller is called later, a known id is not paid for a second time."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from kora.compliance.v1.compliance_service_pb2 import GetRequestRequest
from kora.compliance.v1.request_record_pb2 import REQUEST_STATE_SUCCEEDED

import messages
from gateway import Emulator, Gateway, StartGateway
from nats_server import NatsServer
from program import PATIENCE, run
from test_callers import new_token, wait_for_log, write
from test_command_line import BAD_CONFIGURATION
from test_request_kills import CREDENTIALS, REPLAY, TENANT, keys_at, kora

LEFT_BEHIND = "request ids of anonymous callers"
MOVED = "request ids are kept under another name"


@pytest.fixture(params=["directory", "nats"])
def event_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A log that outlives the gateways, in either backend."""
    if request.param == "directory":
        yield f"file:{tmp_path / 'log'}"
        return
    server = NatsServer(tmp_path / "nats")
    yield server.url
    server.kill()


@dataclass
class Bank:
    """One Kora and one log, and one gateway after the other on them."""

    start: StartGateway
    kora: str
    event_log: str
    file: Path

    def gateway(self, callers: str, tenants: str = "") -> Gateway:
        """One whose configuration file has these texts."""
        write(self.file, tenants + callers)
        account = {"RUST_LOG": "info"} if tenants else {**CREDENTIALS, "KORA_TENANT_ID": TENANT}
        address = f"http://{self.kora}/api/v1"
        flags = ("--config", str(self.file), "--kora-base-url", address, "--event-log", self.event_log)
        return self.start(*flags, env=account, emulator=False)

    @property
    def emulator(self) -> Emulator:
        return Emulator(self.kora)


@pytest.fixture
def bank(start_gateway: StartGateway, event_log: str, tmp_path: Path) -> Iterator[Bank]:
    with kora(tmp_path / "stderr-kora") as address:
        yield Bank(start_gateway, address, event_log, tmp_path / "gateway.toml")


@contextmanager
def living(gateway: Gateway) -> Iterator[Gateway]:
    yield gateway
    gateway.stop()


def caller(name: str, line: str, *more: str) -> str:
    return "\n".join(["[[callers]]", f'name = "{name}"', line, 'rights = ["screen"]', *more, ""])


def screen(gateway: Gateway, request_id: str, token: str | None = None) -> tuple[str, bool]:
    """The screening, and whether it is one that was answered before."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    request = messages.screen(request_id=request_id)
    answer, call = gateway.stub.Screen.with_call(request, metadata=metadata, timeout=PATIENCE)
    return answer.screening.screening_id, REPLAY in call.initial_metadata()


def posts(bank: Bank) -> int:
    return sum(keys_at(bank.emulator).values())


def test_ids_of_the_time_without_callers_are_found_by_whoever_may_have_made_them(bank: Bank) -> None:
    known, new = str(uuid.uuid4()), str(uuid.uuid4())
    (first, first_line), (second, second_line) = new_token(), new_token()
    with living(bank.gateway("")) as gateway:
        paid, _ = screen(gateway, known)
    shares = 'ids_of = "anonymous"'
    with living(bank.gateway(caller("a", first_line, shares) + caller("b", second_line, shares))) as gateway:
        assert screen(gateway, known, first) == (paid, True)
        assert screen(gateway, known, second) == (paid, True)
        record = gateway.stub.GetRequest(
            GetRequestRequest(request_id=known), metadata=[("authorization", f"Bearer {first}")], timeout=PATIENCE
        ).record
        assert record.state == REQUEST_STATE_SUCCEEDED
        # As before, they see each other's.
        assert screen(gateway, new, first) == (screen(gateway, new, second)[0], False)
        wait_for_log(gateway, MOVED)
        said = [line for line in gateway.program.log().splitlines() if MOVED in line]
        assert [("caller=a" in line, "ids_of=anonymous" in line) for line in said] == [(True, True), (False, True)]
        assert LEFT_BEHIND not in gateway.program.log()
    assert posts(bank) == 2


def test_a_renamed_caller_keeps_its_ids(bank: Bank) -> None:
    known, rejected = str(uuid.uuid4()), str(uuid.uuid4())
    token, line = new_token()
    with living(bank.gateway(caller("old", line))) as gateway:
        paid, _ = screen(gateway, known, token)
        bank.emulator.next({"kind": "fail", "status": 404})
        with pytest.raises(grpc.RpcError):
            screen(gateway, rejected, token)
    with living(bank.gateway(caller("new", line, 'ids_of = "old"'))) as gateway:
        assert screen(gateway, known, token) == (paid, True)
        screen(gateway, rejected, token)
        # While the gateway runs the same holds.
        write(bank.file, caller("newer", line, 'ids_of = "old"'))
        wait_for_log(gateway, "caller=newer ids_of=old")
        assert screen(gateway, known, token) == (paid, True)
    # What was rejected is sent with the key that Kora knows it by.
    assert sorted(keys_at(bank.emulator).values()) == [1, 2]


def test_ids_that_nobody_finds_any_more_are_warned_of(bank: Bank) -> None:
    token, line = new_token()
    with living(bank.gateway(caller("a", line))) as gateway:
        screen(gateway, str(uuid.uuid4()), token)
    with living(bank.gateway("")) as gateway:
        screen(gateway, str(uuid.uuid4()))
        assert LEFT_BEHIND not in gateway.program.log()
    with living(bank.gateway(caller("a", line))) as gateway:
        wait_for_log(gateway, LEFT_BEHIND)


def tenant(name: str, secrets: Path) -> str:
    (secrets / "key").write_text(CREDENTIALS["KORA_API_KEY"])
    (secrets / "webhook").write_text(f"{CREDENTIALS['KORA_WEBHOOK_SECRET']}-of-sixteen-bytes")
    lines = (
        "[[tenants]]",
        f'name = "{name}"',
        f'kora_tenant_id = "{TENANT}"',
        f'api_key_file = "{secrets / "key"}"',
        f'webhook_secret_file = "{secrets / "webhook"}"',
        "",
    )
    return "\n".join(lines)


def test_a_renamed_tenant_keeps_its_ids(bank: Bank, tmp_path: Path) -> None:
    known, rejected = str(uuid.uuid4()), str(uuid.uuid4())
    with living(bank.gateway("", tenant("old-name", tmp_path))) as gateway:
        paid, _ = screen(gateway, known)
        bank.emulator.next({"kind": "fail", "status": 404})
        with pytest.raises(grpc.RpcError):
            screen(gateway, rejected)
    with living(bank.gateway("", tenant("new-name", tmp_path))) as gateway:
        assert screen(gateway, known) == (paid, True)
        screen(gateway, rejected)
    assert sorted(keys_at(bank.emulator).values()) == [1, 2]


@pytest.mark.parametrize(
    ("callers", "wrong"),
    [
        ((("a", "b"), ("b", None)), "callers[0].ids_of is the name of another caller"),
        ((("a", "b"), ("b", "c")), "callers[0].ids_of is the name of another caller"),
        ((("a", "old"), ("b", "old")), "callers[1].ids_of is that of another caller too"),
        ((("a", ""),), "callers[0].ids_of is not 1 to 64 letters"),
        ((("a", "x y"),), "callers[0].ids_of is not 1 to 64 letters"),
    ],
)
@pytest.mark.parametrize("verb", ["check-config", "serve"])
def test_ids_belong_to_one_caller(
    tmp_path: Path, verb: str, callers: tuple[tuple[str, str | None], ...], wrong: str
) -> None:
    file = tmp_path / "gateway.toml"
    entries = (caller(name, new_token()[1], *([f'ids_of = "{of}"'] if of is not None else [])) for name, of in callers)
    file.write_text("".join(entries))
    ended = run(verb, "--config", str(file), env={**CREDENTIALS, "KORA_TENANT_ID": TENANT})
    assert ended.returncode == BAD_CONFIGURATION
    assert wrong in ended.stderr


def test_check_config_shows_whose_ids_a_caller_has(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(caller("a", new_token()[1], 'ids_of = "before"') + caller("b", new_token()[1]))
    shown = run("check-config", "--config", str(file), env={**CREDENTIALS, "KORA_TENANT_ID": TENANT})
    assert shown.returncode == 0, shown.stderr
    rows = [line.split()[:2] for line in shown.stdout.splitlines()]
    assert ["a", "before"] in rows and ["b", "b"] in rows
