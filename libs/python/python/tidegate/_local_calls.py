"""Calls of functions that this process executes, each as a run of its own that it reports."""

from __future__ import annotations

import contextvars
import time
from typing import TYPE_CHECKING, Any, Callable, Generator, Optional, Union

from . import _core, _payload, _shutdown, hooks
from ._background import async_loop, root_executor
from ._connection import CLOSE_SECONDS, SLICE_SECONDS, awaited, block, client
from ._dependencies import Dependency, dependencies, has_failed, resolve, when_ended
from ._execution import End, Outcome, end_of, execute, execute_async, text_of
from ._interrupt import Control, raise_missed
from ._lazy import asyncio
from ._runtime import RunContext, current_run
from .errors import (
    Interrupted,
    InvalidArgument,
    PayloadError,
    RunCancelled,
    RunCrashed,
    RunFailed,
    SlotsLost,
    TidegateError,
    UpstreamFailed,
    WouldDeadlock,
    _of_ended_run,
)
from .futures import Future
from .handles import _result, is_in_async_loop
from .runners import ProcessPoolTaskRunner
from .states import State

if TYPE_CHECKING:
    from .functions import Function

#: How long the slots of a call are held after this process was heard of last, in seconds.
SLOTS_LEASE_SECONDS = 30.0


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


class _Slots:
    """A slot of each of the limits of a function, for one attempt of its run `run_id`: first the wait for them, as an
    :class:`~tidegate._runtime.Answer` that `control` may end, then what it gives. :meth:`release` ends either at once, also
    where the traceback of an interrupt still knows this.
    """

    def __init__(self, function: Function[Any, Any], run_id: str, control: Control) -> None:
        self.control = control
        self.names = list(function.options.concurrency_limits)
        #: Others may have had the slots while the code ran.
        self.is_lost = False
        self._op: Optional[_core.Op] = client().acquire_slots(
            self.names, lease=SLOTS_LEASE_SECONDS, timeout=None, run_id=run_id
        )
        self._held: Optional[_core.Slots] = None

    def wait(self, seconds: float) -> bool:
        assert self._op is not None
        return self._op.wait(seconds)

    def subscribe(self, callback: Callable[[], None]) -> None:
        assert self._op is not None
        self._op.subscribe(callback)

    def result(self) -> None:
        assert self._op is not None
        self._held = self._op.result()

    def release(self) -> Optional[_core.Op]:
        """Gives up what there is; the operation ends when the server knows. The rest goes by itself."""
        held, self._held, self._op = self._held, None, None
        if held is None:
            return None
        self.is_lost = held.is_lost
        return held.release()


class _Delay:
    """The time until a further attempt may begin, in seconds, which `control` may end."""

    def __init__(self, seconds: float, control: Control) -> None:
        self.seconds = seconds
        self.control = control


#: What a local run waits for: an operation of the core, a delay, slots, its code, or its hooks.
Step = Union[_core.Op, _Delay, _Slots, tuple[RunContext, Control], _Hooks]


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
        limits, name = self.function.options.concurrency_limits, self.function.name
        if limits and is_in_async_loop():
            raise WouldDeadlock(
                f"`{name}` has concurrency_limits={list(limits)}, and would wait for its slots in the event loop that executes the "
                f"async code of this process, which may have them: write `await {name}.submit(…)`, or make it async and await it"
            )
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
                elif isinstance(step, _Delay):
                    answer = None
                    with step.control.thread():
                        _pause(step.seconds)
                elif isinstance(step, _Hooks):
                    answer = None
                    hooks.run_hooks(self.function, *step.arguments)
                elif isinstance(step, _Slots):
                    with step.control.thread():
                        answer = block(step)
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
                elif isinstance(step, _Delay):
                    answer = await step.control.run(asyncio.sleep(step.seconds))
                elif isinstance(step, _Hooks):
                    answer = None
                    await hooks.run_hooks_async(self.function, *step.arguments)
                elif isinstance(step, _Slots):
                    answer = await step.control.run(awaited(step))
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
                self.future._found, self.future._said = found.state[1], found.state[2]
            return _result(found, True)
        attempt = 0
        # Before the next attempt; None before the first.
        delay: Optional[float] = None
        # Some of its code was executed, by an attempt of this call.
        has_begun = False
        while True:
            attempt += 1
            control = Control()
            watch = local.on_stop(control.stop)
            slots: Optional[_Slots] = None
            refused: Optional[Outcome] = None
            if delay is not None:
                refused = yield from _until_over(_Delay(delay, control), function.name)
            if function.options.concurrency_limits and refused is None:
                slots = _Slots(function, local.id, control)
                refused = yield from _until_over(slots, function.name)
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
                self.future._running = refused is None
            if self.in_process and refused is None:
                self._begin = local.start  # once there is a process: its start takes none of the run's time
            elif refused is None or refused.how == "failed":  # only what has started can fail
                local.start()
            try:
                if refused is not None and isinstance(refused.error, asyncio.CancelledError):
                    raise refused.error
                has_begun = has_begun or (refused is None and control.stopped is None)
                outcome: Outcome = refused or (yield context, control)
            except asyncio.CancelledError as error:  # by who awaits this call: it is over
                if slots is not None:
                    slots.release()
                given_up = Outcome("failed", error=error)
                op = local.finish(*end_of(given_up, control, function.name))
                span.end("cancelled by its caller")
                if hooks.has_hooks(function, "FAILED"):
                    yield from _end_hooks_without_caller(context, op, given_up, has_begun)
                raise
            finally:
                del watch
                releasing = slots.release() if slots is not None else None
            if slots is not None and slots.is_lost and outcome.how == "completed":
                outcome = Outcome("failed", error=_slots_lost(slots, function.name))
            end = end_of(outcome, control, function.name, function.options)
            end = hooks.with_condition(end, function, context, outcome)
            if end.end == "failed" and outcome.error is None:
                # It returned something that cannot be kept. Its caller is here and gets it all the same.
                end = End("completed", _payload.NOT_KEPT, outcome.message)
            if len(end.data) > client().max_payload_size:
                end = End("completed", _payload.TOO_LARGE, outcome.message)
            if self.future is not None and end.end == "completed":
                self.future._said = end.second
            span.end(None if end.end == "completed" else f"{end.end}: {end.first} {end.second}".strip(": "))
            if control.stopped is not None and control.stopped[0] == "lost":
                run: _core.Run = yield client().peek_run(local.id)
                state = State(*run.state)
                if state.is_cancelled():  # at once, as it waited for this attempt: its process has nothing to report
                    yield from _end_hooks(context, state, outcome, has_begun)
                raise self._lost_error(run, control.stopped[1])
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
                    yield from _end_hooks_without_caller(context, op, outcome, has_begun)
                raise outcome.error  # meant for the run that called this one
            if releasing is not None:
                yield releasing  # a process that ends now would keep them until their lease ends
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
                if self.future is not None:
                    self.future._waits, self.future._running = State("SCHEDULED", "AwaitingRetry"), False
                # Before the delay, which a timeout of this attempt does not end; what does is reported under this epoch.
                local.begin_again(epoch)
                delay = float(detail)
                continue
            yield from _end_hooks(context, State(*detail), outcome, has_begun)
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


