"""Clients that stop in the middle of something, each at another place, and stay there until their test ends: those that
do not get as far as a call. For calls there is `stuck_calls`.

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

from http2_client import PREFACE, dial
from program import PATIENCE
from webhooks import SECRET, event_body

# How slow a slow sender is, in seconds for each byte: never done, and never silent for long.
PACE = 0.2

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


def after_tls(port: str) -> StuckClient:
    """Has TLS, and says nothing in it."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE

    @contextmanager
    def stuck(addresses: Addresses) -> Iterator[None]:
        with anybody.wrap_socket(dial(addresses[port])):
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
