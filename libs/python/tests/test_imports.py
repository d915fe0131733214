"""What `import tidegate` does not import: what costs time, and many programs never need."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.every_python

#: 30 ms and more each, where they come with all that they need.
HEAVY = {"asyncio", "grpc", "multiprocessing", "pydantic", "pytest", "socket", "ssl", "subprocess"}


def imported(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


#: What Python has at its start, which depends on how it is set up, and with a small module that in 3.10 needs a large one.
PYTHONS_OWN = imported("import uuid")


def test_the_import_is_light() -> None:
    assert HEAVY & (imported("import tidegate") - PYTHONS_OWN) == set()


def test_defining_functions_needs_no_more() -> None:
    definitions = """
import tidegate
@tidegate.task(retries=2)
def add(a, b): return a + b
@tidegate.flow
async def outer(): ...
"""
    assert HEAVY & (imported(definitions) - PYTHONS_OWN) == set()
