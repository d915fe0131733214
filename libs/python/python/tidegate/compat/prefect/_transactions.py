"""Transactions: groups of tasks of this process of which each is undone when the group fails.

Nothing of a transaction outlives the process: its key finds no earlier one, and its values are not kept.
"""

from __future__ import annotations

import enum
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, AsyncIterator, Callable, Iterator, Optional, Sequence

from ..._logging import get_run_logger

_NOTHING: Any = object()


class CommitMode(enum.Enum):
    """When a transaction in another one is committed."""

    #: With the outer one.
    LAZY = "LAZY"
    #: At its own end.
    EAGER = "EAGER"


class TransactionState(enum.Enum):
    """How far a transaction is."""

    ACTIVE = "ACTIVE"
    STAGED = "STAGED"
    COMMITTED = "COMMITTED"
    ROLLED_BACK = "ROLLED_BACK"


class Transaction:
    """A group of tasks, or one of them."""

    def __init__(self, key: Optional[str] = None, parent: Optional[Transaction] = None) -> None:
        self.key = key
        self.parent = parent
        self.state = TransactionState.ACTIVE
        self.children: list[Transaction] = []
        self._values: dict[str, Any] = {}
        self._on_commit: Sequence[Callable[[Transaction], Any]] = ()
        self._on_rollback: Sequence[Callable[[Transaction], Any]] = ()

    def set(self, name: str, value: Any) -> None:
        """Keeps a value for hooks and for later code of the transaction."""
        self._values[name] = value

    def get(self, name: str, default: Any = _NOTHING) -> Any:
        """A value that was set here or in an outer transaction."""
        if name in self._values:
            return self._values[name]
        if self.parent is not None:
            return self.parent.get(name, default)
        if default is _NOTHING:
            raise ValueError(f"the transaction has no value `{name}`: give a default, or set it first")
        return default

    def stage(self, on_rollback: Sequence[Any], on_commit: Sequence[Any]) -> None:
        """Has these called when it is rolled back, or committed."""
        self._on_rollback, self._on_commit, self.state = on_rollback, on_commit, TransactionState.STAGED

    def is_active(self) -> bool:
        """True while its block runs."""
        return self.state is TransactionState.ACTIVE

    def is_staged(self) -> bool:
        """True when its block has ended and the outer one has not."""
        return self.state is TransactionState.STAGED

    def is_committed(self) -> bool:
        """True once it can no longer be undone."""
        return self.state is TransactionState.COMMITTED

    def is_rolled_back(self) -> bool:
        """True once it was undone."""
        return self.state is TransactionState.ROLLED_BACK

    def commit(self) -> None:
        """Calls the hooks of all that it holds, the first one first."""
        for child in self.children:
            child.commit()
        self.state = TransactionState.COMMITTED
        self._call(self._on_commit)

    def rollback(self) -> None:
        """Undoes all that it holds, the last one first."""
        self.state = TransactionState.ROLLED_BACK
        self._call(reversed(self._on_rollback))
        for child in reversed(self.children):
            child.rollback()

    def _call(self, hooks: Any) -> None:
        for hook in hooks:
            try:
                hook(self)
            except Exception:
                get_run_logger("transactions").exception("the hook `%s` raised", getattr(hook, "__name__", hook))


_current: ContextVar[Optional[Transaction]] = ContextVar("tidegate_prefect_transaction", default=None)


def get_transaction() -> Optional[Transaction]:
    """That of the running code."""
    return _current.get()


@contextmanager
def transaction(
    key: Optional[str] = None,
    store: Any = None,
    commit_mode: CommitMode = CommitMode.LAZY,
    overwrite: bool = False,
    write_on_commit: bool = True,
    logger: Any = None,
) -> Iterator[Transaction]:
    """A group of tasks: where the block raises, those that have completed are undone by their `on_rollback`."""
    with _entered(Transaction(key, _current.get()), commit_mode) as entered:
        yield entered


@asynccontextmanager
async def atransaction(**options: Any) -> AsyncIterator[Transaction]:
    """As :func:`transaction`."""
    with transaction(**options) as entered:
        yield entered


@contextmanager
def of_task(on_rollback: Sequence[Any], on_commit: Sequence[Any]) -> Iterator[None]:
    """Around the code of a task with these hooks."""
    own = Transaction(parent=_current.get())
    with _entered(own, CommitMode.LAZY):
        yield
        own.stage(on_rollback, on_commit)


@contextmanager
def _entered(entered: Transaction, commit_mode: CommitMode) -> Iterator[Transaction]:
    token = _current.set(entered)
    try:
        yield entered
    except BaseException:
        entered.rollback()
        raise
    finally:
        _current.reset(token)
    if entered.parent is None or commit_mode is CommitMode.EAGER:
        entered.commit()
    else:
        entered.state = TransactionState.STAGED
        entered.parent.children.append(entered)
