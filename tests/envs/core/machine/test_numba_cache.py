"""Invalidation of numba's on-disk cache."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from numba import config, njit

from envs.core.machine import numba_cache


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


def test_a_cache_elsewhere_is_searched_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an installation that is read only, or where NUMBA_CACHE_DIR says so."""
    code, inner, cache = tmp_path / "a.py", tmp_path / "inner" / "b.py", tmp_path / "cache"
    inner.parent.mkdir()
    code.touch(), inner.touch()
    monkeypatch.setattr(config, "CACHE_DIR", str(cache))
    entries = []
    for source in (code, inner):
        names: dict[str, Any] = {}
        exec(compile("def f(x): return x", source, "exec"), names)
        compiled = njit(cache=True)(names["f"])
        compiled(1)
        entries += Path(compiled.stats.cache_path).glob("*.nbi")
    assert len(entries) == 2
    assert all(entry.is_relative_to(cache) for entry in entries)
    numba_cache.forget_stale(tmp_path)
    assert all(entry.exists() for entry in entries)
    for entry in entries:
        os.utime(entry, (1000, 1000))
    numba_cache.forget_stale(tmp_path)
    assert not any(entry.exists() for entry in entries)


def test_a_source_from_the_future_spoils_nothing(tmp_path: Path) -> None:
    code, kept = tmp_path / "a.py", tmp_path / "__pycache__" / "a.f-1.py311.nbi"
    kept.parent.mkdir()
    code.touch(), kept.touch()
    os.utime(code, (time.time() + 1e6,) * 2)
    numba_cache.forget_stale(tmp_path)
    assert kept.exists()


def test_nothing_is_compiled_before_stale_entries_are_forgotten() -> None:
    """Whatever is compiled takes its decorator from its system's module, which forgets them when it is imported."""
    root = Path(numba_cache.__file__).parents[2]
    sources = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*.py")}
    compiling = {name for name, text in sources.items() if "njit" in text} - {"core/machine/numba_cache.py"}
    rooms = ("dampers", "drainage", "intersections", "transit/kernel")
    assert compiling == {f"{room}/jit.py" for room in rooms}
    for name in compiling:
        whole_system = f"Path(__file__){name.count('/') * '.parent'}"
        assert f"\nforget_stale({whole_system})" in sources[name]
