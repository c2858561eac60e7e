"""Libraries that stand between the gateway and its system."""

from __future__ import annotations

import subprocess
from pathlib import Path

from program import PATIENCE

SOURCES = Path(__file__).parent / "shims"


def build(name: str, folder: Path) -> dict[str, str]:
    """Builds a shim. Returns the variable that puts it into a process."""
    library = folder / f"{name}.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", library, SOURCES / f"{name}.c"]
    subprocess.run(command, check=True, timeout=PATIENCE)
    return {"LD_PRELOAD": str(library)}
