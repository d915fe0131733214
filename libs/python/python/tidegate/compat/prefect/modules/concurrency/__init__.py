"""`prefect.concurrency`."""

from . import asyncio, sync

__all__ = ["asyncio", "sync"]
