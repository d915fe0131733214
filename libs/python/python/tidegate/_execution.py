"""Executing code: of local runs, which this process starts and reports, and of attempts that a worker was given."""

from __future__ import annotations

import contextvars
import os
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Callable, Generator, NamedTuple, Optional, Union

from . import _core, _payload, _shutdown, hooks
from ._connection import CLOSE_SECONDS, SLICE_SECONDS, awaited, block, client
from ._interrupt import Control, raise_missed
from ._lazy import asyncio
from ._runtime import DEFAULT_MAX_WORKERS, RunContext, _current, current_run
from .errors import (
    Interrupted,
    NonRetryable,
    ParameterError,
    PayloadError,
    RunCancelled,
    RunCrashed,
    RunFailed,
    TidegateError,
    UpstreamFailed,
    _of_ended_run,
    _type_name,
)
from .futures import Dependency, Future, dependencies, resolve
from .handles import RunHandle, _result
from .runners import ProcessPoolTaskRunner
from .states import State

if TYPE_CHECKING:
    from .functions import Function
    from .options import Options

#: How long an interrupted run waits for its children, which are interrupted as well, in seconds.
_LAST_WORDS_SECONDS = 10.0


class Outcome(NamedTuple):
    """How the code of an attempt ended."""

    #: ``completed``, ``failed``, ``stopped`` or ``crashed``; the last with the cause as its value.
    how: str
    value: Any = None
    error: Optional[BaseException] = None
    #: What to report of it, where another process has found that out already.
    end: Optional[End] = None
    #: A further attempt would end in the same way.
    is_final: bool = False


def not_begun(error: TidegateError) -> Outcome:
    """Of a queued run whose arguments could not be read: what does not fit now will not do so at the next attempt."""
    return Outcome("failed", error=error, is_final=True)


def execute(function: Function[Any, Any], arguments: Any, context: RunContext, control: Control) -> Outcome:
    """Executes sync code in this thread, and waits for what it submitted."""
    token = _current.set(context)
    context.parameters = arguments
    try:
        try:
            with control.thread():
                hooks.run_hooks(function, context, State("RUNNING", "Running"))
                try:
                    value = function.call_with(arguments)
                except Exception:
                    _wait_for_children(context)
                    raise
                _check_children(function, context)
                return Outcome("completed", value)
        except Interrupted as error:
            context._close(cancel=True)
            _wait_for_children(context, _LAST_WORDS_SECONDS)
            return Outcome("stopped", error=error)
        except BaseException as error:
            context._close(cancel=not isinstance(error, Exception))  # such as KeyboardInterrupt
            if _shutdown.signal_of(error) is not None:
                _shutdown.end_others(error)
                _wait_for_children(context, _LAST_WORDS_SECONDS)
            return Outcome("failed", error=error)
    finally:
        control.release()
        context._close()
        context._is_over = True
        _current.reset(token)


async def execute_async(
    function: Function[Any, Any], arguments: Any, context: RunContext, control: Control
) -> Outcome:
    """As :func:`execute`, for async code."""

    async def code() -> Any:
        await hooks.run_hooks_async(function, context, State("RUNNING", "Running"))
        try:
            value = await function.call_with(arguments)
        except BaseException as error:
            _shutdown.end_others(error)
            raise
        finally:
            for child in context._children_so_far():
                await child._ended()
        _check_children(function, context)
        return value

    token = _current.set(context)
    context.parameters = arguments
    try:
        return Outcome("completed", await control.run(code()))
    except Interrupted as error:
        return Outcome("stopped", error=error)
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return Outcome("failed", error=error)
    finally:
        context._close()
        context._is_over = True
        _current.reset(token)


def arguments_of(function: Function[Any, Any], parameters: Optional[tuple[str, bytes]]) -> dict[str, Any]:
    """What a queued run is called with; what it raises is for :func:`not_begun`."""
    try:
        return function.arguments_of(_payload.decode(parameters, f"the arguments of `{function.name}`"))
    except TidegateError:
        raise
    except Exception as error:  # by a check of the user's own, such as a validator of a model
        message = f"the arguments of `{function.name}` cannot be checked: {type(error).__name__}: {text_of(error)}"
        raise ParameterError(message) from error


def _wait_for_children(context: RunContext, seconds: Optional[float] = None) -> None:
    deadline = None if seconds is None else time.monotonic() + seconds
    for child in context._children_so_far():
        child._wait(None if deadline is None else max(0.0, deadline - time.monotonic()))


