"""A wall clock that is wrong for a while costs no event and no second screening, and forgets no poll."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from kora.compliance.v1.event_pb2 import Event
from kora.compliance.v1.screening_pb2 import SCREENING_MODE_ASYNC

import messages
from gateway import Gateway, StartGateway, http_call
from nats_server import NatsServer
from program import PATIENCE, run
from shifted_clock import DAY, HOUR, MINUTE, SECOND, YEAR, ShiftedClock
from webhooks import Kora, event_body, read_past

# A wall clock that differs by less is followed at once.
FOLLOWED = 5 * MINUTE

# How long a larger step has to stand before it is used, unless a setting says otherwise.
HOLD = HOUR

STEPS = "kora_gateway_clock_steps_total"
PENDING = "kora_gateway_clock_step_pending_seconds"
NATS_AHEAD = "kora_gateway_store_nats_clock_offset_seconds"
DIFFERS = "the clocks of NATS and of this machine differ by more than a minute"


def start(start_gateway: StartGateway, clock: ShiftedClock, *flags: str) -> Gateway:
    return start_gateway(*flags, env=clock.env)


def deliver(gateway: Gateway, *bodies: bytes) -> None:
    """Delivers bodies one after the other; each is durable, and what retention takes with it is gone, on return."""
    connection = Kora(gateway.addresses["webhook"])
    try:
        assert [connection.deliver(body).status for body in bodies] == [200] * len(bodies)
    finally:
        connection.close()


def append(gateway: Gateway, *ids: str) -> None:
    deliver(gateway, *map(event_body, ids))


def history(gateway: Gateway) -> list[Event]:
    """Everything in the log, whose times never go back."""
    events = read_past(gateway.stub).events
    times = [event.receive_time.ToNanoseconds() for event in events]
    assert times == sorted(times)
    return events


def ids(gateway: Gateway) -> list[str]:
    return [event.event_id for event in history(gateway)]


def error(event: Event, right: float) -> float:
    """By how many milliseconds an event's time is wrong."""
    return abs(event.receive_time.ToNanoseconds() / 1e9 - right) * SECOND


def give_retention_its_turn(gateway: Gateway) -> None:
    """Has the log write something that is no event: what is to go goes with it."""
    screen(gateway, str(uuid.uuid4()))


