"""A receiver of webhooks that checks their signatures with Python's own HMAC."""

from __future__ import annotations

import hashlib
import hmac
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple

from program import PATIENCE


class Arrival(NamedTuple):
    """One webhook as it arrived."""

    path: str
    signature: str
    body: bytes

    def is_signed_with(self, secret: str) -> bool:
        return self.signature == hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest()


class Receiver:
    """Listens on a free loopback port while it is entered, and answers what it is told to."""

    def __init__(self, *statuses: int) -> None:
        """Answers these statuses, and 200 from then on."""
        self._statuses = list(statuses)
        self._arrivals: queue.Queue[Arrival] = queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                signature = self.headers["X-Webhook-Signature"]
                receiver._arrivals.put(Arrival(self.path, signature, body))
                self.send_response(receiver._statuses.pop(0) if receiver._statuses else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"OK")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def next(self) -> Arrival:
        """The next webhook, in time."""
        try:
            return self._arrivals.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError("no webhook came in time") from None

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE)
        self._server.server_close()
