"""Serves `import prefect` from ``modules/``. Whatever touches Python's import machinery is in this file.

Each served module counts as a package. Python then looks for a name that a module has not got among its submodules too,
so that ``from prefect.flows import nothing`` comes to :meth:`_Finder.find_spec`, which can say what to use instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import runpy
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Optional, Sequence

from ..._process import before_main
from ._missing import explain

_SERVED = "prefect"
_OURS = f"{__package__}.modules"


class _Module(ModuleType):
    """A module named as Prefect's, with the names of ours."""

    __all__: list[str]
    _ours: ModuleType

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            made = vars(self._ours).get("__getattr__")
            if made is not None:  # its names are looked up when they are asked for
                try:
                    return made(name)
                except AttributeError:
                    pass
            if _ours(f"{self.__name__}.{name}") is not None:
                return importlib.import_module(f"{self.__name__}.{name}")
            raise AttributeError(explain(f"{self.__name__}.{name}"))
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Where `fullname` comes from, if it is one of Prefect's."""
        if fullname.partition(".")[0] != _SERVED:
            return None
        ours = _ours(fullname)
        if ours is None:
            raise ImportError(explain(fullname), name=fullname)
        return ModuleSpec(fullname, self, origin=ours.origin, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty module."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Fills it."""
        assert isinstance(module, _Module)
        ours = importlib.import_module(_OURS + module.__name__[len(_SERVED) :])
        module._ours = ours
        module.__doc__ = ours.__doc__
        module.__file__ = ours.__file__
        module.__all__ = ours.__all__
        for name in ours.__all__:
            if name in vars(ours):
                setattr(module, name, vars(ours)[name])


def _ours(fullname: str) -> Optional[ModuleSpec]:
    """The module of ours that stands for `fullname`."""
    below = fullname[len(_SERVED) :]
    if any(part.startswith("_") for part in below.split(".")):
        return None
    try:
        return importlib.util.find_spec(_OURS + below)
    except ModuleNotFoundError:  # a parent that is no package
        return None


def install() -> None:
    """From now on, ``import prefect`` in this process gives Tidegate's stand-in. Calling it again does nothing."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if _SERVED in sys.modules:
        raise ImportError("prefect itself has been imported already: call install() before the first `import prefect`")
    sys.meta_path.insert(0, _Finder())
    # Processes that execute runs of this program import it, too.
    before_main.append(f"{__package__}:install")


def run_script(path: str, arguments: list[str]) -> None:
    """Runs the file at `path` as ``python path`` would."""
    if not os.path.exists(path):
        sys.exit(f"python -m tidegate.compat.prefect: there is no file {path!r}")
    sys.argv[:] = arguments
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    runpy.run_path(os.path.abspath(path), run_name="__main__")


def run_module(name: str, arguments: list[str]) -> None:
    """Runs the module `name` as ``python -m name`` would."""
    sys.argv[:] = arguments
    sys.path[0] = os.getcwd()
    runpy.run_module(name, run_name="__main__", alter_sys=True)
