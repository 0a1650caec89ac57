"""Controllers of users' own, by where their code stands: ``mine.py:Backlog``, or ``company.rules:Backlog``.

Only who runs an evaluation by hand may name code: a service takes names and bundles alone, as whoever may change its
policy could have anything imported otherwise.
"""

from __future__ import annotations

import re
import sys
import traceback
from importlib import import_module, util
from pathlib import Path
from types import ModuleType

from agents import make_controller
from envs.core.errors import CityloopError
from envs.core.site import Site
from envs.core.world import Controller

CODE = re.compile(r".+:[^\W\d]\w*")
"""A file that ends in ``.py``, or a module; and what in it is called with a site."""

NEEDED = ("name", "program", "reset", "act")
"""What a controller has."""


def own(ref: str | Path) -> bool:
    """Whether a reference names code."""
    return CODE.fullmatch(str(ref)) is not None and not Path(ref).exists()


def make_any(ref: str | Path, site: Site) -> Controller:
    """As `agents.make_controller`, or a user's own: what ``ref`` names is called with the site.

    Args:
        ref: as there; or ``FILE.py:NAME``; or ``MODULE:NAME``, looked for from the current folder on.
        site: the site that it is to control.

    Raises:
        CityloopError: if there is no such controller, its code fails, or what it makes is none.
    """
    if not own(ref):
        return make_controller(ref, site)
    where, _, name = str(ref).rpartition(":")
    maker = getattr(_module(str(ref), where), name, None)
    if not callable(maker):
        raise CityloopError(f"controller {str(ref)!r}: {where} defines no class or function {name}")
    try:
        controller = maker(site)
    except Exception as error:
        raise _failed(str(ref), f"{name}(site)", error) from error
    missing = [part for part in NEEDED if not hasattr(controller, part)]
    if missing:
        raise CityloopError(
            f"controller {str(ref)!r}: what {name}(site) gives has no {', no '.join(missing)}: "
            "derive it from envs.core.world.Controller, and give it a name and act(readings, observation)"
        )
    return controller


def _module(ref: str, where: str) -> ModuleType:
    """The module that stands there, imported once in a process."""
    file = Path(where)
    if file.suffix == ".py" and not file.is_file():
        raise CityloopError(f"controller {ref!r}: there is no file {where}")
    beside = str(file.resolve().parent if file.suffix == ".py" else Path.cwd())
    if beside not in sys.path:
        sys.path.insert(0, beside)  # for what it imports in its turn
    try:
        return _from_file(file.resolve()) if file.suffix == ".py" else import_module(where)
    except Exception as error:
        raise _failed(ref, f"importing {where}", error) from error


def _from_file(file: Path) -> ModuleType:
    """A file as a module of its own name, which no other has."""
    name = f"own {file}"
    if name not in sys.modules:
        spec = util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _failed(ref: str, what: str, error: Exception) -> CityloopError:
    """What went wrong in a user's code, and where, if it came to that."""
    said = traceback.format_exception_only(error)[-1].strip()
    last = traceback.extract_tb(error.__traceback__)[-1]
    reached = last.filename != __file__ and Path(last.filename).is_file() and not isinstance(error, SyntaxError)
    where = f" ({Path(last.filename).name}, line {last.lineno})" if reached else ""
    return CityloopError(f"controller {ref!r}: {what} failed: {said}{where}")
