"""Every secret is changed under load: nothing that is right is refused, and what was taken out is."""

from __future__ import annotations

import hashlib
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub

import messages
from authority import Authority, Issued
from gateway import Gateway, StartGateway
from program import PATIENCE
from steady_load import SteadyLoad, steady_load
from tenant_koras import TenantKoras
from webhooks import event_body, offer

TENANT = "alpha"

# How many more calls and webhooks there are before something changes, and after it.
MEANWHILE = 100


@dataclass
class Secrets:
    """What callers and Kora use at the moment."""

    token: str
    webhook_secret: str


def replace(file: Path, text: str) -> None:
    """As orchestrators do: nobody sees half a file."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    new.replace(file)


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def let_pass(loads: list[SteadyLoad]) -> None:
    """Waits until there was some more load."""
    for load in loads:
        enough = load.count + MEANWHILE
        wait_until(lambda: load.count >= enough, "the load stands still")


@dataclass
class Place:
    """A gateway of one tenant and one caller, over TLS, and the files of its secrets."""

    gateway: Gateway
    koras: TenantKoras
    authority: Authority
    shown: Issued
    folder: Path
    tenants: str

    def list_tokens(self, *tokens: str) -> None:
        write_callers(self.folder, self.tenants, *tokens)

    def screen(self, token: str) -> grpc.StatusCode:
        """What a call with this token comes to, on a connection of its own."""
        with self.authority.connect(self.gateway.addresses["grpc"]) as channel:
            metadata = [("authorization", f"Bearer {token}")]
            try:
                ComplianceServiceStub(channel).Screen(messages.screen(), metadata=metadata, timeout=PATIENCE)
            except grpc.RpcError as raised:
                return raised.code()
        return grpc.StatusCode.OK

    def offer(self, secret: str, event_id: str) -> int:
        path = f"/webhooks/compliance/{TENANT}"
        return offer(self.gateway.addresses["webhook"], path, secret, event_body(event_id))

    def certificate(self) -> str:
        """The gateway's, as a new connection sees it."""
        host, _, port = self.gateway.addresses["grpc"].rpartition(":")
        return ssl.get_server_certificate((host, int(port)), timeout=PATIENCE)


def write_callers(folder: Path, tenants: str, *tokens: str) -> None:
    hashes = [hashlib.sha256(token.encode()).hexdigest() for token in tokens]
    callers = f'[[callers]]\nname = "caller"\ntoken_sha256 = {hashes}\nrights = ["screen"]\n'
    replace(folder / "gateway.toml", tenants + callers)


@pytest.fixture
def place(start_gateway: StartGateway, tmp_path: Path) -> Iterator[Place]:
    koras, authority = TenantKoras(TENANT), Authority(tmp_path / "authority")
    tenants = koras.settings(TENANT, tmp_path)
    write_callers(tmp_path, tenants, "old-token")
    shown = authority.issue("gateway", "IP:127.0.0.1")
    tls = ("--tls-cert", str(shown.certificate), "--tls-key", str(shown.key))
    gateway = start_gateway("--config", str(tmp_path / "gateway.toml"), *tls, emulator=False)
    yield Place(gateway, koras, authority, shown, tmp_path, tenants)
    koras.close()


def test_secrets_change_under_load(place: Place) -> None:
    koras, now = place.koras, Secrets("old-token", f"secret-of-{TENANT}")
    old = Secrets(now.token, now.webhook_secret)
    stub = ComplianceServiceStub(place.authority.connect(place.gateway.addresses["grpc"]))
    numbers = iter(range(1_000_000))

    def call() -> None:
        metadata = [("authorization", f"Bearer {now.token}")]
        answer = stub.Screen(messages.screen(), metadata=metadata, timeout=PATIENCE)
        assert answer.screening.subject_id == f"sub-{TENANT}"

    def deliver() -> None:
        assert place.offer(now.webhook_secret, f"evt-{next(numbers)}") == 200

    with steady_load(call, deliver) as loads:
        let_pass(loads)
        # The new ones beside the old ones. Kora takes the new key alone, at once.
        place.list_tokens("old-token", "new-token")
        replace(place.folder / f"{TENANT}-secret", f"{old.webhook_secret}\nnew-webhook-secret\n")
        replace(place.folder / f"{TENANT}-key", "new-key")
        koras.accepted[TENANT] = "new-key"
        seen = place.certificate()
        issued = place.authority.issue("renewed", "IP:127.0.0.1")
        replace(place.shown.key, issued.key.read_text())
        replace(place.shown.certificate, issued.certificate.read_text())
        wait_until(lambda: place.screen("new-token") == grpc.StatusCode.OK, "the new token")
        wait_until(lambda: place.offer("new-webhook-secret", "probe") == 200, "the new webhook secret")
        wait_until(lambda: place.certificate() != seen, "the new certificate")
        let_pass(loads)
        now.token, now.webhook_secret = "new-token", "new-webhook-secret"
        let_pass(loads)
        # The old ones are taken out.
        place.list_tokens("new-token")
        replace(place.folder / f"{TENANT}-secret", "new-webhook-secret\n")
        refused = grpc.StatusCode.UNAUTHENTICATED
        wait_until(lambda: place.screen("old-token") == refused, "the old token is still good")
        wait_until(lambda: place.offer(old.webhook_secret, "probe") == 401, "the old webhook secret is still good")
        koras.strangers.clear()
        let_pass(loads)
    assert koras.strangers == []
    log = place.gateway.program.log()
    key_lines = [line for file in (place.shown.key, issued.key) for line in file.read_text().splitlines()[1:-1]]
    secrets = [old.token, now.token, old.webhook_secret, now.webhook_secret, f"key-of-{TENANT}", "new-key", *key_lines]
    assert [secret for secret in secrets if secret in log] == []


# How often the files are looked at without a reload.
LOOKS_APART = 5.0


def test_a_reload_reads_everything_again_at_once(place: Place) -> None:
    renewed = [place.authority.issue(f"renewed-{number}", "IP:127.0.0.1") for number in range(2)]
    reloaded = []
    for number, issued in enumerate(renewed):
        token, secret, seen = f"token-{number}", f"webhook-secret-{number}", place.certificate()
        place.list_tokens(token)
        replace(place.folder / f"{TENANT}-secret", secret)
        replace(place.folder / f"{TENANT}-key", f"key-{number}")
        place.koras.accepted[TENANT] = f"key-{number}"
        replace(place.shown.key, issued.key.read_text())
        replace(place.shown.certificate, issued.certificate.read_text())
        place.gateway.program.send(signal.SIGHUP)
        reloaded.append(time.monotonic())
        is_accepted = grpc.StatusCode.OK
        wait_until(lambda token=token: place.screen(token) == is_accepted, "the new token")  # type: ignore[misc]
        wait_until(lambda secret=secret: place.offer(secret, "probe") == 200, "the new secret")  # type: ignore[misc]
        wait_until(lambda seen=seen: place.certificate() != seen, "the new certificate")  # type: ignore[misc]
    # The first reload had everything looked at. So the second time none of it was due by itself.
    assert time.monotonic() - reloaded[0] < LOOKS_APART - 0.5
