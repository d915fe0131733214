"""What makes two calls the same: cache policies, against a real server."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from datetime import timedelta
from typing import Any, Optional
from uuid import uuid4

import pytest
from pydantic import BaseModel

import results_work as work
import tidegate
from conftest import HERE, PATIENCE, Processes, until
from tidegate import InvalidArgument, _hashing, flow, task
from tidegate.cache_policies import DEFAULT, INPUTS, NO_CACHE, RUN_ID, TASK_SOURCE, CacheKeyFnPolicy, CachePolicy
from tidegate.functions import Task


def counting(policy: Optional[CachePolicy], **options: Any) -> tuple[Task[Any, Any], list[Any]]:
    """A task of a new name, and what it was executed with."""
    seen: list[Any] = []

    @task(name=f"counting-{uuid4()}", cache_policy=policy, **options)
    def counted(it: Any, other: Any = "default") -> int:
        seen.append(it)
        return len(seen)

    return counted, seen


@pytest.mark.usefixtures("server")
def test_equal_inputs_give_the_result_of_the_first_call() -> None:
    counted, seen = counting(INPUTS)
    assert [counted({"a": 1, "b": [2]}), counted({"b": [2], "a": 1}), counted({"a": 1, "b": [2]}, "default")] == [1, 1, 1]
    assert counted({"a": 2}) == 2 and counted({"a": 1, "b": [2]}, "other") == 3
    assert len(seen) == 3


@pytest.mark.usefixtures("server")
def test_another_function_is_another_call() -> None:
    one, other = counting(INPUTS)[0], counting(INPUTS)[0]
    assert (one(1), one(2), other(2)) == (1, 2, 1)


@pytest.mark.usefixtures("server")
def test_a_policy_works_for_submitted_calls_once_their_futures_have_ended() -> None:
    counted, seen = counting(INPUTS)

    @task
    def produce() -> list[int]:
        return [1, 2]

    @flow
    def outer() -> list[int]:
        first = counted.submit(produce.submit()).result()
        return [first, counted.submit(produce.submit()).result(), counted([1, 2])]

    assert outer() == [1, 1, 1] and seen == [[1, 2]]


def test_a_policy_works_for_delayed_calls(server: str, processes: Processes) -> None:
    queue = f"caching-{uuid4()}"
    processes.worker("results_work.py", queue)
    typed = work.typed.with_options(queue=queue, cache_policy=INPUTS, cache_expiration=3600)
    first, second = typed.delay("dataclass"), None
    assert first.result(timeout=PATIENCE) == work.TYPED["dataclass"]
    second = typed.delay("dataclass")
    assert second.result(timeout=PATIENCE) == work.TYPED["dataclass"]
    assert second.state.name == "Cached" and first.state.name == "Completed"
    anew = typed.with_options(refresh_cache=True).delay("dataclass")
    assert anew.result(timeout=PATIENCE) == work.TYPED["dataclass"] and anew.state.name == "Completed"


@pytest.mark.usefixtures("server")
def test_a_result_serves_until_it_expires() -> None:
    lasting, _ = counting(INPUTS, cache_expiration=3600)
    short, seen = counting(INPUTS, cache_expiration=timedelta(seconds=1))
    assert (lasting(1), short(1)) == (1, 1)
    until(lambda: short(1) == 2)
    assert lasting(1) == 1 and seen == [1, 1]


@pytest.mark.usefixtures("server")
def test_a_refreshed_result_serves_the_next_calls() -> None:
    counted, seen = counting(INPUTS)
    assert counted(1) == 1
    assert counted.with_options(refresh_cache=True)(1) == 2
    assert counted(1) == 2 and len(seen) == 2


@pytest.mark.usefixtures("server")
def test_an_input_is_left_out_by_its_name() -> None:
    counted, seen = counting(INPUTS + TASK_SOURCE - "other")
    assert (counted(1, "a"), counted(1, "b"), counted(2, "b")) == (1, 1, 2)
    # Also one that cannot travel, such as a connection.
    assert counted(1, threading.Lock()) == 1


@pytest.mark.usefixtures("server")
def test_results_are_shared_within_one_run() -> None:
    counted, seen = counting(DEFAULT)

    @flow
    def outer() -> list[int]:
        return [counted(1), counted(1)]

    assert outer() == [1, 1] and outer() == [2, 2]
    assert counted(1) == 3 and counted(1) == 4, "outside of a run nothing is shared"


def test_the_source_is_part_of_the_key() -> None:
    keys = []
    for body in ("return 1", "return 2", "return 1"):
        scope: dict[str, Any] = {}
        exec(f"def f():\n    {body}", scope)
        keys.append(_hashing.of_source(scope["f"]))
    assert keys[0] == keys[2] != keys[1]

    def f() -> int:
        return 1

    here = _hashing.of_source(f)

    def f() -> int:  # type: ignore[no-redef]
        return 2

    assert _hashing.of_source(f) != here


@pytest.mark.usefixtures("server")
def test_a_policy_of_ones_own() -> None:
    class ByLength(CachePolicy):
        def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> Optional[str]:
            return str(len(inputs["it"])) if inputs["it"] else None

    counted, seen = counting(ByLength() + TASK_SOURCE)
    assert (counted("ab"), counted("cd"), counted("e")) == (1, 1, 2)
    assert (counted(""), counted("")) == (3, 4), "None: not cached"
    counted, seen = counting(CacheKeyFnPolicy(lambda run, arguments: "x" * arguments["it"]))
    assert (counted(2000), counted(2000), counted(2001)) == (1, 1, 2), "long keys are hashed"


@pytest.mark.usefixtures("server")
def test_without_a_policy_nothing_is_cached() -> None:
    for policy in (None, NO_CACHE, NO_CACHE + NO_CACHE):
        counted, seen = counting(policy)
        assert (counted(1), counted(1)) == (1, 2)
    assert isinstance(NO_CACHE + INPUTS, type(INPUTS))


class Model(BaseModel):
    a: int
    b: int = 2


@dataclasses.dataclass
class Plain:
    a: Any


def test_equal_values_have_equal_hashes_in_every_process() -> None:
    def of(value: Any) -> str:
        return _hashing.of_inputs({"it": value}, "f")

    assert of(Model(a=1)) == of(Model(a=1, b=2)) != of(Model(a=2))
    assert of({"x", "y", "z"}) == of({"z", "y", "x"})
    assert of(Plain({1: Plain("a")})) == of(Plain({1: Plain("a")})) != of(Plain({1: Plain("b")}))
    assert len({of(value) for value in (1, True, 1.0, "1", b"1", None, [1], {1}, {1: 1}, [[1]], work.Color.RED)}) == 11
    program = (
        "from tidegate import _hashing; import results_work as work\n"
        "print(_hashing.of_inputs({'it': [{'x', 'y', 'z'}, work.TYPED]}, 'f'))"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=HERE, capture_output=True, text=True)
    assert ended.stdout.strip() == of([{"x", "y", "z"}, work.TYPED]), ended.stderr


def test_an_input_without_a_hash_is_named_with_the_mend() -> None:
    with pytest.raises(InvalidArgument) as raised:
        counting(INPUTS)[0].with_options(name="load")({"conn": threading.Lock()})
    assert str(raised.value) == (
        "the argument `it` of `load` cannot be part of a cache key: `it[\"conn\"]` is of the type lock, which cannot be pickled "
        "(cannot pickle '_thread.lock' object); leave it out by `INPUTS - \"it\"`, or make the key yourself by cache_key_fn"
    )
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidArgument, match="holds itself"):
        _hashing.of_inputs({"it": loop}, "f")


def nothing() -> None: ...


def test_wrong_policies_are_refused_where_they_are_written() -> None:
    with pytest.raises(InvalidArgument, match="the cache_policy of `nothing` is 'inputs': give one of"):
        task(cache_policy="inputs")(nothing)
    with pytest.raises(InvalidArgument, match="has a cache_policy and a cache_key"):
        task(cache_policy=INPUTS, cache_key="x")(nothing)
    with pytest.raises(InvalidArgument, match="persist_result=False, so there is no result that could serve"):
        task(cache_policy=INPUTS, persist_result=False)(nothing)
    with pytest.raises(InvalidArgument, match='leaves an input out of INPUTS, which _RunId does not have'):
        RUN_ID - "x"
    counted, _ = counting(INPUTS - "nope")
    with pytest.raises(InvalidArgument, match="leaves out `nope`, which is none of its parameters: it, other"):
        counted(1)


def test_an_input_is_left_out_of_a_policy_with_a_storage() -> None:
    counted, seen = counting((INPUTS.configure(key_storage="shared") + TASK_SOURCE) - "other")
    assert [counted(1, "a"), counted(1, "b"), counted(2, "a")] == [1, 1, 2]
    assert seen == [1, 2]
    assert NO_CACHE.configure(key_storage="shared") + INPUTS is INPUTS
