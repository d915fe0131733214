"""Values that are larger than the server keeps."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

import tidegate
from tidegate import PayloadError, RunFailed, flow, get_run, task
from tidegate.testing import worker

#: More than the 256 MiB of the server's default.
TOO_MUCH = (256 << 20) + 1

pytestmark = pytest.mark.usefixtures("server")


def test_arguments_that_are_too_large_are_refused_with_the_limit_and_the_mend() -> None:
    @task
    def load(data: Any) -> int:
        return len(data)

    with pytest.raises(tidegate.InvalidArgument) as raised:
        load.delay(bytes(TOO_MUCH))
    assert re.sub(r"have \d+ bytes", "have N bytes", str(raised.value)) == (
        "the parameters of `load` have N bytes, and the server keeps at most 268435456 of a value (256 MiB, by its setting "
        "`payload.max_size`): pass a reference, such as a path or a key, instead"
    )
    assert load(bytes(TOO_MUCH)) == TOO_MUCH, "what is executed here need not travel"


def test_a_result_that_is_too_large_fails_a_queued_run_with_the_limit_and_the_mend() -> None:
    queue = f"q-{uuid.uuid4().hex[:12]}"

    @task(queue=queue)
    def make_queued() -> bytes:
        return bytes(TOO_MUCH)

    with worker(make_queued, queues=[queue]):
        with pytest.raises(RunFailed) as raised:
            make_queued.delay().result()
    assert re.sub(r"has \d+ bytes", "has N bytes", raised.value.error_message) == (
        "the result has N bytes, and the server keeps at most 268435456 of a value (256 MiB, by its setting "
        "`payload.max_size`): return a reference, such as a path or a key, instead"
    )


def test_a_result_that_is_too_large_is_the_callers_alone() -> None:
    run_ids: list[str] = []

    @task
    def make() -> bytes:
        run = tidegate.current_run()
        assert run is not None
        run_ids.append(run.run_id)
        return bytes(TOO_MUCH)

    @flow
    def outer() -> int:
        return len(make())

    assert outer() == TOO_MUCH
    handle = get_run(run_ids[0])
    assert handle.state.is_completed()
    with pytest.raises(PayloadError) as raised:
        handle.result()
    assert str(raised.value) == (
        f"the result of run {run_ids[0]} was not kept: it is larger than the server keeps (its setting `payload.max_size`), so "
        "only the code that called it has got it; return a reference, such as a path or a key, instead"
    )
