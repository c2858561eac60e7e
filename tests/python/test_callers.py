"""Callers in the configuration file: who is listed gets in, who is taken out does not, and a broken file changes nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import grpc
from kora.compliance.v1.compliance_service_pb2 import GetScreeningRequest

from gateway import Gateway, StartGateway
from program import PATIENCE, run


def new_token() -> tuple[str, str]:
    """A token, and its line for the file."""
    made = run("token", "new")
    assert made.returncode == 0
    token, line = made.stdout.splitlines()
    return token, line


def write(file: Path, text: str) -> None:
    """As orchestrators do: nobody sees half a file."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def caller(name: str, line: str, right: str = "screen") -> str:
    return f'[[callers]]\nname = "{name}"\n{line}\nrights = ["{right}"]\n'


def answer(gateway: Gateway, token: str | None) -> grpc.StatusCode:
    """What reading a screening that Kora does not have comes to."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    try:
        gateway.stub.GetScreening(GetScreeningRequest(screening_id="none"), metadata=metadata, timeout=PATIENCE)
    except grpc.RpcError as error:
        return error.code()
    raise AssertionError("there is no such screening")


def wait_for(gateway: Gateway, token: str, code: grpc.StatusCode) -> None:
    deadline = time.monotonic() + PATIENCE
    while (now := answer(gateway, token)) != code:
        assert time.monotonic() < deadline, now
        time.sleep(0.1)


def wait_for_log(gateway: Gateway, text: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while text not in gateway.program.log():
        assert time.monotonic() < deadline, text
        time.sleep(0.1)


def test_callers_come_and_go_with_the_file(start_gateway: StartGateway, tmp_path: Path) -> None:
    (first, first_line), (second, second_line) = new_token(), new_token()
    file = tmp_path / "gateway.toml"
    write(file, caller("a", first_line))
    gateway = start_gateway("--config", str(file))
    let_in, refused = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED
    assert answer(gateway, first) == let_in
    assert {answer(gateway, token) for token in (second, None)} == {refused}

    write(file, caller("a", first_line) + caller("b", second_line))
    wait_for(gateway, second, let_in)
    assert answer(gateway, first) == let_in

    write(file, caller("b", second_line, "watch"))
    wait_for(gateway, first, refused)
    assert answer(gateway, second) == grpc.StatusCode.PERMISSION_DENIED

    write(file, "not = [toml")
    wait_for_log(gateway, "the callers stay as they were")
    assert answer(gateway, first) == refused
    # A list that is gone opens nothing.
    write(file, "\n")
    wait_for_log(gateway, "the file lists none")
    assert {answer(gateway, token) for token in (first, None)} == {refused}
    for token in (first, second):
        assert token not in gateway.program.log()


def test_a_pipe_in_the_files_place_is_told_of_and_can_be_replaced(start_gateway: StartGateway, tmp_path: Path) -> None:
    (first, first_line), (second, second_line) = new_token(), new_token()
    file, pipe = tmp_path / "gateway.toml", tmp_path / "pipe"
    write(file, caller("a", first_line))
    gateway = start_gateway("--config", str(file))
    let_in, refused = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED
    os.mkfifo(pipe)
    pipe.replace(file)
    wait_for_log(gateway, "the callers stay as they were")
    assert answer(gateway, first) == let_in
    write(file, caller("b", second_line))
    wait_for(gateway, second, let_in)
    assert answer(gateway, first) == refused
