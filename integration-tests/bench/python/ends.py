"""When a worker had ended the last of some tasks."""

import os
import time


class Ends:
    """Counts ends; at the number in BENCH_TASKS it writes the time (monotonic, ns) to the file BENCH_ENDED."""

    def __init__(self) -> None:
        self.n = 0

    def one(self) -> None:
        """One more has ended, and its result is stored."""
        self.n += 1
        if self.n % int(os.environ["BENCH_TASKS"]) == 0:
            path = os.environ["BENCH_ENDED"]
            with open(path + ".new", "w") as file:
                file.write(str(time.monotonic_ns()))
            os.replace(path + ".new", path)
