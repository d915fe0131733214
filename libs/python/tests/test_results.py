"""How results are written, kept and read, by serializers and from any process."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from datetime import datetime, timezone
from typing import Any, Iterator
from zoneinfo import ZoneInfo

import pytest

import results_work as work
import tidegate
from conftest import HERE, PATIENCE, Processes
from tidegate import InvalidArgument, PayloadError, _payload, flow, get_run, serializers, task
from tidegate._connection import block, client


@pytest.fixture
def queue(server: str, processes: Processes) -> str:
    """A queue with a worker."""
    name = f"results-{id(processes)}"
    processes.worker("results_work.py", name)
    return name


def kept(run_id: str) -> tuple[str, bytes]:
    """The result of a run as the server has it."""
    found: tuple[str, bytes] = get_run(run_id).run().result  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("name", work.TYPED)
def test_typed_values_are_json_and_come_back_as_they_were(name: str) -> None:
    value = work.TYPED[name]
    encoding, data = _payload.encode(value, "it")
    assert encoding.startswith("json/plain;type=")
    json.loads(data)
    again = _payload.decode((encoding, data), "it")
    assert again == value and type(again) is type(value)


@dataclasses.dataclass
class Loose:
    it: Any


@pytest.mark.parametrize(
    "value",
    [
        Loose({1, 2}),
        Loose(datetime(2026, 1, 1)),
        datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
        [work.Color.RED, datetime(2026, 1, 1)],
    ],
)
def test_what_json_would_change_is_pickled(value: Any) -> None:
    encoding, data = _payload.encode(value, "it")
    assert encoding == "python/pickle"
    assert _payload.decode((encoding, data), "it") == value


def test_who_does_not_have_the_type_gets_the_plain_data() -> None:
    assert _payload.decode(("json/plain;type=no.such.module:Order", b'{"id":1}'), "it") == {"id": 1}


def test_results_of_a_worker_come_back_typed_in_any_process(queue: str) -> None:
    handles = {name: work.typed.with_options(queue=queue).delay(name) for name in work.TYPED}
    for name, handle in handles.items():
        assert handle.result(timeout=PATIENCE) == work.TYPED[name]
        assert get_run(handle.id).result(timeout=PATIENCE) == work.TYPED[name]
    # A process that has never heard of the type, and has it where it can be imported from.
    program = f"import tidegate; print(repr(tidegate.get_run('{handles['dataclass'].id}').result()))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=HERE, capture_output=True, text=True)
    assert ended.stdout.strip() == repr(work.TYPED["dataclass"]), ended.stderr


def test_a_serializer_is_chosen_by_name(queue: str) -> None:
    handle = work.compressed.with_options(queue=queue).delay(5_000)
    assert handle.result(timeout=PATIENCE) == ["the same again"] * 5_000
    encoding, data = kept(handle.id)
    assert encoding == "json/plain+zlib" and len(data) < 5_000
    handle = work.compressed.with_options(queue=queue).delay(1)
    assert handle.result(timeout=PATIENCE) == ["the same again"]
    assert kept(handle.id)[0] == "json/plain", "compressed, it would be larger"
    handle = work.pickled.with_options(queue=queue).delay()
    assert handle.result(timeout=PATIENCE) == [1, 2]
    assert kept(handle.id)[0] == "python/pickle"


def test_a_serializer_of_ones_own(server: str) -> None:
    class Backwards:
        encoding = "text/backwards"

        def dumps(self, value: Any) -> bytes:
            return str(value)[::-1].encode()

        def loads(self, data: bytes) -> Any:
            return data.decode()[::-1]

    @task(result_serializer=Backwards())
    def shout() -> str:
        run = tidegate.current_run()
        assert run is not None
        ids.append(run.run_id)
        return "abc"

    ids: list[str] = []
    assert shout() == "abc"
    assert kept(ids[0]) == ("text/backwards", b"cba")
    with pytest.raises(PayloadError, match="`text/backwards`, which this process cannot read.*register"):
        get_run(ids[0]).result()
    serializers.register(Backwards(), "backwards")
    assert get_run(ids[0]).result() == "abc"
    assert shout.with_options(result_serializer=serializers.CompressedSerializer("backwards"))() == "abc"


def test_compression_keeps_type_and_value() -> None:
    value = [work.Point(n, work.Color.RED) for n in range(200)]
    for spec in ("compressed", "compressed/json"):
        encoding, data = _payload.encode(value, "it", serializers.named(spec))
        assert encoding == "json/plain+zlib;type=list[results_work:Point]"
        assert _payload.decode((encoding, data), "it") == value


def nothing() -> None: ...


def test_wrong_serializers_are_refused_where_they_are_written() -> None:
    with pytest.raises(InvalidArgument, match="no serializer `yaml`: the names are .*compressed, .*register"):
        task(result_serializer="yaml")(nothing)
    with pytest.raises(InvalidArgument, match="a name such as \"json\", or an object with `encoding`"):
        task(result_serializer=42)(nothing)


def test_json_alone_refuses_what_it_would_change() -> None:
    with pytest.raises(PayloadError, match="the result of `f`.*a set cannot be written as JSON without a loss"):
        _payload.encode({1, 2}, "the result of `f`", serializers.named("json"))


def test_a_result_that_is_not_kept_says_so(queue: str) -> None:
    handle = work.secret.with_options(queue=queue).delay()
    assert handle.wait(timeout=PATIENCE)
    assert handle.state.is_completed() and "was not kept: its function has persist_result=False" in handle.state.message
    with pytest.raises(PayloadError, match="was not kept.*persist_result=False.*leave that out to keep it"):
        get_run(handle.id).result()


def test_a_result_that_is_not_kept_is_the_callers_all_the_same(server: str) -> None:
    ids: list[str] = []

    @task(persist_result=False)
    def secret() -> Any:
        run = tidegate.current_run()
        assert run is not None
        ids.append(run.run_id)
        return threading.Lock()

    @flow
    def outer() -> bool:
        return secret().acquire() and secret.submit().result().acquire()

    assert outer() is True
    for run_id in ids:
        assert kept(run_id) == ("not-kept;reason=persist_result", b"") or kept(run_id)[0].startswith("not-kept")


def test_what_cannot_travel_is_named_down_to_its_path() -> None:
    @task
    def load(data: Any) -> None: ...

    with pytest.raises(PayloadError) as raised:
        load.delay({"conn": [1, threading.Lock()]})
    assert str(raised.value) == (
        "the argument `data` of `load` cannot travel: `data[\"conn\"][1]` is a lock, which is neither JSON nor picklable "
        "(cannot pickle '_thread.lock' object); pass what it is made from (a path, an id, plain data) instead"
    )
    with pytest.raises(PayloadError, match=r"the result of `f` holds, at `\.it`, a lock that cannot travel"):
        _payload.encode(Loose(threading.Lock()), "the result of `f`")


def test_values_that_hold_themselves_are_pickled() -> None:
    loop: list[Any] = []
    loop.append(loop)
    encoding, data = _payload.encode(loop, "it")
    assert encoding == "python/pickle"
    again = _payload.decode((encoding, data), "it")
    assert again[0] is again
