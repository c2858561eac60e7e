"""Who gets in where: every identity, with every set of rights, for every tenant, at every method, and nobody else."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub

from access_identities import CALLERS, RIGHTS, TENANTS, Identity, everybody
from access_methods import METHODS, Method, record
from authority import Authority
from gateway import Gateway, StartGateway
from program import PATIENCE
from reflected import Reflection
from tenant_koras import TenantKoras
from webhooks import event_body, offer

SERVICE = "kora.compliance.v1.ComplianceService"
SERVING = HealthCheckResponse.SERVING

# What a call names as its tenant: nothing, each of them, and one that does not exist.
NAMED = (None, *TENANTS, "gamma")

# How many calls are made at a time.
AT_A_TIME = 8


def expected(identity: Identity, tenant: str | None, method: Method) -> str:
    """What the manual says of one cell: `let in for TENANT`, or the refusal."""
    caller = identity.caller
    if caller is None:
        return "UNAUTHENTICATED"
    if tenant is None and len(caller.tenants) > 1:
        return "INVALID_REQUEST"
    meant = tenant or caller.tenants[0]
    if meant not in caller.tenants:
        return "PERMISSION_MISSING tenant"
    missing = [right for right in method.rights if right not in caller.rights]
    return f"PERMISSION_MISSING {missing[0]}" if missing else f"let in for {meant}"


@pytest.fixture
def koras() -> Iterator[TenantKoras]:
    koras = TenantKoras(*TENANTS)
    yield koras
    koras.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def start(start_gateway: StartGateway, authority: Authority, config: Path, *flags: str) -> Gateway:
    own = authority.issue("gateway", "IP:127.0.0.1")
    tls = ("--tls-cert", str(own.certificate), "--tls-key", str(own.key))
    client = ("--tls-client-ca", str(authority.root.certificate))
    return start_gateway("--config", str(config), *tls, *client, *flags, emulator=False)


def write(file: Path, tenants: str, *, has_all_rights: bool) -> None:
    """Replaces the file as orchestrators do: nobody sees half of it."""
    callers = "".join(caller.settings(RIGHTS if has_all_rights else caller.rights) for caller in CALLERS)
    new = file.with_suffix(".new")
    new.write_text(tenants + callers)
    new.replace(file)


def give_each_tenant_an_event(gateway: Gateway) -> None:
    for tenant in TENANTS:
        path, secret = f"/webhooks/compliance/{tenant}", f"secret-of-{tenant}"
        assert offer(gateway.addresses["webhook"], path, secret, event_body(f"evt-{tenant}")) == 200


def make_the_recorded_requests(identity: Identity) -> None:
    assert identity.caller
    for tenant in identity.caller.tenants:
        record(ComplianceServiceStub(identity.channel), identity.metadata(tenant))


def wait_until_narrowed(identity: Identity) -> None:
    """Waits until a caller lacks what its file does not give it any more."""
    [screens] = [method for method in METHODS if method.name == "Screen"]
    assert identity.caller and "screen" not in identity.caller.rights
    deadline = time.monotonic() + PATIENCE
    while outcome(identity, TENANTS[0], screens)[0] != "PERMISSION_MISSING screen":
        assert time.monotonic() < deadline, "the file is not read again"
        time.sleep(0.05)


def outcome(identity: Identity, tenant: str | None, method: Method) -> tuple[str, bytes]:
    return method.outcome(ComplianceServiceStub(identity.channel), identity.metadata(tenant))


def test_exactly_the_allowed_cells_are_open(
    koras: TenantKoras, authority: Authority, start_gateway: StartGateway, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    tenants = "".join(koras.settings(tenant, tmp_path) for tenant in TENANTS)
    write(file, tenants, has_all_rights=True)
    gateway = start(start_gateway, authority, file)
    give_each_tenant_an_event(gateway)
    identities = list(everybody(gateway.addresses["grpc"], authority))
    by_token = [identity for identity in identities if identity.name.startswith("the token of")]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(make_the_recorded_requests, by_token))
        write(file, tenants, has_all_rights=False)
        wait_until_narrowed(next(one for one in by_token if one.caller and one.caller.rights == ("subjects",)))
        cells = list(itertools.product(identities, NAMED, METHODS))
        outcomes = list(pool.map(lambda cell: outcome(*cell), cells))
    wrong = [
        f"{identity.name}, naming {tenant}, {method.name}: {found}"
        for (identity, tenant, method), (found, _) in zip(cells, outcomes, strict=True)
        if found != expected(identity, tenant, method)
    ]
    assert wrong == [], f"{len(wrong)} of {len(cells)} cells are wrong"
    # Whoever is not known learns nothing about why.
    said = {(found, text) for found, text in outcomes if found == "UNAUTHENTICATED"}
    assert len(said) == len({"a paid call's", "any other's"})
    assert koras.strangers == []


@pytest.mark.parametrize("has_reflection", [True, False])
def test_health_and_reflection_need_no_identity(
    koras: TenantKoras, authority: Authority, start_gateway: StartGateway, tmp_path: Path, has_reflection: bool
) -> None:
    file = tmp_path / "gateway.toml"
    write(file, "".join(koras.settings(tenant, tmp_path) for tenant in TENANTS), has_all_rights=False)
    switch = () if has_reflection else ("--reflection=false",)
    gateway = start(start_gateway, authority, file, *switch)
    known = authority.issue("known", f"URI:{CALLERS[0].uri}")
    for shown in (None, known, authority.issue("stranger", "URI:spiffe://bank.example/stranger")):
        channel = authority.connect(gateway.addresses["grpc"], shown)
        for authorization in (None, "Bearer wrong", f"Bearer {CALLERS[0].token}"):
            metadata = [("authorization", authorization)] if authorization else []
            for service in ("", SERVICE):
                asked = HealthCheckRequest(service=service)
                health = HealthStub(channel)
                assert health.Check(asked, metadata=metadata, timeout=PATIENCE).status == SERVING
                watch = health.Watch(asked, metadata=metadata, timeout=PATIENCE)
                assert next(watch).status == SERVING
                watch.cancel()
        if has_reflection:
            assert SERVICE in Reflection(channel).services()
            continue
        with pytest.raises(grpc.RpcError) as raised:
            Reflection(channel).services()
        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_certificate_of_another_authority_ends_the_handshake(
    koras: TenantKoras, authority: Authority, start_gateway: StartGateway, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    write(file, "".join(koras.settings(tenant, tmp_path) for tenant in TENANTS), has_all_rights=False)
    gateway = start(start_gateway, authority, file)
    caller = CALLERS[-1]
    forged = Authority(tmp_path / "another").issue("forged", f"URI:{caller.uri}")
    channel = authority.connect(gateway.addresses["grpc"], forged)
    for authorization in (None, f"Bearer {caller.token}"):
        identity = Identity("forged", channel, authorization, None)
        for method in METHODS:
            assert outcome(identity, TENANTS[0], method) == ("UNAVAILABLE", b"")
    with pytest.raises(grpc.RpcError) as raised:
        HealthStub(channel).Check(HealthCheckRequest(), timeout=PATIENCE)
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    # The same names in a certificate of the right one get in.
    known = authority.connect(gateway.addresses["grpc"], authority.issue("known", f"URI:{caller.uri}"))
    assert outcome(Identity("known", known, None, caller), TENANTS[0], METHODS[0])[0] == f"let in for {TENANTS[0]}"
