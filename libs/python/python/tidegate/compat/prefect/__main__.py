"""``python -m tidegate.compat.prefect``."""

import sys

from ..._process import before_main
from . import _finder, _logs

USAGE = "usage: python -m tidegate.compat.prefect (script.py | -m module) [arguments]"


def main(arguments: list[str]) -> None:
    """Runs the program that `arguments` name, as Python itself would."""
    if not arguments or arguments[0] in ("-h", "--help") or arguments == ["-m"]:
        sys.exit(USAGE)
    _finder.install()
    _logs.show()
    before_main.append(f"{_logs.__name__}:show")
    if arguments[0] == "-m":
        _finder.run_module(arguments[1], arguments[1:])
    else:
        _finder.run_script(arguments[0], arguments)


main(sys.argv[1:])
