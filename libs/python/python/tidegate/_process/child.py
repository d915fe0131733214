"""The life of a child: it becomes like its parent, executes runs one by one, and ends with it."""

from __future__ import annotations

import asyncio
import faulthandler
import io
import itertools
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from importlib import import_module
from multiprocessing import spawn
from multiprocessing.connection import Connection
from typing import Any, Callable, Optional

import tidegate._process

from .. import _execution, codecs, hooks
from .._interrupt import Control
from .._runtime import RunContext
from ..errors import PayloadError, TidegateError
from ..functions import Function
from ..states import State
from . import local
from .protocol import Assign, Done, Ended, Hooked, Leave, Pause, Prepare, Ready, Resumed, Stop, Unready


def main(pipe: int, stacks: int) -> None:
    """Lives. `pipe` and `stacks` are descriptors that the parent has given to it."""
    faulthandler.enable(stacks)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what is printed before a crash is seen
    for descriptor in (pipe, stacks):
        os.set_inheritable(descriptor, False)
    sys.exit(Child(Connection(pipe)).run())


class Child:
    """This process, as its parent's child."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._assigned: queue.SimpleQueue[Optional[_Running]] = queue.SimpleQueue()
        self._running: Optional[_Running] = None
        self._main = threading.get_ident()

    def run(self) -> int:
        """Executes what comes, until there is nothing more; the exit code."""
        _handle_signals(self._on_signal)
        try:
            _prepare(self._connection.recv())
        except BaseException as error:
            self._say(Unready(_why_unready(error)))
            return 1
        self._say(Ready())
        threading.Thread(target=self._listen, name="tidegate-parent", daemon=True).start()
        while (running := self._assigned.get()) is not None:
            self._say(running.execute())
            if running.has_end_hooks():
                running.call_hooks()
                self._say(Hooked(running.assign.number))
        return 0

    def _say(self, word: Any) -> None:
        with self._sending:
            self._connection.send(word)

    def _listen(self) -> None:
        try:
            while True:
                self._hear(self._connection.recv())
        except (EOFError, OSError):
            # The parent is gone, and what this process does is of no use to anyone.
            os.killpg(os.getpgrp(), signal.SIGKILL)

    def _hear(self, word: Any) -> None:
        running = self._running
        if isinstance(word, Assign):
            self._running = _Running(word, self._say)
            self._assigned.put(self._running)
        elif isinstance(word, Leave):
            self._assigned.put(None)
        elif running is None or running.assign.number != word.number:
            pass  # of a run that has ended
        elif isinstance(word, Stop):
            running.control.stop(word.kind, word.message, word.grace)
            # A call that sleeps, or waits for the system, looks up at a signal, and finds itself interrupted.
            signal.pthread_kill(self._main, signal.SIGTERM)
        elif isinstance(word, Resumed):
            running.pauser.resumed(word)
        elif isinstance(word, Ended):
            running.ended.put(word.state)

    def _on_signal(self, number: int, _: Any) -> None:
        running = self._running
        if running is not None and running.control.stopped is None:
            name = signal.Signals(number).name
            sys.stderr.write(
                f"tidegate: {name} at process {os.getpid()}: the worker decides on its end; to stop what it executes, "
                f"cancel run {running.assign.facts['run_id']}\n"
            )


def _handle_signals(handler: Callable[[int, Any], None]) -> None:
    """Has `handler` called in this process, and not in what its code forks: the workers of a pool, say, are to end when
    they are told to, from their first moment on."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    defaults = {number: signal.signal(number, handler) for number in numbers}
    masks = threading.local()

    def before() -> None:
        # Python forgets in the fork what has come before it was ready.
        masks.earlier = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.earlier)

    def after_in_child() -> None:
        for number, default in defaults.items():
            signal.signal(number, default)
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after_in_child)


def _prepare(prepare: Prepare) -> None:
    tidegate._process.is_importing = True
    sys.path = list(prepare.main.get("sys_path", sys.path))
    for name in prepare.before_main:
        module, _, call = name.partition(":")
        getattr(import_module(module), call)()
    spawn.prepare(prepare.main)
    codecs.take_over(prepare.codecs)
    for reference in prepare.functions:
        pickle.loads(reference)
    tidegate._process.is_importing = False


