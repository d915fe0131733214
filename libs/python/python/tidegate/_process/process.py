"""The parent's side of one child."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import connection, spawn
from pathlib import Path
from typing import IO, Any, Callable, Optional, Sequence

from .. import _settings, codecs
from ..errors import TidegateError
from . import before_main, warden
from .death import Death, OomKills, cause_of
from .protocol import Leave, Prepare, Ready, Unready

#: How often a child is looked after where the system does not tell of its end, in seconds.
_LOOK_SECONDS = 0.1
#: How long it may take until it has imported everything, in seconds, unless the variable says otherwise.
_START_SECONDS = 600.0
_START_VARIABLE = "TIDEGATE_PROCESS_START_SECONDS"
#: How long it has to write down where its code is when it is ended for that, in seconds.
_ABORT_SECONDS = 2.0
#: What is kept of a stack, in bytes.
_MAX_STACK = 32 << 10
#: Where the package is, for a child whose own path does not have it yet.
_HOME = str(Path(__file__).resolve().parents[2])


def start_seconds() -> float:
    """How long a process may take until it has imported everything; 0: as long as it likes."""
    what = "how long a process of a worker may take until it is ready for runs, or 0 for any time"
    return _settings.seconds(_START_VARIABLE, _START_SECONDS, what)


class CannotStart(TidegateError):
    """A process that is to execute runs did not come up."""

    def __init__(self, message: str, is_for_good: bool = True) -> None:
        super().__init__(message)
        #: Another would not come up either.
        self.is_for_good = is_for_good


class Process:
    """A process that executes runs, one at a time.

    :param functions: pickles of what it imports at once.
    :param look_seconds: how often who waits for it looks whether Python wants something, such as an interrupt.
    """

    def __init__(self, functions: Sequence[bytes], look_seconds: Optional[float] = None) -> None:
        ours, theirs = socket.socketpair()
        #: `faulthandler` writes into it; a file, because a dying process cannot wait for a reader.
        self._stacks = _memory_file()
        self._oom_kills = OomKills.now()
        descriptors = (theirs.fileno(), self._stacks.fileno())
        self._is_closed = False
        self._began = time.monotonic()
        program = (
            f"import sys; sys.path.append({_HOME!r}); "
            f"from tidegate._process.child import main; main{descriptors}"
        )
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
        self._popen = subprocess.Popen(
            [sys.executable, *flags, "-c", program],
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            start_new_session=True,  # a process group of its own, and no signals of the terminal
        )
        theirs.close()
        warden.watch(self._popen.pid)
        self._connection = connection.Connection(ours.detach())
        self._sending = threading.Lock()
        self._ended = _descriptor_of_end(self._popen.pid)
        self._look_seconds = look_seconds if self._ended is not None else _LOOK_SECONDS
        self._is_ready = False
        main = spawn.get_preparation_data("tidegate")
        main.pop("authkey", None)  # a secret, and of no use here
        if not os.path.exists(main.get("init_main_from_path", "")):
            main.pop("init_main_from_path", None)  # a program from a prompt or a pipe
        self.send(Prepare(main, before_main, list(functions), codecs.for_children()))

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group."""
        return self._popen.pid

    def send(self, word: Any) -> None:
        """Says `word`. A process that has ended does not hear it; :meth:`receive` tells."""
        with self._sending:
            try:
                self._connection.send(word)
            except OSError:
                pass

    def receive(self, seconds: Optional[float] = None) -> Any:
        """The next word; None when the process has ended, or `seconds` have passed: see :meth:`has_ended`."""
        left = seconds
        while True:
            slices = [seconds for seconds in (left, self._look_seconds) if seconds is not None]
            slice_seconds = min(slices) if slices else None
            watched: list[Any] = [self._connection] if self._ended is None else [self._connection, self._ended]
            ready = connection.wait(watched, slice_seconds)
            if self._connection in ready or self._connection.poll():
                try:
                    return self._connection.recv()
                except (EOFError, OSError):
                    self.kill()  # it has closed the pipe and cannot be told anything any more
                    self._popen.wait()
                    return None
            if self._popen.poll() is not None:
                return None
            if left is not None:
                left -= slice_seconds or 0.0
                if left <= 0:
                    return None

    def has_ended(self) -> bool:
        """True when the process is gone."""
        return self._popen.poll() is not None

    def await_ready(self, seconds: float, slow: Callable[[], None]) -> None:
        """Waits until it has imported everything; calls `slow` where that takes longer than `seconds`. One that takes longer
        than it may is ended."""
        if self._is_ready:
            return
        limit = start_seconds()
        deadline = self._began + limit if limit else math.inf
        word = self.receive(min(seconds, max(0.0, deadline - time.monotonic())))
        if word is None and not self.has_ended():
            slow()
            word = self.receive(max(0.0, deadline - time.monotonic()) if limit else None)
        if word is None and not self.has_ended():
            raise CannotStart(
                f"a process that is to execute runs was not ready within {limit:g} s: what waits while a module is imported "
                f"belongs into a flow or task; if it only needs longer, say so by {_START_VARIABLE}\n{self.abort()}".strip()
            )
        if isinstance(word, Unready):
            raise CannotStart(word.message)
        if not isinstance(word, Ready):
            death = self.death()
            raise CannotStart(f"{death.cause}, before the run began\n{death.stack}".strip(), is_for_good=False)
        self._is_ready = True

    def abort(self) -> str:
        """Ends it, and what it has started; where its code was."""
        if not self.has_ended():
            os.kill(self._popen.pid, signal.SIGABRT)  # at which `faulthandler` writes that down
            try:
                self._popen.wait(_ABORT_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.death().stack

    def death(self) -> Death:
        """Why it ended."""
        code = self._popen.wait()
        self.kill()  # what it started itself
        self._stacks.seek(0)
        stack = self._stacks.read(_MAX_STACK).decode(errors="replace").strip()
        return Death(cause_of(code, self._oom_kills, OomKills.now()), stack)

    def terminate(self) -> None:
        """Asks it, and what it has started, to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it, and what it has started, at once."""
        self._signal(signal.SIGKILL)

    def leave(self, seconds: float) -> None:
        """Lets it flush and end, within `seconds`."""
        self.send(Leave())
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        self.close()

    def close(self) -> None:
        """Ends it, if it has not ended, and all that it has started."""
        self.kill()
        self._is_closed = True
        self._popen.wait()
        warden.forget(self._popen.pid)
        self._connection.close()
        self._stacks.close()
        if self._ended is not None:
            os.close(self._ended)
            self._ended = None

    def _signal(self, number: int) -> None:
        if self._is_closed:
            return  # the number may be another's by now
        try:
            os.killpg(self._popen.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # the group is empty, or (on macOS) has only ended processes


def _memory_file() -> IO[bytes]:
    """A file without a name; in memory where the system has that, because a container may have no place to write."""
    try:
        return open(os.memfd_create("tidegate"), "w+b")
    except (AttributeError, OSError):
        return tempfile.TemporaryFile()


def _descriptor_of_end(pid: int) -> Optional[int]:
    """What becomes readable when the process has ended, where the system has that."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
