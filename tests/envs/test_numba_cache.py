"""Invalidation of numba's on-disk cache."""

from __future__ import annotations

import os
import time
from pathlib import Path

from envs.core import numba_cache


def test_what_was_compiled_from_other_sources_is_forgotten(tmp_path: Path) -> None:
    code, kept, other = (tmp_path / name for name in ("a.py", "__pycache__/a.f-1.py311.nbi", "b.py"))
    kept.parent.mkdir()
    for k, file in enumerate((code, other, kept)):
        file.touch()
        os.utime(file, (1000 + k, 1000 + k))
    numba_cache.forget_stale(tmp_path)
    assert kept.exists()
    os.utime(other, (2000, 2000))  # which holds what is called
    numba_cache.forget_stale(tmp_path)
    assert not kept.exists()


def test_a_source_from_the_future_spoils_nothing(tmp_path: Path) -> None:
    code, kept = tmp_path / "a.py", tmp_path / "__pycache__" / "a.f-1.py311.nbi"
    kept.parent.mkdir()
    code.touch(), kept.touch()
    os.utime(code, (time.time() + 1e6,) * 2)
    numba_cache.forget_stale(tmp_path)
    assert kept.exists()
