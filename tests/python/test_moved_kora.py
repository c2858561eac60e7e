"""Kora's name moves to another address: new calls follow it, and open ones end where they are."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from kora.compliance.v1.compliance_service_pb2 import GetSubjectRequest

import shim
from gateway import StartGateway
from program import PATIENCE

OLD, NEW = "127.0.0.1", "127.0.0.2"

MAX_AGE = 1

# Far more often than an idle connection is closed.
PAUSE = 0.05

HELD = "sub_held"


class KoraAt:
    """Kora at one address. It holds the answer about one subject back."""

    def __init__(self, address: str, port: int = 0) -> None:
        self._changed = threading.Condition()
        self.answered = 0
        self.connections = 0
        self.has_held = threading.Event()
        self.may_answer = threading.Event()
        self._server = ThreadingHTTPServer((address, port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def wait_until_left(self) -> None:
        """Waits until nobody is connected."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.connections == 0, PATIENCE), self.connections

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    def _connected(self, change: int) -> None:
        with self._changed:
            self.connections += change
            self._changed.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        kora = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                kora._connected(1)

            def finish(self) -> None:
                super().finish()
                kora._connected(-1)

            def do_GET(self) -> None:  # noqa: N802
                subject = self.path.rpartition("/")[2]
                if subject == HELD:
                    kora.has_held.set()
                    kora.may_answer.wait(PATIENCE)
                kora.answered += 1
                body = json.dumps({"subject_id": subject, "external_id": "e", "type": "INDIVIDUAL", "name": "N"})
                head = f"HTTP/1.1 200 \r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                self.wfile.write((head + body).encode())

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler


@pytest.fixture
def koras() -> Iterator[tuple[KoraAt, KoraAt]]:
    old = KoraAt(OLD)
    new = KoraAt(NEW, old.port)
    yield old, new
    for kora in (old, new):
        kora.close()


def test_new_calls_follow_a_name_that_moves(
    start_gateway: StartGateway, koras: tuple[KoraAt, KoraAt], tmp_path: Path
) -> None:
    old, new = koras
    name = tmp_path / "address"
    name.write_text(OLD)
    gateway = start_gateway(
        "--kora-base-url",
        f"http://localhost:{old.port}/api/v1",
        "--kora-connection-max-age",
        f"{MAX_AGE}s",
        env={
            **shim.build("moved_name", tmp_path),
            "MOVED_NAME": str(name),
            "KORA_API_KEY": "key",
            "KORA_TENANT_ID": "tenant",
            "KORA_WEBHOOK_SECRET": "a-secret-of-the-test",
        },
        emulator=False,
    )

    def read(subject: str) -> str:
        return gateway.stub.GetSubject(GetSubjectRequest(subject_id=subject), timeout=PATIENCE).subject.subject_id

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(read, HELD)
        assert old.has_held.wait(PATIENCE)
        assert read("sub_1") == "sub_1"
        assert (old.answered, new.answered) == (1, 0)
        name.write_text(NEW)
        deadline = time.monotonic() + PATIENCE
        while new.answered == 0:
            assert time.monotonic() < deadline, "all calls go to the old address"
            read("sub_2")
            time.sleep(PAUSE)
        answered = old.answered
        for _ in range(5):
            read("sub_3")
        assert old.answered == answered
        # The call that began before the move is still there, on the old connection, which its answer ends.
        assert not held.done() and old.connections > 0
        old.may_answer.set()
        assert held.result(PATIENCE) == HELD
    old.wait_until_left()
