"""Modules that are imported when they are first used: `import tidegate` stays quick for programs that never need them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


class _Lazy:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)  # the next look-up does not come here
        return value


if TYPE_CHECKING:
    import asyncio as asyncio
else:
    asyncio = _Lazy("asyncio")
