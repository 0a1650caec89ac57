"""``cityloop serve`` before Ray starts: the default scenarios, and writing the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import cityloop
from agents import meaning, shipped
from agents.policy import add_results
from envs import SYSTEMS, get_system
from serving.site_files import load_site
from tests.serving.bundles import bundle
from tests.serving.plants import GRID, grid
from verbs.service import DEFAULT_SERVED, _served_by_default

TESTED = "test: delay_s on 3 seeds of intersections/"


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cityloop.main(["serve", *words])
    return int(caught.value.code or 0)


def test_shipped_policies_are_served_where_they_were_tried_and_decide() -> None:
    served = _served_by_default()
    known = [f"{system}/{name}" for system in SYSTEMS for name in get_system(system).scenario_names]
    assert served == [ref for ref in known if ref in served]
    for ref in ("intersections/ingolstadt21", "drainage/astlingen-oct2000", "dampers/jansen-all", "transit/cologne"):
        assert ref in served
    for ref in ("intersections/town1", "drainage/astlingen-days", "drainage/estuary", "dampers/yang8"):
        assert ref not in served  # trained on, trained on, worse, never tried
    assert all(meaning(load_site(ref)).bundle is not None for ref in served)


def test_what_was_not_tried_or_is_not_there_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "CHECKPOINTS", tmp_path)
    assert _served_by_default() == [DEFAULT_SERVED]
    tried = {f"{TESTED}{name}": {} for name in ("grid2x2", "grid3x3", "cologne1-resco", "mine")}
    tried["validation: delay_s on 3 seeds of intersections/cologne3"] = {}
    add_results(bundle(tmp_path / "intersections" / "tiny"), tried, {"*": True, "grid3x3": False})
    assert _served_by_default() == ["intersections/grid2x2"]


def test_a_file_for_another_process_has_no_path_that_starts_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grid().save(Path("town.json"))
    bundle(tmp_path / "made" / "tiny")
    words = ("town.json", GRID.replace("2x2", "3x3"), "--policy", "made/tiny", "--keys", "keys.json")
    assert call(*words, "--state", "state", "--write-config", "serve.yaml") == 0
    (app,) = yaml.safe_load(Path("serve.yaml").read_text())["applications"]
    config: dict[str, Any] = app["args"]["config"]
    assert config["state"] == str(tmp_path / "state")
    assert config["audit"]["folder"] == str(tmp_path / "state" / "audit")
    assert config["access"]["keys"] == str(tmp_path / "keys.json")
    assert [site["site"] for site in config["sites"]] == [str(tmp_path / "town.json"), "intersections/grid3x3"]
    assert {site["champion"] for site in config["sites"]} == {str(tmp_path / "made" / "tiny")}
