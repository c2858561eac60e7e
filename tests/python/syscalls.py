"""What a gateway asked of the system, in which order, as strace saw it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from program import PATIENCE

# Longer than anything that is written at once here: no id may be cut off.
LONGEST = 1 << 20

WRITES = {"pwrite64", "write", "writev", "sendto", "sendmsg"}
READS = {"read", "readv", "recvfrom", "recvmsg"}
SYNCS = {"fsync", "fdatasync"}

LINE = re.compile(r"(\d+) +[\d.]+ (.*)")
RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
CALL = re.compile(r"(\w+)\(\d+<([^>]*)>")


@dataclass
class Call:
    """One system call. Its begin and its end are places in the order of all that was seen."""

    begin: int
    end: int
    text: str

    @property
    def name(self) -> str:
        return self.text.partition("(")[0]

    @property
    def file(self) -> str:
        """The path, or the socket."""
        found = CALL.match(self.text)
        return found[2] if found else ""

    @property
    def succeeded(self) -> bool:
        return not self.text.rpartition(" = ")[2].startswith("-1")

    def ids(self) -> set[str]:
        """The ids of the events in what was read or written."""
        return set(re.findall(r"evt_\d{5}", self.text))


def tracer(trace: Path) -> tuple[str, ...]:
    """The command that runs a program, as its own process, and writes what it does to a file."""
    calls = ",".join(sorted(WRITES | READS | SYNCS | {"openat", "close"}))
    return ("strace", "-D", "-f", "-ttt", "-y", "-s", str(LONGEST), "-e", f"trace={calls}", "-o", str(trace))


def whole(trace: Path, pid: int) -> str:
    """The trace, once it has the end of the process."""
    deadline = time.monotonic() + PATIENCE
    end = re.compile(rf"^{pid} .*\+\+\+ (exited|killed)", flags=re.MULTILINE)
    while not end.search(text := trace.read_text()):
        assert time.monotonic() < deadline, "the trace has no end"
    return text


def calls(trace: str) -> list[Call]:
    """All calls, in the order in which they ended."""
    unfinished: dict[str, Call] = {}
    ended: list[Call] = []
    for place, line in enumerate(trace.splitlines()):
        found = LINE.match(line)
        assert found, line
        thread, text = found.groups()
        if text.endswith("<unfinished ...>"):
            unfinished[thread] = Call(place, place, text.removesuffix("<unfinished ...>"))
        elif resumed := RESUMED.match(text):
            call = unfinished.pop(thread)
            ended.append(Call(call.begin, place, call.text + text[resumed.end() :]))
        else:
            ended.append(Call(place, place, text))
    return ended