def _check_children(function: Function[Any, Any], context: RunContext) -> None:
    """A run does not end before the work it submitted, and is not completed over failures that nobody looked at."""
    _wait_for_children(context)
    check_unseen(function, context._take_children())


def check_unseen(function: Function[Any, Any], children: list[Future[Any]]) -> None:
    """Raises when some of these, which have ended, failed and nobody looked at that."""
    if function.options.on_unawaited_failure == "ignore":
        return
    failed = [child for child in children if child._error is not None and not child._seen]
    if failed:
        first = failed[0]._error
        names = ", ".join(f"{child.name} ({child.id})" if child.id else child.name for child in failed[:10])
        more = f" and {len(failed) - 10} more" if len(failed) > 10 else ""
        raise TidegateError(
            f"{len(failed)} submitted runs failed and nobody asked for their results: {names}{more}; "
            f"the first: {type(first).__name__}: {first}"
        ) from first


class End(NamedTuple):
    """The end of an attempt, as the core's `finish` wants it."""

    end: str
    first: str = ""
    second: str = ""
    third: str = ""
    data: bytes = b""
    non_retryable: bool = False


def end_of(outcome: Outcome, control: Control, name: str, options: Optional[Options] = None) -> End:
    """What to report of an attempt; `options` say how its result is kept."""
    if outcome.end is not None:
        return outcome.end
    if outcome.how == "crashed":
        return End("crashed", outcome.value)
    if outcome.how == "stopped":
        if control.stopped is None:
            return End("crashed", "the run that called it was stopped")
        kind = control.stopped[0]
        if kind == "timed_out":
            return End("timed_out")
        if kind == "shutdown":
            return End("crashed", control.stopped[1] or "shutdown: the worker ended before the run did")
        return End("cancelled")
    error, is_final = outcome.error, outcome.is_final
    if error is None:
        try:
            encoding, data = _payload.encode_result(outcome.value, name, options)
            return End("completed", encoding, data=data)
        except PayloadError as unencodable:
            error, is_final = unencodable, True
    if cause := _shutdown.cause_of(error):
        return End("crashed", cause)
    return End(
        "failed",
        _type_name(type(error)),
        text_of(error),
        "".join(traceback.format_exception(type(error), error, error.__traceback__)),
        non_retryable=is_final or isinstance(error, NonRetryable) or not isinstance(error, Exception),
    )


def text_of(error: BaseException) -> str:
    """What an exception says; one whose own code fails at that says nothing, and is reported all the same."""
    try:
        return str(error) or repr(error)
    except Exception as cause:
        return f"(its text cannot be had: {type(cause).__name__} in its __str__)"


def _shown(value: Any) -> str:
    """What people see of an argument that is not kept."""
    try:
        return repr(value[:1_000] if isinstance(value, (str, bytes)) else value)[:1_000]
    except Exception as error:  # the value's own code
        return f"(its text cannot be had: {type(error).__name__} in its __repr__)"


class _Hooks:
    """What the hooks of an end are called with."""

    def __init__(self, context: RunContext, state: State, outcome: Outcome) -> None:
        self.arguments = (context, state, outcome)


#: What a local run waits for: an operation of the core, a pause in seconds, its code, or its hooks.
Step = Union[_core.Op, float, tuple[RunContext, Control], _Hooks]


