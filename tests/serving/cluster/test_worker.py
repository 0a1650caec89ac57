"""What each of Ray's processes does as it starts."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"scipy", "numba", "onnxruntime", "sqlalchemy", "torch", "cryptography"}


def test_a_worker_that_decides_nothing_loads_nothing_that_decides() -> None:
    """Ray's own processes start one after the other, and what is loaded here each of them loads."""
    code = f"import sys, serving.cluster.worker; print({HEAVY} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"
