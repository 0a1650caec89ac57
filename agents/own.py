"""Users' own controllers, named by the location of their code: ``mine.py:Backlog``, or ``company.rules:Backlog``.

Only evaluations that a user starts may name code. A service accepts names and bundles alone, because otherwise anyone
who may change its policy could make it import arbitrary code.
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
"""Pattern of a reference: a file that ends in ``.py``, or a module; and the name of a callable that takes a site."""

NEEDED = ("name", "program", "reset", "act")
"""Attributes that a controller must have."""


def own(ref: str | Path) -> bool:
    """Whether a reference names code."""
    return CODE.fullmatch(str(ref)) is not None and not Path(ref).exists()


def make_any(ref: str | Path, site: Site) -> Controller:
    """A controller as by `agents.make_controller`, or a user's own, made by calling the named object with the site.

    Args:
        ref: as for `agents.make_controller`; or ``FILE.py:NAME``; or ``MODULE:NAME``, searched for in the working
            directory first.
        site: the site to control.

    Raises:
        CityloopError: if there is no such controller, its code fails, or the result is not a controller.
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
    """The module of a reference, imported once per process."""
    file = Path(where)
    if file.suffix == ".py" and not file.is_file():
        raise CityloopError(f"controller {ref!r}: there is no file {where}")
    beside = str(file.resolve().parent if file.suffix == ".py" else Path.cwd())
    if beside not in sys.path:
        sys.path.insert(0, beside)  # for the file's own imports
    try:
        return _from_file(file.resolve()) if file.suffix == ".py" else import_module(where)
    except Exception as error:
        raise _failed(ref, f"importing {where}", error) from error


def _from_file(file: Path) -> ModuleType:
    """A file as a module with a unique name."""
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
    """The error in a user's code, with its position if the code ran."""
    said = traceback.format_exception_only(error)[-1].strip()
    last = traceback.extract_tb(error.__traceback__)[-1]
    reached = last.filename != __file__ and Path(last.filename).is_file() and not isinstance(error, SyntaxError)
    where = f" ({Path(last.filename).name}, line {last.lineno})" if reached else ""
    return CityloopError(f"controller {ref!r}: {what} failed: {said}{where}")
