"""What we run tells its makers nothing: a control network calls nobody."""

from __future__ import annotations

import os

TELEMETRY = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: a database in the user's cache, and uploads to Microsoft
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray: uploads of what a cluster is and runs
}
"""Environment variables, and what turns off the reports of whom they are meant for."""


def turn_telemetry_off() -> None:
    """For this process and its children, unless somebody has said otherwise; call it before they are imported."""
    for variable, off in TELEMETRY.items():
        os.environ.setdefault(variable, off)
