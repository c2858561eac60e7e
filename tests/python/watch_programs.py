"""Subscribers as programs of their own: the manual's loop, and the same in Node."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

from program import PATIENCE, Program
from test_readme import blocks, write_example

NODE_PROGRAM = Path(__file__).parents[1] / "node" / "watch.js"


class WatchProgram(ABC):
    """One that follows the feed for ever. It prints a line for each event that it handles, the id first."""

    program: Program

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # The ids that it showed and somebody waited for.
        self.shown: list[str] = []
        folder.mkdir(exist_ok=True)

    @property
    def token(self) -> Path:
        return self._folder / "resume-token"

    @abstractmethod
    def handled(self) -> list[str]:
        """The ids of what it handled, in order."""

    def wait_for(self, count: int) -> None:
        """Waits until it shows so many more."""
        for _ in range(count):
            self._next(PATIENCE)

    def wait_for_event(self, event_id: str) -> None:
        """Waits until it has shown this event."""
        deadline = time.monotonic() + PATIENCE
        if event_id not in self.shown:
            while self._next(deadline - time.monotonic()) != event_id:
                pass

    def _next(self, within: float) -> str:
        self.shown.append(self.program.next_line(within).split()[0])
        return self.shown[-1]


class ManualsLoop(WatchProgram):
    """The manual's program, run in a folder of its own."""

    def __init__(self, folder: Path, address: str) -> None:
        super().__init__(folder)
        _, loop = blocks("python")
        example = write_example(loop, address, folder / "watch.py")
        # Its files are where it runs.
        env = {"PYTHONPATH": os.environ["PYTHONPATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        run_there = ("env", "-C", str(folder))
        self.program = Program(
            str(example), env=env, stderr=folder / "stderr", under=run_there, executable=sys.executable
        )

    def handled(self) -> list[str]:
        with sqlite3.connect(self._folder / "inbox.db") as inbox:
            return [event_id for (event_id,) in inbox.execute("SELECT event_id FROM events ORDER BY rowid")]


class NodeClient(WatchProgram):
    """The subscriber in Node. It has several addresses to come back to, one after the other."""

    def __init__(self, folder: Path, *addresses: str) -> None:
        super().__init__(folder)
        node = shutil.which("node")
        assert node, "node is missing"
        self.program = Program(
            str(NODE_PROGRAM),
            str(folder),
            *addresses,
            env={"NODE_PATH": os.environ["KORA_GATEWAY_NODE_MODULES"]},
            stderr=folder / "stderr",
            executable=node,
        )

    def handled(self) -> list[str]:
        return (self._folder / "handled").read_text().splitlines()

    def ends(self) -> list[tuple[str, bool]]:
        """The address of each of its streams that ended, and whether it had sent anything."""
        ends = re.findall(r"^(\S+): \w+ after (\d+) messages$", self.program.log(), flags=re.MULTILINE)
        return [(address, received != "0") for address, received in ends]
