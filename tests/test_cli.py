"""The command line: the JSON contract, one sentence for what cannot be used, exit codes, and quick starts."""

import contextlib
import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import types

import pytest
from typer.main import get_command

import cityloop
from envs import CityloopError
from tests.verbs.calls import GRID, call, command
from verbs.terminal import json_option, parse_settings

VERBS = tuple(example.split()[0] for verbs in cityloop.EXAMPLES.values() for example in verbs)


@pytest.fixture
def library(monkeypatch):
    """Put a function in place of a verb's library call, and see what it is called with."""

    def replace(module, name, result):
        calls = []

        def fake(*args, **kwargs):
            calls.append((args, kwargs))
            return result

        stand_in = types.ModuleType(module)
        setattr(stand_in, name, fake)
        monkeypatch.setitem(sys.modules, module, stand_in)
        return calls

    return replace


GROUPS = tuple((name, group) for groups in cityloop.GROUPS.values() for name, group in groups.items())
INNER = tuple((name, inner) for name, group in GROUPS for inner in get_command(group).commands)


@pytest.mark.parametrize("words", [*((verb,) for verb in VERBS), *INNER], ids=" ".join)
def test_help_has_an_example(words, capsys):
    assert call(*words, "--help") == 0
    assert f"Example: cityloop {' '.join(words)}" in capsys.readouterr().out


def test_help_loads_nothing_heavy():
    heavy = ("torch", "ray", "matplotlib", "libsumo", "onnxruntime", "scipy", "numba")
    script = f"import sys, cityloop\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_list_json_is_the_contract():
    done = command("list", "--json")
    content = json.loads(done.stdout)
    assert "intersections" in content["systems"]
    assert GRID in content["scenarios"]
    assert {"fixed", "actuated", "max-pressure"} <= set(content["controllers"]["intersections"])
    assert isinstance(content["policies"], list)
    assert set(content["proven"]) == set(content["policies"])
    assert content["fallbacks"]["drainage"] == "static"
    assert (done.returncode, done.stderr) == (0, "")


def test_list_for_people(capsys):
    assert call("list") == 0
    out = capsys.readouterr().out
    assert "cologne8" in out
    assert "max-pressure" in out
    assert "gates at astlingen*" in out
    assert "static elsewhere" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("evaluate", "intersections/atlantis"), "scenario 'intersections/atlantis' is unknown"),
        (("evaluate", "plumbing/pipe"), "system 'plumbing' is unknown"),
        (("evaluate", "missing.yaml"), "file missing.yaml cannot be read"),
        (("evaluate", GRID, "-c", "wizard"), "controller 'wizard' is unknown"),
        (("evaluate", GRID, "-c", "fixed", "--seeds", "0"), "seeds is 0"),
        (("evaluate", GRID, "-c", "fixed", "--card"), "the first controller is 'fixed'"),
        (
            ("evaluate", GRID, "--card", "--set", "sensors.dropout=0.2"),
            "would not tell that sensors.dropout is changed",
        ),
        (("evaluate", GRID, "--set", "colour=red"), "setting 'colour' is unknown"),
        (
            ("evaluate", GRID, "--set", "timing.min_green=5"),
            "setting 'timing.min_green' is unknown: 'timing' of scenario intersections/grid2x2 has decision_s",
        ),
        (("evaluate", GRID, "--set", "regime.x=5"), "setting 'regime.x' is unknown: scenario intersections/grid2x2"),
        (("evaluate", GRID, "--set", "regime"), "has no '='"),
        (("evaluate", GRID, "--set", "regime=[1"), "not valid YAML"),
        (("evaluate", GRID, "--set", "regime=2024-13-01"), "not valid YAML"),
        (("evaluate", GRID, GRID), "two scenarios are called 'grid2x2': give each once"),
        (("evaluate", "."), ". is no scenario: give the path of a YAML file, or SYSTEM/NAME"),
        (("train", GRID, "--minutes", "0"), "minutes is 0: give a time above 0"),
        (("train", GRID, "--minutes", "nan"), "minutes is nan: give a time above 0"),
        (("train", GRID, "--minutes", "inf"), "minutes is inf: give a finite time"),
        (("train", GRID, "--iterations", "0"), "iterations is 0: give one at least"),
        (("train", GRID, "--algo", "sb3", "--minutes=-1"), "minutes is -1: give a time above 0"),
        (("site", GRID, "-o", "/dev/null/site.json"), "/dev/null cannot be used (File exists)"),
        (("train",), "give either scenarios"),
        (("train", GRID, "--algo", "alchemy"), "--algo is 'alchemy'"),
        (("train", GRID, "--algo", "sb3", "--hyper", "width=8"), "are not for sb3"),
        (("train", "intersections/cologne1", "--algo", "sb3", "--workers", "0"), "training settings: workers is 0"),
        (("train", "intersections/cologne1", "--algo", "sb3", "--seed=-1"), "training settings: seed is -1"),
        (("train", GRID, "--update", "40"), "--update is 40: it says which policy of a run to begin with"),
        (("train", "--resume", "nowhere"), "run folder nowhere does not exist"),
        (("train", "--resume", ".", "--hyper", "width=8"), "--hyper does not go with --resume"),
        (("train", "--resume", ".", "--seed", "0"), "--seed does not go with --resume"),
        (
            ("train", GRID, "--hyper", "workers=3", "--workers", "2"),
            "--workers is 2 and --hyper workers is 3: give one",
        ),
        (("train", GRID, "--hyper", "out=x"), "--hyper out is unknown: choose seed"),
        (("train", GRID, "--hyper", "width"), "write KEY=VALUE, e.g. --hyper width="),
        (("train", GRID, "--hyper", "algorithm=ippo"), "--hyper algorithm is 'ippo': choose it with --algo"),
        (("train", GRID, "--seed", "5000000000"), "seed is 5000000000"),
        (("policy", "show", "all", "--policy", "x"), "--policy does not go with show, which changes nothing"),
        (("policy", "show", "all", "--share", "1"), "--share does not go with show"),
        (("policy", "show", "all", "--now"), "--now does not go with show"),
        (("policy", "show", "all", "--reason", "x"), "--reason does not go with show"),
        (
            ("train", GRID, "--start", "nowhere"),
            "--start is nowhere: give the folder of a run or of a bundle, or one that ships (generalist)",
        ),
        (("export", "nowhere"), "run folder nowhere does not exist"),
        (("bench", "soak", "--seconds", "inf"), "--seconds is inf: give a time that ends"),
        (("bench", "forecast", "dampers/jansen"), "scenario dampers/jansen is of dampers: give one of transit"),
        (("tune", "dampers", "dampers/jansen", "--law", "leq"), "law 'leq' is unknown: choose fixed, profile"),
        (("tune", "dampers", "dampers/jansen", "--condition", "x"), "condition 'x' is unknown: choose "),
        (("tune", "drainage", "drainage/estuary", "--law", "lqg"), "law 'lqg' is unknown: choose pi, law, hold"),
        (("tune", "drainage", "dampers/jansen"), "scenario dampers/jansen is of dampers: give one of drainage"),
        (("tune", "transit", "transit/nowhere"), "scenario 'transit/nowhere' is unknown"),
        (("lines", "dampers/jansen"), "scenario dampers/jansen is of dampers: give one of transit"),
        (("referee", "dampers/jansen"), "scenario dampers/jansen is of dampers: give one of transit"),
        (("teach", "drainage/theta"), "scenario drainage/theta is of drainage: give one of dampers"),
        (("teach", "dampers/yang8"), "is no folder: name another file with -o"),
        (("teach", "dampers/jansen", "-o", "none/one.json"), "is no folder: name another file with -o"),
        (("teach", "dampers/jansen", "-o", "."), "as it is a folder: name a file with -o"),
        (("travel-times", "transit/hcmc", "-o", "times.json"), "scenario hcmc has no SUMO network"),
        (("riders", "transit/hcmc", "--vehicles", "0"), "vehicles is 0: give a number from 1 to 40"),
        (("check", "nothing"), "'nothing' is no scenario"),
        (("check", "a" * 5000), f"{'a' * 60}... cannot be used (File name too long): give a shorter name"),
        (("evaluate", GRID, "-c", "a" * 5000), "(File name too long): give a shorter name"),
        (("keys", "create", "x", "--rate", "inf"), "rate is inf: give requests a second, above 0"),
        (("site", "intersections/atlantis"), "is unknown"),
    ],
)
def test_what_cannot_be_used_ends_in_one_sentence(capsys, words, sentence):
    assert call(*words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("Error: ")
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "mend"),
    [(errno.ENOSPC, "make room, or give another"), (errno.EROFS, "give one that you may write")],
)
def test_what_cannot_be_written_is_one_sentence(monkeypatch, capsys, error, mend):
    def write(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("verbs.load_scenario", write)
    assert call("evaluate", GRID) == 2
    assert capsys.readouterr().err == f"Error: the output cannot be used ({os.strerror(error)}): {mend}\n"


def test_a_letter_that_the_locale_does_not_know_is_one_sentence(tmp_path):
    net = "st\u00e4be.net.xml"
    mine = f"system: intersections\nname: x\nnet: {net}\nroutes: [a.rou.xml]\nbegin_s: 0\nduration_s: 60\n"
    (tmp_path / "mine.yaml").write_text(mine, encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    line = [sys.executable, "-m", "cityloop", "check", str(tmp_path / "mine.yaml")]
    done = subprocess.run(line, capture_output=True, text=True, env=os.environ | plain, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.endswith("st\\xe4be.net.xml' cannot be written in this locale (ascii): set PYTHONUTF8=1\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_table_is_printed_whatever_the_terminal_can_show(encoding):
    script = "from verbs.terminal import open_streams; open_streams(); print('\\u00f7 \\u221e 1.25')"
    named = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=named, check=True)
    assert done.stdout.endswith(b" ? 1.25\n")


def test_a_stream_that_is_closed_is_no_fault():
    script = "import sys; sys.stdout = None; from verbs.terminal import open_streams; open_streams(); print('unseen')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("system: dampers\nduration_s: 1\nduration_s: 2\n", "at line 3 (key 'duration_s' is given twice): correct it"),
        ("system: dampers\n\tduration_s: 1\n", "at line 2 (found character '\\t' that cannot start any token)"),
        ("system: dampers\nduration_s: 0100\n", "at line 2 (0100 is a number to another base: write it to base ten"),
        ("system: dampers\nduration_s: 1:30\n", "at line 2 (1:30 is a number to another base"),
        ("system: dampers\nduration_s: 1:40.5\n", "at line 2 (1:40.5 is a number to another base"),
        ('system: intersections\nnet: "own\\0815.net.xml"\n', "('own\\x00815.net.xml' holds a character that no"),
        ('system: intersections\nnet: "\\ud800.net.xml"\n', "at line 2 ('\\ud800.net.xml' holds"),
        ("system: " + "[" * 3000, "own.yaml is not valid YAML: correct it"),
        ("system: dampers\nbuilding: &b {like: *b}\n", "at line 2 (a value contains itself: write it out): correct it"),
    ],
    ids=["twice", "tab", "octal", "sixties", "parts", "nul", "surrogate", "deep", "recursive"],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, capsys, text, problem):
    (tmp_path / "own.yaml").write_text(text)
    assert call("check", str(tmp_path / "own.yaml")) == 2
    assert problem in capsys.readouterr().err


def test_an_interruption_before_a_verb_runs_is_told_likewise():
    script = "import sys, cityloop; sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "Interrupted.\n"


def test_an_interruption_has_its_exit_code(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("verbs.load_scenario", interrupt)
    assert call("evaluate", GRID) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "Interrupted."), (signal.SIGTERM, "Terminated.")])
