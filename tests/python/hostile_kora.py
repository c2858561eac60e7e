"""Kora, played here: it answers screenings as ever, but for subjects of whom a test says what it answers."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from program import PATIENCE


class HostileKora:
    """A server for one test."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        """`answers` are bodies by the ids of subjects."""
        self._answers = answers
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def base_url(self) -> str:
        """Where it is, as a setting of the gateway."""
        return f"http://127.0.0.1:{self._server.server_port}/api/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    def _answer(self, request: dict[str, Any]) -> bytes:
        ordinary = {"screening_id": "scr_1", "status": "COMPLETED", "decision": {"outcome": "APPROVE"}}
        return self._answers.get(request.get("subject_id", ""), json.dumps(ordinary).encode())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        kora = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = kora._answer(request)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Says nothing: what tests print is theirs."""

        return Handler
