"""Kora, played here for several tenants: each has a key and a base URL of its own, and gets answers that name it."""

from __future__ import annotations

import asyncio
import json
import threading
from email.message import Message
from email.parser import BytesParser
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
        # The idempotency keys of each tenant's requests.
        self.keys: dict[str, set[str]] = {tenant: set() for tenant in tenants}
        # It keeps the connections that wait for it: an event loop itself does not keep its tasks.
        self._never = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        serving = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = serving.result(PATIENCE)

    def settings(self, tenant: str, folder: Path) -> str:
        """What a gateway's file says of this tenant."""
        for what in ("key", "secret"):
            (folder / f"{tenant}-{what}").write_text(f"{what}-of-{tenant}")
        return (
            f'[[tenants]]\nname = "{tenant}"\nkora_tenant_id = "id-of-{tenant}"\n'
            f'api_key_file = "{folder}/{tenant}-key"\nwebhook_secret_file = "{folder}/{tenant}-secret"\n'
            f'base_url = "http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/{tenant}"\n'
        )

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        # Those that were accepted last become tasks in a later turn.
        while serving := asyncio.all_tasks() - {asyncio.current_task()}:
            for connection in serving:
                connection.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the gateway's."""
        try:
            while True:
                await self._serve_one(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start, _, fields = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        headers = BytesParser().parsebytes(fields, headersonly=True)
        await reader.readexactly(int(headers["Content-Length"] or 0))
        path = start.split()[1].decode()
        if path.split("/")[1] in self.hanging:
            await self._never.wait()
        status, content = self._answer(path, headers)
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 {status} \r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)

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
