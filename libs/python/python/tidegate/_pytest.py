"""Fixtures of :mod:`tidegate.testing`, which pytest finds by the package's entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator

import pytest

if TYPE_CHECKING:
    from .testing import Server


@pytest.fixture(scope="session")
def tidegate_session_server() -> Iterator[Server]:
    """A server inside of the test process, for the whole session: tests that use it see each other's runs."""
    from .testing import ephemeral_server

    with ephemeral_server() as server:
        yield server


@pytest.fixture
def tidegate_server(tidegate_session_server: Server) -> Iterator[Server]:
    """The server of the session, with a namespace of this test's own: it sees nothing of other tests."""
    from .testing import new_namespace

    with new_namespace() as server:
        yield server
