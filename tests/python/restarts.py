"""A gateway that dies and comes back: always on the same ports and the same data."""

from __future__ import annotations

import itertools
import random
import socket
import threading
from pathlib import Path

from gateway import Gateway, StartGateway
from program import PATIENCE

EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def ports_to_keep(count: int) -> list[int]:
    """Free ports that no outgoing connection is given while their gateway is down."""
    first_ephemeral = int(EPHEMERAL_PORTS.read_text().split()[0])
    # By chance, so that test runs beside each other do not meet.
    candidates = random.sample(range(10_000, first_ephemeral), k=100 * count)
    return list(itertools.islice(filter(is_free, candidates), count))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Phoenix:
    """One gateway after the other at one place."""

    def __init__(self, start: StartGateway, event_log: str, env: dict[str, str] | None = None) -> None:
        self._start = start
        self._event_log = event_log
        # What the next one starts with.
        self.env = env or {}
        names = ("grpc", "webhook", "admin")
        self.addresses = {
            name: f"127.0.0.1:{port}" for name, port in zip(names, ports_to_keep(len(names)), strict=True)
        }
        self.lives = 0
        self._is_up = threading.Event()
        self.rise()

    def rise(self) -> Gateway:
        """Starts the next one."""
        at = [text for name, address in self.addresses.items() for text in (f"--{name}-addr", address)]
        self.gateway = self._start("--event-log", self._event_log, *at, env=self.env)
        self.lives += 1
        self._is_up.set()
        return self.gateway

    def kill(self) -> None:
        """SIGKILL: nothing in it gets to run any more."""
        self._is_up.clear()
        self.gateway.program.kill()

    def drain(self) -> None:
        """SIGTERM: it finishes what it has begun."""
        self._is_up.clear()
        self.gateway.stop()

    def wait_until_up(self) -> str:
        """Waits until one serves. Where its callers find it."""
        assert self._is_up.wait(PATIENCE), "it did not come back"
        return self.addresses["grpc"]
