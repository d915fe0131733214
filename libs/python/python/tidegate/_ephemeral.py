"""A server inside of this process, for scripts and unit tests: TIDEGATE_EPHEMERAL=1.

It is a whole one, on threads of its own, and keeps everything in memory. It starts before the first call and ends with
the process. The environment names its address from then on, so that processes which are started from here use it too.
"""

from __future__ import annotations

import os
from typing import Optional

from . import _core
from .errors import InvalidArgument

#: How long the server may take to end in order, in seconds.
STOP_SECONDS = 5.0

_YES = ("1", "true", "yes", "on")
_NO = ("", "0", "false", "no", "off")

#: That of TIDEGATE_EPHEMERAL, once it was needed.
_server: Optional[_core.EmbeddedServer] = None


def start_if_asked() -> None:
    """Where TIDEGATE_EPHEMERAL asks for a server, has one run, and has TIDEGATE_ADDRESS name it."""
    global _server
    asked = os.environ.get("TIDEGATE_EPHEMERAL", "")
    address = os.environ.get("TIDEGATE_ADDRESS", "")
    if asked.lower() in _NO or asked.startswith("http://"):
        return  # none is asked for, or the process that started this one has it: its address was handed down
    if asked.lower() not in _YES:
        raise InvalidArgument(
            f"TIDEGATE_EPHEMERAL is `{asked}`: set it to 1 to have a server inside of this process, or unset it"
        )
    if address:
        raise InvalidArgument(
            f"TIDEGATE_EPHEMERAL={asked} asks for a server inside of this process, but TIDEGATE_ADDRESS names one at "
            f"{address}: unset one of them"
        )
    _server = _core.EmbeddedServer()
    os.environ["TIDEGATE_ADDRESS"] = os.environ["TIDEGATE_EPHEMERAL"] = _server.address


def stop() -> None:
    """Ends it, if it runs. In a forked child it does nothing: the server is the parent's."""
    if _server is not None:
        _server.stop(STOP_SECONDS)
