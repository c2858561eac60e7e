"""Kora, played here for several tenants: each has a key and a base URL of its own, and gets answers that name it."""

from __future__ import annotations

import json
import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from program import PATIENCE


class TenantKoras:
    """A server for one test.

    Whoever asks with another tenant's key or id is noted, and refused. What is called `any` every tenant has;
    anything else is the tenant's that its id ends with.
    """

    def __init__(self, *tenants: str) -> None:
        # The one key that each tenant may show.
        self.accepted = {tenant: f"key-of-{tenant}" for tenant in tenants}
        self.strangers: list[str] = []
        # Tenants that get no answer while they are here, until the end.
        self.hanging: set[str] = set()
        self._ended = threading.Event()
        # The idempotency keys of each tenant's requests.
        self.keys: dict[str, set[str]] = {tenant: set() for tenant in tenants}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def settings(self, tenant: str, folder: Path) -> str:
        """What a gateway's file says of this tenant."""
        for what in ("key", "secret"):
            (folder / f"{tenant}-{what}").write_text(f"{what}-of-{tenant}")
        return (
            f'[[tenants]]\nname = "{tenant}"\nkora_tenant_id = "id-of-{tenant}"\n'
            f'api_key_file = "{folder}/{tenant}-key"\nwebhook_secret_file = "{folder}/{tenant}-secret"\n'
            f'base_url = "http://127.0.0.1:{self._server.server_port}/{tenant}"\n'
        )

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    def _answer(self, path: str, headers: Message) -> tuple[int, dict[str, Any]]:
        _, tenant, kind, *rest = path.split("/")
        shown = (headers["Authorization"], headers["X-Tenant-ID"])
        if tenant not in self.accepted or shown != (f"Bearer {self.accepted[tenant]}", f"id-of-{tenant}"):
            self.strangers.append(path)
            return 401, {"code": "UNAUTHORIZED"}
        if "Idempotency-Key" in headers:
            self.keys[tenant].add(headers["Idempotency-Key"])
        [asked] = rest or ["any"]
        if asked != "any" and not asked.endswith(f"-{tenant}"):
            return 404, {"code": "NOT_FOUND"}
        if kind == "subjects":
            return 200, {"subject_id": asked, "external_id": f"ext-{tenant}", "type": "INDIVIDUAL", "name": "N"}
        return 200, {"screening_id": asked, "subject_id": f"sub-{tenant}", "status": "PENDING"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        koras = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:  # noqa: N802
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def do_GET(self) -> None:  # noqa: N802
                if self.path.split("/")[1] in koras.hanging:
                    koras._ended.wait()
                status, content = koras._answer(self.path, self.headers)
                body = json.dumps(content).encode()
                head = f"HTTP/1.1 {status} \r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                self.wfile.write(head.encode() + body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler
