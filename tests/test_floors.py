"""Imports run downward only: never to a higher floor, nor between rooms of one floor, nor in a circle."""

import ast
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
FLOORS = {"envs": 0, "agents": 1, "training": 2, "serving": 2, "verbs": 3, "cityloop": 4}
"""Room → floor, see the README."""

LEARNING = {"torch", "tensorboard", "stable_baselines3"}
"""What a service is to run without."""


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, functions' imports and `import_module` included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and "import_module" in ast.dump(node.func):
            found |= {str(word.value) for word in node.args if isinstance(word, ast.Constant)}
    return found


def rooms(path: Path) -> set[str]:
    """First words of these names."""
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("room", FLOORS)
def test_an_import_never_runs_upward(room):
    above = {other for other, floor in FLOORS.items() if floor >= FLOORS[room] and other != room} | {"tests"}
    files = [HOME / "cityloop.py"] if room == "cityloop" else [*(HOME / room).rglob("*.py")]
    assert files
    wrong = {str(path.relative_to(HOME)): names for path in files if (names := rooms(path) & above)}
    assert wrong == {}


def test_a_service_needs_no_learning():
    wrong = {path.name: names for path in (HOME / "serving").rglob("*.py") if (names := rooms(path) & LEARNING)}
    assert wrong == {}


PACKAGES = sorted(str(init.parent.relative_to(HOME)) for room in FLOORS for init in (HOME / room).rglob("__init__.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_files_and_rooms_of_a_package_import_each_other_in_one_direction(package):
    home, above = HOME / package, package.replace("/", ".") + "."
    parts = {path.stem: [path] for path in home.glob("*.py") if path.stem != "__init__"}
    parts |= {init.parent.name: [*init.parent.rglob("*.py")] for init in home.glob("*/__init__.py")}
    found = {}
    for part, files in parts.items():
        names = {name for path in files for name in imports(path) if name.startswith(above)}
        found[part] = {name.removeprefix(above).partition(".")[0] for name in names} & (parts.keys() - {part})
    TopologicalSorter(found).prepare()  # raises CycleError, which names the parts


def test_what_all_rooms_of_the_service_share_knows_none_of_them():
    home = HOME / "serving"
    others = {folder.name for folder in home.iterdir() if (folder / "__init__.py").is_file()} - {"core"}
    known = {name.split(".")[1] for path in (home / "core").rglob("*.py") for name in imports(path) if "." in name}
    assert known & others == set()


def test_what_others_import_brings_its_types():
    """Without the marker a type checker takes everything of an installed package for `Any`."""
    shipped = tomllib.loads((HOME / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for room in ("envs", "agents", "training", "serving"):
        assert (HOME / room / "py.typed").is_file()
        assert "py.typed" in shipped[room]
