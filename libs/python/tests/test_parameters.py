"""What flows and tasks are called with."""

from __future__ import annotations

import asyncio
import enum
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Optional, Union

import pytest
from pydantic import BaseModel, Field

import work_authoring as work
from conftest import PATIENCE, Processes
from tidegate import InvalidArgument, ParameterError, PayloadError, RunFailed, flow, get_run, task
from tidegate import _core, validation
from tidegate._connection import block, client
from tidegate.cache_policies import INPUTS


class Point(BaseModel):
    x: int
    y: int = 0


@dataclass
class Line:
    points: list[Point]


@task
def takes(
    n: int,
    ratio: float = 1.0,
    names: Optional[list[str]] = None,
    when: Optional[datetime] = None,
    line: Optional[Line] = None,
    *rest: int,
    flag: bool = False,
    **more: int,
) -> None:
    """Takes some of everything."""


def checked(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return takes._arguments(args, kwargs)


@pytest.mark.every_python
def test_arguments_are_converted_by_their_hints() -> None:
    found = checked("1", 2, when="2026-01-02T03:04:05Z", line={"points": [{"x": "3"}]}, flag="yes", extra="7")
    assert found == {
        "n": 1,
        "ratio": 2.0,
        "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        "line": Line([Point(x=3)]),
        "flag": True,
        "more": {"extra": 7},
    }
    assert type(found["ratio"]) is float
    rest = takes._arguments((1, 1.0, None, None, None, "5", 6), {})["rest"]
    assert rest == (5, 6)


@pytest.mark.every_python
def test_what_fits_is_passed_as_it_is() -> None:
    names, line = ["a", "b"], Line([Point(x=1)])
    found = checked(1, names=names, line=line)
    assert found["names"] is names and found["line"] is line
    mixed = checked(1, names=names)
    assert mixed["names"] is names

    @task
    def any_number(values: list[Union[int, str]]) -> None: ...

    values: list[Any] = [1, "a"]
    assert any_number._arguments((values,), {})["values"] is values


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (
            ("x",),
            {},
            "`takes` cannot be called so: parameter `n` is 'x', a str, but has to be `int` (input should be a valid integer, "
            "unable to parse string as an integer). Pass what the hints say, change the hints, or decorate it with "
            "validate_parameters=False to take anything",
        ),
        ((1,), {"line": {"points": [{"x": "a"}]}}, "parameter `line.points[0].x` is 'a', a str, but `line` has the type "),
        ((1,), {"more_of_it": "z"}, "parameter `more_of_it` is 'z', a str, but has to be `int`"),
        ((1, 1.0, None, None, None, 1, "q"), {}, "parameter `*rest[1]` is 'q', a str"),
        (("x", "y"), {}, "parameter `n` is 'x'.*; parameter `ratio` is 'y'"),
        ((), {}, "`takes` needs the parameter `n`, which has no default: call it as takes(n: int, ratio: float = 1.0, "),
    ],
)
@pytest.mark.every_python
def test_what_does_not_fit_is_told_before_anything_is_created(args: Any, kwargs: Any, message: str) -> None:
    import re

    pattern = message if ".*" in message else re.escape(message)
    for call in (takes, takes.submit, takes.delay):
        with pytest.raises(ParameterError, match=pattern) as refused:
            call(*args, **kwargs)
        assert isinstance(refused.value, InvalidArgument)
        assert isinstance(refused.value, TypeError) and isinstance(refused.value, ValueError)


@pytest.mark.every_python
def test_names_that_are_wrong_are_told_with_those_that_are_right() -> None:
    @task
    def add(first: int, second: int = 1) -> int:
        return first + second

    with pytest.raises(ParameterError) as refused:
        add(1, secnod=2)  # type: ignore[call-arg]
    assert str(refused.value) == (
        "`add` has no parameter `secnod`; did you mean `second`? Call it as add(first: int, second: int = 1)"
    )
    with pytest.raises(ParameterError, match="`add` takes at most 2 positional arguments, but was given 3: call it as add"):
        add(1, 2, 3)  # type: ignore[call-arg]
    with pytest.raises(ParameterError, match="`add` has no parameter `zzz`: call it as add"):
        add.arguments_of({"first": 1, "zzz": 2})
    with pytest.raises(ParameterError, match="needs the parameter `first`"):
        add.arguments_of({"second": 1})


