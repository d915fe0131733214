"""A server for tests."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, Optional

from ...testing import ephemeral_server


@contextmanager
def prefect_test_harness(server_startup_timeout: Optional[int] = 30) -> Iterator[None]:
    """In the block, runs are those of a server that ends with it."""
    with ephemeral_server():
        yield
