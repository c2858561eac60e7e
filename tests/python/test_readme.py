"""What the manual shows works as it is written there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from gateway import Gateway
from program import PATIENCE
from reflected import Reflection

MANUAL = (Path(__file__).parents[2] / "README.md").read_text()
ADDRESS = "127.0.0.1:50051"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", MANUAL, flags=re.DOTALL)


def write_example(block: str, address: str, program: Path) -> Path:
    """The manual's program, for a gateway at this address."""
    assert ADDRESS in block
    program.write_text(block.replace(ADDRESS, address))
    return program


def test_the_python_example_decides_as_it_should(gateway: Gateway, tmp_path: Path) -> None:
    screening, _ = blocks("python")
    program = write_example(screening, gateway.addresses["grpc"], tmp_path / "example.py")
    ran = subprocess.run(
        [sys.executable, program],
        env={"PYTHONPATH": os.environ["PYTHONPATH"]},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert ran.stdout.splitlines() == [
        "'Test Clean User': approved",
        "'Test Sanctioned Entity': not approved: BLOCK",
        "'Test Unknown Decision': not approved: ESCALATE_TO_REGULATOR",
        "'': INVALID_REQUEST, outcome NOT_SENT",
    ]


def test_the_grpcurl_line_is_right(gateway: Gateway) -> None:
    [line] = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("grpcurl")]
    name, plaintext, data, body, address, method = shlex.split(line)
    assert (name, plaintext, data, address) == ("grpcurl", "-plaintext", "-d", ADDRESS)
    answer = Reflection(gateway.channel).call(method, body)
    assert answer["screening"]["decision"]["outcome"] == "OUTCOME_REVIEW_REQUIRED"