class LocalCall:
    """One call of a function that this process executes, as a run of its own.

    The run's life is written once, in :meth:`_steps`; sync and async code take the same steps.
    """

    def __init__(self, function: Function[Any, Any], arguments: dict[str, Any]) -> None:
        self.function = function
        self.arguments = arguments
        self.future: Optional[Future[Any]] = None
        self.parent = current_run()
        #: A process of its own executes the code.
        self.in_process = function.options.execution == "process"
        self._facts: dict[str, Any] = {}
        self._begin: Callable[[], None] = lambda: None
        self._new_run: Optional[_core.NewRun] = None
        self._pending: Optional[_core.Op] = None

    def create(self, always_new: bool = False, cached: bool = True) -> None:
        """Begins to create the run. Many in a row travel together. With `always_new` no attempt of the parent finds it;
        without `cached` it takes no other run's result."""
        stored, are_kept = self._storable()
        # What they are is not known to another attempt, so it could take the result of another call for this one's.
        always_new = always_new or not are_kept
        run = self.function._new_run(self.arguments, queued=False, always_new=always_new, cached=cached, stored=stored)
        if self.future is not None:
            self.future.id = run.id
        self._new_run = run
        self._pending = client().create_local(run)

    def _storable(self) -> tuple[tuple[str, bytes], bool]:
        """What the history keeps of the arguments, and whether it is all of them. The code gets them as they are, so one
        that cannot travel, or is too large, does not matter here."""
        try:
            stored = self.function.encoded(self.arguments)
            if len(stored[1]) < client().max_payload_size:
                return stored, True
        except PayloadError:
            pass
        shown = {name: _shown(value) for name, value in self.arguments.items()}
        return _payload.encode_arguments(shown, self.function.name), False

    def run(self) -> Any:
        """Takes the steps in this thread."""
        try:
            if self.parent is not None:
                return self._run()
            with _shutdown.sigterm_ends_runs():
                return self._run()
        finally:
            raise_missed()

    def _run(self) -> Any:
        steps = self._steps()
        answer: Any = None
        error: Optional[BaseException] = None
        while True:
            try:
                step = steps.send(answer) if error is None else steps.throw(error)
            except StopIteration as end:
                return end.value
            finally:
                error = None  # it holds this frame, which would hold it
            try:
                if isinstance(step, tuple) and self.in_process:
                    from ._process import local

                    answer = local.execute(self.function, self.arguments, self._facts, self._begin, *step)
                elif isinstance(step, tuple):
                    answer = execute(self.function, self.arguments, *step)
                elif isinstance(step, (float, int)):
                    answer = None
                    _pause(step)
                elif isinstance(step, _Hooks):
                    answer = None
                    hooks.run_hooks(self.function, *step.arguments)
                else:
                    answer = block(step)
            except BaseException as raised:
                error = raised

    async def coroutine(self) -> Any:
        """Takes the steps in the running event loop."""
        if self.parent is not None:
            return await self._coroutine()
        with _shutdown.sigterm_ends_runs():
            return await self._coroutine()

    async def _coroutine(self) -> Any:
        steps = self._steps()
        answer: Any = None
        error: Optional[BaseException] = None
        while True:
            try:
                step = steps.send(answer) if error is None else steps.throw(error)
            except StopIteration as end:
                return end.value
            finally:
                error = None  # it holds this frame, which would hold it
            try:
                if isinstance(step, tuple) and self.in_process:
                    from ._process import local

                    answer = await local.execute_async(self.function, self.arguments, self._facts, self._begin, *step)
                elif isinstance(step, tuple):
                    answer = await execute_async(self.function, self.arguments, *step)
                elif isinstance(step, (float, int)):
                    answer = None
                    await asyncio.sleep(step)
                elif isinstance(step, _Hooks):
                    answer = None
                    await hooks.run_hooks_async(self.function, *step.arguments)
                else:
                    answer = await awaited(step)
            except BaseException as raised:
                error = raised

    def _steps(self) -> Generator[Step, Any, Any]:
        function, parent = self.function, self.parent
        if self._pending is None:
            self.create()
        assert self._pending is not None and self._new_run is not None
        local: _core.LocalRun = yield self._pending
        found: Optional[_core.Run] = (yield client().wait(local.id)) if local.existing else None
        if found is not None and not State(*found.state).is_completed():
            # An earlier attempt still executed it, and has let go of it without a result: it is this one's now.
            local = yield client().create_local(self._new_run)
            found = (yield client().wait(local.id)) if local.existing else None
        if found is not None and found.result is not None and not _payload.is_kept(found.result):
            self.create(always_new=True, cached=False)
            local, found = (yield self._pending), None
        self._is_run(local.id)
        if found is not None:
            if self.future is not None:
                self.future._found = found.state[1]
            return _result(found, True)
        attempt = 0
        while True:
            attempt += 1
            control = Control()
            watch = local.on_stop(control.stop)
            traceparent = parent.traceparent if parent is not None else ""
            span = _core.Span(function.name, local.id, attempt, traceparent)
            self._facts = {
                "run_id": local.id,
                "root_run_id": parent.root_run_id if parent is not None else local.id,
                "parent_run_id": parent.run_id if parent is not None else "",
                "kind": function.kind,
                "name": function.name,
                "attempt": attempt,
                "epoch": local.epoch,
                "traceparent": span.traceparent,
                "tags": function._run_tags(),
                "log_prints": function.options.log_prints,
                "max_workers": function.options.max_workers,
                "task_runner": function.options.task_runner,
                "is_async": function.is_async,
            }
            context = RunContext(**self._facts, pauser=local.pauser())
            context.parameters = self.arguments
            if self.future is not None:
                self.future._running = True
            if self.in_process:
                self._begin = local.start  # once there is a process: its start takes none of the run's time
            else:
                local.start()
            try:
                outcome: Outcome = yield context, control
            except asyncio.CancelledError as error:  # by who awaits this call: it is over
                given_up = Outcome("failed", error=error)
                op = local.finish(*end_of(given_up, control, function.name))
                span.end("cancelled by its caller")
                if hooks.has_hooks(function, "FAILED"):
                    yield _Hooks(context, State(*(yield op)[1]), given_up)
                raise
            finally:
                del watch
            end = end_of(outcome, control, function.name, function.options)
            end = hooks.with_condition(end, function, context, outcome)
            if end.end == "failed" and outcome.error is None:
                # It returned something that cannot be kept. Its caller is here and gets it all the same.
                end = End("completed", _payload.NOT_KEPT)
            if len(end.data) > client().max_payload_size:
                end = End("completed", _payload.TOO_LARGE)
            span.end(None if end.end == "completed" else f"{end.end}: {end.first} {end.second}".strip(": "))
            if control.stopped is not None and control.stopped[0] == "lost":
                raise self._lost_error((yield client().peek_run(local.id)), control.stopped[1])
            room = local.make_room(len(end.data))
            if room is not None:  # many large results are on their way to object storage
                try:
                    yield room
                except BaseException as error:  # its caller goes on without it
                    how = "stopped" if isinstance(error, Interrupted) else "failed"
                    local.finish(*end_of(Outcome(how, error=error), control, function.name))
                    raise
            op = local.finish(*end)
            if outcome.how == "stopped" and control.stopped is None:
                assert outcome.error is not None
                if hooks.has_hooks(function, "CRASHED", "CANCELLED"):
                    yield _Hooks(context, State(*(yield op)[1]), outcome)
                raise outcome.error  # meant for the run that called this one
            is_forked = parent is not None and parent._is_elsewhere
            # The end of a whole tree is durable before its caller goes on, and what serves the next call is there. How a
            # forked process will end, nobody knows.
            is_heard = parent is None or is_forked or function.is_cached or hooks.has_end_hooks(function)
            if end.end == "completed" and not is_heard:
                return outcome.value
            if is_forked:
                yield client().flush_logs(CLOSE_SECONDS)
            verdict, detail, epoch = yield op
            if verdict == "retry":
                yield float(detail)
                local.begin_again(epoch)
                continue
            yield _Hooks(context, State(*detail), outcome)
            if end.end == "completed":
                return outcome.value
            raise self._error(local.id, outcome, control, end)

    def _is_run(self, run_id: str) -> None:
        if self.future is not None:
            self.future.id = run_id

    def _error(self, run_id: str, outcome: Outcome, control: Control, end: End) -> BaseException:
        what = f"run {run_id} ({self.function.name})"
        if end.end == "timed_out":
            limit = self.function.options.timeout_seconds
            return RunFailed(f"{what} failed: it did not end within {limit:g} s", run_id, "TimedOut")
        if outcome.error is not None and not isinstance(outcome.error, Interrupted):
            return outcome.error
        message = control.stopped[1] if control.stopped else ""
        return RunCancelled(f"{what} was cancelled: {message}".rstrip(": "), run_id)

    def _lost_error(self, run: _core.Run, message: str) -> BaseException:
        error = _of_ended_run(run.id, run.name, run.state, run.failure)
        if error is None or not isinstance(error, (RunCancelled, RunFailed)):
            return RunCrashed(f"run {run.id} ({run.name}) is no longer of this process: {message}", run.id)
        return error


