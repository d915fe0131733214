"""Deployments."""

from typing import Any


def deploy(_: Any) -> None:
    """Nothing yet."""
