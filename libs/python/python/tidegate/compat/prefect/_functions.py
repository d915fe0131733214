"""Flows and tasks with the ways to call them that Prefect's users know."""

from __future__ import annotations

import asyncio
import inspect
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional

from ... import _unrecorded, functions
from ..._dependencies import dependencies, resolve
from ..._local_calls import LocalCall, submit
from ..._runtime import current_run
from ...futures import Future
from ...handles import RunHandle
from ...options import Options
from . import _options, _own_loop, _states, _transactions
from ._annotations import allow_failure, plain, quote, unmapped
from ._calls import executing, naming
from ._errors import MappingLengthMismatch, MappingMissingIterable, translated, translating
from ._futures import PrefectDistributedFuture, PrefectFlowRunFuture, PrefectFuture, PrefectFutureList
from ._hooks import adapted
from ._missing import explain
from ._returned import settled, settled_async
from ._states import State


class Function(functions.Function[Any, Any]):
    """A flow or task: a function and the options of Prefect's decorators."""

    def __init__(
        self,
        fn: Callable[..., Any],
        options: Optional[Options | str] = None,
        *,
        scope: Optional[Mapping[str, Any]] = None,
        receiver: Any = functions._NOBODY,
        **given: Any,
    ) -> None:
        if isinstance(options, str):
            given["name"], options = options, None
        given = _options.checked(self.kind, given)
        made = _options.options(options or self._defaults(fn), given)
        super().__init__(fn, _options.bound(made, self), scope=scope, receiver=receiver)
        #: True of an async function.
        self.isasync = self.is_async
        self._has_own_loop = False
        #: What :meth:`in_thread` gives, and the options that it has.
        self._twin: tuple[Optional[Options], Any] = (None, None)
        #: The hooks of a task that undo and confirm what it has done: `on_rollback` and `on_commit`.
        self._undo = _listed(given.get("on_rollback")), _listed(given.get("on_commit"))

    @staticmethod
    def _defaults(fn: Callable[..., Any]) -> Options:
        return Options()

    @property
    def description(self) -> Optional[str]:
        """What it is for; by default what its docstring says."""
        return self.options.description or inspect.getdoc(self.fn)

    @property
    def version(self) -> Optional[str]:
        """Which version of it this is."""
        return self.options.version or None

    @property
    def retries(self) -> int:
        """Further attempts when the code raises."""
        return self.options.retries

    @property
    def retry_delay_seconds(self) -> Any:
        """Seconds before each retry."""
        return self.options.retry_delay_seconds

    @property
    def timeout_seconds(self) -> Optional[float]:
        """How long one attempt may take."""
        return self.options.timeout_seconds

    @property
    def log_prints(self) -> bool:
        """Whether what the code prints goes to the run's log."""
        return self.options.log_prints

    def with_options(self, **given: Any) -> Any:
        """The same function with other options."""
        options, given = _options.own(self.options, given)
        return self._again(_options.options(options, _options.checked(self.kind, given)), self._receiver)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in _options.SHOWN:
            return _options.shown(self.options, name)
        raise AttributeError(explain(f"prefect.{type(self).__name__}.{name}"))

    def tagged(self, tags: Iterable[str]) -> Any:
        """The same function with more tags."""
        return self._again(replace(self.options, tags=sorted({*self.options.tags, *tags})), self._receiver)

    def _on(self, receiver: Any) -> Any:
        bound: Any = super()._on(receiver)
        bound._twin = (None, None)  # that of another receiver
        return bound

    def _again(self, options: Options, receiver: Any) -> Any:
        made: Any = super()._again(options, receiver)
        made._undo = self._undo
        return made

    def __call__(
        self, *args: Any, return_state: bool = False, wait_for: Optional[Iterable[Any]] = None, **kwargs: Any
    ) -> Any:
        """Executes it here and now; with `return_state` it gives the state that the run ends with."""
        with translating():
            arguments = self._arguments(plain(args), plain(kwargs))
        if self.is_async:
            return self._await(arguments, return_state, wait_for)
        call = self._local_call(self._resolved(arguments, wait_for))
        try:
            value = call.run()
        except Exception as error:
            return _ended(self.kind, call, None, translated(error), return_state)
        return _ended(self.kind, call, value, None, return_state)

    async def _await(self, arguments: dict[str, Any], return_state: bool, wait_for: Optional[Iterable[Any]]) -> Any:
        if wait_for is not None or dependencies(arguments):
            arguments = await asyncio.to_thread(self._resolved, arguments, wait_for)
        call = self._local_call(arguments)
        try:
            value = await call.coroutine()
        except Exception as error:
            return _ended(self.kind, call, None, translated(error), return_state)
        return _ended(self.kind, call, value, None, return_state)

    def _local_call(self, arguments: dict[str, Any]) -> LocalCall | _Unrecorded:
        if _is_unrecorded():
            return _Unrecorded(self, arguments)
        call = LocalCall(self, arguments)
        call.future = Future(self.name)  # it tells the id
        return call

    def _resolved(self, arguments: dict[str, Any], wait_for: Optional[Iterable[Any]]) -> dict[str, Any]:
        """The arguments with results in the place of futures, which are waited for."""
        with translating():
            if wait_for is not None:
                resolve(plain(list(wait_for)))
            return self.resolved(arguments)

    def submit(
        self, *args: Any, return_state: bool = False, wait_for: Optional[Iterable[Any]] = None, **kwargs: Any
    ) -> Any:
        """Executes it in the background of this process and gives a future; with `return_state`, the state it ends with."""
        with translating():
            arguments = self._arguments(plain(args), plain(kwargs))
        future = self._submitted(arguments, wait_for)
        if return_state:
            future.wait()
            return future.state
        return future

    def map(
        self,
        *args: Any,
        return_state: bool = False,
        wait_for: Optional[Iterable[Any]] = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Submits it once for each item of the iterables among the arguments; the others are the same for all calls."""
        arguments = self.bind(args, kwargs)
        items, n_calls = _mapped(self.name, arguments)
        start = self._delayed if deferred else self._submitted
        with translating():
            calls = [self._plain({name: values[n] for name, values in items.items()}) for n in range(n_calls)]
        futures = PrefectFutureList(start(call, wait_for) for call in calls)
        if return_state:
            futures.wait()
            return [future.state for future in futures]
        return futures

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Has a worker execute it."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Optional[Iterable[Any]] = None,
        kwargs: Optional[dict[str, Any]] = None,
        wait_for: Optional[Iterable[Any]] = None,
        dependencies: Optional[dict[str, Any]] = None,
    ) -> Any:
        """As :meth:`delay`, once those of `wait_for` have ended."""
        with translating():
            arguments = self._arguments(plain(tuple(args or ())), plain(dict(kwargs or {})))
        return self._delayed(arguments, wait_for)

    def _plain(self, arguments: dict[str, Any]) -> dict[str, Any]:
        arguments = plain(arguments)
        return arguments if dependencies(arguments) else self.checked(arguments)

    def _delayed(self, arguments: dict[str, Any], wait_for: Optional[Iterable[Any]]) -> Any:
        with translating():
            if wait_for is not None:
                resolve(plain(list(wait_for)))
            (handle,) = self._delay([arguments])
        return self._future(handle)

    def _submitted(self, arguments: dict[str, Any], wait_for: Optional[Iterable[Any]]) -> Any:
        start = _unrecorded.submit if _is_unrecorded() else submit
        return self._future(start(self.in_thread(), arguments, plain(list(wait_for or ()))))

    def _future(self, source: Any) -> PrefectFuture[Any]:
        return PrefectFuture(source)

    def as_served(self) -> Any:
        """The same function under the name that workers know it by."""
        return self

    def in_thread(self) -> Any:
        """The same function, for threads that have no event loop: an async one makes its own."""
        if not self.is_async:
            return self
        options, made = self._twin
        if options is not self.options:
            made = self._again(self.options, self._receiver)
            made.is_async, made._has_own_loop = False, True
            self._twin = (self.options, made)
        return made

    def call_with(self, arguments: dict[str, Any]) -> Any:
        """Calls the function as it was written, with arguments by the names of its parameters."""
        if self.isasync:
            code = self._code(arguments)
            return _own_loop.run(code) if self._has_own_loop else code
        with self._executing(arguments):
            return settled(super().call_with(arguments))

    async def _code(self, arguments: dict[str, Any]) -> Any:
        with self._executing(arguments):
            return await settled_async(await super().call_with(arguments))

    @contextmanager
    def _executing(self, arguments: dict[str, Any]) -> Iterator[None]:
        undoing = _transactions.of_task(*self._undo) if any(self._undo) else nullcontext()
        with executing(self, self._with_defaults(arguments)), undoing:
            yield

    def _with_defaults(self, arguments: dict[str, Any]) -> dict[str, Any]:
        parameters = self._signature.parameters.items()
        return {
            name: arguments.get(name, parameter.default)
            for name, parameter in parameters
            if name in arguments or parameter.default is not parameter.empty
        }

    def _run_name(self, arguments: dict[str, Any]) -> str:
        with naming(self, self._with_defaults(arguments)):
            return super()._run_name(arguments)

    def _hook(self, option: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Adds a hook: for ``@my_flow.on_failure``."""
        changes: dict[str, Any] = {option: [*getattr(self.options, option), *adapted(hook)]}
        self.options = replace(self.options, **changes)
        return hook

    def on_completion(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Has `fn` called when a run has completed."""
        return self._hook("on_completion", fn)

    def on_failure(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Has `fn` called when a run has failed for good."""
        return self._hook("on_failure", fn)

    def on_running(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Has `fn` called when an attempt begins."""
        return self._hook("on_running", fn)


class Flow(Function, functions.Flow[Any, Any]):
    """A function that may start other work."""

    kind = "flow"

    @staticmethod
    def _defaults(fn: Callable[..., Any]) -> Options:
        return Options(name=getattr(getattr(fn, "__func__", fn), "__name__", "").replace("_", "-"))

    def _future(self, source: Any) -> PrefectFuture[Any]:
        return PrefectFlowRunFuture(source)

    def encoded(self, arguments: dict[str, Any]) -> tuple[str, bytes]:
        """`arguments` as they travel, with the defaults of those that were not given: `FlowRun.parameters` has them."""
        return super().encoded(self.with_defaults(arguments))

    def on_crashed(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Has `fn` called when a run has crashed."""
        return self._hook("on_crashed", fn)

    def on_cancellation(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Has `fn` called when a run was cancelled."""
        return self._hook("on_cancellation", fn)

    @classmethod
    def from_source(cls, source: Any, entrypoint: str) -> Any:
        """Not there."""
        raise NotImplementedError(explain("prefect.Flow.from_source"))

    def deploy(self, name: str, **options: Any) -> Any:
        """Makes a deployment of a work pool, whose workers start its runs; gives its id. In async code await it."""
        from . import _pooled

        return _pooled.deploy(self, name, options)

    def to_deployment(self, name: str, **options: Any) -> Any:
        """This flow under a name, to be given to `serve`."""
        return _serving().deployment_of(self, name, options)

    def serve(
        self, name: Optional[str] = None, limit: Optional[int] = None, webserver: bool = False, **options: Any
    ) -> Any:
        """Makes it known to the server under a name, and executes its runs until SIGTERM or SIGINT."""
        return _serving().serve(self.to_deployment(name or self.name, **options), limit=limit, webserver=webserver)


class Task(Function, functions.Task[Any, Any]):
    """A unit of work."""

    kind = "task"

    def __init__(self, fn: Callable[..., Any], options: Optional[Options | str] = None, **given: Any) -> None:
        super().__init__(fn, options, **given)
        #: What workers know it by: the name that it was made with, also where `with_options` gave it another.
        self.task_key = self.name

    @staticmethod
    def _defaults(fn: Callable[..., Any]) -> Options:
        return Options(validate_parameters=False)  # only flows check what they are called with

    @property
    def tags(self) -> set[str]:
        """Words to find its runs by."""
        return set(self.options.tags)

    def _again(self, options: Options, receiver: Any) -> Any:
        made: Any = super()._again(options, receiver)
        made.task_key = self.task_key
        return made

    def as_served(self) -> Any:
        """The same function under the name that workers know it by."""
        if self.name == self.task_key:
            return self
        return self._again(replace(self.options, name=self.task_key), self._receiver)

    def _delay(self, calls: list[dict[str, Any]]) -> list[RunHandle[Any]]:
        """A name that `with_options` gave is that of the runs: workers take what has the name that they serve."""
        served: Any = self.as_served()
        if served is self:
            return super()._delay(calls)
        if not self.options.run_name:
            served.options = replace(served.options, run_name=lambda: self.name)  # as it is, whatever braces it has
        delayed: list[RunHandle[Any]] = served._delay(calls)
        return delayed

    def on_rollback(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Has `fn` called with the transaction when what the task has done is to be undone."""
        self._undo[0].append(fn)
        return fn

    def on_commit(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Has `fn` called with the transaction when what the task has done is to stay."""
        self._undo[1].append(fn)
        return fn

    def serve(self, limit: Optional[int] = None, **options: Any) -> Any:
        """Executes its delayed runs until SIGTERM or SIGINT."""
        return _serving().serve_tasks(self, limit=limit, **options)

    def _future(self, source: Any) -> PrefectFuture[Any]:
        return super()._future(source) if isinstance(source, Future) else PrefectDistributedFuture(source)


def flow(fn: Optional[Callable[..., Any]] = None, /, **given: Any) -> Any:
    """Makes a function a flow: ``@flow`` or ``@flow(name="nightly", retries=2)``."""
    if fn is None:
        return lambda fn: Flow(fn, scope=functions._scope_of(sys._getframe(1)), **given)
    return Flow(fn, scope=functions._scope_of(sys._getframe(1)), **given)


def task(fn: Optional[Callable[..., Any]] = None, /, **given: Any) -> Any:
    """Makes a function a task: ``@task`` or ``@task(retries=3)``."""
    if fn is None:
        return lambda fn: Task(fn, scope=functions._scope_of(sys._getframe(1)), **given)
    return Task(fn, scope=functions._scope_of(sys._getframe(1)), **given)


def _listed(hooks: Any) -> list[Any]:
    return [hooks] if callable(hooks) else list(hooks or ())


def _serving() -> Any:
    from . import _serving

    return _serving


def _is_unrecorded() -> bool:
    return current_run() is None and _unrecorded.is_off()


class _Unrecorded:
    """A call of which the server learns nothing, with what is asked of :class:`LocalCall`."""

    future: Optional[Future[Any]] = None

    def __init__(self, function: Function, arguments: dict[str, Any]) -> None:
        self._call = function, arguments

    def run(self) -> Any:
        """In plain code."""
        return _unrecorded.call(*self._call)

    def coroutine(self) -> Any:
        """In async code."""
        return _unrecorded.call_async(*self._call)


def _ended(kind: str, call: LocalCall | _Unrecorded, value: Any, error: Optional[BaseException], return_state: bool) -> Any:
    if not return_state:
        if error is not None:
            raise error
        return value
    if error is not None:
        state = _states.of_error(error)
    elif call.future is None:
        state = State("COMPLETED", data=value)
    else:
        state = State("COMPLETED", call.future._found or None, call.future._said or None, data=value)
    if call.future is not None and call.future.id is not None:
        _states.is_of(state, kind, call.future.id)
    return state


def _mapped(name: str, arguments: dict[str, Any]) -> tuple[dict[str, list[Any]], int]:
    """The argument of each call, by parameter, and how many calls there are."""
    items: dict[str, list[Any]] = {}
    same: dict[str, Any] = {}
    for parameter, value in arguments.items():
        inner = value.value if isinstance(value, (allow_failure, quote)) else value
        if isinstance(inner, unmapped):
            same[parameter] = inner.value
        elif _is_mapped(inner):
            marked = type(value) if inner is not value else None
            items[parameter] = [marked(item) if marked else item for item in inner]
        else:
            same[parameter] = value
    lengths = {len(values) for values in items.values()}
    if not items:
        raise MappingMissingIterable(f"`{name}.map` needs at least one list, or other iterable, to take items from")
    if len(lengths) > 1:
        told = ", ".join(f"{parameter}: {len(values)}" for parameter, values in items.items())
        raise MappingLengthMismatch(f"`{name}.map` was given iterables of different lengths ({told})")
    (n_calls,) = lengths
    return {**items, **{parameter: [value] * n_calls for parameter, value in same.items()}}, n_calls


def _is_mapped(value: Any) -> bool:
    if isinstance(value, (str, bytes, bytearray, PrefectFuture, State, datetime)):
        return False
    return hasattr(value, "__iter__")
