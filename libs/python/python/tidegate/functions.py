"""`@flow` and `@task`."""

from __future__ import annotations

import inspect
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from functools import update_wrapper
from typing import (
    Any,
    Callable,
    Concatenate,
    Coroutine,
    Generic,
    Iterable,
    Mapping,
    Optional,
    ParamSpec,
    Sequence,
    TypeVar,
    overload,
)

from . import _core, _logging, _payload, _process, _progress, context, hooks, validation
from ._connection import block, client
from ._dependencies import dependencies, resolve
from ._mapping import in_step
from ._runtime import current_run
from .errors import InvalidArgument, ParameterError, PayloadError, _type_name
from .futures import Future, FutureList
from .handles import RunHandle
from .options import Options, checked_options
from .serializers import named

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
#: What an async function gives once it is awaited: the runs of `async def f() -> int` have the result `int`.
T = TypeVar("T")
Self = TypeVar("Self", bound="Function[Any, Any]")

Q = ParamSpec("Q")

#: In the place of what a method is called on, where there is none.
_NOBODY: Any = object()
#: Runs of one request, at most.
_MAX_BATCH = 1_000


class Function(Generic[P, R_co]):
    """A flow or task. Made by :func:`flow` and :func:`task`.

    Call it to execute it here, as a run that the server keeps; `.submit()` it to do so in the background; `.delay()`
    it to have a worker execute it.
    """

    #: ``flow`` or ``task``.
    kind = "task"

    def __init__(
        self,
        fn: Callable[P, R_co],
        options: Options,
        *,
        scope: Optional[Mapping[str, Any]] = None,
        receiver: Any = _NOBODY,
    ) -> None:
        #: The function as it was written.
        self.fn: Callable[P, R_co] = _decorable(fn, self.kind, options.name)
        #: What was said of it.
        self.options = options
        #: What workers know it by.
        self.name = options.name or self.fn.__name__
        self.is_async = inspect.iscoroutinefunction(self.fn)
        #: How it was written in its class: `staticmethod`, `classmethod`, or neither.
        self._binding: Any = type(fn) if isinstance(fn, (staticmethod, classmethod)) else None
        #: What a method is called on.
        self._receiver = receiver
        #: What the hints may name, besides what the module has.
        self._scope = validation.names_in_scope(self.fn, scope) if scope else {}
        self._parameters = validation.Parameters(self.fn, self.name, self._scope)
        self._signature = self._parameters.signature
        #: Its first parameter is a class, which a `@classmethod` above gives to it.
        above = getattr(self.fn, "__qualname__", "").rpartition(".")[0]
        self._is_of_class = next(iter(self._signature.parameters), "") == "cls" and above.rpartition(".")[2] not in ("", "<locals>")
        self._prepared_hooks = (options, hooks.prepared(options, self.name))
        if callable(options.retry_delay_seconds):
            options.delays()  # what is wrong with it is to be told here
        if options.retry_condition_fn is not None:
            hooks.check_condition(options.retry_condition_fn, self.name)
        if options.result_serializer is not None:
            named(options.result_serializer)  # raises for a wrong one where it was written
        self._check_caching()
        if options.log_prints:
            _logging.take_prints()
        update_wrapper(self, self.fn)

    @overload
    def __get__(self: Self, instance: None, owner: Any = None) -> Self: ...
    @overload
    def __get__(
        self: Function[Concatenate[Any, Q], R_co], instance: object, owner: Any = None
    ) -> Function[Q, R_co]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: of an instance, or of its class where it was written so."""
        if self._binding is staticmethod:
            return self
        receiver = owner if self._binding is classmethod else instance
        return self if receiver is None else self._on(receiver)

    def _on(self: Self, receiver: Any) -> Self:
        """The same function, to be called on `receiver`. Each call of a method asks for it: nothing is worked out anew."""
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound._receiver = receiver
        return bound

    def _again(self: Self, options: Options, receiver: Any) -> Self:
        again = type(self)(self.fn, options, scope=self._scope, receiver=receiver)
        again._binding = self._binding
        if again.name == self.name:  # which its errors have
            again._parameters = self._parameters  # with what it has found out of the hints
        return again

    @property
    def _hooks(self) -> dict[str, tuple[hooks.Hook, ...]]:
        options, prepared = self._prepared_hooks
        if options is not self.options:
            prepared = hooks.prepared(self.options, self.name)
            self._prepared_hooks = (self.options, prepared)
        return prepared

    @property
    def execution(self) -> str:
        """``process`` or ``thread``: where a worker executes it."""
        return self.options.execution or ("process" if self.kind == "flow" else "thread")

    def with_options(self: Self, **changes: Any) -> Self:
        """The same function with other options; see :class:`Options`."""
        return self._again(replace(self.options, **checked_options(changes)), self._receiver)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Executes it here and now, as a run of its own; below the current run, where there is one.

        When the current run is executed again, the n-th call of a function with the same arguments finds the run of the
        n-th such call before: one that completed is not repeated and gives its result. See `always_new`.

        An async function gives a coroutine to await, as usual.
        """
        from . import _local_calls, _unrecorded

        arguments = self._arguments(args, kwargs)
        result: Any
        if current_run() is None and _unrecorded.is_off():
            result = (_unrecorded.call_async if self.is_async else _unrecorded.call)(self, arguments)
        elif self.is_async:
            result = _local_calls.call_async(self, arguments)
        else:
            result = _local_calls.LocalCall(self, self.resolved(arguments)).run()
        return result  # type: ignore[no-any-return] # what the function itself gives

    @overload
    def submit(
        self: Function[P, Coroutine[Any, Any, T]], *args: Any, wait_for: Iterable[Any] = (), **kwargs: Any
    ) -> Future[T]: ...
    @overload
    def submit(self, *args: Any, wait_for: Iterable[Any] = (), **kwargs: Any) -> Future[R_co]: ...
    def submit(self, *args: Any, wait_for: Iterable[Any] = (), **kwargs: Any) -> Future[Any]:
        """Executes it in the background of this process and gives a future at once.

        Futures and run handles among the arguments, also inside lists and dicts, are waited for and replaced by their
        results; those in `wait_for` are only waited for. The run that submits does not end before it. When that run is
        executed again, it finds its earlier calls as by :meth:`__call__`.
        """
        from . import _local_calls, _unrecorded

        submit = _unrecorded.submit if current_run() is None and _unrecorded.is_off() else _local_calls.submit
        return submit(self, self._arguments(args, kwargs), list(wait_for))

    @overload
    def map(self: Function[P, Coroutine[Any, Any, T]], *iterables: Any, **constants: Any) -> FutureList[T]: ...
    @overload
    def map(self, *iterables: Any, **constants: Any) -> FutureList[R_co]: ...
    def map(self, *iterables: Any, **constants: Any) -> FutureList[Any]:
        """Submits it once for each item of `iterables`, taken in step.

        Futures among the items are dependencies, as for :meth:`submit`; a future in the place of an iterable is waited for.
        Keyword arguments, positional ones that are not iterable or are texts, and what is wrapped in :class:`unmapped` are
        the same for all.
        """
        futures = FutureList(self.submit(*args, **same) for args, same in in_step(self.name, iterables, constants))
        _progress.follow(f"map {self.name}", futures)
        return futures

    @overload
    def delay(
        self: Function[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> RunHandle[T]: ...
    @overload
    def delay(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R_co]: ...
    def delay(self, *args: P.args, **kwargs: P.kwargs) -> RunHandle[Any]:
        """Has a worker execute it. When this returns the run is durable.

        Inside a run the new one is its child. When that run is executed again, it finds its earlier calls as by
        :meth:`__call__`; those that did not complete are tried again.
        """
        return self._delay([self._arguments(args, kwargs)])[0]

    @overload
    def delay_map(
        self: Function[P, Coroutine[Any, Any, T]], *iterables: Any, **constants: Any
    ) -> list[RunHandle[T]]: ...
    @overload
    def delay_map(self, *iterables: Any, **constants: Any) -> list[RunHandle[R_co]]: ...
    def delay_map(self, *iterables: Any, **constants: Any) -> list[RunHandle[Any]]:
        """As :meth:`delay` for each item of `iterables`, taken in step as by :meth:`map`, in few requests."""
        calls = in_step(self.name, iterables, constants)
        return self._delay([self._arguments(args, same) for args, same in calls])

    def serve(self, **options: Any) -> Any:
        """Executes its queued runs until SIGTERM or SIGINT; the options are those of :func:`tidegate.serve`."""
        from .serving import serve

        return serve(self, **options)

    def _delay(self, calls: list[dict[str, Any]]) -> list[RunHandle[Any]]:
        self._check_receiver()
        runs = [self._new_run(self.resolved(arguments), queued=True) for arguments in calls]
        ops = [client().create(runs[i : i + _MAX_BATCH]) for i in range(0, len(runs), _MAX_BATCH)]
        return [RunHandle(run_id, created) for op in ops for run_id, created in block(op)]

    def bind(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by the names of the parameters."""
        if self._receiver is not _NOBODY:
            return self._parameters.bind((self._receiver, *args), kwargs)
        if self._is_of_class and not (args and isinstance(args[0], type) or "cls" in kwargs):
            raise ParameterError(
                f"`{self.fn.__qualname__}` is called without its class: write @{self.kind} above @classmethod; the other way round "
                "Python 3.13 and later lose the class when more is asked of it than a call"
            )
        return self._parameters.bind(args, kwargs)

    def checked(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """`arguments` as the type hints want them; raises :class:`ParameterError`."""
        return self._parameters.checked(arguments) if self.options.validate_parameters else arguments

    def plain(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """`arguments` as they are written down: by their hints, unless nobody would read them by those."""
        return self._parameters.plain(arguments) if self.options.validate_parameters else arguments

    def resolved(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """`arguments` with results in the place of futures, which are waited for."""
        return self.checked(resolve(arguments)) if dependencies(arguments) else arguments

    def _arguments(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """What a call is made with. Where futures are among it, it is checked once they have ended."""
        _check_import(self.name)
        arguments = self.bind(args, kwargs)
        return arguments if dependencies(arguments) else self.checked(arguments)

    def _check_receiver(self) -> None:
        """A worker has nothing of this process: what a method is called on has to travel."""
        if self._receiver is _NOBODY:
            return
        try:
            _payload.encode(self._receiver, "it")
        except PayloadError as error:
            kind = _type_name(self._receiver if isinstance(self._receiver, type) else type(self._receiver))
            raise PayloadError(
                f"`{self.fn.__qualname__}` is a method, and the `{kind}` that it is called on cannot travel to a worker "
                f"({error.__cause__ or error}): have it pickled by what it is made from (`__reduce__`), or .delay() a "
                f"function that makes the `{kind}` itself"
            ) from error

    def call_with(self, arguments: dict[str, Any]) -> Any:
        """Calls the function as it was written, with arguments by the names of its parameters."""
        bound = inspect.BoundArguments(self._signature, _ordered(self._signature, arguments))
        return self.fn(*bound.args, **bound.kwargs)

    def arguments_of(self, parameters: Any) -> dict[str, Any]:
        """The arguments in decoded parameters, which any language may have written, as the type hints want them."""
        names = list(self._signature.parameters)
        if parameters is None and not names:
            return {}
        if isinstance(parameters, dict) and (len(names) != 1 or names[0] in parameters):
            arguments = self._parameters.named(parameters)
        elif len(names) == 1 and parameters not in (None, {}):  # another language's single parameter
            arguments = {names[0]: parameters}
        elif parameters is None or parameters == {}:
            arguments = self._parameters.named({})
        else:
            raise InvalidArgument(
                f"{self.name}({', '.join(names)}) was called with {_describe(parameters)}: send an object with these names"
            )
        return self.checked(arguments)

    def encoded(self, arguments: dict[str, Any]) -> tuple[str, bytes]:
        """`arguments` as they travel."""
        return _payload.encode_arguments(self.plain(arguments), self.name)

    def _new_run(
        self,
        arguments: dict[str, Any],
        *,
        queued: bool,
        always_new: bool = False,
        cached: bool = True,
        stored: Optional[tuple[str, bytes]] = None,
    ) -> _core.NewRun:
        """`stored` is what is kept of the arguments; by default all of them."""
        options = self.options
        parent = current_run()
        encoding, data = stored or self.encoded(arguments)
        due_at = options.eta.timestamp() if options.eta is not None else None
        if options.countdown is not None:
            due_at = time.time() + options.countdown
        expires = options.expires
        if isinstance(expires, datetime):
            expires = expires.timestamp()
        elif expires is not None:
            expires = time.time() + expires
        cache_key = self._cache_key(arguments) if cached else ""
        cache_expiration = options.cache_expiration
        if isinstance(cache_expiration, timedelta):
            cache_expiration = cache_expiration.total_seconds()
        return _core.NewRun(
            kind=self.kind,
            name=self.name,
            encoding=encoding,
            data=data,
            run_name=self._run_name(arguments),
            # A deployment has a queue of its own, which goes before the default.
            queue=options.queue if queued and not (options.deployment and options.queue == "default") else None,
            calls=parent._calls if parent is not None else None,
            always_new=options.always_new or always_new,
            traceparent=parent.traceparent if parent is not None else "",
            tags=list(self._run_tags()),
            key=self._filled_in("idempotency_key", options.idempotency_key, arguments) if queued else "",
            use_existing=options.use_existing,
            priority=options.priority or None,
            due_at=due_at if queued else None,
            max_retries=options.retries,
            delays=options.delays(),
            jitter=options.retry_jitter_factor,
            retry_on=[_type_name(kind) for kind in options.retry_on],
            never_retry_on=[_type_name(kind) for kind in options.never_retry_on],
            run_timeout=options.timeout_seconds,
            cancel_grace=options.cancel_grace_seconds,
            max_crashes=options.max_crashes,
            detached=options.detached,
            detached_on_failure=options.detached_on_failure,
            detached_on_crash=options.detached_on_crash,
            labels=dict(options.labels),
            inherit_labels=options.inherit_labels,
            deployment=options.deployment if queued else "",
            expires_at=expires if queued else None,
            cache_key=cache_key,
            cache_expiration=cache_expiration if cache_key else None,
            # Of what this process executes, it takes the slots itself: see `_local_calls`.
            concurrency_limits=list(options.concurrency_limits) if queued else [],
            fairness_key=options.fairness_key if queued else "",
            required_labels=dict(options.require_labels) if queued else {},
            sticky=options.sticky and queued,
            refresh_cache=options.refresh_cache,
        )

    def _run_tags(self) -> tuple[str, ...]:
        """The tags of a run that is made here."""
        return context.joined(context.current_tags(), tuple(self.options.tags))

    def _cache_key(self, arguments: dict[str, Any]) -> str:
        options = self.options
        if not self.is_cached:
            return ""
        from . import cache_policies

        if options.cache_policy is not None:
            return cache_policies.key_of(self, options.cache_policy, arguments)
        if options.cache_key_fn is not None:
            return cache_policies.bounded(options.cache_key_fn(current_run(), arguments) or "")
        return cache_policies.bounded(self._filled_in("cache_key", options.cache_key, arguments))

    def _check_caching(self) -> None:
        options = self.options
        if options.cache_policy is not None:
            from . import cache_policies

            cache_policies.checked(options.cache_policy, self.name)
            if options.cache_key or options.cache_key_fn is not None:
                raise InvalidArgument(f"`{self.name}` has a cache_policy and a cache_key: leave one of them out")
        if options.persist_result is False and self.is_cached:
            raise InvalidArgument(
                f"`{self.name}` has persist_result=False, so there is no result that could serve other calls: leave that "
                "out, or the caching"
            )

    @property
    def is_cached(self) -> bool:
        """True when its results may serve other calls."""
        options = self.options
        return bool(options.cache_policy is not None or options.cache_key_fn is not None or options.cache_key)

    def with_defaults(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments, and the defaults of those that were not given."""
        parameters = self._signature.parameters.items()
        defaults = {name: each.default for name, each in parameters if each.default is not each.empty}
        given = {**defaults, **arguments}
        return {name: given[name] for name, _ in parameters if name in given}

    def _run_name(self, arguments: dict[str, Any]) -> str:
        made = self.options.run_name
        if callable(made):
            try:
                name = str(made(arguments) if inspect.signature(made).parameters else made())
            except Exception as error:
                raise InvalidArgument(
                    f"the run_name of `{self.name}` cannot be made: its function `{getattr(made, '__name__', made)}` raised "
                    f"{type(error).__name__}: {error}; it is called with a dict of the arguments by name, or with nothing"
                ) from error
        else:
            name = self._filled_in("run_name", made, arguments)
        return name.encode()[:256].decode(errors="ignore")

    def _filled_in(self, option: str, template: str, arguments: dict[str, Any]) -> str:
        if "{" not in template:
            return template
        try:
            return template.format(**self.with_defaults(arguments))
        except (KeyError, IndexError, AttributeError, TypeError, ValueError) as error:
            names = ", ".join(self._signature.parameters)
            raise InvalidArgument(
                f"the {option} {template!r} of `{self.name}` cannot be filled in: {error!r}; it may use {names}"
            ) from None

    def __copy__(self: Self) -> Self:
        return self  # as Python has it for functions

    def __deepcopy__(self: Self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> Any:
        """It travels by its name: who receives it imports it."""
        from ._process.reference import reduce

        return reduce(self)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


class Task(Function[P, R_co]):
    """A unit of work; see :class:`Function`."""

    kind = "task"


class Flow(Function[P, R_co]):
    """A function that may start other work; see :class:`Function`."""

    kind = "flow"

    def deploy(self, name: str, **options: Any) -> Any:
        """Makes the deployment ``flow/name``, or has one that is there say this: then any process can start the flow by that
        name, see :func:`tidegate.deployments.run_deployment`. What changes nothing makes no version.

        Retries, timeouts and the like of its runs are those of the flow. Where an event loop runs it gives an awaitable.

        :param description: for people. Default: the docstring.
        :param entrypoint: ``module:flow`` or ``path.py:flow``. Default: where the flow is.
        :param parameters: defaults by name, plain JSON; those of a run go over them.
        :param enforce_parameter_schema: a run whose parameters do not fit the type hints is refused where it is started.
        :param tags: beside those of the flow; its runs have them.
        :param labels: the same.
        :param queue: of runs that name none. Default: that of the flow.
        :param priority: of runs that have none. Default: that of the flow.
        :param concurrency_limit: how many of its runs may be held at once, by all workers together.
        :param on_collision: what becomes of a further one: ``"wait"``, ``"skip"``, ``"cancel_oldest"``, ``"cancel_newest"``.
        :param version: what people call this version: a release, a commit.
        :param work_pool: the pool whose workers start its runs. Default: workers that serve the flow take them.
        :param source: where a worker of the pool gets the code: a path, or a :class:`~tidegate.deployments.GitSource` or
            the like. Default: it is there.
        :param command: a program and its arguments, which the worker starts instead of the flow.
        :param job_variables: what the workers start its runs with, as the pool's schema has it.
        :param schedules: what starts its runs by the clock: a list of :class:`~tidegate.schedules.Cron`,
            :class:`~tidegate.schedules.Interval`, :class:`~tidegate.schedules.RRule`, each with a `name` of its own. Those
            that are there by their names get what is said now; runs that exist, overdue ones too, and pauses stay. All of
            them are checked before anything is changed.
        :param cron: the same as ``schedules=[Cron(cron)]``.
        :param interval: the same as ``schedules=[Interval(interval)]``.
        :param rrule: the same as ``schedules=[RRule(rrule)]``.
        :param prune_schedules: take away the deployment's other schedules. Default: they stay, and a line in the log names
            them.
        """
        from . import _deploying

        return _deploying.deploy(self, name, **options)

    def serve(self, name: Optional[str] = None, **options: Any) -> Any:
        """As :meth:`Function.serve`; with `name` it is deployed as ``flow/name`` first, so that any process can start it by
        that name, and schedules do.

        Of the options of :meth:`deploy` it takes `cron`, `interval`, `rrule`, `schedules`, `prune_schedules`,
        `parameters`, `description`, `tags`, `version` and `enforce_parameter_schema`. When the worker ends, schedules go on:
        their runs wait for the next one.
        """
        from . import _deploying

        if name is not None:
            return _deploying.serve(self, name, options)
        for option in _deploying.SAID_BY_SERVE:
            if option in options:
                raise InvalidArgument(
                    f"serve({option}=...) is of a deployment of `{self.name}`, which needs a name: "
                    f'{getattr(self.fn, "__name__", "flow")}.serve("nightly", {option}=...)'
                )
        return super().serve(**options)


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Any = None, /, **options: Any) -> Any:
    """Makes a function a task: ``@task`` or ``@task(retries=3, timeout_seconds=60)``; see :class:`Options`."""
    return _decorate(Task, fn, options)


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(**options: Any) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def flow(fn: Any = None, /, **options: Any) -> Any:
    """Makes a function a flow: ``@flow`` or ``@flow(name="nightly", log_prints=True)``; see :class:`Options`."""
    return _decorate(Flow, fn, options)


def _decorate(kind: Any, fn: Any, options: dict[str, Any]) -> Any:
    checked = Options(**checked_options(options))
    if fn is None:
        return lambda fn: kind(fn, checked, scope=_scope_of(sys._getframe(1)))
    return kind(fn, checked, scope=_scope_of(sys._getframe(2)))


def _scope_of(frame: Any) -> Optional[Mapping[str, Any]]:
    """What a function or class has that hints of a function in it may name; a module is asked when it is needed."""
    return None if frame.f_locals is frame.f_globals else frame.f_locals


def _decorable(fn: Any, kind: str, name: str) -> Any:
    """The function to decorate; raises what is wrong with anything else."""
    if isinstance(fn, (staticmethod, classmethod)):
        fn = fn.__func__
    if isinstance(fn, Function):
        raise InvalidArgument(f"`{fn.name}` is a {fn.kind} already: decorate it once")
    if isinstance(fn, type):
        raise InvalidArgument(
            f"`{fn.__name__}` is a class: @{kind} decorates functions, such as its methods or one that makes and uses it"
        )
    if not callable(fn):
        raise InvalidArgument(f"@{kind} decorates a function, not {_describe(fn)}; give the name as `name=`")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise InvalidArgument(f"`{fn.__name__}` is a generator, which has no one result to keep: return a list instead")
    if not name and getattr(fn, "__name__", "<lambda>") == "<lambda>":
        what = "a lambda" if inspect.isfunction(fn) else _describe(fn)
        raise InvalidArgument(f"{what} has no name that workers could know it by: give it one by `name=`, or use `def`")
    return fn


def _check_import(name: str) -> None:
    if _process.is_importing:
        raise InvalidArgument(
            f"`{name}` is called while a worker imports the module that it serves, so every process of the worker would call it: "
            'put the call below `if __name__ == "__main__":`, or into a flow or task'
        )


def _ordered(signature: inspect.Signature, arguments: dict[str, Any]) -> dict[str, Any]:
    ordered = {}
    for name, parameter in signature.parameters.items():
        if name in arguments:
            value = arguments[name]
            ordered[name] = tuple(value) if parameter.kind is parameter.VAR_POSITIONAL else value
    return ordered


def _describe(value: Any) -> str:
    return f"a {type(value).__name__}"
