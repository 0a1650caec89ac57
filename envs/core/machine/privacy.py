"""Telemetry of third-party libraries, switched off: a control network must not send reports to vendors."""

from __future__ import annotations

import os

TELEMETRY = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: a database in the user's cache, and uploads to Microsoft
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray: uploads of what a cluster is and runs
}
"""Environment variable → value that disables the library's reports."""


def turn_telemetry_off() -> None:
    """Disable telemetry in this process and its children, unless the environment already sets the variables.

    Call it before these libraries are imported.
    """
    for variable, off in TELEMETRY.items():
        os.environ.setdefault(variable, off)
