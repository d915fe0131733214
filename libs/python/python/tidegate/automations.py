"""Automations: what the server itself does when something happens to a run, whatever has become of its process.

    from tidegate.automations import Automation, webhook

    page = webhook("https://hooks.example.com/page", headers={"Authorization": f"Bearer {token}"})
    Automation.set("page-me", page, state="CRASHED", filter='tags:"nightly"')

A run that crashes together with its worker has nobody to call its hooks; an automation is carried out by the server.

`set`, `get`, `ls`, `pause`, `resume`, `delete` and `firings` work from plain and from async code: in async code they give an awaitable,
else they wait. `aset`, `aget`, `als`, `apause`, `aresume`, `adelete` and `afirings` always give an awaitable.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Iterable, Mapping, Optional, Sequence, Union

from . import _core
from ._connection import client
from ._dual import Pending, answer, dual
from ._timetables import time_of
from .errors import InvalidArgument
from .runs import _state
from .schedules import _time
from .states import State

__all__ = ["Automation", "Firing", "Webhook", "webhook"]


@dataclass(frozen=True, repr=False)
class Webhook:
    """A web server that is told by a POST of JSON, as :func:`webhook` makes it."""

    #: Where. Whoever reaches the server sees it.
    url: str
    #: Further headers. Of an automation that the server tells of, their values are empty.
    headers: Mapping[str, str]
    #: What it is signed with. Of an automation that the server tells of, it is `whsec_` alone where it is signed, which cannot be
    #: set back.
    signing_secret: str
    #: How long an answer may take. None: 10 s.
    timeout_seconds: Optional[float]

    def __repr__(self) -> str:
        # Secrets do not get into logs.
        return f"Webhook(url={self.url!r}, headers={list(self.headers)!r}, timeout_seconds={self.timeout_seconds!r})"


def webhook(
    url: str,
    *,
    headers: Optional[Mapping[str, str]] = None,
    signing_secret: str = "",
    timeout_seconds: Optional[float] = None,
) -> Webhook:
    """A web server that is told by a POST of JSON, as the Standard Webhooks specification has it: `text` is a sentence for
    people, and `data` has the event and the run.

    An answer of 2xx is success. Where there is none in time, and after 408, 429 and 5xx, it is tried again for 24 hours; then, and
    after any other answer, it is given up. So it is told at least once: `webhook-id` is the same in every try.

    :param url: ``https://…`` or ``http://…``. Whoever reaches the server sees it: secrets belong into headers.
    :param headers: further headers, ``Authorization`` say; at most 20. The server keeps their values, and gives them to nobody else.
    :param signing_secret: a key of 24 to 64 bytes, as base64 behind ``whsec_``, by which the header ``webhook-signature`` is made.
        The server keeps it to itself. Default: no signature.
    :param timeout_seconds: how long an answer may take, from 1 to 30. Default: 10.
    """
    if not isinstance(url, str):
        raise InvalidArgument(f"webhook(url={url!r}): give a text, such as 'https://hooks.example.com/page'")
    if not isinstance(signing_secret, str):
        raise InvalidArgument(f"webhook(signing_secret=…) is a {type(signing_secret).__name__}: give a text, 'whsec_…'")
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidArgument(f"webhook(headers=…): the value of {name!r} is a {type(value).__name__}: both are texts")
    if timeout_seconds is not None and (
        isinstance(timeout_seconds, bool) or not isinstance(timeout_seconds, (int, float)) or not 0 <= timeout_seconds < 1e10
    ):
        raise InvalidArgument(f"webhook(timeout_seconds={timeout_seconds!r}): give a number of seconds from 1 to 30")
    return Webhook(url, dict(headers or {}), signing_secret, timeout_seconds)


@dataclass(frozen=True)
class Firing:
    """That an automation was set off, and has not done its work yet, or has given it up."""

    #: The run that set it off.
    run_id: str
    #: The number of the event in the history of the run.
    event_seq: int
    #: The state that the run entered.
    state: State
    #: When it entered it.
    entered_at: datetime
    #: How often it was tried.
    n_tries: int
    #: What the last try failed of. Empty: none has failed.
    last_error: str
    #: When it is tried next. None: it was given up.
    due_at: Optional[datetime]
    #: When it was given up. It is shown for 7 days more. None: it was not.
    given_up_at: Optional[datetime]


@dataclass(frozen=True)
class Automation:
    """An automation, as it was when it was asked for."""

    #: Its name: 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
    name: str
    #: What it is for.
    description: str
    #: The types of states that set it off.
    states: Sequence[str]
    #: The names of states that set it off.
    state_names: Sequence[str]
    #: Which runs set it off. Empty: all.
    filter: str
    #: Whether the end of an attempt sets it off that is followed by another one.
    each_attempt: bool
    #: What is done, without its secrets. None: something that this version of the package does not know.
    action: Optional[Webhook]
    #: True: nothing sets it off, and its firings wait.
    is_paused: bool
    #: How often it was carried out with success.
    n_succeeded: int
    #: How many firings were given up.
    n_given_up: int
    #: What the last try that failed failed of. Empty: none has, or one has succeeded since.
    last_error: str
    #: When it was last carried out with success. None: never.
    last_succeeded_at: Optional[datetime]
    #: When it was made.
    created_at: datetime
    #: When somebody last changed it.
    updated_at: datetime

    @classmethod
    def set(
        cls,
        name: str,
        action: Webhook,
        *,
        state: Union[str, Iterable[str]] = (),
        state_name: Union[str, Iterable[str]] = (),
        filter: str = "",
        each_attempt: bool = False,
        description: str = "",
        overwrite: bool = False,
    ) -> Any:
        """Makes an automation, and gives it. It is set off by what happens from then on.

        Raises :class:`AlreadyExists` where it is there, unless `overwrite` is set: then all of it is replaced, with its secrets, but
        whether it is paused.

        :param action: what is done, such as ``webhook("https://…")``.
        :param state: by a run that enters a state of this type, or of one of these: ``"CRASHED"``, ``["FAILED", "CRASHED"]``.
        :param state_name: also by one of this name, or of one of these: ``"Late"``, ``"TimedOut"``, ``"Expired"``.
        :param filter: only by runs for which this holds, in the language of `tidegate run ls --filter`: ``'tags:"nightly"'``. It is asked
            once, of the run as it is a moment later.
        :param each_attempt: also by the end of an attempt that is followed by another one. Default: ``COMPLETED``, ``FAILED``,
            ``CRASHED`` and ``CANCELLED`` set it off where the run has come to its end.
        :param description: what it is for.
        """
        op = _set(name, action, state, state_name, filter, each_attempt, description, overwrite)
        return dual(answer(op, _automation))

    @classmethod
    async def aset(
        cls,
        name: str,
        action: Webhook,
        *,
        state: Union[str, Iterable[str]] = (),
        state_name: Union[str, Iterable[str]] = (),
        filter: str = "",
        each_attempt: bool = False,
        description: str = "",
        overwrite: bool = False,
    ) -> Automation:
        """As :meth:`set`, for async code."""
        op = _set(name, action, state, state_name, filter, each_attempt, description, overwrite)
        made: Automation = await Pending(answer(op, _automation))
        return made

    @classmethod
    def get(cls, name: str) -> Any:
        """An automation, without its secrets; raises :class:`NotFound` where there is none of this name."""
        return dual(answer(_automations().get(name), _automation))

    @classmethod
    async def aget(cls, name: str) -> Automation:
        """As :meth:`get`, for async code."""
        found: Automation = await Pending(answer(_automations().get(name), _automation))
        return found

    @classmethod
    def ls(cls) -> Any:
        """All automations, by name."""
        return dual(answer(_automations().all(), _all))

    @classmethod
    async def als(cls) -> list[Automation]:
        """As :meth:`ls`, for async code."""
        found: list[Automation] = await Pending(answer(_automations().all(), _all))
        return found

    @classmethod
    def pause(cls, name: str) -> Any:
        """Has nothing set an automation off until it is resumed, and its firings wait; gives it."""
        return dual(answer(_automations().pause(name), _automation))

    @classmethod
    async def apause(cls, name: str) -> Automation:
        """As :meth:`pause`, for async code."""
        paused: Automation = await Pending(answer(_automations().pause(name), _automation))
        return paused

    @classmethod
    def resume(cls, name: str) -> Any:
        """Has an automation set off again by what happens from now on, and its firings that wait carried out; gives it."""
        return dual(answer(_automations().resume(name), _automation))

    @classmethod
    async def aresume(cls, name: str) -> Automation:
        """As :meth:`resume`, for async code."""
        resumed: Automation = await Pending(answer(_automations().resume(name), _automation))
        return resumed

    @classmethod
    def delete(cls, name: str) -> Any:
        """Takes an automation away, and its firings that are still to be carried out; False where there is none of this name."""
        return dual(answer(_automations().delete(name), bool))

    @classmethod
    async def adelete(cls, name: str) -> bool:
        """As :meth:`delete`, for async code."""
        return bool(await Pending(answer(_automations().delete(name), bool)))

    @classmethod
    def firings(cls, name: str, *, limit: int = 100) -> Any:
        """The times that an automation was set off and is still to be carried out, or was given up: :class:`Firing` each. One that
        succeeded is gone.

        :param limit: at most so many.
        """
        return dual(answer(_automations().firings(name, _checked(limit)), _firings))

    @classmethod
    async def afirings(cls, name: str, *, limit: int = 100) -> list[Firing]:
        """As :meth:`firings`, for async code."""
        found: list[Firing] = await Pending(answer(_automations().firings(name, _checked(limit)), _firings))
        return found


def _automations() -> _core.Automations:
    return _core.Automations(client())


def _set(
    name: str,
    action: Webhook,
    state: Union[str, Iterable[str]],
    state_name: Union[str, Iterable[str]],
    filter: str,
    each_attempt: bool,
    description: str,
    overwrite: bool,
) -> _core.Op:
    if not isinstance(action, Webhook):
        raise InvalidArgument(f"automation `{name}` is to do {action!r}: give a webhook(...), such as webhook('https://…')")
    return _automations().set(
        name,
        description=description,
        states=[_state(each) for each in ([state] if isinstance(state, str) else state)],
        state_names=[state_name] if isinstance(state_name, str) else list(state_name),
        filter=filter,
        each_attempt=each_attempt,
        url=action.url,
        headers=dict(action.headers),
        signing_secret=action.signing_secret,
        timeout=action.timeout_seconds,
        overwrite=overwrite,
    )


def _automation(facts: Mapping[str, Any]) -> Automation:
    """An automation as the core tells of it."""
    hook = facts["webhook"]
    return Automation(
        name=facts["name"],
        description=facts["description"],
        states=facts["states"],
        state_names=facts["state_names"],
        filter=facts["filter"],
        each_attempt=facts["each_attempt"],
        action=None if hook is None else Webhook(*hook),
        is_paused=facts["is_paused"],
        n_succeeded=facts["n_succeeded"],
        n_given_up=facts["n_given_up"],
        last_error=facts["last_error"],
        last_succeeded_at=time_of(facts["last_succeeded_at"]),
        created_at=_time(facts["created_at"]),
        updated_at=_time(facts["updated_at"]),
    )


def _all(found: Sequence[Mapping[str, Any]]) -> list[Automation]:
    return [_automation(facts) for facts in found]


def _firings(found: Sequence[Mapping[str, Any]]) -> list[Firing]:
    return [
        Firing(
            run_id=facts["run_id"],
            event_seq=facts["event_seq"],
            state=State(*facts["state"]),
            entered_at=_time(facts["entered_at"]),
            n_tries=facts["n_tries"],
            last_error=facts["last_error"],
            due_at=time_of(facts["due_at"]),
            given_up_at=time_of(facts["given_up_at"]),
        )
        for facts in found
    ]


def _checked(limit: int) -> int:
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise InvalidArgument(f"firings(limit={limit!r}): it is a whole number from 1")
    return limit
