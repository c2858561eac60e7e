"""A subscriber that follows the feed for ever: it keeps its token and removes doubles, as the manual says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

import grpc
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub
from kora.compliance.v1.watch_events_pb2 import START_POSITION_EARLIEST, WatchEventsRequest

from gateway import connect
from program import PATIENCE


class Follower:
    """One subscriber. It comes back after every kill, and a restless one after every message with events too."""

    def __init__(self, next_address: Callable[[], str], *, restless: bool = False) -> None:
        """`next_address` tells where to come back to, and may wait until somebody is there."""
        self._restless = restless
        self._next_address = next_address
        self._changed = threading.Condition()
        self._stopping = False
        self._call: grpc.Future | None = None
        self._ended: Future[None] = Future()
        self.token = ""
        # What each stream sent, and all of it without doubles.
        self.streams: list[list[str]] = []
        self.ids: dict[str, None] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def doubles(self) -> int:
        return sum(map(len, self.streams)) - len(self.ids)

    def wait_for_stream(self, number: int) -> None:
        """Waits until it has opened so many streams."""
        self._wait(lambda: len(self.streams) >= number)

    def wait_for(self, count: int) -> None:
        """Waits for so many different events, as long as more keep coming."""
        self._wait(lambda: len(self.ids) >= count)

    def wait_for_event(self, event_id: str) -> None:
        """Waits for this event, as long as more keep coming."""
        self._wait(lambda: event_id in self.ids)

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            if self._call:
                self._call.cancel()
        self._ended.result(PATIENCE)
        self._thread.join(PATIENCE)

    def _wait(self, is_there: Callable[[], bool]) -> None:
        with self._changed:
            while not is_there() and not self._ended.done():
                came = f"{len(self.ids)} events on {len(self.streams)} streams"
                assert self._changed.wait(PATIENCE), f"nothing more came after {came}"
        if self._ended.done():
            self._ended.result()

    def _run(self) -> None:
        try:
            while not self._stopping:
                with connect(self._next_address()) as channel:
                    self._follow(ComplianceServiceStub(channel))
            self._ended.set_result(None)
        except BaseException as error:
            self._ended.set_exception(error)
        finally:
            with self._changed:
                self._changed.notify_all()

    def _follow(self, stub: ComplianceServiceStub) -> None:
        """One stream, to the end of the gateway's life."""
        if self.token:
            request = WatchEventsRequest(resume_token=self.token)
        else:
            request = WatchEventsRequest(position=START_POSITION_EARLIEST)
        with self._changed:
            self._call = messages = stub.WatchEvents(request)
            if self._stopping:
                messages.cancel()
        try:
            for message in messages:
                with self._changed:
                    if message.HasField("opened"):
                        self.streams.append([])
                    self.streams[-1] += [event.event_id for event in message.events]
                    self.ids.update((event.event_id, None) for event in message.events)
                    self.token = message.resume_token
                    self._changed.notify_all()
                if self._restless and message.events:
                    messages.cancel()
                    return
        except grpc.RpcError as error:
            if not self._stopping:
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error
