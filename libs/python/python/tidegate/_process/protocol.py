"""The words that parent and child say to each other.

    parent: Prepare                Assign   Stop   Resumed        Ended           Leave
    child:           Ready | Unready                Pause   Done         Hooked
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from .._execution import End


class Prepare(NamedTuple):
    """Makes the child like its parent. The first word."""

    #: Paths, arguments and script, as `multiprocessing.spawn` writes them down.
    main: dict[str, Any]
    #: See :data:`tidegate._process.before_main`.
    before_main: list[str]
    #: Pickles of the functions that may be assigned: what they need is imported before the first run comes.
    functions: list[bytes]
    #: See :func:`tidegate.codecs.for_children`.
    codecs: Optional[bytes] = None


class Ready(NamedTuple):
    """The child has imported everything."""


class Unready(NamedTuple):
    """The child cannot execute anything, and ends."""

    #: The cause, for people.
    message: str


class Assign(NamedTuple):
    """Execute this run."""

    #: Tells this run from the others that the child executes.
    number: int
    #: A pickle of the function.
    function: bytes
    #: What :class:`RunContext` is made from, but for what belongs to one process.
    facts: dict[str, Any]
    #: Of a queued run: what it is called with, as `(encoding, data)`.
    parameters: Optional[tuple[str, bytes]] = None
    #: Of a local run: a pickle of the arguments by name. Its end then says what to give to its caller.
    arguments: Optional[bytes] = None


class Stop(NamedTuple):
    """End the code; the arguments of :meth:`Control.stop`."""

    number: int
    kind: str
    message: str
    grace: float


class Pause(NamedTuple):
    """The code waits until the run is resumed; the arguments of `Pauser.pause`."""

    number: int
    #: Tells this wait from others of the run.
    pause: int
    key: str
    options: dict[str, Any]


class Resumed(NamedTuple):
    """The end of a wait: with an input, or with an error."""

    number: int
    pause: int
    input: Optional[tuple[str, bytes]]
    error: Optional[BaseException]


class Done(NamedTuple):
    """The code has ended."""

    number: int
    #: What to report.
    end: End
    #: Of a local run: a pickle of its :class:`Outcome`.
    outcome: Optional[bytes] = None


class Ended(NamedTuple):
    """What the server says of the end: said where the function has hooks for it."""

    number: int
    #: The state, as `(type, name, message)`; None where the run is another's by now.
    state: Optional[tuple[str, str, str]]


class Hooked(NamedTuple):
    """The hooks were called."""

    number: int


class Leave(NamedTuple):
    """Nothing more comes: flush and end."""