async def call_async(function: Function[Any, Any], arguments: dict[str, Any]) -> Any:
    """Executes async code in the running event loop; futures among the arguments are awaited first."""
    needed = dependencies(arguments)
    for dependency in needed:
        await dependency
    return await LocalCall(function, function.resolved(arguments) if needed else arguments).coroutine()


def submit(function: Function[Any, Any], arguments: dict[str, Any], wait_for: list[Any]) -> Future[Any]:
    """Starts a call in the background of the current run."""
    parent = current_run()
    future: Future[Any] = Future(function.name)
    call = LocalCall(function, arguments)
    call.future = future
    if parent is not None and isinstance(parent._runner, ProcessPoolTaskRunner):
        call.in_process = function.options.execution != "thread"
    if parent is not None:
        parent._add_child(future)
    future._parent = parent
    needed = dependencies(arguments) + dependencies(wait_for)
    future._needs_loop = function.is_async or any(getattr(each, "_needs_loop", False) for each in needed)
    context = contextvars.copy_context()
    if not needed:
        call.create()
        _launch(call, future, context)
    else:
        when_ended(needed, lambda: context.run(_launch, call, future, context.copy(), needed))
    return future


def _launch(
    call: LocalCall, future: Future[Any], context: contextvars.Context, needed: Optional[list[Dependency]] = None
) -> None:
    if call.function.is_async and not call.in_process:
        asyncio.run_coroutine_threadsafe(_finish_async(call, future, context, needed), async_loop())
        return
    executor = call.parent._executor() if call.parent is not None else root_executor()
    try:
        begun = executor.submit(context.run, _finish, call, future, needed)
    except RuntimeError:  # the run that submitted it was interrupted and has ended
        return _never_began(call, future)
    if call.parent is not None:
        call.parent._if_cancelled(begun, lambda: _never_began(call, future))


