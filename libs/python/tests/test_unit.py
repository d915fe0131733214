"""What needs no server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

import tidegate
from conftest import PATIENCE
from tidegate import Future, InvalidArgument, PayloadError, State, TidegateError, WaitTimeout, as_completed, flow, task, wait
from tidegate import _core, _payload, errors, handles
from tidegate._interrupt import Control
from tidegate.errors import Interrupted, RunCancelled, RunCrashed, RunFailed, UpstreamFailed, _of_ended_run
from tidegate._dependencies import dependencies, resolve

pytestmark = pytest.mark.every_python


@task(retries=3, retry_delay_seconds=[1, 2.5], run_name="count {path}")
def count(path: str, *rest: int, flag: bool = False, **more: int) -> None:
    """Counts."""


@pytest.mark.parametrize(
    "value", [None, True, 1, 1.5, "ü", b"\0\xff", [1, [2]], {"a": {"b": None}}, {"set", "of"}, {1: "int key"}, 2**80]
)
def test_values_survive_their_payload(value: object) -> None:
    assert _payload.decode(_payload.encode(value, "it"), "it") == value


def test_json_is_taken_only_where_it_loses_nothing() -> None:
    assert _payload.encode({"a": [1, 2.0, "x", None, (3,)]}, "it")[0] == _payload.JSON
    for value in ({1: "x"}, {"a": {1, 2}}, [float("nan")], complex(1, 2)):
        assert _payload.encode(value, "it")[0] == _payload.PICKLE


def test_what_cannot_travel_is_named_with_a_mend() -> None:
    with pytest.raises(PayloadError, match="the arguments of `f` is a lock that cannot travel.*instead"):
        _payload.encode(threading.Lock(), "the arguments of `f`")


def test_arguments_are_bound_by_name() -> None:
    bound = count.bind(("p", 1, 2), {"flag": True, "x": 3})
    assert bound == {"path": "p", "rest": (1, 2), "flag": True, "more": {"x": 3}}
    with pytest.raises(TypeError, match="`count` needs the parameter `path`"):
        count.bind((), {})


def test_bound_arguments_call_the_function_again() -> None:
    seen = []

    @task
    def f(a, /, b, *rest, c, **more):  # type: ignore[no-untyped-def]
        seen.append((a, b, rest, c, more))

    f.call_with(f.arguments_of({"a": 1, "b": 2, "rest": [3, 4], "c": 5, "more": {"d": 6}}))
    assert seen == [(1, 2, (3, 4), 5, {"d": 6})]


def test_another_language_may_send_a_single_value() -> None:
    @task
    def double(n: int) -> int:
        return 2 * n

    assert double.arguments_of(21) == {"n": 21}
    assert double.arguments_of({"n": 21}) == {"n": 21}
    with pytest.raises(InvalidArgument, match="send an object with these names"):
        count.arguments_of([1, 2])


def test_options_are_kept_and_changed_and_checked() -> None:
    assert count.options.delays() == [1.0, 2.5]
    changed = count.with_options(retries=0, queue="slow")
    assert (changed.options.retries, changed.options.queue, changed.name) == (0, "slow", "count")
    assert count.options.retries == 3
    with pytest.raises(TypeError, match="unknown option `retrys`; the options are"):
        count.with_options(retrys=1)
    with pytest.raises(TypeError, match="unknown option `timeout`"):
        task(timeout=1)


def test_run_names_are_filled_in() -> None:
    assert count._run_name({"path": "x"}) == "count x"
    with pytest.raises(InvalidArgument, match="cannot be filled in.*it may use path"):
        count.with_options(run_name="{nope}")._run_name({"path": "x"})


def test_a_decorated_function_looks_like_itself() -> None:
    assert (count.__name__, count.__doc__, count.kind) == ("count", "Counts.", "task")
    assert flow(name="nightly")(lambda: None).name == "nightly"


def test_generators_are_refused() -> None:
    def numbers():  # type: ignore[no-untyped-def]
        yield 1

    with pytest.raises(InvalidArgument, match="`numbers` is a generator.*return a list"):
        task(numbers)


def test_a_name_in_the_place_of_the_function_is_explained() -> None:
    with pytest.raises(InvalidArgument, match="give the name as `name=`"):
        task("nightly")  # type: ignore[call-overload]


def test_without_a_server_the_error_says_how_to_start_one() -> None:
    program = "import tidegate\n@tidegate.task\ndef f(): ...\nf.delay()"
    environment = {**os.environ, "TIDEGATE_ADDRESS": "http://127.0.0.1:1"}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "ServerUnavailable: no Tidegate server answers" in ended.stderr
    assert "`tidegate dev`" in ended.stderr


def test_ids_are_checked_where_they_are_given() -> None:
    with pytest.raises(InvalidArgument, match="`x` is not the id of a run"):
        tidegate.get_run("x")


def test_a_state_is_had_without_the_values_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Done:
        def wait(self, seconds: float) -> bool:
            return True

        def result(self) -> object:
            return SimpleNamespace(state=("COMPLETED", "Completed", ""), result=None)

    # Any other call of it is an AttributeError.
    monkeypatch.setattr(handles, "client", lambda: SimpleNamespace(peek_run=lambda run_id: Done()))
    assert tidegate.get_run("0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b").state.is_completed()


def finished(value: object = None, error: Exception | None = None, id: str | None = None) -> Future:
    future = Future("f")
    future.id = id
    future._finish(value, error)
    return future


def test_futures_tell_their_outcome() -> None:
    assert finished(1).result() == 1
    error = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        finished(error=error).result()
    assert finished(error=error).result(raise_on_failure=False) is error
    assert finished(1).state.is_completed()
    assert finished(error=error).state == State("FAILED", "Failed", "no")
    for own, state in (
        (RunFailed("slow", "r", "TimedOut"), State("FAILED", "TimedOut", "slow")),
        (UpstreamFailed("not executed", "r", "UpstreamFailed"), State("FAILED", "UpstreamFailed", "not executed")),
        (RunCrashed("died", "r"), State("CRASHED", "Crashed", "died")),
        (RunCancelled("enough"), State("CANCELLED", "Cancelled", "enough")),
    ):
        assert finished(error=own, id="r").state == state
        if own.run_id:
            assert finished(error=own, id="caller").state == State("FAILED", "Failed", str(own)), "it raised another run's error"
    with pytest.raises(WaitTimeout):
        Future("f").result(timeout=0.01)


def test_futures_are_waited_for() -> None:
    done, not_done = finished(1), Future("g")
    assert wait([done, not_done], timeout=0.01) == ({done}, {not_done})
    ended = as_completed([not_done, done])
    assert next(ended) is done
    threading.Thread(target=lambda: not_done._finish(2, None)).start()
    assert next(ended).result() == 2


def test_futures_inside_containers_are_dependencies() -> None:
    one, two = finished(1), finished(2)
    nested = {"a": [one, (two, 3)], "b": "x"}
    assert dependencies(nested) == [one, two]
    assert resolve(nested) == {"a": [1, (2, 3)], "b": "x"}


def test_dependencies_are_found_however_deep_and_in_what_holds_itself() -> None:
    one, two = finished(1), finished(2)
    deep: list[object] = [one]
    for _ in range(10_000):
        deep = [deep]
    endless: dict[str, object] = {"two": two}
    endless["me"] = [endless]
    assert dependencies([deep, endless]) == [one, two]
    for value in (deep, endless):
        with pytest.raises(InvalidArgument, match="holds itself, or is nested too deeply for their results"):
            resolve(value)


def test_ends_of_runs_are_exceptions_under_one_base() -> None:
    failed = _of_ended_run("r", "f", ("FAILED", "Failed", ""), ("ValueError", "no", "Traceback …"))
    assert isinstance(failed, RunFailed) and isinstance(failed, TidegateError)
    assert failed.error_type == "ValueError" and "Traceback …" in str(failed)
    assert isinstance(_of_ended_run("r", "f", ("CRASHED", "Crashed", "signal 9"), None), tidegate.RunCrashed)
    assert isinstance(_of_ended_run("r", "f", ("CANCELLED", "Cancelled", ""), None), tidegate.RunCancelled)
    assert _of_ended_run("r", "f", ("COMPLETED", "Completed", ""), None) is None


def test_code_in_a_thread_is_interrupted() -> None:
    control, running, ended = Control(), threading.Event(), []

    def code() -> None:
        try:
            with control.thread():
                running.set()
                while True:
                    try:
                        len("")  # before a bare `try` at the head of a loop Python 3.10 looks for nothing, not even other threads
                    except Exception:  # does not swallow it
                        pass
        except Interrupted:
            ended.append(control.stopped)

    thread = threading.Thread(target=code)
    thread.start()
    running.wait()
    control.stop("cancel", "because", 0.0)
    thread.join(20)
    assert ended == [("cancel", "because")]


def test_code_that_is_profiled_goes_on_after_a_call() -> None:
    # In a process of its own, because code that hangs in the interpreter cannot be interrupted.
    program = """
