"""A real gateway with a Kora emulator behind it, and the ways in that its users have."""

from __future__ import annotations

import http.client
import json
import signal
import time
from pathlib import Path
from typing import Any, Protocol

import grpc
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub

import program
from program import PATIENCE, Program

FREE_PORT = "127.0.0.1:0"

CALLS = "kora_gateway_call_duration_seconds_count"
# What the one tenant is called whose Kora is the emulator.
EMULATORS_TENANT = "5f0c9a52-7c1e-4c8b-9d57-3a1e6b2f4d80"

KORA_REQUESTS = "kora_gateway_kora_request_duration_seconds_count"


def connect(address: str) -> grpc.Channel:
    # A proxy variable in the environment must not send loopback calls elsewhere. Channels to one address share
    # a connection, and the pause after it was refused: to a gateway that was started again that would be an answer.
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.insecure_channel(address, options=options)


def http_call(address: str, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """One HTTP exchange: its status and its text."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Emulator:
    """The emulator's control door: what goes wrong next, and what arrived."""

    def __init__(self, address: str) -> None:
        self._address = address

    def next(self, fault: dict[str, Any], times: int = 1) -> None:
        """Lets the next requests meet a fault. Later ones are answered as ever."""
        self._door("PUT", "scenario", {"next": times, "fault": fault})

    def requests(self) -> list[dict[str, Any]]:
        """The requests that arrived, oldest first."""
        listed = json.loads(self._door("GET", "requests"))
        assert listed["dropped"] == 0
        return listed["requests"]

    def forget_requests(self) -> None:
        """Empties the list, which holds a thousand at most."""
        self._door("DELETE", "requests")

    def wait_for_requests(self, count: int) -> list[dict[str, Any]]:
        """Waits until so many requests have arrived."""
        deadline = time.monotonic() + PATIENCE
        while len(requests := self.requests()) < count:
            assert time.monotonic() < deadline, f"only {len(requests)} of {count} requests arrived"
        return requests

    def _door(self, method: str, name: str, body: Any = None) -> str:
        status, text = http_call(self._address, method, f"/__emulator/{name}", body)
        assert status in (200, 204), text
        return text


class Gateway:
    """One process that serves on free loopback ports, and one caller's connection to it."""

    def __init__(self, *flags: str, env: dict[str, str], stderr: Path, under: tuple[str, ...] = ()) -> None:
        defaults = {f"--{name}-addr": FREE_PORT for name in ("grpc", "webhook", "admin")}
        defaults["--event-log"] = f"file:{stderr}-data"
        for name, setting in defaults.items():
            if not any(flag.startswith(name) for flag in flags):
                flags += (name, setting)
        # The finest logs, so that whatever could leak does.
        environment = {"RUST_LOG": "trace", **env}
        self.program = Program("serve", *flags, env=environment, stderr=stderr, under=under)
        try:
            self.addresses = program.addresses(self.program.lines_until("ready"))
        except BaseException:
            self.program.kill()
            raise
        self.channel = connect(self.addresses["grpc"])
        self.stub = ComplianceServiceStub(self.channel)

    @property
    def emulator(self) -> Emulator:
        return Emulator(self.addresses["emulator"])

    def admin(self, path: str) -> tuple[int, str]:
        return http_call(self.addresses["admin"], "GET", path)

    def count(self, metric: str, **labels: str) -> float:
        """The value of a counting metric with exactly these labels; 0 where there is none."""
        wanted = {f'{label}="{content}"' for label, content in labels.items()}
        for line in self.admin("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            name, _, listed = series.partition("{")
            if name == metric and set(filter(None, listed.removesuffix("}").split(","))) == wanted:
                return float(value)
        return 0.0

    def wait_for_count(self, count: float, metric: str, **labels: str) -> None:
        """Waits until a counting metric has this value."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.count(metric, **labels)) != count:
            assert time.monotonic() < deadline, f"{metric} {labels} is {found}, not {count}"

    def stop(self) -> None:
        """Stops it as an orchestrator does. The caller's idle connection must not hold it up."""
        if self.program.is_running():
            self.program.send(signal.SIGTERM)
            assert self.program.exit_code() == 0, self.program.log()

    def close(self) -> None:
        self.channel.close()
        self.program.kill()


class StartGateway(Protocol):
    """Starts a gateway with these flags and variables, `under` a command that runs it."""

    def __call__(
        self,
        *flags: str,
        env: dict[str, str] | None = None,
        emulator: bool = True,
        under: tuple[str, ...] = (),
    ) -> Gateway: ...
