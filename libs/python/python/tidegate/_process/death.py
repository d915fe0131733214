"""What the exit code of a process means."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple

_SEGFAULT = "code outside of Python used memory that is not its own"
#: What usually sends a signal.
_USUALLY = {
    "SIGABRT": "code outside of Python gave up: a failed check, or a double free",
    "SIGBUS": "code outside of Python used memory that is not there: often a file that shrank, or a full /dev/shm",
    "SIGFPE": "code outside of Python divided by zero",
    "SIGILL": "code outside of Python is not made for this processor",
    "SIGKILL": "someone killed it, or the system did so for want of memory",
    "SIGSEGV": _SEGFAULT,
    "SIGSYS": "a call into the system that is forbidden here",
    "SIGTERM": "someone asked it to end",
    "SIGXCPU": "its limit of processor time is used up",
}


class Death(NamedTuple):
    """The end of a process that still had a run to execute."""

    #: One sentence.
    cause: str
    #: Where the code of the process was, as `faulthandler` wrote it down; or empty.
    stack: str = ""


class OomKills(NamedTuple):
    """How many processes the system has killed for want of memory."""

    #: In the control group of this process.
    group: int
    #: On the whole machine.
    machine: int

    @classmethod
    def now(cls) -> OomKills:
        """As the system tells it; where it does not, zeros."""
        return cls(_of_group(), _counter(Path("/proc/vmstat"), "oom_kill"))


def cause_of(code: int, before: OomKills, after: OomKills) -> str:
    """Why a process ended with `code`, as :mod:`subprocess` gives it."""
    if code >= 0:
        return f"the process of the run ended with exit code {code}: its code, or a library, ended the process"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    usually = _USUALLY.get(name)
    if name == "SIGKILL" and after.group > before.group:
        usually = "out of memory: the control group of the worker is at its memory limit"
    elif name == "SIGKILL" and after.machine > before.machine:
        usually = "probably out of memory: the system killed a process for want of it meanwhile"
    return f"the process of the run was killed by {name}" + (f": {usually}" if usually else "")


def _of_group() -> int:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        _, controllers, path = line.split(":", 2)
        below = path.lstrip("/")
        if not controllers:  # version 2
            # Inside of a container the path is often that of the host, and the group is at the top.
            for folder in (Path("/sys/fs/cgroup") / below, Path("/sys/fs/cgroup")):
                if (folder / "memory.events").exists():
                    return _counter(folder / "memory.events", "oom_kill")
        elif "memory" in controllers.split(","):
            for folder in (Path("/sys/fs/cgroup/memory") / below, Path("/sys/fs/cgroup/memory")):
                if (folder / "memory.oom_control").exists():
                    return _counter(folder / "memory.oom_control", "oom_kill")
    return 0


def _counter(file: Path, name: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0
