"""Whatever a wall clock does, and whenever the gateway starts: no event is lost, and no request is sent twice.

The number of schedules of a longer run, and the seed of the first one, come from the environment: `CLOCK_SCHEDULES=200
CLOCK_SEED=1`. A failing one says how to play it again.
"""

from __future__ import annotations

import functools
import os
import random
import uuid
from pathlib import Path

import pytest

from gateway import Emulator, Gateway, StartGateway
from shifted_clock import DAY, HOUR, MINUTE, SECOND, YEAR, ShiftedClock
from test_clock import HOLD, append, ids, screen
from test_request_kills import CREDENTIALS, TENANT, key, keys_at, kora

SCHEDULES = int(os.environ.get("CLOCK_SCHEDULES", "5"))
CHOSEN_SEED = os.environ.get("CLOCK_SEED", "1")
SEED = random.randrange(1, 1_000_000) if CHOSEN_SEED == "random" else int(CHOSEN_SEED)

# How many changes one schedule has.
CHANGES = 12

STEPS = (MINUTE, HOUR, 40 * DAY, 10 * YEAR)
SLEEPS = (SECOND, 10 * MINUTE, 20 * MINUTE)


class Machine:
    """One machine: its clock, its log, and the gateway on it."""

    def __init__(self, start: functools.partial[Gateway], clock: ShiftedClock, chance: random.Random) -> None:
        self._start, self._clock, self._chance = start, clock, chance
        # Less than the hold in all: no step may be taken for the truth.
        self._may_sleep = HOLD - 10 * MINUTE
        self.gateway = start()

    def change(self) -> None:
        """One thing that happens to machines, by chance."""
        match self._chance.choice(["forward", "back", "correct", "suspend", "restart"]):
            case "forward":
                self._clock.step(self._chance.choice(STEPS))
            case "back":
                self._clock.step(-self._chance.choice(STEPS))
            case "correct":
                self._clock.correct()
            case "suspend":
                slept = min(self._may_sleep, self._chance.choice(SLEEPS))
                self._may_sleep -= slept
                self._clock.suspend(slept)
            case "restart":
                self.gateway.stop()
                self.gateway = self._start()


@pytest.mark.parametrize("schedule", range(SCHEDULES))
def test_no_schedule_of_wrong_clocks_costs_an_event_or_a_second_screening(
    start_gateway: StartGateway, clock: ShiftedClock, tmp_path: Path, schedule: int
) -> None:
    seed = SEED + schedule
    again = f"CLOCK_SEED={seed} CLOCK_SCHEDULES=1"
    chance = random.Random(seed)
    with kora(tmp_path / "stderr-kora") as address:
        account = ("--kora-base-url", f"http://{address}/api/v1", "--kora-tenant-id", TENANT)
        log = ("--event-log", f"file:{tmp_path / 'log'}")
        secret = {"KORA_WEBHOOK_SECRET": "emulator-webhook-secret"}
        environment = {**CREDENTIALS, **secret, **clock.env}
        machine = Machine(
            functools.partial(start_gateway, *account, *log, env=environment, emulator=False), clock, chance
        )
        requests = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(CHANGES)]
        for number, request_id in enumerate(requests):
            append(machine.gateway, str(number))
            assert not screen(machine.gateway, request_id), again
            machine.change()
        clock.correct()
        append(machine.gateway, "last", "last")
        assert ids(machine.gateway) == [*map(str, range(CHANGES)), "last"], again
        assert all(screen(machine.gateway, request_id) for request_id in requests), again
        assert keys_at(Emulator(address)) == dict.fromkeys(map(key, requests), 1), again
