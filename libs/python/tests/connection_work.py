"""A program with many flows, tasks and threads, whose connections are counted."""

from __future__ import annotations

import os
import sys
import threading

from tidegate import find_runs, flow, gather, get_run_logger, task


@task
def double(n: int) -> int:
    get_run_logger().info("doubling %d", n)
    return 2 * n


@flow
def fan_out(n: int) -> int:
    return sum(double.map(range(n)).result())


@flow
async def fan_out_async(n: int) -> int:
    return sum([await double.submit(each) for each in range(n)])


def work() -> None:
    """Calls, submits and delays, in eight threads at once."""

    def each(n: int) -> None:
        flows = [fan_out.submit(10), fan_out_async.submit(5)]
        handles = double.with_options(queue="connections-nobody").delay_map(range(20))
        assert double(n) == 2 * n
        assert [future.result() for future in flows] == [90, 20]
        assert len(find_runs(parent=flows[0].id)) == 10
        for handle in handles:
            handle.cancel()
        gather(handles, raise_on_failure=False)

    threads = [threading.Thread(target=each, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def say(line: str) -> None:
    """And waits until it is heard."""
    print(line, flush=True)
    assert sys.stdin.readline().strip() == line


if __name__ == "__main__":
    work()
    say("worked")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            say("worked in a child")
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    work()
    say("worked again")
