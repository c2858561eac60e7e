"""Runs the binary as a user does: from the command line, with nothing but what it is handed."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from pathlib import Path

# The most that a test waits for anything, in seconds: far more than is needed, so that only a fault gets there.
PATIENCE = 15.0


def binary() -> Path:
    """The binary under test, as `tests/run` built it."""
    return Path(os.environ["KORA_GATEWAY_BINARY"])


def run(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a verb to its end. The environment of the tests stays out of it."""
    return subprocess.run(
        [binary(), *args],
        env=env or {},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Program:
    """A verb that runs until it is told to stop."""

    def __init__(
        self,
        *args: str,
        env: dict[str, str],
        stderr: Path,
        under: tuple[str, ...] = (),
        executable: str | None = None,
    ) -> None:
        """`under` is a command that becomes the program, such as a tracer; `executable` one instead of ours."""
        self._stderr = stderr
        with stderr.open("wb") as log:
            self._process = subprocess.Popen(
                [*under, executable or binary(), *args],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        # A pipe cannot be read with a deadline; a queue can.
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def lines_until(self, last: str) -> list[str]:
        """The lines on stdout up to the one that is `last`, in time."""
        deadline = time.monotonic() + PATIENCE
        lines: list[str] = []
        while not lines or lines[-1] != last:
            lines.append(self.next_line(deadline - time.monotonic()))
        return lines

    def next_line(self, within: float = PATIENCE) -> str:
        """The next line on stdout, in time."""
        try:
            line = self._lines.get(timeout=max(0.0, within))
        except queue.Empty:
            raise AssertionError(f"no line in time: {self.log()}") from None
        assert line is not None, f"it ended: {self.log()}"
        return line

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self, within: float = PATIENCE) -> int:
        """Waits for the end. One that does not come is a failure, and is made to come."""
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still ran after {within} s: {self.log()}") from None
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends the process, if it has not ended by itself. Does nothing the second time."""
        if self.is_running():
            self._process.kill()
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def log(self) -> str:
        """What it wrote to stderr so far."""
        return self._stderr.read_text()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)


def addresses(lines: list[str]) -> dict[str, str]:
    """The addresses in the lines `listening NAME ADDR`, by name."""
    words = [line.split(" ") for line in lines if line.startswith("listening ")]
    return {name: address for _, name, address in words}
