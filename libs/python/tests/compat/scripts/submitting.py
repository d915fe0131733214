"""Runs for that worker, from another process; it prints their ids (thread S4)."""

import sys
from datetime import datetime

from background import report, resize, resize_async, year
from prefect import flow, unmapped
from prefect.runner import submit_to_runner, wait_for_submitted_runs


@flow
def submits() -> list[str]:
    runs = submit_to_runner(report, [{"n": 1}, {"n": 2}])
    wait_for_submitted_runs(timeout=60)
    return [str(run.id) for run in runs]


if __name__ == "__main__":
    first, second = resize.delay("a.png"), resize_async.delay("b.png")
    after = resize.apply_async(("c.png",), {"width": 7}, wait_for=[first, second])
    assert first.state.is_completed() and second.state.is_completed(), "it was delayed once they had ended"
    assert after.result(timeout=60) == "c.png@7"
    deferred = resize.map(["d.png", "e.png"], width=unmapped(3), deferred=True)
    assert type(deferred[0]) is type(first), "a worker executes them"
    assert deferred.result(timeout=60) == ["d.png@3", "e.png@3"]
    many = [resize.with_options(name=f"job-{n}", retries=0).delay(f"{n}.png", width=n) for n in range(3)]
    named = resize.with_options(name="job", task_run_name="job to {width}")
    assert named.delay("f.png", width=9).result(timeout=60) == "f.png@9" and named.task_key == resize.task_key
    run = submit_to_runner(report, {"n": 2, "title": "yearly"})
    wait_for_submitted_runs(timeout=60)
    assert year.delay(datetime(2026, 1, 1)).result(timeout=60) == 2026
    assert [future.result(timeout=60) for future in many] == ["0.png@0", "1.png@1", "2.png@2"]
    print(first.result(timeout=60), second.result(timeout=60), file=sys.stderr)
    print(first.task_run_id, run.id, *submits())
