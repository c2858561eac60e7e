"""A disk that fails costs 503s, never an event that got its 200."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from kora.compliance.v1.watch_events_pb2 import START_POSITION_EARLIEST, WatchEventsRequest

import shim
from gateway import EMULATORS_TENANT, Gateway, StartGateway, connect
from program import PATIENCE
from test_operations import NOT_SERVING, SERVICE, SERVING
from webhooks import CONNECTIONS, Kora, deliver_in_order, event_body, new_events, read_past

ACKNOWLEDGED = [f"evt_before_{number}" for number in range(10)]
REFUSED = [f"evt_refused_{number}" for number in range(CONNECTIONS)]
LATER = "evt_later"

# The shortest that a caller can ask for.
HEARTBEAT = Duration(seconds=5)


class Disk:
    """The shim's triggers, and the directory on it that outlives a gateway."""

    def __init__(self, folder: Path) -> None:
        self.full = folder / "disk-is-full"
        self.has_no_room_to_write_back = folder / "no-room-to-write-back"
        self.broken = folder / "disk-is-broken"
        self.over_quota = folder / "quota-is-spent"
        self.log = f"file:{folder / 'data'}"
        triggers = {
            "FAIL_WRITE": str(self.full),
            "FAIL_WRITE_BACK": str(self.has_no_room_to_write_back),
            "FAIL_SYNC": str(self.broken),
            "FAIL_QUOTA": str(self.over_quota),
        }
        self.env = {**shim.build("failing_disk", folder), **triggers}

    def start(self, start_gateway: StartGateway) -> Gateway:
        return start_gateway("--event-log", self.log, env=self.env)


def deliver(gateway: Gateway, event_id: str) -> int:
    """Delivers one event on a connection of its own. A 503 has to say when to come back."""
    kora = Kora(gateway.addresses["webhook"])
    answer = kora.deliver(event_body(event_id))
    kora.close()
    assert (answer.status == 503) == (int(answer.headers.get("Retry-After", "0")) > 0)
    return answer.status


def deliver_together(gateway: Gateway, ids: list[str]) -> set[int]:
    """Delivers events at the same time. Returns the statuses that came."""
    with ThreadPoolExecutor(len(ids)) as connections:
        return set(connections.map(lambda event_id: deliver(gateway, event_id), ids))


def wait_for_health(gateway: Gateway, name: str, status: HealthCheckResponse.ServingStatus) -> None:
    """Waits until the admin port says so."""
    with connect(gateway.addresses["admin"]) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(HealthCheckRequest(service=name), timeout=PATIENCE)
        while next(watch).status != status:
            pass


def is_writable(gateway: Gateway) -> float:
    return gateway.count("kora_gateway_store_writable", tenant=EMULATORS_TENANT)


def wait_until_not_ready(gateway: Gateway) -> None:
    for name in ("", SERVICE, "store"):
        wait_for_health(gateway, name, NOT_SERVING)
    assert gateway.admin("/readyz") == (503, "not ready\n")
    assert is_writable(gateway) == 0
    # A restart by the orchestrator would not repair a disk, and ends every stream.
    wait_for_health(gateway, "liveness", SERVING)
    assert gateway.admin("/livez") == (200, "alive\n")


def wait_until_ready(gateway: Gateway) -> None:
    for name in ("", SERVICE, "store"):
        wait_for_health(gateway, name, SERVING)
    assert is_writable(gateway) == 1
    assert gateway.admin("/readyz") == (200, "ready\n")


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EDQUOT"])
def test_after_a_failed_sync_nothing_is_accepted_until_a_restart(
    start_gateway: StartGateway, tmp_path: Path, error: str
) -> None:
    disk = Disk(tmp_path)
    if error != "EIO":
        disk.env["FAIL_SYNC_WITH"] = error
    gateway = disk.start(start_gateway)
    request = WatchEventsRequest(position=START_POSITION_EARLIEST, heartbeat_interval=HEARTBEAT)
    stream = gateway.stub.WatchEvents(request)
    deliver_in_order(gateway.addresses["webhook"], ACKNOWLEDGED)
    assert [event.event_id for event in new_events(stream, len(ACKNOWLEDGED))] == ACKNOWLEDGED

    disk.broken.touch()
    assert deliver_together(gateway, REFUSED) == {503}
    wait_until_not_ready(gateway)
    # The system may say now that all is well, and have dropped what it could not write.
    disk.broken.unlink()
    assert deliver(gateway, LATER) == 503
    assert deliver(gateway, ACKNOWLEDGED[0]) == 503

    # The stream is open and shows nothing that is not known to be durable.
    seen = []
    while not (heartbeat := next(stream)).HasField("heartbeat"):
        seen += heartbeat.events
    assert not seen and not heartbeat.events
    assert read_past(gateway.stub).ids == ACKNOWLEDGED
    # Meanwhile the log has looked after itself several times.
    wait_until_not_ready(gateway)
    assert deliver(gateway, LATER) == 503

    gateway.stop()
    gateway = disk.start(start_gateway)
    wait_until_ready(gateway)
    found = read_past(gateway.stub).ids
    # What was refused may have reached the disk all the same.
    assert found[: len(ACKNOWLEDGED)] == ACKNOWLEDGED
    assert len(set(found)) == len(found) and set(found) <= {*ACKNOWLEDGED, *REFUSED}
    assert deliver_together(gateway, [*REFUSED, LATER]) == {200}
    resumed = read_past(gateway.stub, resume_token=heartbeat.resume_token).ids
    assert sorted(resumed) == sorted([*REFUSED, LATER])
    assert read_past(gateway.stub).ids == ACKNOWLEDGED + resumed


@pytest.mark.parametrize("by_quota", [False, True])
def test_a_full_disk_is_over_when_there_is_room(start_gateway: StartGateway, tmp_path: Path, by_quota: bool) -> None:
    disk = Disk(tmp_path)
    full = disk.over_quota if by_quota else disk.full
    gateway = disk.start(start_gateway)
    request = WatchEventsRequest(position=START_POSITION_EARLIEST, heartbeat_interval=HEARTBEAT)
    stream = gateway.stub.WatchEvents(request)
    deliver_in_order(gateway.addresses["webhook"], ACKNOWLEDGED)

    full.touch()
    assert deliver_together(gateway, REFUSED) == {503}
    wait_until_not_ready(gateway)
    assert deliver(gateway, LATER) == 503
    assert read_past(gateway.stub).ids == ACKNOWLEDGED
    # Meanwhile the log has looked for room several times, and found none.
    seen = []
    while not (message := next(stream)).HasField("heartbeat"):
        seen += message.events
    assert gateway.admin("/readyz") == (503, "not ready\n")

    full.unlink()
    wait_until_ready(gateway)
    # Nothing of what was refused is there: not even half written.
    assert read_past(gateway.stub).ids == ACKNOWLEDGED
    assert deliver_together(gateway, [*REFUSED, LATER]) == {200}
    log = read_past(gateway.stub).ids
    assert log[: len(ACKNOWLEDGED)] == ACKNOWLEDGED
    assert sorted(log) == sorted([*ACKNOWLEDGED, *REFUSED, LATER])
    seen += new_events(stream, len(log) - len(seen))
    assert [event.event_id for event in seen] == log

    gateway.stop()
    assert read_past(disk.start(start_gateway).stub).ids == log
