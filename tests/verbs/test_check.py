"""`cityloop check` on a user's scenario and on bundles."""

import json

import yaml

from tests.verbs.calls import GRID, call


def test_check_of_a_scenario_of_ones_own(tmp_path, monkeypatch, capfd):
    from envs import load_scenario

    monkeypatch.chdir(tmp_path)
    scenario = load_scenario(GRID)
    mine = {"system": "intersections", "net": str(scenario.net), "routes": [str(scenario.routes[0])], "duration_s": 60}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    assert call("check", "mine.yaml", "--json") == 0
    content = json.loads(capfd.readouterr().out)
    assert content["ok"] is True
    assert all(set(check) == {"name", "ok", "detail"} for check in content["checks"])
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine | {"speed": 3}))
    assert call("check", "mine.yaml") == 2
    assert "unknown key 'speed'" in capfd.readouterr().err


def test_check_of_a_broken_bundle(tmp_path, capsys):
    (tmp_path / "policy.json").write_text("{}")
    assert call("check", str(tmp_path), "--json") == 1
    content = json.loads(capsys.readouterr().out)
    assert content["ok"] is False
    assert content["checks"][0]["name"] == "bundle"


def test_check_of_a_good_bundle(tmp_path, capfd):
    from tests.serving.bundles import bundle

    assert call("check", str(bundle(tmp_path / "tiny")), "--json") == 0
    content = json.loads(capfd.readouterr().out)
    assert content["ok"] is True
    assert [check["name"] for check in content["checks"]] == ["bundle", GRID]


def test_check_of_a_bundle_that_learned_on_a_site_of_ones_own(tmp_path, capfd):
    from tests.serving.bundles import bundle, card

    training = card().training.model_copy(update={"scenarios": {"intersections/mine": "0" * 16}})
    assert call("check", str(bundle(tmp_path / "tiny", training=training)), "--json") == 0
    mine = json.loads(capfd.readouterr().out)["checks"][1]
    assert (mine["ok"], mine["detail"]) == (True, "not tried, as it does not ship")