def _until_over(step: Union[_Delay, _Slots], name: str) -> Generator[Step, Any, Optional[Outcome]]:
    """Waits before an attempt. None: that is over. Else how the attempt ends, whose code is not executed."""
    try:
        yield step
    except GeneratorExit:
        raise
    except Interrupted as error:
        return Outcome("stopped", error=error)
    except BaseException as error:
        _shutdown.end_others(error)
        if isinstance(error, InvalidArgument) and isinstance(step, _Slots):
            error = InvalidArgument(f"`{name}` has concurrency_limits={step.names}: {error}")
        return Outcome("failed", error=error, is_final=True)
    return None


def _end_hooks(context: RunContext, state: State, outcome: Outcome, has_begun: bool) -> Generator[Step, Any, None]:
    """Has the hooks of an end called. A cancel has none where no code was executed."""
    if has_begun or not state.is_cancelled():
        yield _Hooks(context, state, outcome)


def _end_hooks_without_caller(
    context: RunContext, op: _core.Op, outcome: Outcome, has_begun: bool
) -> Generator[Step, Any, None]:
    """As :func:`_end_hooks`, for a run whose caller was stopped, or does not await it any more; `op` tells of its end."""
    try:
        verdict, detail, _ = yield op
    except TidegateError:
        return  # the run is no longer of this process; its caller is told what has stopped it
    if verdict == "ended":  # else there would be another attempt, which nobody wants: the core ends the run
        yield from _end_hooks(context, State(*detail), outcome, has_begun)


def _slots_lost(slots: _Slots, name: str) -> SlotsLost:
    return SlotsLost(
        f"the lease of the slots of `{name}`, of the concurrency limits {slots.names}, ended before its code did: no server "
        f"heard of this process for {SLOTS_LEASE_SECONDS:g} s, and others may have had the slots meanwhile"
    )


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
            if dependency.id:
                what = (
                    f"run {dependency.id}, which {how}. Call it again once that run has one (`tidegate run explain "
                    f"{dependency.id}` says why it has none), or pass something else"
                )
            else:  # its own arguments were wrong, say
                what = f"a call that {how} before it became a run. Mend that one first"
            message = f"not executed: it needs the result of {what}. The cause: {upstream}"
            call.arguments = {}
            call.create(always_new=True, cached=False)  # the result of another run would make it one that has completed
            assert call._pending is not None
            local: _core.LocalRun = block(call._pending)
            if dependency.id:
                block(local.finish("upstream_failed", dependency.id, _cause(upstream)))
            else:  # the server cannot be told by an id, and names the state as that of any failure
                local.start()
                if call.future is not None:
                    call.future._found = "Failed"
                block(local.finish("failed", "UpstreamFailed", message, "", b"", True))
            raise UpstreamFailed(message, local.id, "UpstreamFailed", message) from upstream
    call.arguments = call.function.checked(resolve(call.arguments))


def _cause(error: BaseException) -> str:
    """What a run ended with, in one line."""
    if isinstance(error, RunFailed) and error.error_type:
        told = ": ".join(filter(None, (error.error_type, error.error_message)))
    else:
        told = text_of(error) if isinstance(error, TidegateError) else f"{type(error).__name__}: {text_of(error)}"
    return told.partition("\n")[0]


def _pause(seconds: float) -> None:
    """Sleeps in slices, so that an interrupt is noticed."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, SLICE_SECONDS))
