"""A real NATS server with JetStream, which several gateways can keep their log on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from pathlib import Path

from program import PATIENCE, Program
from restarts import ports_to_keep

# Names the program, where it is not on the path.
PROGRAM = "KORA_GATEWAY_NATS_SERVER"

# How much it may keep, whatever the disk has left: from that it would take its own limit.
ROOM = "jetstream { max_file: 64GB }"


class NatsServer:
    """One server, with a folder of its own."""

    def __init__(self, folder: Path, settings: str = ROOM, port: int | None = None) -> None:
        program = shutil.which(os.environ.get(PROGRAM, "nats-server"))
        assert program, f"nats-server is missing: install it, or name it in {PROGRAM}"
        folder.mkdir()
        self.port = port or ports_to_keep(1)[0]
        (folder / "server.conf").write_text(settings)
        files = ("-c", str(folder / "server.conf"), "-sd", str(folder))
        self._flags = ("-a", "127.0.0.1", "-p", str(self.port), *files)
        self._executable, self._stderr = program, folder / "stderr"
        self.rise()

    def rise(self) -> None:
        """Starts it, after it was killed too: at the same place, with what it has kept."""
        self._program = Program(*self._flags, env={}, stderr=self._stderr, executable=self._executable)
        try:
            self._wait_for_its_greeting()
        except BaseException:
            self.kill()
            raise

    @property
    def url(self) -> str:
        """Where it is, as a setting of the gateway."""
        return f"nats://127.0.0.1:{self.port}"

    def stand_still(self) -> None:
        """From now on it answers nothing, and keeps its connections."""
        self._program.send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Ends a standstill."""
        self._program.send(signal.SIGCONT)

    def kill(self) -> None:
        self._program.kill()

    def _wait_for_its_greeting(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._greets():
            assert self._program.is_running(), f"it ended: {self._program.log()}"
            assert time.monotonic() < deadline, f"it does not start: {self._program.log()}"

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
                return connection.recv(5) == b"INFO "
        except OSError:
            return False
