"""What the values of options may be. A wrong one is told where it is written, before anything is made of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from numbers import Integral, Real
from typing import Any, Iterable, Mapping, NamedTuple, Optional

from .errors import InvalidArgument

_DAY = 86_400
_YEAR = 365 * _DAY


class _Number(NamedTuple):
    """A number within bounds."""

    least: float
    most: float
    is_whole: bool = False
    #: Of another type, which it may have instead.
    other: Optional[type] = None
    #: The same, for people.
    other_text: str = ""
    #: None says what leaving it out says.
    may_be_none: bool = True

    def fault(self, value: Any) -> str:
        """What it is to be instead; empty where it is right."""
        if value is None and self.may_be_none or self.other is not None and isinstance(value, self.other):
            return ""
        kind = Integral if self.is_whole else Real
        if isinstance(value, kind) and not isinstance(value, bool) and self.least <= value <= self.most:  # type: ignore[operator] # pyright: ignore
            return ""
        what = "a whole number" if self.is_whole else "a number" if self.most == 1 else "a number of seconds"
        return f"{what} from {self.least:,} to {self.most:,}{self.other_text}"


_A_TIME = " from now on, or a datetime, such as datetime.now(timezone.utc) + timedelta(hours=1)"
_NUMBERS = {
    "retries": _Number(0, 10_000, is_whole=True, may_be_none=False),
    "max_crashes": _Number(0, 2**32 - 1, is_whole=True),
    "max_workers": _Number(1, 10_000, is_whole=True, may_be_none=False),
    "priority": _Number(-100, 100, is_whole=True, may_be_none=False),
    "retry_jitter_factor": _Number(0, 1, may_be_none=False),
    "timeout_seconds": _Number(0.001, _YEAR),
    "cancel_grace_seconds": _Number(0, 3_600),
    "countdown": _Number(-_YEAR, 10 * _YEAR),
    "expires": _Number(-_YEAR, 10 * _YEAR, other=datetime, other_text=_A_TIME),
    "cache_expiration": _Number(1, _YEAR, other=timedelta, other_text=", or a timedelta"),
}
_WORDS = {"execution": ("process", "thread"), "on_unawaited_failure": ("fail", "ignore")}
_TEXTS = (
    "name", "description", "version", "deployment", "cache_key", "queue", "fairness_key", "idempotency_key"
)  # fmt: skip
_LISTS = ("tags", "concurrency_limits", "retry_on", "never_retry_on")
_MAPPINGS = ("labels", "require_labels")


def check(options: Mapping[str, Any]) -> None:
    """Raises what is wrong with one of `options`, which are known by name."""
    for name, value in options.items():
        fault = _fault(name, value)
        if fault:
            raise InvalidArgument(f"{name}={_shown(value)}: it is {fault}")


def _fault(name: str, value: Any) -> str:
    if name in _NUMBERS:
        return _NUMBERS[name].fault(value)
    if name in _WORDS:
        first, second = _WORDS[name]
        is_right = value in (first, second) or value is None and name == "execution"
        return "" if is_right else f'"{first}" or "{second}"'
    if name in _TEXTS:
        return "" if value is None or isinstance(value, str) else "a text"
    if name in _LISTS:
        return _fault_of_list(name, value)
    if name in _MAPPINGS:
        return "" if isinstance(value, Mapping) else f'a dict of texts, as in {name}={{"team": "blue"}}'
    if name == "run_name":
        is_right = value is None or isinstance(value, str) or callable(value)
        return "" if is_right else "a text, which may have parameters in braces, or a function that makes one"
    if name == "eta":
        is_right = value is None or isinstance(value, datetime)
        return "" if is_right else "a datetime; say countdown=60 for a number of seconds from now on"
    return ""


def _fault_of_list(name: str, value: Any) -> str:
    if isinstance(value, str):  # which is a sequence, too: of letters
        return f"a list, as in {name}=[{value!r}]"
    kinds: tuple[type, ...] = (str,)
    what = "texts"
    if name in ("retry_on", "never_retry_on"):
        kinds = (str, type)
        what = "exception classes, or their names"
    is_right = isinstance(value, Iterable) and all(isinstance(item, kinds) for item in value)
    return "" if is_right else f"a list of {what}"


def _shown(value: Any) -> str:
    try:
        return repr(value)[:200]
    except Exception as error:  # the value's own code
        return f"(its text cannot be had: {type(error).__name__} in its __repr__)"
