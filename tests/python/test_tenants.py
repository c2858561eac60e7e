"""Many tenants in one gateway: what is quiet costs little, and what the system allows is asked for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway import FREE_PORT, Gateway, StartGateway
from program import PATIENCE, run
from test_command_line import BAD_CONFIGURATION
from webhooks import event_body, offer

MANY = 150

# Its writer's, as the system cuts it.
THREAD = "event-log-writer"[:15]


def configuration(directory: Path, tenants: int) -> Path:
    text = f'event_log = "file:{directory}/logs"\nkora_base_url = "http://127.0.0.1:9"\n'
    for number in range(tenants):
        for what in ("key", "secret"):
            (directory / f"{what}-{number}").write_text(f"{what} of {number}")
        text += f'[[tenants]]\nname = "t{number}"\nkora_tenant_id = "id-{number}"\n'
        text += f'api_key_file = "{directory}/key-{number}"\nwebhook_secret_file = "{directory}/secret-{number}"\n'
    file = directory / "gateway.toml"
    file.write_text(text)
    return file


def deliver(gateway: Gateway, number: int, secret: str | None = None) -> int:
    path = f"/webhooks/compliance/t{number}"
    return offer(gateway.addresses["webhook"], path, secret or f"secret of {number}", event_body(f"evt-{number}"))


def writers(gateway: Gateway) -> int:
    """How many threads write logs at this moment."""
    count = 0
    for task in Path(f"/proc/{gateway.program.pid}/task").iterdir():
        try:
            count += (task / "comm").read_text().strip() == THREAD
        except OSError:
            continue  # It has ended.
    return count


def wait_for_writers(gateway: Gateway, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := writers(gateway)) != count:
        assert time.monotonic() < deadline, f"{found} threads write"


def test_a_webhook_secret_that_is_anothers_is_not_taken(start_gateway: StartGateway, tmp_path: Path) -> None:
    log = ("--event-log", f"file:{tmp_path}/logs")
    gateway = start_gateway("--config", str(configuration(tmp_path, 2)), *log, emulator=False)
    (tmp_path / "secret-1").write_text("secret of 0\nanother of 1\n")
    deadline = time.monotonic() + PATIENCE
    while "shares a secret with another tenant's" not in gateway.program.log():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # Whoever signs for the one cannot sign for the other, whose own secret is as good as before.
    assert [deliver(gateway, 1, secret) for secret in ("secret of 0", "another of 1", "secret of 1")] == [401, 401, 200]
    assert deliver(gateway, 0) == 200
    # It is taken as soon as the other one has given it up.
    (tmp_path / "secret-0").write_text("new of 0")
    deadline = time.monotonic() + PATIENCE
    while deliver(gateway, 1, "secret of 0") != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert deliver(gateway, 0, "secret of 0") == 401


def open_files(gateway: Gateway) -> int:
    return len(list(Path(f"/proc/{gateway.program.pid}/fd").iterdir()))


def test_quiet_logs_have_no_threads_and_no_readers(start_gateway: StartGateway, tmp_path: Path) -> None:
    log = ("--event-log", f"file:{tmp_path}/logs")
    gateway = start_gateway("--config", str(configuration(tmp_path, MANY)), *log, emulator=False)
    assert open_files(gateway) < 3 * MANY + 50
    wait_for_writers(gateway, 0)
    assert [deliver(gateway, number) for number in (0, 7, MANY - 1)] == [200] * 3
    wait_for_writers(gateway, 0)
    assert deliver(gateway, 7) == 200
    assert open_files(gateway) < 3 * MANY + 50


@pytest.mark.parametrize(("hard", "is_enough"), [(16384, True), (1024, False)])
def test_the_limit_on_open_files_is_raised(
    start_gateway: StartGateway, tmp_path: Path, hard: int, is_enough: bool
) -> None:
    few = ("prlimit", f"--nofile=256:{hard}")
    file = configuration(tmp_path, MANY)
    gateway = start_gateway("--config", str(file), "--event-log", f"file:{tmp_path}/logs", emulator=False, under=few)
    assert open_files(gateway) > 256
    assert deliver(gateway, MANY - 1) == 200
    assert ("files and connections may be open" not in gateway.program.log()) == is_enough


def test_a_directory_is_one_gateways_however_many_logs_are_in_it(start_gateway: StartGateway, tmp_path: Path) -> None:
    file = configuration(tmp_path, 2)
    log = ("--event-log", f"file:{tmp_path}/logs")
    first = start_gateway("--config", str(file), *log, emulator=False)
    free = [word for port in ("grpc", "webhook", "admin") for word in (f"--{port}-addr", FREE_PORT)]
    ended = run("serve", "--config", str(file), *free, *log)
    assert ended.returncode not in (0, BAD_CONFIGURATION)
    assert "in use by another process" in ended.stderr
    first.stop()
    assert start_gateway("--config", str(file), *log, emulator=False).program.is_running()
