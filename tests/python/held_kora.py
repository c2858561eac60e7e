"""Kora, played here: it takes a screening, and holds the answer back until it is told to give it."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from program import PATIENCE


class HeldKora:
    """A server for one test. Screenings are told apart by the subject that they are of."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._arrived: list[str] = []
        self._given: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def base_url(self) -> str:
        """Where it is, as a setting of the gateway."""
        return f"http://127.0.0.1:{self._server.server_port}/api/v1"

    @property
    def arrived(self) -> list[str]:
        """The subjects of the screenings that arrived, in that order."""
        with self._changed:
            return list(self._arrived)

    def wait_for(self, subject_id: str) -> None:
        """Waits until a screening of this subject has arrived."""
        with self._changed:
            there = self._changed.wait_for(lambda: subject_id in self._arrived, PATIENCE)
        assert there, f"no screening of {subject_id} arrived"

    def answer(self, subject_id: str) -> None:
        """Lets the screening of this subject have its answer."""
        self._given[subject_id].set()

    def close(self) -> None:
        """Ends the server. Answers that nobody was told to give are not waited for."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    def _take(self, subject_id: str) -> dict[str, Any] | None:
        """Notes a screening, and waits until it may be answered."""
        with self._changed:
            self._arrived.append(subject_id)
            self._changed.notify_all()
        if not self._given[subject_id].wait(PATIENCE):
            return None
        return {
            "screening_id": f"scr_{subject_id}",
            "subject_id": subject_id,
            "status": "COMPLETED",
            "decision": {"outcome": "APPROVE"},
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        kora = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = kora._take(request["subject_id"])
                if answer is None:
                    self.close_connection = True
                    return
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Says nothing: what tests print is theirs."""

        return Handler
