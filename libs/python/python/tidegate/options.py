"""What can be said of a flow or task."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional, Sequence, Union

from . import _option_values, hooks
from ._runtime import DEFAULT_MAX_WORKERS, RunContext
from .errors import InvalidArgument
from .runners import TaskRunner, runner_of
from .serializers import Serializer

if TYPE_CHECKING:
    from .cache_policies import CachePolicy


@dataclass(frozen=True)
class Options:
    """All that can be said of a flow or task, in the decorator or by :meth:`Function.with_options`."""

    #: What workers know it by. Default: the function's name.
    name: str = ""
    #: What it does, for people. Default: what its docstring says.
    description: str = ""
    #: Which version of its code it is, for people.
    version: str = ""
    #: What people call a run; may have parameters in braces: ``"count {path}"``. Or a function that makes it, of the
    #: arguments by name or of nothing. Default: the name and the end of the id.
    run_name: Union[str, Callable[..., str]] = ""
    #: Further attempts when the code raises; the server decides, so they survive this process.
    retries: int = 0
    #: Seconds before each retry, or a list of them: the last one repeats. Or a function that gives the list, called with
    #: the number of `retries` where the flow or task is defined.
    retry_delay_seconds: Union[float, Sequence[float], Callable[[int], Sequence[float]]] = 0.0
    #: Each delay is drawn evenly from ``delay × (1 ± retry_jitter_factor)``. 0 to 1.
    retry_jitter_factor: float = 0.0
    #: Only errors of these types are retried: exception classes, or names as the run shows them. A subclass is another
    #: type; a timeout is of the type ``TimedOut``. Default: all.
    retry_on: Sequence[Union[str, type[BaseException]]] = ()
    #: Errors of these types are not retried, also where `retry_on` has them.
    never_retry_on: Sequence[Union[str, type[BaseException]]] = ()
    #: Whether an exception is worth a retry: called with it, or with (task, run, state). What it raises means no.
    retry_condition_fn: Optional[Callable[..., Any]] = None
    #: Called when a run has completed, has failed for good, has crashed, was cancelled, or begins. A function or a list, of
    #: any of `flow`/`task`, `run`, `state`, `result`, `exception`, `parameters` by name, or of (flow_or_task, run, state).
    on_completion: hooks.Hooks = ()
    #: The same when it has failed and no retry is left.
    on_failure: hooks.Hooks = ()
    #: The same when it has crashed for good.
    on_crashed: hooks.Hooks = ()
    #: The same when it was cancelled while its code ran; not while it waited, also for slots.
    on_cancellation: hooks.Hooks = ()
    #: The same each time an attempt begins.
    on_running: hooks.Hooks = ()
    #: How long one attempt may take, in seconds. Default: no bound.
    timeout_seconds: Optional[float] = None
    #: How long the code has to end after a cancel, in seconds. Default: 30.
    cancel_grace_seconds: Optional[float] = None
    #: How often a queued run is delivered again when its worker dies. Default: 3.
    max_crashes: Optional[int] = None
    #: Words to find the run by.
    tags: Sequence[str] = ()
    #: Keys and values to find the run by.
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Inside a run: it also has the labels of that run; where both have a key, its own value stands.
    inherit_labels: bool = False
    #: For `.delay()` of a flow: the deployment that it is started through, ``flow/deployment``; it must exist.
    deployment: str = ""
    #: A completed run with the same key gives its result, and this one is not executed. May have parameters in braces, as
    #: `run_name`. Default: no caching.
    cache_key: str = ""
    #: Makes that key: called with the current run (None outside of any) and the arguments by name; None: no caching.
    cache_key_fn: Optional[Callable[[Optional[RunContext], dict[str, Any]], Optional[str]]] = None
    #: What makes two calls the same for that, instead of a key: one of :mod:`tidegate.cache_policies`, such as
    #: ``INPUTS + TASK_SOURCE``. Default: no caching.
    cache_policy: Optional[CachePolicy] = None
    #: It is executed whatever result there is, and its own serves the next calls.
    refresh_cache: bool = False
    #: How long after its completion a result may serve, in seconds or as a timedelta. Default: 365 days.
    cache_expiration: Union[float, timedelta, None] = None
    #: Arguments are checked, and converted, by the type hints of the parameters before anything is created, and again
    #: where a worker gets them. False: they are taken as they are.
    validate_parameters: bool = True
    #: What the code prints goes to the run's log as well.
    log_prints: bool = False
    #: Where it is executed: ``"process"``, in a process of its own that is killed if it does not end when it should, and
    #: whose death is that of this run alone; or ``"thread"``. Default: in a thread, but for flows that a worker was given:
    #: those in a process.
    execution: Optional[str] = None
    #: False: the result is not kept, and only the code that calls the function gets it. Default: it is kept, and any
    #: process can read it by the run's id.
    persist_result: Optional[bool] = None
    #: How the result is written: ``"json"``, ``"pickle"``, ``"compressed/json"``, ``"compressed/pickle"`` or an object, see
    #: :mod:`tidegate.serializers`. Default: JSON where it gives the result back as it is, else a pickle.
    result_serializer: Union[str, Serializer, None] = None
    #: Where its submitted children are executed, as an instance or a class of :mod:`tidegate.runners`. Default: threads.
    task_runner: Optional[TaskRunner] = None
    #: Where something that it submitted has failed and nobody has looked: it fails as well (``"fail"``), or not
    #: (``"ignore"``).
    on_unawaited_failure: str = "fail"
    #: Submitted children of one run that execute at once, where no `task_runner` says it.
    max_workers: int = DEFAULT_MAX_WORKERS
    #: For `.delay()`: the queue that delivers the run.
    queue: str = "default"
    #: For `.delay()`: larger is served first within the queue. -100 to 100.
    priority: int = 0
    #: For `.delay()`: not before this time.
    eta: Optional[datetime] = None
    #: For `.delay()`: not before so many seconds have passed.
    countdown: Optional[float] = None
    #: For `.delay()`: it is CANCELLED as ``Expired`` unless it has started by this time, or before so many seconds have
    #: passed.
    expires: Union[datetime, float, None] = None
    #: The concurrency limits of which it needs a slot and a token each to start; one that is not defined does not bind. What
    #: is called or submitted waits here for them, in one line with queued runs and `concurrency` blocks, and has them while
    #: its code runs: `timeout_seconds` counts from then, and between attempts they are free. It always waits, whatever the
    #: limit says of collisions. A call that needs a slot which only its caller has waits for ever, and so does a sync one that
    #: async code calls directly, where code of that event loop has it; in the event loop in which submitted and queued async
    #: code is executed, that is a :class:`WouldDeadlock`.
    concurrency_limits: Sequence[str] = ()
    #: For `.delay()`: with whom the run takes turns in its queue, such as a customer: runs of the same priority are served
    #: by key in turn, however many each has. Default: with all runs that have none.
    fairness_key: str = ""
    #: For `.delay()`: the labels that a worker must have to get it, see :func:`serve`. At most 8.
    require_labels: Mapping[str, str] = field(default_factory=dict)
    #: For `.delay()` inside a run: the worker that executes that run gets this one too rather than others like it, if it
    #: has a free slot then. A hint, among workers of one replica of the task-queue with the same queues, functions and
    #: labels; any other worker that is free before gets it at once. Of no effect outside of a run.
    sticky: bool = False
    #: For `.delay()`: one key, one run; a second call with it gives the run of the first. May have parameters in braces, as
    #: `run_name`; a brace that is meant is written twice.
    idempotency_key: str = ""
    #: For `.delay()` with a used key and other parameters: take the run that is there instead of an error.
    use_existing: bool = False
    #: Inside a run: a later attempt of that run executes it anew, instead of taking the result that it has had.
    always_new: bool = False
    #: For `.delay()` inside a run: it goes on, whatever becomes of its parent.
    detached: bool = False
    #: The same where its parent fails. Default: as `detached`.
    detached_on_failure: Optional[bool] = None
    #: The same where its parent crashes for good. Default: as `detached`.
    detached_on_crash: Optional[bool] = None

    def delays(self) -> list[float]:
        """The retry delays as the server wants them."""
        delays = self.retry_delay_seconds
        if callable(delays):
            delays = delays(self.retries)
        try:
            seconds = [float(delays)] if isinstance(delays, (int, float)) else [float(delay) for delay in delays]
            if all(delay >= 0 for delay in seconds):
                return seconds
        except (TypeError, ValueError):
            pass
        raise InvalidArgument(
            f"retry_delay_seconds is {delays!r}: give seconds, a list of them, or a function that makes such a list from the "
            "number of retries; none is below 0"
        )


#: The names of all options.
OPTION_NAMES = frozenset(each.name for each in fields(Options))


def checked_options(options: dict[str, Any]) -> dict[str, Any]:
    """`options` as :class:`Options` takes them; raises what is wrong with them."""
    unknown = sorted(options.keys() - OPTION_NAMES)
    if unknown:
        raise TypeError(f"unknown option `{unknown[0]}`; the options are {', '.join(sorted(OPTION_NAMES))}")
    _option_values.check(options)
    if "task_runner" in options:
        options["task_runner"] = runner_of(options["task_runner"])
    return options
