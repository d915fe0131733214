"""What ends the children of a process that was killed.

A child notices the end of its parent by itself, unless it is in a call that does not give Python's lock back; and what
it has started itself, a shell command say, would go on. So a small process stands beside them: it knows their groups,
and when its pipe is closed, which no death of the parent can prevent, it kills those that are left.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import threading
from typing import Optional

_SCRIPT = """
trap '' HUP INT TERM
groups=''
while read -r word group; do
    if [ "$word" = watch ]; then
        groups="$groups $group"
    else
        left=''
        for each in $groups; do [ "$each" = "$group" ] || left="$left $each"; done
        groups=$left
    fi
done
for each in $groups; do kill -9 "-$each" 2>/dev/null; done
"""

_lock = threading.Lock()
_is_missing = False
_warden: Optional[subprocess.Popen[bytes]] = None


def watch(group: int) -> None:
    """Has the process group killed when this process ends."""
    _tell(f"watch {group}\n")


def forget(group: int) -> None:
    """The group has ended."""
    _tell(f"forget {group}\n")


def _tell(line: str) -> None:
    global _warden, _is_missing
    with _lock:
        if _is_missing:
            return
        try:
            _warden = _warden or _start()
        except OSError:  # an image without a shell: there the children watch over themselves alone
            _is_missing = True
            return
        assert _warden.stdin is not None
        try:
            os.write(_warden.stdin.fileno(), line.encode())
        except (OSError, ValueError):  # closed by the end of the program
            pass  # someone killed it


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", _SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end() -> None:
    if _warden is not None and _warden.stdin is not None:
        _warden.stdin.close()
        _warden.wait()


def _forget_after_fork() -> None:
    global _lock, _warden
    if _warden is not None and _warden.stdin is not None:
        _warden.stdin.close()  # else the fork would keep the pipe open beyond the end of its parent
        _inherited.append(_warden)
    _lock, _warden = threading.Lock(), None


_inherited: list[object] = []
atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
