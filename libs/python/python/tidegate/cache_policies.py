"""What makes two calls the same, so that the result of the first serves the second.

    @task(cache_policy=INPUTS + TASK_SOURCE, cache_expiration=3600)
    def load(path: str) -> list[str]: ...

Policies are added (`INPUTS + RUN_ID`), and an input is left out by its name (`INPUTS - "debug"`). A key is of the function
as well: calls of two functions never share a result.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional

from . import _hashing
from ._runtime import RunContext, current_run
from .errors import InvalidArgument

if TYPE_CHECKING:
    from .functions import Function

__all__ = [
    "DEFAULT",
    "INPUTS",
    "NO_CACHE",
    "RUN_ID",
    "TASK_SOURCE",
    "CacheContext",
    "CacheKeyFnPolicy",
    "CachePolicy",
]


class CacheContext:
    """What a policy may know of a call beside its inputs."""

    def __init__(self, function: Function[Any, Any]) -> None:
        #: The flow or task that is called.
        self.task = function
        #: The run that calls it; None outside of any.
        self.run: Optional[RunContext] = current_run()


class CachePolicy:
    """Makes the key of a call. For one of your own, override :meth:`compute_key`."""

    def compute_key(
        self, task_ctx: CacheContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> Optional[str]:
        """The key of a call; None: it is not cached.

        :param task_ctx: what is called, and by which run.
        :param inputs: the arguments by the names of the parameters, with the defaults of the others.
        :param flow_parameters: the arguments of the run that calls it; empty outside of any.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method compute_key(task_ctx, inputs, flow_parameters)")

    def configure(
        self, key_storage: Any = None, lock_manager: Any = None, isolation_level: Any = None
    ) -> CachePolicy:
        """The same policy with keys of its own: its calls share results with those of policies alone that name the same
        `key_storage`.

        The server keeps keys and results for every process, so a storage is only its name here. It has no locks that calls
        with equal keys wait for: `lock_manager`, and an `isolation_level` that needs them, are errors.

        :param key_storage: a text, or a path.
        """
        level = str(getattr(isolation_level, "value", isolation_level or "")).rpartition(".")[2].upper()
        if lock_manager is not None or level not in ("", "READ_COMMITTED"):
            what = "lock_manager" if lock_manager is not None else f"isolation_level={isolation_level!r}"
            raise NotImplementedError(
                f"configure({what}): calls with equal keys do not wait for each other's results; have the function take a slot "
                'of a limit, with tidegate.concurrency("name"), or call it under one idempotency key'
            )
        if key_storage is None or isinstance(self, _NoCache):
            return self
        if not isinstance(key_storage, (str, os.PathLike)):
            raise NotImplementedError(
                f"configure(key_storage={key_storage!r}): the server keeps the keys of caches, so a storage is only a name that "
                "tells them apart: give a text or a path"
            )
        return _Named(self, os.fspath(key_storage))

    def __add__(self, other: CachePolicy) -> CachePolicy:
        if not isinstance(other, CachePolicy):
            raise InvalidArgument(f"a cache policy is added to another one, not to {other!r}")
        parts = [part for policy in (self, other) for part in _parts_of(policy)]
        if not parts:
            return NO_CACHE
        return parts[0] if len(parts) == 1 else _Compound(parts)

    def __sub__(self, name: str) -> CachePolicy:
        if not isinstance(name, str):
            raise InvalidArgument(f"what is left out of a cache policy is the name of a parameter, not {name!r}")
        return self._without(name)

    def _without(self, name: str) -> CachePolicy:
        raise InvalidArgument(
            f'`- "{name}"` leaves an input out of INPUTS, which {type(self).__name__} does not have: add it, as in '
            f'INPUTS - "{name}"'
        )

    def _has_inputs(self) -> bool:
        return False