def _never_began(call: LocalCall, future: Future[Any]) -> None:
    call._pending = None  # a run that nobody executes is ended by the core
    parent = call.parent
    what = f"the {parent.kind} `{parent.name}` (run {parent.run_id})" if parent is not None else "the run"
    future._finish(
        None,
        RunCancelled(
            f"`{call.function.name}` was not started: {what} that submitted it has ended. Submit it, and ask for its result, "
            "in the code of that run, or use .delay(), whose runs go on without their parent when detached=True"
        ),
    )


def _finish(call: LocalCall, future: Future[Any], needed: Optional[list[Dependency]]) -> None:
    try:
        if needed is not None:
            _resolve_arguments(call, needed)
        future._finish(call.run(), None)
    except BaseException as error:
        future._finish(None, error)


async def _finish_async(
    call: LocalCall, future: Future[Any], context: contextvars.Context, needed: Optional[list[Dependency]]
) -> None:
    async def run() -> Any:
        if needed is not None:
            await asyncio.to_thread(_resolve_arguments, call, needed)  # it asks the server, and the loop is shared
        if call.parent is None:
            return await call.coroutine()
        async with call.parent._async_slot():
            return await call.coroutine()

    try:
        # The context of who submitted it, which Python 3.10 cannot give to a task.
        task = context.run(asyncio.ensure_future, run())
        future._finish(await task, None)
    except BaseException as error:
        future._finish(None, error)


def _resolve_arguments(call: LocalCall, needed: list[Dependency]) -> None:
    """Puts results in the place of futures, which all have ended. Where one has failed, so has this call: it is
    recorded as such and not executed."""
    for dependency in needed:
        upstream = dependency.result(raise_on_failure=False)
        if isinstance(upstream, BaseException) and has_failed(dependency):
            how = "was cancelled" if isinstance(upstream, RunCancelled) else "failed"
            message = f"not executed: it needs the result of run {dependency.id}, which {how}: {upstream}"
            call.arguments = {}
            call.create(always_new=True)
            assert call._pending is not None
            local: _core.LocalRun = block(call._pending)
            local.start()
            block(local.finish("failed", "UpstreamFailed", message, "", b"", True))
            raise UpstreamFailed(message, local.id, "UpstreamFailed", message) from upstream
    call.arguments = call.function.checked(resolve(call.arguments))


def has_failed(dependency: Dependency) -> bool:
    if isinstance(dependency, Future):
        return dependency._error is not None
    return not dependency.state.is_completed()


def when_ended(needed: list[Dependency], then: Any) -> None:
    """Calls `then` once all of `needed` have ended. No thread waits."""
    lock = threading.Lock()
    left = len(needed)

    def one_ended(*_: Any) -> None:
        nonlocal left
        with lock:
            left -= 1
            if left:
                return
        then()

    for dependency in needed:
        if isinstance(dependency, RunHandle):
            client().wait(dependency.id).subscribe(one_ended)
        else:
            dependency.add_done_callback(one_ended)


def _pause(seconds: float) -> None:
    """Sleeps in slices, so that an interrupt is noticed."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, SLICE_SECONDS))


_lock = threading.Lock()
_root: Optional[ThreadPoolExecutor] = None
_loop: Optional[asyncio.AbstractEventLoop] = None


def root_executor() -> ThreadPoolExecutor:
    """For what is submitted outside of any run."""
    global _root
    with _lock:
        if _root is None:
            _root = ThreadPoolExecutor(DEFAULT_MAX_WORKERS, thread_name_prefix="tidegate")
        return _root


def async_loop() -> asyncio.AbstractEventLoop:
    """The event loop, on a thread of its own, for async code that does not run in its caller's."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="tidegate-async", daemon=True).start()
        return _loop


def is_async_loop(loop: asyncio.AbstractEventLoop) -> bool:
    """True for that event loop."""
    return loop is _loop


def _forget_after_fork() -> None:
    global _lock, _root, _loop
    _lock = threading.Lock()
    _root, _loop = None, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
