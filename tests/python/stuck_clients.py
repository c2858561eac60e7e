"""Clients that stop in the middle of something, each at another place, and stay there until their test ends.

Where the gateway says nothing that shows how far it is, whoever connects to the same port later and is served shows
that it has accepted the one before.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

from h2.events import ResponseReceived
from kora.compliance.v1.watch_events_pb2 import START_POSITION_EARLIEST, WatchEventsRequest

import messages
from http2_client import HEALTH_CHECK, PREFACE, SCREEN, WATCH_EVENTS, Http2Client, dial, grpc_frame
from program import PATIENCE
from webhooks import SECRET, event_body

# How slow a slow sender is, in seconds for each byte: never done, and never silent for long.
PACE = 0.2

# The largest window that HTTP/2 knows, and what each one begins with.
MAX_WINDOW = (1 << 31) - 1
FIRST_WINDOW = (1 << 16) - 1

# How much the system keeps for a client that does not read, and how much it reads before: a stream that has begun.
RECEIVE_BUFFER = 64 << 10
BEGUN = 16 << 10

Addresses = dict[str, str]
StuckClient = Callable[[Addresses], AbstractContextManager[None]]


def silent(port: str) -> StuckClient:
    """Connects, and says nothing."""
    return begins(port, b"")


def begins(port: str, first: bytes) -> StuckClient:
    """Says this much, and no more."""

    @contextmanager
    def stuck(addresses: Addresses) -> Iterator[None]:
        with closing(dial(addresses[port])) as connection:
            connection.sendall(first)
            yield

    return stuck


def half_preface(port: str) -> StuckClient:
    return begins(port, PREFACE[: len(PREFACE) // 2])


def no_settings(port: str) -> StuckClient:
    return begins(port, PREFACE)


def half_tls(port: str) -> StuckClient:
    return begins(port, client_hello()[:100])


def client_hello() -> bytes:
    """What begins TLS."""
    nothing, hello = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = ssl.create_default_context().wrap_bio(nothing, hello, server_hostname="gateway")
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        return hello.read()
    raise AssertionError("a handshake with nobody")


@contextmanager
def unfinished_tls(addresses: Addresses) -> Iterator[None]:
    """Is told the certificate, and does not go on."""
    with closing(dial(addresses["grpc"])) as connection:
        connection.sendall(client_hello())
        assert connection.recv(1)
        yield


def idle_http2(port: str) -> StuckClient:
    """Opens HTTP/2, and asks for nothing. Does not answer when it is asked to go."""

    @contextmanager
    def stuck(addresses: Addresses) -> Iterator[None]:
        with closing(Http2Client(addresses[port])):
            yield

    return stuck


@contextmanager
def idle_http1(addresses: Addresses) -> Iterator[None]:
    """Keeps its connection to the webhook port after an answer."""
    connection = http.client.HTTPConnection(addresses["webhook"], timeout=PATIENCE)
    with closing(connection):
        connection.request("GET", "/")
        connection.getresponse().read()
        assert connection.sock is not None
        yield


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


def half_head() -> StuckClient:
    return begins("webhook", b"POST /webhooks/compliance HTTP/1.1\r\nHos")


def webhook_head(body: bytes) -> bytes:
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    head = f"POST /webhooks/compliance HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(body)}\r\n"
    return f"{head}X-Webhook-Signature: {signature}\r\n\r\n".encode()


def half_body() -> StuckClient:
    body = event_body("half")
    return begins("webhook", webhook_head(body) + body[: len(body) // 2])


@contextmanager
def trickling(send: Callable[[bytes], None], content: bytes) -> Iterator[None]:
    """Sends one byte after the other, for as long as the gateway takes them."""
    is_over = threading.Event()

    def run() -> None:
        for byte in content:
            if is_over.wait(PACE):
                return
            try:
                send(bytes([byte]))
            except OSError:
                return

    sender = threading.Thread(target=run)
    sender.start()
    try:
        yield
    finally:
        is_over.set()
        sender.join(PATIENCE)


@contextmanager
def slow_body(addresses: Addresses) -> Iterator[None]:
    body = event_body("slow")
    with closing(dial(addresses["webhook"])) as connection:
        connection.sendall(webhook_head(body))
        with trickling(connection.sendall, body):
            yield


def slow_message(path: str) -> StuckClient:
    """Sends a message that has only begun when the gateway must have ended."""

    @contextmanager
    def stuck(addresses: Addresses) -> Iterator[None]:
        with closing(Http2Client(addresses["grpc"])) as client:
            stream = client.begin(path)
            with trickling(lambda byte: client.send(stream, byte), screening()):
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
