"""What the workers of test_codecs.py serve, with the codec of the example: `python codec_work.py queue`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tidegate import flow, pause, serve, task
from tidegate.codecs import use_codecs

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

from encryption import Encryption  # noqa: E402


def codecs() -> Any:
    """For TIDEGATE_CODECS as well."""
    return Encryption(os.environ["TIDEGATE_KEYS"].split(","), b"the secret of the fingerprints")


def note(path: str, line: str) -> None:
    with open(path, "a") as file:
        file.write(line + "\n")


@task
def shout(text: str) -> str:
    return text.upper()


@task
def counted(path: str, text: str) -> str:
    note(path, text)
    return text.upper()


@flow
def fails_once(path: str, text: str) -> str:
    """Its second attempt makes the same call, and is to find the run of the first one."""
    shouted = counted(path, text)
    note(path, "flow")
    with open(path) as file:
        if file.read().split().count("flow") == 1:
            raise ValueError("not yet")
    return shouted


@flow
def asks() -> Any:
    return pause("amount", request={"what": "how much?"})


if __name__ == "__main__":
    import codec_work as this

    if "--plain" not in sys.argv:
        use_codecs(codecs())
    serve(this.shout, this.counted, this.fails_once, this.asks, queues=[sys.argv[1]])
