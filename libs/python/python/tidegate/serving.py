"""`serve`: a worker. Tasks are executed in threads of this process, flows in processes of their own; see `execution`."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pickle import PicklingError
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, Optional, Sequence

from . import _background, _connection, _core, _process, _progress, runners
from ._attempt import run, run_async, to_its_end, to_its_end_async
from ._connection import client
from ._lazy import asyncio
from ._worker_lines import Tally, heartbeat_line_seconds, say
from .errors import InvalidArgument
from .functions import Function

if TYPE_CHECKING:
    from ._process.pool import Pool

#: How long the hooks of the last runs may take when a worker ends, in seconds.
_HOOKS_SECONDS = 10.0
#: How long threads that have nothing more to do may take to end, in seconds.
_IDLE_SECONDS = 1.0
#: Tasks at once, unless it is said, and flows: those with processes, which take memory, and those in threads.
_TASKS, _PROCESS_FLOWS, _THREAD_FLOWS = 10, 10, 100
#: Processes that tasks share are kept, while they have nothing to do, up to this number or that of the processors.
_IDLE_PROCESSES = 4
#: Threads whose code goes on although it was told to stop; beyond them they take the place of runs.
_SPARE_THREADS = 1_000
#: What a worker may have of either.
_MAX_SLOTS = 10_000
#: They have a worker take no more; a second one ends it.
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(
    *functions: Function[Any, Any],
    limit: Optional[int] = None,
    flow_limit: Optional[int] = None,
    queues: Sequence[str] = ("default",),
    drain_seconds: float = 30.0,
    labels: Optional[Mapping[str, str]] = None,
    health_address: Optional[str] = None,
    **unknown: Any,
) -> Any:
    """Executes queued runs of `functions` until SIGTERM or SIGINT; then takes no more and lets running ones end.

    A flow is executed in a process of its own and a task in a thread, unless its `execution` says otherwise. In a thread
    other than the main one, signals are not this function's. Where an event loop runs it gives an awaitable: to end it,
    cancel that.

    :param limit: tasks at once, 1 to 10,000; async ones share an event loop. Default: 10. Where only flows are served: flows
        at once.
    :param flow_limit: flows at once, 1 to 10,000. Default: 10, because each has a process; 100 where all of them have
        `execution="thread"`. A flow keeps its place while it waits for its children, so say more where many flows wait for
        runs of flows that this worker is to execute.
    :param queues: where to take runs from. 1 to 64.
    :param drain_seconds: how long running code may go on after a signal. A second signal ends the process at once.
    :param labels: what tells this worker from others: it gets the runs that require no label which it lacks
        (`require_labels` of :class:`Options`). At most 50.
    :param health_address: where the worker tells probes how it is, by HTTP: ``"0.0.0.0:8080"``. ``/livez`` is 200 as long as
        the process lives; ``/readyz``, and ``/health``, while it is connected and takes runs, else 503: also when the stream
        to the server has been lost for longer than a lease. A thread of the core answers, so code that is busy is no
        fault. Default: TIDEGATE_WORKER_HEALTH_ADDRESS, else nowhere.
    """
    if _process.is_importing:
        raise InvalidArgument(
            "serve() is called while a process of this worker imports its script: put the call below "
            '`if __name__ == "__main__":`, so that it is made by the worker alone'
        )
    _refuse(unknown)
    served = checked(functions)
    if flow_limit is None and all(kind == "flow" for kind, _ in served):
        flow_limit = limit
    n_tasks = _slots("limit", _TASKS if limit is None else limit)
    n_flows = _slots("flow_limit", _default_flows(served) if flow_limit is None else flow_limit)
    heartbeat_line_seconds()  # a wrong one is told here

    def make() -> Serving:
        health = health_address or os.environ.get("TIDEGATE_WORKER_HEALTH_ADDRESS") or None
        return Serving(served, n_tasks, n_flows, list(queues), drain_seconds, dict(labels or {}), health)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return make().run()
    return _serve_async(make)


def _default_flows(served: dict[tuple[str, str], Function[Any, Any]]) -> int:
    have_processes = any(kind == "flow" and served[kind, name].execution == "process" for kind, name in served)
    return _PROCESS_FLOWS if have_processes else _THREAD_FLOWS


def _slots(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_SLOTS:
        return value
    raise InvalidArgument(f"serve({name}={value!r}): it is a whole number from 1 to {_MAX_SLOTS:,}")


def checked(functions: Iterable[Function[Any, Any]]) -> dict[tuple[str, str], Function[Any, Any]]:
    """What is to be served, by kind and name."""
    served: dict[tuple[str, str], Function[Any, Any]] = {}
    for function in functions:
        if not isinstance(function, Function):
            raise InvalidArgument(f"serve() takes flows and tasks, not a {type(function).__name__}: decorate it first")
        known = served.setdefault((function.kind, function.name), function)
        if known is not function:
            raise InvalidArgument(f"two of the {function.kind}s are named `{function.name}`: give one another `name=`")
    if not served:
        raise InvalidArgument("serve() needs at least one flow or task")
    return served


def _refuse(unknown: dict[str, Any]) -> None:
    if not unknown:
        return
    name = next(iter(unknown))
    if name == "webserver":
        raise TypeError(
            "serve() has no option `webserver` and needs none: any process starts a run by `.delay()`, and the server "
            'delivers it. For probes there is health_address="0.0.0.0:8080"'
        )
    if name in ("cron", "interval", "rrule", "schedules"):
        raise TypeError(
            f"serve() has no option `{name}`: a schedule belongs to a deployment of one flow. Make it before, by "
            f'flow.deploy("nightly", {name}=...), or serve the flow alone by flow.serve("nightly", {name}=...)'
        )
    options = inspect.signature(serve).parameters.values()
    names = ", ".join(option.name for option in options if option.kind is option.KEYWORD_ONLY)
    raise TypeError(f"serve() has no option `{name}`; its options are {names}")


async def _serve_async(make: Callable[[], Serving]) -> None:
    serving = await asyncio.to_thread(make)
    loop = asyncio.get_running_loop()
    taken = []
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            loop.add_signal_handler(number, serving.on_signal, number)
            taken.append(number)
    working = asyncio.ensure_future(asyncio.to_thread(serving.run))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        serving.drain()
        await working
        raise
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


class Serving:
    """A worker at work."""

    def __init__(
        self,
        served: dict[tuple[str, str], Function[Any, Any]],
        limit: int,
        flow_limit: int,
        queues: list[str],
        drain_seconds: float,
        labels: dict[str, str],
        health_address: Optional[str] = None,
    ) -> None:
        self._served = served
        self._queues = queues
        # Before the worker takes runs: a process that cannot import what it needs is a mistake to be told at once.
        _progress.turn_off()
        self._processes = _warm_pool(served)
        if self._processes is not None:
            from ._process.attempt import ProcessAttempt

            self._process_attempt = ProcessAttempt  # imported now, while there are files to be had for it
        kinds = {kind for kind, _ in served}
        task_slots = limit if "task" in kinds else 0
        flow_slots = flow_limit if "flow" in kinds else 0
        try:
            self._worker = _core.Worker(
                client(),
                queues=queues,
                functions=list(served),
                task_slots=task_slots,
                flow_slots=flow_slots,
                drain_grace=drain_seconds,
                labels=labels,
                health_address=health_address,
            )
        except BaseException:
            if self._processes is not None:
                self._processes.close(0.0)
            raise
        # Credits bound what runs at once; the spare threads, which there are only as needed, stand in for those that
        # cannot be interrupted.
        n_threads = task_slots + flow_slots + _SPARE_THREADS
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="tidegate-run")
        self._signal: Optional[int] = None
        self._is_asked_here = False
        self._connected: Optional[bool] = None
        self._tally = Tally()
        functions = ", ".join(f"{kind} {name} ({served[kind, name].execution})" for kind, name in served)
        slots = [f"{n} {kind}s" for kind, n in (("task", task_slots), ("flow", flow_slots)) if n]
        self._offer = f"{functions} from {', '.join(queues)}, {' and '.join(slots)} at once,"

    def run(self) -> None:
        """Takes and executes runs until the worker is drained."""
        say(f"worker {self._worker.id} serves {self._offer} at {client().address}")
        if self._worker.health_address is not None:
            say(f"its health is at http://{self._worker.health_address}/readyz")
        earlier = self._take_signals()
        try:
            self._work()
        except BaseException:
            self._end(earlier)
            if not _is_stuck():
                raise
            traceback.print_exc()
            _leave(1)
        self._end(earlier)
        say(f"worker {self._worker.id} has ended")
        if _is_stuck():
            _leave(0)

    def _work(self) -> None:
        every = heartbeat_line_seconds()
        next_line = time.monotonic() + every
        while (attempts := self._worker.next(0.5)) is not None:
            for attempt in attempts:
                self._start(attempt)
            self._tell_connection()
            if every and time.monotonic() >= next_line:
                next_line = time.monotonic() + every
                self._tell_how_it_stands()
            if not attempts and self._worker.stopped(0.0):  # raises why it was refused
                break
        if self._signal is not None:  # the handler itself may have come in the midst of a write
            name = signal.Signals(self._signal).name
            say(f"{name}: running work may end, no more is taken; once more ends at once")
        elif not self._is_asked_here and not self._worker.stopped(0.0):
            say("the server asks this worker to end: running work may end, however long it takes; no more is taken")
        while not self._worker.stopped(0.5):
            pass

    def _end(self, earlier: dict[signal.Signals, Any]) -> None:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        self._tally.await_ends(_HOOKS_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._processes is not None:
            self._processes.close()

    def _tell_connection(self) -> None:
        """Says when the connection comes and goes, so that a worker that waits for its server does not look busy."""
        connected, _, _ = self._worker.status
        if connected != self._connected:
            say("connected" if connected else f"not connected to {client().address}; trying again")
        self._connected = connected

    def _tell_how_it_stands(self) -> None:
        connected, running, _ = self._worker.status
        say(f"running {running}, {self._tally}, {'connected' if connected else 'not connected'}")

    def drain(self) -> None:
        """Takes no more runs, and lets running ones end."""
        self._is_asked_here = True
        self._worker.drain()

    def on_signal(self, number: int, _: Any = None) -> None:
        """Drains; the second time, ends the process."""
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = number
        self.drain()

    def _take_signals(self) -> dict[signal.Signals, Any]:
        if threading.current_thread() is not threading.main_thread():
            return {}  # only the main thread can
        return {number: signal.signal(number, self.on_signal) for number in _SIGNALS}

    def _start(self, attempt: _core.Attempt) -> None:
        function = self._served.get((attempt.kind, attempt.name))
        if function is None:
            attempt.finish("released")  # the core has given back what it did not say that it serves
        elif function.execution == "process":
            assert self._processes is not None
            in_process = self._process_attempt(attempt, function, self._tally, self._processes)
            self._pool.submit(to_its_end, attempt, self._tally, in_process.run)
        elif function.is_async:
            code = run_async(attempt, function, self._tally)
            asyncio.run_coroutine_threadsafe(to_its_end_async(attempt, self._tally, code), _background.async_loop())
        else:
            self._pool.submit(to_its_end, attempt, self._tally, run, attempt, function, self._tally)


def _warm_pool(served: dict[tuple[str, str], Function[Any, Any]]) -> Optional[Pool]:
    """Processes for those of `served` that are executed in one."""
    functions = [function for function in served.values() if function.execution == "process"]
    if not functions:
        return None
    from ._process.pool import Pool
    from ._process.process import CannotStart, start_seconds

    start_seconds()  # a wrong one is told here
    try:
        # As many kept as can compute at once; the others have been of use for a peak.
        n_processors = runners.n_processors()
        pool = Pool(functions, max_idle=max(_IDLE_PROCESSES, n_processors), max_starts=n_processors)
        pool.warm()
    except (CannotStart, PicklingError) as error:
        raise InvalidArgument(str(error)) from None
    return pool


def _is_stuck() -> bool:
    """True when code goes on that was told to stop: the interpreter would wait for its thread, however long."""
    if threading.current_thread() is not threading.main_thread():
        return False  # whoever started this thread decides about the process
    deadline = time.monotonic() + _IDLE_SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith("tidegate-") and not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                return True
    return False


def _leave(code: int) -> None:
    """Ends the process without the threads that go on; their runs have been reported."""
    say("code that was told to stop goes on: the process ends without it")
    try:
        _connection.close()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