class CacheKeyFnPolicy(CachePolicy):
    """The key is what a function makes of the run that calls (None outside of any) and the arguments."""

    def __init__(self, cache_key_fn: Callable[[Optional[RunContext], dict[str, Any]], Optional[str]]) -> None:
        #: The function.
        self.cache_key_fn = cache_key_fn

    def compute_key(
        self, task_ctx: CacheContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> Optional[str]:
        """See :class:`CachePolicy`."""
        return self.cache_key_fn(task_ctx.run, inputs)


class _Compound(CachePolicy):
    def __init__(self, parts: list[CachePolicy]) -> None:
        self.parts = parts

    def compute_key(
        self, task_ctx: CacheContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> Optional[str]:
        keys = [part.compute_key(task_ctx, inputs, flow_parameters, **kwargs) for part in self.parts]
        if any(key is None for key in keys):  # one that wants no caching has its will
            return None
        return _hashing.of_texts(*(key or "" for key in keys))

    def _without(self, name: str) -> CachePolicy:
        if not self._has_inputs():
            return super()._without(name)
        return _Compound([part._without(name) if part._has_inputs() else part for part in self.parts])

    def _has_inputs(self) -> bool:
        return any(part._has_inputs() for part in self.parts)


class _Named(CachePolicy):
    def __init__(self, policy: CachePolicy, storage: str) -> None:
        self.policy = policy
        self.storage = storage

    def compute_key(
        self, task_ctx: CacheContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> Optional[str]:
        key = self.policy.compute_key(task_ctx, inputs, flow_parameters, **kwargs)
        return None if key is None else _hashing.of_texts(self.storage, key)

    def _without(self, name: str) -> CachePolicy:
        return _Named(self.policy._without(name), self.storage)

    def _has_inputs(self) -> bool:
        return self.policy._has_inputs()


class _NoCache(CachePolicy):
    def compute_key(
        self, task_ctx: CacheContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> Optional[str]:
        return None

    def _without(self, name: str) -> CachePolicy:
        return self


class _Inputs(CachePolicy):
    def __init__(self, left_out: frozenset[str] = frozenset()) -> None:
        self.left_out = left_out

    def compute_key(
        self, task_ctx: CacheContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> Optional[str]:
        unknown = self.left_out - inputs.keys()
        if unknown:
            names = ", ".join(inputs)
            raise InvalidArgument(
                f"the cache policy of `{task_ctx.task.name}` leaves out `{min(unknown)}`, which is none of its parameters: "
                f"{names}"
            )
        counted = {name: value for name, value in inputs.items() if name not in self.left_out}
        return _hashing.of_inputs(counted, task_ctx.task.name)

    def _without(self, name: str) -> CachePolicy:
        return _Inputs(self.left_out | {name})

    def _has_inputs(self) -> bool:
        return True


class _TaskSource(CachePolicy):
    def compute_key(
        self, task_ctx: CacheContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> Optional[str]:
        return _hashing.of_source(task_ctx.task.fn)


class _RunId(CachePolicy):
    def compute_key(
        self, task_ctx: CacheContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> Optional[str]:
        # Outside of a run each call is a run of its own, and shares with none.
        return None if task_ctx.run is None else task_ctx.run.run_id


def _parts_of(policy: CachePolicy) -> list[CachePolicy]:
    if isinstance(policy, _NoCache):
        return []
    return policy.parts if isinstance(policy, _Compound) else [policy]


#: No caching.
NO_CACHE = _NoCache()
#: Calls with equal arguments are the same.
INPUTS = _Inputs()
#: Calls of the same source code are the same: a change of the function is a new one.
TASK_SOURCE = _TaskSource()
#: Calls within one run are the same; outside of a run nothing is.
RUN_ID = _RunId()
#: Equal arguments, the same source code, within one run.
DEFAULT = INPUTS + TASK_SOURCE + RUN_ID

#: Bytes of a cache key that the server takes.
_MAX_KEY_BYTES = 512


def key_of(function: Function[Any, Any], policy: CachePolicy, arguments: Mapping[str, Any]) -> str:
    """The cache key of a call; empty: it is not cached."""
    context = CacheContext(function)
    flow_parameters = {} if context.run is None else dict(getattr(context.run, "parameters", None) or {})
    key = policy.compute_key(context, function.with_defaults(arguments), flow_parameters)
    if key is None:
        return ""
    if not isinstance(key, str):
        raise InvalidArgument(
            f"the cache policy of `{function.name}` has given {key!r} as its key: give a string, or None for no caching"
        )
    # A function's name may be long, and what a policy gives, too.
    return bounded(f"{function.kind}:{function.name}:{key}")


def bounded(key: str) -> str:
    """`key` itself, or its hash where it is longer than the server takes."""
    data = key.encode()
    return key if len(data) <= _MAX_KEY_BYTES else f"sha256:{hashlib.sha256(data).hexdigest()}"


def checked(policy: Any, what: str) -> None:
    """Raises where `policy` is none."""
    if not isinstance(policy, CachePolicy):
        given = policy.__name__ if isinstance(policy, type) else repr(policy)
        raise InvalidArgument(
            f"the cache_policy of `{what}` is {given}: give one of tidegate.cache_policies, such as INPUTS, or an instance of a "
            "CachePolicy of your own"
        )
