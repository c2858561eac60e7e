"""Runs the gateway on fixed ports and one store across restarts, and disrupts it."""

from __future__ import annotations

import functools
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chaos.kora import ChaosKora
from chaos.tickets import CALLERS, LONG_RUN, TENANTS
from gateway import StartGateway
from nats_server import NatsServer
from restarts import Phoenix
from shifted_clock import DAY, HOUR, ShiftedClock
from test_callers import caller, new_token, write

# The limit of a drain, in seconds.
DRAIN_TIMEOUT = 6

# How long NATS is paused, and how long Kora rejects the key, in seconds.
NATS_AWAY = 3.0
LOCKED_OUT = 0.5

CLOCK_STEPS = (40 * DAY, -40 * DAY, 2 * HOUR, -2 * HOUR)


@dataclass
class Outage:
    """A period in which the gateway or its store was down, or drained."""

    kind: str
    begin: float
    end: float = float("inf")

    def overlaps(self, begin: float, end: float) -> bool:
        return self.begin <= end and begin <= self.end


class Machine:
    """The gateway, its clock and its store."""

    def __init__(
        self, start: StartGateway, kora: ChaosKora, clock: ShiftedClock, nats: NatsServer | None, folder: Path,
        *, renames: bool,
    ) -> None:  # fmt: skip
        self._kora, self._clock, self._nats = kora, clock, nats
        self._folder, self._renames = folder, renames
        self._steps = itertools.cycle(CLOCK_STEPS)
        tokens = {name: new_token() for name in CALLERS}
        self.tokens = {name: token for name, (token, _) in tokens.items()}
        self._lines = {name: line for name, (_, line) in tokens.items()}
        self.outages: list[Outage] = []
        self._configure(0)
        flags = ("--config", str(self._file), "--drain-timeout", f"{DRAIN_TIMEOUT}s")
        log = nats.url if nats else f"file:{folder / 'log'}"
        environment = {"RUST_LOG": "info", **clock.env}
        self.place = Phoenix(functools.partial(start, *flags, emulator=False), log, environment)

    @property
    def _file(self) -> Path:
        return self._folder / "gateway.toml"

    def _configure(self, renamed: int) -> None:
        text = ""
        for tenant, kora_id in TENANTS.items():
            for what in ("key", "secret"):
                (self._folder / f"{tenant}-{what}").write_text(f"{what}-of-{tenant}")
            text += f'[[tenants]]\nname = "{tenant}"\nkora_tenant_id = "{kora_id}"\n'
            text += f'api_key_file = "{self._folder}/{tenant}-key"\n'
            text += f'webhook_secret_file = "{self._folder}/{tenant}-secret"\n'
            text += f'base_url = "{self._kora.base_url(tenant)}"\n'
        for name, line in self._lines.items():
            more = f"{line}\ntenants = {list(TENANTS)}"
            if renamed:
                more += f'\nids_of = "{name}"'
            entry = caller(f"{name}-{renamed}" if renamed else name, more)
            text += entry.replace('["screen"]', '["screen", "subjects", "watch", "raw_json"]')
        write(self._file, text)

    def kill(self) -> None:
        """SIGKILL, then a restart."""
        outage = self._begin("kill")
        self.place.kill()
        self._rise(outage)

    def drain(self) -> None:
        """SIGTERM, then a restart."""
        outage = self._begin("drain")
        self.place.drain()
        self._rise(outage)

    def step(self) -> None:
        """Steps the wall clock, or corrects it if it is wrong."""
        if abs(self._clock.wall() - self._clock.right()) > 1:
            self._clock.correct()
        else:
            self._clock.step(next(self._steps))

    def lock_out(self) -> None:
        """A burst of 401s from Kora."""
        self._kora.locked_out.set()
        time.sleep(LOCKED_OUT)
        self._kora.locked_out.clear()

    def pause_nats(self) -> None:
        assert self._nats
        outage = self._begin("nats")
        self._nats.stand_still()
        time.sleep(NATS_AWAY)
        self._nats.go_on()
        outage.end = time.monotonic()

    def kill_nats(self) -> None:
        assert self._nats
        outage = self._begin("nats")
        self._nats.kill()
        self._nats.rise()
        outage.end = time.monotonic()

    def _begin(self, kind: str) -> Outage:
        outage = Outage(kind, time.monotonic())
        self.outages.append(outage)
        return outage

    def _rise(self, outage: Outage) -> None:
        if self._renames:
            self._configure(self.place.lives)
        self.place.rise()
        outage.end = time.monotonic()


@dataclass(frozen=True)
class Disruption:
    """A method of `Machine` to call once `at` tickets have started."""

    at: int
    what: str


# The number of tickets per disruption.
TICKETS_PER_DISRUPTION = 25

# The part of a long run without disruptions.
QUIET = (0.5, 0.75)


def disruptions(seed: int, count: int, *, nats: bool, clock: bool) -> list[Disruption]:
    """Plans the disruptions of a run with `count` tickets; each kind occurs at least once if there are enough."""
    chance = random.Random(seed + 1)
    kinds = ["kill", "drain", "lock_out", *["step"] * clock, *["pause_nats", "kill_nats"] * nats]
    many = max(count // TICKETS_PER_DISRUPTION, 1)
    whats = [*kinds, *(chance.choice(kinds) for _ in range(many))][:many]
    chance.shuffle(whats)
    places = [round((index + 1) * count / (many + 1)) for index in range(many)]
    return [
        Disruption(at, what) for at, what in zip(places, whats, strict=True) if count < LONG_RUN or not is_quiet(at, count)
    ]


def is_quiet(at: int, count: int) -> bool:
    """Whether nothing is disrupted here: long deadlines have to pass too."""
    return QUIET[0] * count <= at < QUIET[1] * count


def play(machine: Machine, plan: list[Disruption], begun: Callable[[int], bool]) -> Counter[str]:
    """Runs the plan. `begun` waits until a number of tickets have started; false if the load has ended before."""
    done: Counter[str] = Counter()
    for disruption in plan:
        if not begun(disruption.at):
            break
        getattr(machine, disruption.what)()
        done[disruption.what] += 1
    return done
