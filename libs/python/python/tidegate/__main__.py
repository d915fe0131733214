"""`python -m tidegate serve module:function path.py:function …`: a worker without a line of code."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from pathlib import Path
from typing import Any, Optional, Sequence

from . import _process
from .errors import TidegateError
from .functions import Function
from .serving import serve


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Does what `arguments` say; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tidegate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="execute the queued runs of flows and tasks")
    serving.add_argument(
        "targets",
        nargs="+",
        metavar="TARGET",
        help="module:function, path.py:function, or without a function: all flows and tasks defined there",
    )
    serving.add_argument("--limit", type=int, help="tasks at once (default: 10); where only flows are served, flows")
    serving.add_argument("--flow-limit", type=int, help="flows at once (default: 10; 100 where all have threads)")
    serving.add_argument("--queue", action="append", default=[], help="where to take runs from; may be repeated")
    serving.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="of this worker")
    serving.add_argument("--drain-seconds", type=float, default=30.0, help="how long work may go on after a signal")
    serving.add_argument(
        "--health-address", metavar="IP:PORT", help="where it tells probes how it is: /livez, /readyz (default: nowhere)"
    )
    options = parser.parse_args(arguments)
    for label in options.label:
        if "=" not in label:
            parser.error(f"--label {label}: it is KEY=VALUE")
    try:
        functions = [function for target in options.targets for function in functions_of(target)]
        serve(
            *functions,
            limit=options.limit,
            flow_limit=options.flow_limit,
            queues=options.queue or ["default"],
            labels=dict(label.split("=", 1) for label in options.label),
            drain_seconds=options.drain_seconds,
            health_address=options.health_address,
        )
    except TidegateError as error:
        print(f"tidegate: {error}", file=sys.stderr)
        return 1
    return 0


def functions_of(target: str) -> list[Function[Any, Any]]:
    """The flows and tasks that `target` names."""
    place, _, name = target.partition(":")
    module = _imported(place)
    defined = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, Function) and value.fn.__module__ == module.__name__
    }
    if not name:
        if not defined:
            raise TidegateError(f"{target}: no flow or task is defined there")
        return list(defined.values())
    found = getattr(module, name, None)
    if isinstance(found, Function):
        return [found]
    near = difflib.get_close_matches(name, defined, 1)
    hint = f"; do you mean `{near[0]}`?" if near else f"; there are {', '.join(defined) or 'none'}"
    raise TidegateError(f"{target}: `{name}` is no flow or task of {place}{hint}")


def _imported(place: str) -> Any:
    if place.endswith(".py"):
        path = Path(place).resolve()
        if not path.exists():
            raise TidegateError(f"{place}: there is no such file")
        # By its name, and not as a file without one: the processes of the worker import it, too.
        sys.path.insert(0, str(path.parent))
        place = path.stem
    _process.is_importing = True  # a call of a flow or task there is a mistake, which is to be told
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name != place.split(".")[0] and error.name != place:
            raise
        raise TidegateError(f"{place}: there is no such module; name one, or a file as path.py:function") from None
    finally:
        _process.is_importing = False


if __name__ == "__main__":
    sys.exit(main())