def wait_for_ids(gateway: Gateway, expected: list[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := ids(gateway)) != expected:
        assert time.monotonic() < deadline, found


def clock_verb(gateway: Gateway, verb: str) -> str:
    """What an operator reads after a verb about the clock."""
    ended = run("clock", verb, "--admin-addr", gateway.addresses["admin"])
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def screen(gateway: Gateway, request_id: str) -> bool:
    """Screens with this id. Whether the answer was a stored one."""
    _, call = gateway.stub.Screen.with_call(messages.screen(request_id=request_id), timeout=PATIENCE)
    return ("x-idempotent-replay", "true") in [tuple(pair) for pair in call.initial_metadata()]


def posts(gateway: Gateway) -> int:
    return sum(request["method"] == "POST" for request in gateway.emulator.requests())


@pytest.mark.parametrize("milliseconds", [0, 2 * MINUTE, -2 * MINUTE, FOLLOWED - 30 * SECOND])
def test_a_small_step_is_followed_at_once(start_gateway: StartGateway, clock: ShiftedClock, milliseconds: int) -> None:
    gateway = start(start_gateway, clock)
    clock.step(milliseconds)
    append(gateway, "a")
    [event] = history(gateway)
    assert error(event, clock.wall()) < PATIENCE * SECOND
    assert gateway.count(STEPS, direction="forward") == gateway.count(STEPS, direction="backward") == 0


def test_a_suspend_is_no_step(start_gateway: StartGateway, clock: ShiftedClock) -> None:
    gateway = start(start_gateway, clock)
    append(gateway, "a")
    clock.suspend(10 * HOUR)
    append(gateway, "b")
    assert error(history(gateway)[-1], clock.wall()) < PATIENCE * SECOND
    assert gateway.count(STEPS, direction="forward") == 0


@pytest.mark.parametrize("milliseconds", [40 * DAY, 10 * YEAR, -10 * YEAR])
def test_an_event_that_comes_while_the_clock_is_wrong_costs_no_other(
    start_gateway: StartGateway, clock: ShiftedClock, milliseconds: int
) -> None:
    gateway = start(start_gateway, clock)
    append(gateway, "a", "b", "c")
    clock.step(milliseconds)
    append(gateway, "while wrong")
    clock.correct()
    append(gateway, "d", "e")
    assert ids(gateway) == ["a", "b", "c", "while wrong", "d", "e"]
    for event in history(gateway)[3:]:
        assert error(event, clock.right()) < FOLLOWED


@pytest.mark.parametrize(("milliseconds", "direction"), [(40 * DAY, "forward"), (-40 * DAY, "backward")])
def test_a_step_is_counted_once_logged_and_pending_until_it_is_taken_back(
    start_gateway: StartGateway, clock: ShiftedClock, milliseconds: int, direction: str
) -> None:
    gateway = start(start_gateway, clock)
    append(gateway, "a")
    before = gateway.program.log()
    clock.step(milliseconds)
    append(gateway, "b", "c")
    assert gateway.count(STEPS, direction=direction) == 1
    assert abs(gateway.count(PENDING) - milliseconds / SECOND) < PATIENCE
    assert "clock" in gateway.program.log().removeprefix(before).lower()
    clock.correct()
    append(gateway, "d")
    assert gateway.count(PENDING) == 0
    assert gateway.count(STEPS, direction=direction) == 1


def test_a_known_request_replays_after_the_clock_was_a_week_ahead(
    start_gateway: StartGateway, clock: ShiftedClock
) -> None:
    gateway = start(start_gateway, clock)
    request_id = str(uuid.uuid4())
    assert not screen(gateway, request_id)
    clock.step(8 * DAY)
    append(gateway, "a", "b")
    assert screen(gateway, request_id)
    clock.correct()
    assert screen(gateway, request_id)
    assert posts(gateway) == 1


def test_a_poll_is_made_in_time_after_the_clock_was_ten_years_ahead(
    start_gateway: StartGateway, clock: ShiftedClock
) -> None:
    clock.step(10 * YEAR)
    gateway = start(start_gateway, clock)
    status, text = http_call(gateway.addresses["emulator"], "PUT", "/__emulator/webhooks", {"withhold": True})
    assert status == 204, text

    def screen_later() -> str:
        request = messages.screen(mode=SCREENING_MODE_ASYNC)
        return gateway.stub.Screen(request, timeout=PATIENCE).screening.screening_id

    screening_id = screen_later()
    clock.correct()
    # The first poll is due by now; a timer that was set before the suspend is not, but one more screening wakes it.
    clock.suspend(MINUTE)
    screen_later()
    deadline = time.monotonic() + PATIENCE
    while not any(screening_id in request["path"] for request in gateway.emulator.requests()):
        assert time.monotonic() < deadline, "it is not polled"
        time.sleep(0.05)


def test_an_event_of_a_process_that_was_started_ten_years_behind_is_kept(
    start_gateway: StartGateway, clock: ShiftedClock
) -> None:
    clock.step(-10 * YEAR)
    gateway = start(start_gateway, clock)
    append(gateway, "a")
    clock.correct()
    append(gateway, "b", "c")
    assert ids(gateway) == ["a", "b", "c"]
    clock.suspend(2 * HOLD)
    append(gateway, "d", "e")
    assert ids(gateway) == ["a", "b", "c", "d", "e"]
    assert error(history(gateway)[-1], clock.right()) < FOLLOWED


def test_a_dedupe_window_ends_in_time_after_the_clock_was_ahead(
    start_gateway: StartGateway, clock: ShiftedClock
) -> None:
    body = json.dumps({"event": "subject.updated", "data": {"subject_id": "subj_1"}}).encode()
    gateway = start(start_gateway, clock, "--dedup-window", "5s")
    clock.step(2 * HOUR)
    deliver(gateway, body)
    clock.correct()
    clock.suspend(6 * SECOND)
    deliver(gateway, body)
    first, second = ids(gateway)
    assert first != second


@pytest.mark.parametrize("milliseconds", [2 * HOUR, -2 * HOUR])
def test_a_step_ends_no_dedupe_window(start_gateway: StartGateway, clock: ShiftedClock, milliseconds: int) -> None:
    body = json.dumps({"event": "subject.updated", "data": {"subject_id": "subj_1"}}).encode()
    gateway = start(start_gateway, clock, "--dedup-window", "10m")
    deliver(gateway, body)
    clock.step(milliseconds)
    deliver(gateway, body)
    clock.correct()
    deliver(gateway, body)
    assert len(ids(gateway)) == 1


def forget_the_boot(directory: Path) -> None:
    """Takes away what a log knows of the machine's boot clock, as if it came from another machine."""
    [file] = directory.glob("*.db")
    with closing(sqlite3.connect(file)) as log:
        assert log.execute("DELETE FROM clock_mark").rowcount == 1
        log.commit()


def restarted_ahead(start_gateway: StartGateway, clock: ShiftedClock, tmp_path: Path, *flags: str) -> Gateway:
    """A gateway on another machine that finds its newest record 40 days old, and takes two more events."""
    directory = tmp_path / "log"
    log = ("--event-log", f"file:{directory}", *flags)
    first = start(start_gateway, clock, *log)
    append(first, "a", "b", "c")
    first.stop()
    forget_the_boot(directory)
    clock.step(40 * DAY)
    gateway = start(start_gateway, clock, *log)
    append(gateway, "d", "e")
    assert ids(gateway) == ["a", "b", "c", "d", "e"]
    assert abs(gateway.count(PENDING) - 40 * DAY / SECOND) < PATIENCE
    return gateway


def test_a_gap_before_a_start_takes_nothing_until_it_is_accepted(
    start_gateway: StartGateway, clock: ShiftedClock, tmp_path: Path
) -> None:
    gateway = restarted_ahead(start_gateway, clock, tmp_path)
    assert "pending" in clock_verb(gateway, "status").lower()
    clock_verb(gateway, "accept")
    append(gateway, "f")
    # What has come since the start is no older by the gap.
    wait_for_ids(gateway, ["d", "e", "f"])
    assert error(history(gateway)[-1], clock.wall()) < FOLLOWED
    assert gateway.count(PENDING) == 0


def test_a_gap_before_a_start_takes_nothing_until_it_has_stood_for_the_hold(
    start_gateway: StartGateway, clock: ShiftedClock, tmp_path: Path
) -> None:
    gateway = restarted_ahead(start_gateway, clock, tmp_path, "--clock-step-hold", "10m")
    clock.suspend(8 * MINUTE)
    append(gateway, "f")
    assert len(ids(gateway)) == 6
    clock.suspend(3 * MINUTE)
    append(gateway, "g")
    wait_for_ids(gateway, ["d", "e", "f", "g"])
    assert gateway.count(PENDING) == 0


def test_after_a_restart_on_the_same_machine_the_boot_clock_tells_what_elapsed(
    start_gateway: StartGateway, clock: ShiftedClock, tmp_path: Path
) -> None:
    log = ("--event-log", f"file:{tmp_path / 'log'}", "--clock-step-hold", "10m")
    first = start(start_gateway, clock, *log)
    append(first, "a", "b")
    first.program.kill()
    clock.step(40 * DAY)
    second = start(start_gateway, clock, *log)
    append(second, "c")
    clock.suspend(11 * MINUTE)
    # The wall clock is followed now, and still nothing is 40 days old.
    append(second, "d", "e")
    assert ids(second) == ["a", "b", "c", "d", "e"]
    assert error(history(second)[-1], clock.wall()) < FOLLOWED
    second.stop()
    clock.suspend(31 * DAY)
    third = start(start_gateway, clock, *log)
    append(third, "f")
    wait_for_ids(third, ["f"])


def test_an_accepted_step_is_used_at_once(start_gateway: StartGateway, clock: ShiftedClock) -> None:
    gateway = start(start_gateway, clock)
    append(gateway, "a")
    clock.step(2 * HOUR)
    append(gateway, "b")
    clock_verb(gateway, "accept")
    append(gateway, "c")
    _, pending, accepted = history(gateway)
    assert error(pending, clock.right()) < FOLLOWED
    assert error(accepted, clock.wall()) < FOLLOWED
    assert gateway.count(PENDING) == 0


def test_the_newest_event_is_never_too_old(start_gateway: StartGateway, clock: ShiftedClock) -> None:
    gateway = start(start_gateway, clock, "--retention-age", "2d")
    append(gateway, "a", "b")
    then = clock.wall()
    clock.suspend(3 * DAY)
    give_retention_its_turn(gateway)
    wait_for_ids(gateway, ["b"])
    assert error(history(gateway)[-1], then) < FOLLOWED


def test_the_newest_event_is_never_too_large(start_gateway: StartGateway, clock: ShiftedClock) -> None:
    limit = 64 << 10
    gateway = start(start_gateway, clock, "--retention-size", str(limit), "--webhook-max-bytes", str(limit))
    for event_id in ("a", "b"):
        # With what the log keeps beside the body, one event is more than the limit.
        body = event_body(event_id, filler="x" * (limit - 200))
        assert limit - 200 < len(body) <= limit
        deliver(gateway, body)
        give_retention_its_turn(gateway)
        wait_for_ids(gateway, [event_id])


@pytest.mark.parametrize("seconds", [-90, 0, 90])
def test_a_clock_that_differs_from_that_of_nats_is_warned_of(
    start_gateway: StartGateway, clock: ShiftedClock, tmp_path: Path, seconds: int
) -> None:
    server = NatsServer(tmp_path / "nats")
    try:
        clock.step(-seconds * SECOND)
        gateway = start(start_gateway, clock, "--event-log", server.url)
        deadline = time.monotonic() + PATIENCE
        while abs((ahead := gateway.count(NATS_AHEAD)) - seconds) > 5:
            assert time.monotonic() < deadline, ahead
        # The gauge is set before the line is written.
        while (DIFFERS in gateway.program.log()) != (seconds != 0):
            assert time.monotonic() < deadline, gateway.program.log()
        gateway.stop()
    finally:
        server.kill()
