"""Clients that stop in the middle of a call, each at another place, and stay there until their test ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from h2.events import ResponseReceived
from kora.compliance.v1.watch_events_pb2 import START_POSITION_EARLIEST, WatchEventsRequest

import messages
from http2_client import HEALTH_WATCH, SCREEN, WATCH_EVENTS, Http2Client, grpc_frame
from stuck_clients import Addresses, StuckClient, trickling

# The largest window that HTTP/2 knows, and what each one begins with.
MAX_WINDOW = (1 << 31) - 1
FIRST_WINDOW = (1 << 16) - 1

# How much the system keeps for a client that does not read, and how much it reads before: a stream that has begun.
RECEIVE_BUFFER = 64 << 10
BEGUN = 16 << 10


def idle_http2(port: str) -> StuckClient:
    """Opens HTTP/2, and asks for nothing. Does not answer when it is asked to go."""

    @contextmanager
    def stuck(addresses: Addresses) -> Iterator[None]:
        with closing(Http2Client(addresses[port])):
            yield

    return stuck


def half_call(path: str, message: bytes = b"") -> StuckClient:
    """Begins a call, and sends this much of its message."""

    @contextmanager
    def stuck(addresses: Addresses) -> Iterator[None]:
        with closing(Http2Client(addresses["grpc"])) as client:
            stream = client.begin(path)
            if message:
                client.send(stream, message)
                client.ping()
            yield

    return stuck


def screening() -> bytes:
    """A message of Screen's."""
    return grpc_frame(messages.screen().SerializeToString())


def half_message() -> StuckClient:
    whole = screening()
    return half_call(SCREEN, whole[: len(whole) // 2])


def slow_message(path: str) -> StuckClient:
    """Sends a message that has only begun when the gateway must have ended."""

    @contextmanager
    def stuck(addresses: Addresses) -> Iterator[None]:
        with closing(Http2Client(addresses["grpc"])) as client:
            stream = client.begin(path)
            with trickling(lambda byte: client.send(stream, byte), screening()):
                yield

    return stuck


def health_watch(port: str) -> StuckClient:
    """Has a stream of the gateway's health open, and does not answer when it is asked to go."""

    @contextmanager
    def stuck(addresses: Addresses) -> Iterator[None]:
        with closing(Http2Client(addresses[port])) as client:
            stream = client.begin(HEALTH_WATCH)
            client.send(stream, grpc_frame(b""), is_last=True)
            client.wait_for_answer(ResponseReceived)
            yield

    return stuck


@contextmanager
def closed_window(addresses: Addresses) -> Iterator[None]:
    """Has a stream open, and lets the gateway send nothing on it."""
    with closing(Http2Client(addresses["grpc"], window=0)) as client:
        stream = client.begin(WATCH_EVENTS)
        client.send(stream, grpc_frame(from_earliest()), is_last=True)
        client.wait_for_answer(ResponseReceived)
        yield


def unread(whole: int) -> StuckClient:
    """Asks for everything, of which there are so many bytes at least, and reads nothing of what comes."""

    @contextmanager
    def stuck(addresses: Addresses) -> Iterator[None]:
        client = Http2Client(addresses["grpc"], window=MAX_WINDOW, receive_buffer=RECEIVE_BUFFER)
        with closing(client):
            client.widen(MAX_WINDOW - FIRST_WINDOW)
            stream = client.begin(WATCH_EVENTS)
            client.send(stream, grpc_frame(from_earliest()), is_last=True)
            begun = client.swallow(BEGUN)
            assert begun >= BEGUN
            yield
            # Until the end, it was the client that stood still.
            assert begun + client.swallow(whole) < whole

    return stuck


def from_earliest() -> bytes:
    asked = WatchEventsRequest(position=START_POSITION_EARLIEST, include_raw_json=True)
    return asked.SerializeToString()
