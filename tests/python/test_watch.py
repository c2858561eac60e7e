"""`watch` as a process: its place from one run to the next, its signals, its pipe. The gateway is played here."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from kora.compliance.v1.compliance_service_pb2_grpc import (
    ComplianceServiceServicer,
    add_ComplianceServiceServicer_to_server,
)
from kora.compliance.v1.event_pb2 import Event
from kora.compliance.v1.watch_events_pb2 import CaughtUp, Opened, WatchEventsRequest, WatchEventsResponse

from program import PATIENCE, Program, binary, run


class Feed(ComplianceServiceServicer):
    """Sends what the test puts into it to whoever watches, and `None` ends the stream with OK."""

    def __init__(self) -> None:
        self.messages: queue.Queue[WatchEventsResponse | None] = queue.Queue()
        self.requests: queue.Queue[WatchEventsRequest] = queue.Queue()
        self.url = ""

    def put(self, token: str, *ids: str) -> None:
        events = [Event(event_id=id, type="case.created") for id in ids]
        self.messages.put(WatchEventsResponse(events=events, resume_token=token))

    def finish(self, token: str) -> None:
        self.messages.put(WatchEventsResponse(caught_up=CaughtUp(), resume_token=token))
        self.messages.put(None)

    def WatchEvents(  # noqa: N802
        self, request: WatchEventsRequest, context: grpc.ServicerContext
    ) -> Iterator[WatchEventsResponse]:
        self.requests.put(request)
        yield WatchEventsResponse(opened=Opened(), resume_token=request.resume_token or "Start")
        while (message := self.messages.get(timeout=PATIENCE)) is not None:
            yield message


@pytest.fixture
def feed() -> Iterator[Feed]:
    feed = Feed()
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    add_ComplianceServiceServicer_to_server(feed, server)
    port = server.add_insecure_port("127.0.0.1:0")
    feed.url = f"http://127.0.0.1:{port}"
    server.start()
    yield feed
    # Whatever still waits for a message is let go.
    feed.messages.put(None)
    server.stop(None).wait(PATIENCE)


def test_the_next_run_starts_where_the_last_one_ended(feed: Feed, tmp_path: Path) -> None:
    place = tmp_path / "place"
    watch = ("watch", "--gateway", feed.url, "--json", "--resume-file", str(place), "--until-caught-up")
    for token, event_id, start in [("One", "a", "earliest"), ("Two", "b", "latest")]:
        feed.put(token, event_id)
        feed.finish(token)
        ended = run(*watch, "--from", start)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert [json.loads(line)["event_id"] for line in ended.stdout.splitlines()] == [event_id]
        assert place.read_text() == f"{token}\n"
    first, second = feed.requests.get(), feed.requests.get()
    assert first.WhichOneof("start") == "position"
    assert second.resume_token == "One", "the token wins over --from"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(feed: Feed, tmp_path: Path, number: signal.Signals) -> None:
    place = tmp_path / "place"
    flags = ("--gateway", feed.url, "--resume-file", str(place))
    program = Program("watch", *flags, env={}, stderr=tmp_path / "stderr")
    feed.put("One", "a")
    program.lines_until("no-time case.created event=a: no details")
    program.send(number)
    assert program.exit_code() == 0
    assert program.log() == ""
    assert place.read_text() == "One\n"


def test_a_closed_pipe_ends_it_well_and_nothing_is_remembered_that_was_not_read(feed: Feed, tmp_path: Path) -> None:
    place = tmp_path / "place"
    command = [binary(), "watch", "--gateway", feed.url, "--resume-file", str(place)]
    with subprocess.Popen(command, env={}, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        feed.requests.get(timeout=PATIENCE)
        process.stdout.close()
        feed.put("One", "a")
        try:
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
        assert process.stderr.read() == b""
    assert place.read_text() == "Start\n"
