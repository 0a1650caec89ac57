"""Telemetry of libraries is off."""

from __future__ import annotations

import os
import subprocess
import sys

from envs.core.machine.privacy import TELEMETRY, turn_telemetry_off

LOADS = """
import os
from agents import CHECKPOINTS
from agents.policy import Policy
policy = Policy.load(CHECKPOINTS / "dampers" / "jansen")
print(*(os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{n}")))
"""


def test_a_policy_that_decides_is_nobody_elses_affair(tmp_path):
    rest = {key: value for key, value in os.environ.items() if key not in TELEMETRY and not key.startswith("XDG_")}
    opened = subprocess.run(
        [sys.executable, "-c", LOADS], env=rest | {"HOME": str(tmp_path)}, check=True, capture_output=True, text=True
    )
    assert "onnxruntime" not in opened.stdout
    assert [path.name for path in tmp_path.rglob("*onnxruntime*")] == []


def test_whoever_wants_to_tell_may(monkeypatch):
    for variable in TELEMETRY:
        monkeypatch.setenv(variable, "mine")
    turn_telemetry_off()
    assert [os.environ[variable] for variable in TELEMETRY] == ["mine", "mine"]
    for variable in TELEMETRY:
        monkeypatch.delenv(variable)
    turn_telemetry_off()
    assert [os.environ[variable] for variable in ("ORT_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED")] == ["1", "0"]