def _why_unready(error: BaseException) -> str:
    if isinstance(error, TidegateError):
        return str(error)
    lines = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return f"a process that is to execute runs cannot import what it needs:\n{lines}"


class _Running:
    """A run that this process executes."""

    def __init__(self, assign: Assign, say: Callable[[Any], None]) -> None:
        self.assign = assign
        self.control = Control()
        self.pauser = _Pauser(assign.number, say)
        self.ended: queue.SimpleQueue[Optional[tuple[str, str, str]]] = queue.SimpleQueue()
        self._executed: Optional[tuple[Function[Any, Any], RunContext, _execution.Outcome]] = None

    def execute(self) -> Done:
        """Executes it; what to say of its end."""
        assign = self.assign
        function: Function[Any, Any] = pickle.loads(assign.function)
        context = RunContext(**assign.facts, pauser=self.pauser)
        if assign.arguments is not None:
            return self._execute_local(function, assign.arguments, context)
        try:
            arguments = _execution.arguments_of(function, assign.parameters)
        except TidegateError as error:
            outcome = _execution.not_begun(error)
        else:
            outcome = self._outcome(function, arguments, context)
        self._executed = (function, context, outcome)
        end = _execution.end_of(outcome, self.control, function.name, function.options)
        return Done(assign.number, hooks.with_condition(end, function, context, outcome))

    def has_end_hooks(self) -> bool:
        """True where the parent will say what became of the run."""
        return self._executed is not None and hooks.has_end_hooks(self._executed[0])

    def call_hooks(self) -> None:
        """Waits for the state of the run, and calls the hooks for it."""
        state = self.ended.get()
        if state is not None and self._executed is not None:
            function, context, outcome = self._executed
            hooks.run_hooks(function, context, State(*state), outcome)

    def _execute_local(self, function: Function[Any, Any], arguments: bytes, context: RunContext) -> Done:
        try:
            outcome = self._outcome(function, pickle.loads(arguments), context)
        except Exception as error:
            message = f"the arguments of `{function.name}` cannot be read in its process: {type(error).__name__}: {error}"
            outcome = _execution.Outcome("failed", error=PayloadError(message))
        outcome, pickled = local.returned(function, outcome)
        end = _execution.end_of(outcome, self.control, function.name, function.options)
        return Done(self.assign.number, end, pickled)

    def _outcome(self, function: Function[Any, Any], arguments: Any, context: RunContext) -> _execution.Outcome:
        if not function.is_async:
            return _execution.execute(function, arguments, context, self.control)
        try:
            return asyncio.run(_execution.execute_async(function, arguments, context, self.control))
        except BaseException as error:
            return _execution.Outcome("failed", error=error)


class _Pauser:
    """Has the parent report that the code waits: as the core's `Pauser`."""

    def __init__(self, number: int, say: Callable[[Any], None]) -> None:
        self._number = number
        self._say = say
        self._numbers = itertools.count()
        self._answers: dict[int, _Answer] = {}

    def pause(self, key: str, **options: Any) -> _Answer:
        """Begins to wait."""
        n = next(self._numbers)  # of its own, also where two threads of the code ask at once
        answer = self._answers[n] = _Answer()
        self._say(Pause(self._number, n, key, options))
        return answer

    def resumed(self, word: Resumed) -> None:
        """The end of one of the waits."""
        self._answers.pop(word.pause).give(word)


class _Answer:
    """What the parent will say: as the core's `Op`."""

    def __init__(self) -> None:
        self._given = threading.Event()
        self._word: Optional[Resumed] = None
        self._lock = threading.Lock()
        self._subscribers: list[Callable[[], None]] = []

    def give(self, word: Resumed) -> None:
        """It was said."""
        with self._lock:
            self._word = word
            self._given.set()
            subscribers, self._subscribers = self._subscribers, []
        for subscriber in subscribers:
            subscriber()

    def wait(self, seconds: float) -> bool:
        """Waits up to `seconds`; True when it was said."""
        return self._given.wait(seconds)

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Has `callback` called when it was said; at once where it was said already."""
        with self._lock:
            if self._word is None:
                self._subscribers.append(callback)
                return
        callback()

    def result(self) -> Any:
        """The input."""
        assert self._word is not None
        if self._word.error is not None:
            raise self._word.error
        return self._word.input
