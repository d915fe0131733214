"""Options with wrong values: each is refused where it is written, by its name, with what it is to be. No server is needed."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate import Future, InvalidArgument, as_completed, flow, gather, task, wait

pytestmark = pytest.mark.every_python


@task
def takes(n: int = 1) -> int:
    return n


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("retries", -1, "retries=-1: it is a whole number from 0 to 10,000"),
        ("retries", "3", "retries='3': it is a whole number from 0 to 10,000"),
        ("retries", None, "retries=None: it is a whole number from 0 to 10,000"),
        ("max_workers", 0, "max_workers=0: it is a whole number from 1 to 10,000"),
        ("priority", 1.5, "priority=1.5: it is a whole number from -100 to 100"),
        ("retry_jitter_factor", 2, "retry_jitter_factor=2: it is a number from 0 to 1"),
        ("timeout_seconds", 0, "timeout_seconds=0: it is a number of seconds from 0.001 to 31,536,000"),
        ("cancel_grace_seconds", float("nan"), "cancel_grace_seconds=nan: it is a number of seconds from 0 to 3,600"),
        (
            "expires",
            "x",
            "expires='x': it is a number of seconds from -31,536,000 to 315,360,000 from now on, or a datetime, such as "
            "datetime.now(timezone.utc) + timedelta(hours=1)",
        ),
        ("eta", 60, "eta=60: it is a datetime; say countdown=60 for a number of seconds from now on"),
        ("cache_expiration", "1h", "cache_expiration='1h': it is a number of seconds from 1 to 31,536,000, or a timedelta"),
        ("execution", "fork", "execution='fork': it is \"process\" or \"thread\""),
        ("queue", 5, "queue=5: it is a text"),
        ("tags", 5, "tags=5: it is a list of texts"),
        ("retry_on", [5], "retry_on=[5]: it is a list of exception classes, or their names"),
        ("labels", ["x"], "labels=['x']: it is a dict of texts, as in labels={\"team\": \"blue\"}"),
        ("run_name", 3, "run_name=3: it is a text, which may have parameters in braces, or a function that makes one"),
    ],
)
def test_a_wrong_value_is_told_by_its_option(option: str, value: Any, told: str) -> None:
    for write in (task, flow, takes.with_options):
        with pytest.raises(InvalidArgument) as refused:
            write(**{option: value})
        assert str(refused.value) == told


def test_what_says_nothing_is_as_left_out() -> None:
    unsaid = takes.with_options(timeout_seconds=None, max_crashes=None, expires=None, execution=None, name=None)
    assert unsaid.options.timeout_seconds is None and unsaid.name == "takes"


def test_a_delay_below_zero_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"retry_delay_seconds is \[1, -1\]: give seconds, a list of them, .* below 0"):
        takes.with_options(retry_delay_seconds=[1, -1]).options.delays()


def test_a_function_that_cannot_make_the_name_of_a_run_is_told() -> None:
    def named(arguments: dict[str, Any]) -> str:
        return str(arguments["path"])

    with pytest.raises(InvalidArgument) as told:
        takes.with_options(run_name=named)._run_name({"n": 1})
    assert str(told.value) == (
        "the run_name of `takes` cannot be made: its function `named` raised KeyError: 'path'; it is called with a dict of the "
        "arguments by name, or with nothing"
    )
    assert isinstance(told.value.__cause__, KeyError)


def test_what_cannot_be_waited_for_is_told() -> None:
    takes_both = "it takes futures and run handles, as .submit(), .map() and .delay() give them"
    for wait_for, name in ((wait, "wait"), (lambda futures: next(as_completed(futures)), "as_completed")):
        with pytest.raises(InvalidArgument) as told:
            wait_for([1])  # type: ignore[list-item]
        assert str(told.value) == f"{name}([...]): item 0 is 1: {takes_both}"
    future: Future[int] = Future("f")
    with pytest.raises(InvalidArgument) as told:
        gather([future])  # type: ignore[list-item]
    assert str(told.value) == (
        "gather([...]): item 0 is <Future f  not done>: it takes run handles, as .delay() and .delay_map() give them; for those "
        "of .submit() and .map() there is wait()"
    )
    with pytest.raises(InvalidArgument, match=r"wait\(\.\.\.\) is <Future f .*>: it takes a list of futures and run handles"):
        wait(future)  # type: ignore[arg-type]
