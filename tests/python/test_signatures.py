"""Webhooks signed by other implementations: Python's `hmac` and the command `openssl`."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import Gateway, StartGateway
from program import PATIENCE

SECRET = "emulator-webhook-secret"
BODY = b'{"event": "case.created", "id": "evt_1", "data": {"case_id": "cas_\xc3\xbc"}}'


def by_python(secret: str, body: bytes, _folder: Path) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def by_openssl(secret: str, body: bytes, folder: Path) -> str:
    file = folder / "body"
    file.write_bytes(body)
    command = ["openssl", "dgst", "-sha256", "-hmac", secret, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]


def post(gateway: Gateway, body: bytes, signature: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(gateway.addresses["webhook"], timeout=PATIENCE)
    try:
        connection.request("POST", "/webhooks/compliance", body, {"X-Webhook-Signature": signature})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("sign", [by_python, by_openssl])
def test_what_others_sign_is_accepted(
    gateway: Gateway, tmp_path: Path, sign: Callable[[str, bytes, Path], str]
) -> None:
    assert post(gateway, BODY, sign(SECRET, BODY, tmp_path)) == (200, b"OK")


def test_one_flipped_bit_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    signature = by_python(SECRET, BODY, tmp_path)
    for bit in random.sample(range(len(BODY) * 8), 50):
        assert post(gateway, flipped(BODY, bit), signature) == (401, b""), bit
    for bit in random.sample(range(256), 50):
        other = flipped(bytes.fromhex(signature), bit).hex()
        assert post(gateway, BODY, other) == (401, b""), bit
    assert post(gateway, BODY, signature) == (200, b"OK")


def test_during_a_rotation_both_secrets_are_accepted(start_gateway: StartGateway, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("the-new-one\nthe-old-one\n")
    gateway = start_gateway(env={"KORA_WEBHOOK_SECRET_FILE": str(secrets)})
    for secret, status in [("the-new-one", 200), ("the-old-one", 200), ("the-new-one\nthe-old-one", 401), ("", 401)]:
        assert post(gateway, BODY, by_python(secret, BODY, tmp_path))[0] == status, secret