import cProfile
from tidegate._interrupt import Control
def call(): pass
with Control().thread():
    pass
with cProfile.Profile() as profile:
    call()
print("went on")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert ended.stdout == "went on\n", ended.stderr


def test_a_call_that_is_not_answered_in_time_is_no_wait_that_ran_out() -> None:
    error = tidegate.errors._from_core("deadline_exceeded", "", "no answer")
    assert isinstance(error, tidegate.ServerUnavailable) and not isinstance(error, tidegate.WaitTimeout)


def test_each_kind_of_error_has_one_predicate() -> None:
    kinds = _core.error_kinds()
    predicates = [name for name in vars(TidegateError) if name.startswith("is_") and name != "is_retryable"]
    assert sorted(predicates) == sorted(f"is_{kind}" for kind in kinds)
    for kind in kinds:
        error = errors._from_core(kind, "", "x")
        assert [name for name in predicates if getattr(error, name)()] == [f"is_{kind}"]
        assert error.is_retryable() == (kind in ("unavailable", "exhausted", "deadline_exceeded"))


def test_each_exception_is_of_one_kind() -> None:
    kinds = {
        name: each.kind
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, TidegateError) and each is not TidegateError
    }
    assert kinds == {
        "ServerUnavailable": "unavailable",
        "NotFound": "not_found",
        "InvalidArgument": "invalid_argument",
        "ParameterError": "invalid_argument",
        "AlreadyExists": "already_exists",
        "PayloadError": "payload",
        "WaitTimeout": "deadline_exceeded",
        "SlotsLost": "failed_precondition",
        "WouldDeadlock": "failed_precondition",
        "NonRetryable": "run_failed",
        "RunError": "internal",
        "RunFailed": "run_failed",
        "UpstreamFailed": "run_failed",
        "RunCrashed": "run_crashed",
        "RunCancelled": "run_cancelled",
    }
    assert set(kinds.values()) | {TidegateError.kind} <= set(_core.error_kinds())
    assert errors._from_core("failed_precondition", "SESSION_LOST", "x").is_run_crashed()


def test_a_run_whose_upstream_failed_is_told_by_its_state() -> None:
    said = "run r-1, whose result it needs, did not complete: ValueError: no"
    for failure in (None, ("UpstreamFailed", said, "")):
        error = _of_ended_run("r-2", "sum", ("FAILED", "UpstreamFailed", said), failure)
        assert isinstance(error, UpstreamFailed) and said in str(error)
        assert (error.run_id, error.error_type, error.error_message) == ("r-2", "UpstreamFailed", said)
