"""Subscribers as programs of their own: the manual's loop, and the same in Node."""

from __future__ import annotations

import os
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
        folder.mkdir(exist_ok=True)

    @property
    def token(self) -> Path:
        return self._folder / "resume-token"

    @abstractmethod
    def handled(self) -> list[str]:
        """The ids of what it handled, in order."""

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            self.program.next_line()

    def wait_for_event(self, event_id: str) -> list[str]:
        """Waits until it shows this event. The ids that it showed until then, this one included."""
        deadline = time.monotonic() + PATIENCE
        ids: list[str] = []
        while not ids or ids[-1] != event_id:
            ids.append(self.program.next_line(deadline - time.monotonic()).split()[0])
        return ids


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