def test_a_signal_ends_a_verb_in_order(monkeypatch, capsys, number, said):
    """A scheduler that stops a job sends SIGTERM; its error may be a consequence, as all processes get the signal."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

    def end(*_):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as error:
            raise CityloopError("its process crashed") from error

    monkeypatch.setattr("verbs.load_scenario", end)
    before = {one: signal.signal(one, handler) for one, handler in usual.items()}
    try:
        assert call("evaluate", GRID) == 128 + number
        assert {one: signal.getsignal(one) for one in usual} == usual
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert capsys.readouterr().err == f"{said}\n"


def test_a_full_disk_is_told_with_how_the_run_goes_on(monkeypatch, capsys):
    def fill(*_):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x")
        full.add_note("go on: cityloop train --resume runs/x")
        raise full

    monkeypatch.setattr("verbs.load_scenario", fill)
    assert call("evaluate", GRID) == 2
    said = "Error: runs/x cannot be used (No space left on device): make room, or give another"
    assert capsys.readouterr().err == f"{said}\ngo on: cityloop train --resume runs/x\n"


def test_an_interruption_that_a_library_makes_an_error_of_is_still_one(monkeypatch, capsys):
    def compile_it(*_):
        with contextlib.suppress(KeyboardInterrupt):  # as in a callback of numba's compiler
            signal.raise_signal(signal.SIGINT)
        raise RuntimeError("no compiled object yet")

    monkeypatch.setattr("verbs.load_scenario", compile_it)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where tests run in the background
    try:
        assert call("evaluate", GRID) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "Interrupted.\n"


def test_site_can_be_read_back(tmp_path, capsys):
    from envs import get_system, load_scenario

    path = tmp_path / "deep" / "site.json"
    assert call("site", GRID, "-o", str(path), "--json") == 0
    system = get_system("intersections")
    site = system.load_site(load_scenario(GRID))
    assert json.loads(capsys.readouterr().out)["hash"] == site.hash
    assert system.site_class.load(path) == site


def test_train_passes_everything_on(library, tmp_path, capsys):
    calls = library("training.train", "train", tmp_path)
    words = ("--iterations", "3", "--seed", "5", "--workers", "1", "--hyper", "width=16", "--set", "regime=resco")
    assert call("train", GRID, *words, "--json") == 0
    ((([scenario],), options),) = calls
    assert scenario.timing.decision_s == 10
    assert {
        "iterations": 3,
        "minutes": None,
        "seed": 5,
        "workers": 1,
        "width": 16,
        "resume": None,
    }.items() <= options.items()
    assert json.loads(capsys.readouterr().out) == {"run": str(tmp_path)}


def test_train_crosses_scenarios_with_settings(library, tmp_path):
    calls = library("training.train", "train", tmp_path)
    places = (GRID, "intersections/cologne1")
    assert call("train", *places, "--each", "regime=engineer,resco", "--each", "sensors.dropout=0,0.2") == 0
    (((scenarios,), _),) = calls
    found = [(place.name, place.regime, place.sensors.dropout) for place in scenarios]
    name = GRID.split("/")[1]
    other = f"{name}-dropout0.2"
    assert found[:4] == [(name, "engineer", 0), (other, "engineer", 0.2), (name, "resco", 0), (other, "resco", 0.2)]
    assert len({place.label for place in scenarios}) == 8


def test_train_resumes_and_trains_the_reference(library, tmp_path):
    calls = library("training.train", "train", tmp_path)
    assert call("train", "--resume", str(tmp_path)) == 0
    assert calls[0][1]["resume"] == tmp_path
    assert call("train", GRID, "--start", str(tmp_path)) == 0
    assert calls[1][1]["start"] == tmp_path
    calls = library("training.reference", "train_reference", tmp_path)
    assert call("train", GRID, "--algo", "sb3", "--minutes", "1") == 0
    assert calls[0][1]["minutes"] == 1


def test_export_serve_control_and_bench_pass_everything_on(library, tmp_path, capsys):
    calls = library("training.bundles.export", "export", tmp_path / "policy")
    assert call("export", str(tmp_path), "--name", "mine", "--update", "20") == 0
    assert calls == [((tmp_path, None, "mine", 20), {})]
    calls = library("serving.run", "serve", None)
    assert call("serve", GRID, "--policy", "max-pressure", "--port", "8123") == 0
    ((config,), _) = calls[0]
    assert ([site.site for site in config.sites], config.sites[0].champion) == ([GRID], "max-pressure")
    assert (config.port, str(config.state)) == (8123, "runs/service")
    capsys.readouterr()
    found = {"scenario": GRID, "kpis": {"delay_s": 1.5}}
    calls = library("serving.client.control", "control", found)
    assert call("control", GRID, "--seed", "4", "--json") == 0
    assert calls[0][1]["seed"] == 4
    assert json.loads(capsys.readouterr().out) == found
    library(
        "serving.bench.ticks", "bench_serving", {"bench": "serving", "ratios": {"a / b": 2.0}, "figures": {"a": 1.0}}
    )
    assert call("bench", "serving") == 0
    assert "a / b" in capsys.readouterr().out


def test_what_to_do_next_can_be_pasted(library, tmp_path, capsys):
    """Folders have spaces and apostrophes."""
    folder = tmp_path / "Anna's runs"
    folder.mkdir()
    library("training.train", "train", folder)
    assert call("train", GRID) == 0
    library("training.bundles.export", "export", folder / "policy")
    assert call("export", str(folder)) == 0
    said = [line.removeprefix("next: ") for line in capsys.readouterr().out.splitlines() if line.startswith("next: ")]
    expected = ["cityloop", "export", str(folder), "tensorboard", "--logdir", str(folder)]
    assert [shlex.split(line) for line in said] == [expected, ["cityloop", "check", str(folder / "policy")]]


def test_json_takes_a_file_or_nothing():
    assert json_option(["list", "--json"]) == ["list", "--json=-"]
    assert json_option(["evaluate", "--json", "out.json", "x"]) == ["evaluate", "--json=out.json", "x"]
    assert json_option(["evaluate", "--json", "-c", "fixed"]) == ["evaluate", "--json=-", "-c", "fixed"]
    assert json_option(["check", "--json", "my.yaml"]) == ["check", "--json=-", "my.yaml"]
    assert json_option(["list", "--json", "-"]) == ["list", "--json=-"]


def test_settings_are_yaml():
    assert parse_settings(["a.b=1", "c=[0.5, 1]", "d=x=y", "e="]) == {"a.b": 1, "c": [0.5, 1], "d": "x=y", "e": None}
