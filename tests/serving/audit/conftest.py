"""What tests of the audit log share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.audit.logs import Logged


@pytest.fixture
def logged(tmp_path: Path) -> Logged:
    return Logged(tmp_path / "audit")