@pytest.mark.every_python
def test_positional_only_and_keyword_only_parameters() -> None:
    @task
    def f(a: int, /, b: int, *, c: int = 3) -> None: ...

    assert f._arguments(("1", "2"), {"c": "4"}) == {"a": 1, "b": 2, "c": 4}
    with pytest.raises(ParameterError, match="`f` takes at most 2 positional arguments, but was given 3"):
        f._arguments((1, 2, 3), {})
    with pytest.raises(ParameterError, match="`f` takes `a` by its position, not by name: call it as f"):
        f._arguments((), {"a": 1, "b": 2})


@pytest.mark.every_python
def test_hints_of_inner_scopes_and_of_nowhere() -> None:
    class Inner(BaseModel):
        n: int

    @task
    def f(inner: Inner, unknown: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821

    found = f._arguments(({"n": "1"}, "as it is"), {})
    assert found == {"inner": Inner(n=1), "unknown": "as it is"}


@pytest.mark.every_python
def test_hints_that_say_more_than_a_type() -> None:
    @task
    def f(n: Annotated[int, Field(gt=0)], lock: threading.Thread, items: Iterable[int]) -> None: ...

    thread, items = threading.Thread(), [1]
    assert f._arguments(("1", thread, items), {}) == {"n": 1, "lock": thread, "items": [1]}
    with pytest.raises(ParameterError, match="parameter `n` is 0, an int, but has to be .*greater than 0"):
        f._arguments((0, thread, items), {})
    with pytest.raises(ParameterError, match="parameter `lock` is 1, an int, but has to be `Thread`"):
        f._arguments((1, 1, items), {})


@pytest.mark.every_python
def test_names_of_runs_may_be_made_by_a_function() -> None:
    assert takes.with_options(run_name=lambda arguments: f"n={arguments['n']}")._run_name({"n": 1}) == "n=1"
    assert takes.with_options(run_name=lambda: "always")._run_name({"n": 1}) == "always"


@pytest.mark.every_python
def test_checks_can_be_switched_off() -> None:
    loose = takes.with_options(validate_parameters=False)
    assert loose._arguments(("x",), {}) == {"n": "x"}
    # Nothing would give it back where it is executed.
    when = {"when": datetime(2026, 1, 2)}
    assert takes.plain(when) == {"when": "2026-01-02T00:00:00"} and loose.plain(when) == when


@pytest.mark.every_python
def test_pydantic_is_imported_for_what_needs_it_alone() -> None:
    program = """
import sys, tidegate
@tidegate.task
def f(a, b: int, c: list[str], *, d: str | None = None): ...
f._arguments((object(), 1, ["x"]), {"d": "y"})
assert "pydantic" not in sys.modules
assert f._arguments((1, "2", ["x"]), {})["b"] == 2
assert "pydantic" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.every_python
def test_values_travel_as_json_where_their_hints_give_them_back() -> None:
    class Size(enum.Enum):
        LARGE = "l"

    @task
    def f(point: Point, when: date, size: Size, key: uuid.UUID, path: Path, ids: set[int], free: Any = None) -> None: ...

    arguments = f._arguments((Point(x=1), date(2026, 1, 2), Size.LARGE, uuid.UUID(int=7), Path("/a"), {2, 1}), {})
    plain = f._parameters.plain(arguments)
    assert json.loads(json.dumps(plain)) == {
        "point": {"x": 1, "y": 0},
        "when": "2026-01-02",
        "size": "l",
        "key": str(uuid.UUID(int=7)),
        "path": "/a",
        "ids": [1, 2],
    }
    assert f.arguments_of(json.loads(json.dumps(plain))) == arguments
    # Without a hint nothing could give it back.
    assert f._parameters.plain({**arguments, "free": date(2026, 1, 2)})["free"] == date(2026, 1, 2)


@pytest.mark.every_python
def test_hints_are_read_once_however_often_a_function_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counter:
        @task
        def add(self, n: int) -> int:
            return n

    read: list[Any] = []
    adapter_of = validation.adapter_of

    def counted(hint: Any) -> Any:
        read.append(hint)
        return adapter_of(hint)

    monkeypatch.setattr(validation, "adapter_of", counted)
    first, second = Counter(), Counter()
    for counter in (first, second):
        for add in (counter.add, counter.add.with_options(retries=1)):
            assert add._arguments(("1",), {}) == {"self": counter, "n": 1}
    assert read == [int]


@pytest.mark.every_python
def test_a_name_that_cannot_be_filled_in_is_told() -> None:
    named = takes.with_options(run_name="item {names:>3}")
    with pytest.raises(InvalidArgument, match="the run_name 'item {names:>3}' of `takes` cannot be filled in: TypeError"):
        named._run_name({"n": 1})


@pytest.mark.every_python
def test_a_word_in_the_place_of_a_list_is_refused() -> None:
    for option in ("tags", "concurrency_limits", "retry_on", "never_retry_on"):
        with pytest.raises(InvalidArgument, match=f"{option}='nightly': it is a list, as in {option}="):
            takes.with_options(**{option: "nightly"})


@pytest.mark.every_python
def test_a_function_without_known_parameters_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="`max` cannot be decorated: Python does not tell its parameters; decorate"):
        task(max)


@pytest.mark.every_python
def test_what_cannot_be_decorated_is_told_why() -> None:
    async def numbers():  # type: ignore[no-untyped-def]
        yield 1

    class Thing: ...

    with pytest.raises(InvalidArgument, match="`numbers` is a generator"):
        task(numbers)
    with pytest.raises(InvalidArgument, match="`Thing` is a class: @flow decorates functions"):
        flow(Thing)
    with pytest.raises(InvalidArgument, match="a lambda has no name.*`name=`"):
        task(lambda: None)
    with pytest.raises(InvalidArgument, match="`takes` is a task already"):
        flow(takes)
    assert task(name="nothing")(lambda: None).name == "nothing"


@pytest.mark.every_python
@pytest.mark.usefixtures("server")
def test_a_value_that_cannot_tell_its_text_is_refused_all_the_same() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError("not now")

    @task
    def takes(n: int) -> None: ...

    with pytest.raises(ParameterError, match=r"`n` is \(its text cannot be had: RuntimeError in its __repr__\), a Silent"):
        takes.delay(Silent())  # type: ignore[arg-type]


@pytest.mark.usefixtures("server")
class TestWithAServer:
    def test_futures_are_checked_once_they_have_ended(self) -> None:
        @task
        def text() -> str:
            return "12"

        @task
        def double(n: int) -> int:
            return 2 * n

        @task
        async def double_async(n: int) -> int:
            return 2 * n

        @flow
        def outer() -> list[Any]:
            with pytest.raises(ParameterError, match="parameter `n` is 'x'"):
                double.submit(task(name="x")(lambda: "x").submit()).result()
            return [double.submit(text.submit()).result(), double(text.submit())]

        @flow
        async def outer_async() -> int:
            return await double_async(text.submit())  # type: ignore[arg-type]

        assert outer() == [24, 24]
        assert asyncio.run(outer_async()) == 24

    @pytest.mark.every_python
    def test_methods_run_here(self) -> None:
        class Counter:
            def __init__(self) -> None:
                self.lock, self.n = threading.Lock(), 0

            @task
            def add(self, n: int) -> int:
                with self.lock:
                    self.n += n
                return self.n

            @task
            async def add_async(self, n: int) -> int:
                return self.n + n

            @flow
            def all(self) -> list[int]:
                submitted = [self.add.submit(2).result(), self.add_async.submit("3").result()]
                return [self.add(1), *submitted, type(self).add(self, 4)]

            @task
            @classmethod
            def made(cls, n: int) -> str:
                return f"{cls.__name__} {n}"

            @classmethod
            @task
            def made_too(cls, n: int) -> str:
                return f"{cls.__name__} {n}"

            @task
            @staticmethod
            def plain(n: int) -> int:
                return n

            @staticmethod
            @task
            def plain_too(n: int) -> int:
                return n

        counter = Counter()
        assert counter.all() == [3, 2, 5, 7]
        assert counter.add.with_options(retries=1)(1) == 8
        assert [Counter.made("1"), counter.made(2), counter.made.submit(3).result()] == [f"Counter {n}" for n in (1, 2, 3)]
        assert Counter.made_too(4) == "Counter 4"
        if sys.version_info < (3, 13):  # where a class method asks what it holds how it is to be bound
            assert counter.made_too.submit(5).result() == "Counter 5"
        with pytest.raises(ParameterError) as without_class:
            Counter.__dict__["made_too"].__func__.submit(5)  # as `Counter.made_too.submit(5)` from then on
        assert str(without_class.value).endswith(
            "Counter.made_too` is called without its class: write @task above @classmethod; the other way round Python 3.13 and "
            "later lose the class when more is asked of it than a call"
        )
        plain = [Counter.plain("1"), counter.plain(2), Counter.plain_too(3), counter.plain_too.submit(4).result()]
        assert plain == [1, 2, 3, 4]
        with pytest.raises(PayloadError) as refused:
            work.Locked().add.delay(1)
        assert str(refused.value) == (
            "`Locked.add` is a method, and the `work_authoring.Locked` that it is called on cannot travel to a worker (cannot "
            "pickle '_thread.lock' object): have it pickled by what it is made from (`__reduce__`), or .delay() a function that "
            "makes the `work_authoring.Locked` itself"
        )

    def test_methods_have_options(self) -> None:
        executed: list[int] = []
        heard: list[int] = []

        def hear(parameters: dict[str, Any]) -> None:
            heard.append(parameters["n"])

        class Shop:
            @task(name=f"price-{uuid.uuid4()}", retries=1, on_completion=hear, cache_policy=INPUTS - "self")
            def price(self, n: int) -> int:
                executed.append(n)
                if len(executed) == 1:
                    raise ValueError("not yet")
                return 10 * n

        assert (Shop().price(1), Shop().price.submit(1).result(), Shop().price.map([1, 2]).result()) == (10, 10, [10, 20])
        assert (executed, heard) == ([1, 1, 2], [1, 2]), "it was tried again, and 1 is cached from then on"

    def test_typed_values_reach_a_worker(self, processes: Processes) -> None:
        queue = f"q-{uuid.uuid4().hex[:12]}"
        processes.worker("work_authoring.py", queue)
        order = work.Order([work.Item(name="a", price=1.5)], date(2026, 1, 2))
        at, key = datetime(2026, 1, 2, tzinfo=timezone.utc), uuid.UUID(int=7)
        handle = work.describe.with_options(queue=queue).delay(
            order, at, work.Color.RED, key, Path("/tmp"), (1, 2), some={3}
        )
        assert handle.result(timeout=PATIENCE) == [
            f"Order {order}", f"Item {order.items[0]}", f"datetime {at}", "Color Color.RED", f"UUID {key}", "PosixPath /tmp",
            "tuple (1, 2)", "set {3}",
        ]
        parameters = handle.run().parameters
        assert parameters is not None and json.loads(parameters[1])["order"]["due"] == "2026-01-02"
        greeter = work.Greeter("Hello")
        assert greeter.greet.with_options(queue=queue).delay("you").result(timeout=PATIENCE) == "Hello, you"
        greeted = greeter.greet_all.with_options(queue=queue).delay(["you", "all"])
        assert greeted.result(timeout=PATIENCE) == ["Hello, you", "Hello, all"]
        assert work.Greeter.kind_of.with_options(queue=queue).delay("1").result(timeout=PATIENCE) == "Greeter 1"
        assert work.Greeter.plain.with_options(queue=queue).delay(1).result(timeout=PATIENCE) == 2

    def test_what_another_language_sends_is_checked_by_the_worker(self, processes: Processes) -> None:
        queue = f"q-{uuid.uuid4().hex[:12]}"
        processes.worker("work_authoring.py", queue)

        def created(parameters: bytes) -> str:
            run = _core.NewRun(kind="task", name="add_exactly", encoding="json/plain", data=parameters, queue=queue)
            ((run_id, _),) = block(client().create([run]))
            return str(run_id)

        assert get_run(created(b'{"a": "7"}')).result(timeout=PATIENCE) == "7 1"
        handle = get_run(created(b'{"a": "seven"}'))
        with pytest.raises(RunFailed, match="parameter `a` is 'seven', a str, but has to be `int`"):
            handle.result(timeout=PATIENCE)
        assert handle.run().attempt == 1

    def test_a_run_fails_by_the_error_that_its_arguments_or_result_have_raised(self, processes: Processes) -> None:
        queue = f"errors-{uuid.uuid4()}"
        processes.worker("work_authoring.py", queue)

        def failed(function: Any, *arguments: Any) -> tuple[RunFailed, int]:
            handle = function.with_options(queue=queue, validate_parameters=False).delay(*arguments)
            with pytest.raises(RunFailed) as failure:
                handle.result(PATIENCE)
            return failure.value, handle.run().attempt

        for function in (work.add_exactly, work.takes_number):
            failure, _ = failed(function, "many")
            assert failure.error_type == "ParameterError"
            assert "is 'many', a str, but has to be `int`" in failure.error_message
        failure, n_attempts = failed(work.gives_lock)
        assert (failure.error_type, n_attempts) == ("PayloadError", 1)



def test_a_refused_call_leaves_nothing_behind(server: str) -> None:
    label = uuid.uuid4().hex
    with pytest.raises(ParameterError):
        takes.with_options(labels={"test": label}).delay("x")
    found, _ = block(client().list_runs(f'labels.test = "{label}"', 10, ""))
    assert found == []
