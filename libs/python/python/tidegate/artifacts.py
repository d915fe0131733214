"""What runs have to show to people: texts, tables, links, images, and how far something is.

    from tidegate.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

    create_markdown_artifact("# All is well", key="daily-report")

An artifact that is made in the code of a run is the run's, and goes with it. One that is made elsewhere goes when it was
not changed for as long as runs are kept. Those with the same key are versions of one thing; the newest 100 are kept.

All functions work from plain and from async code: in async code they give an awaitable, else they wait.
"""

from __future__ import annotations

import json
import math
from typing import Any, Mapping, Optional, Sequence, Union
from uuid import UUID

from . import _core, _payload
from ._connection import client
from ._dual import Steps, answer, dual
from ._runtime import current_run
from .errors import InvalidArgument, PayloadError

#: Rows of a table: a list of dicts or of lists, or a dict of columns. A data frame is passed as `frame.to_dict("list")`.
Table = Union[Sequence[Mapping[str, Any]], Sequence[Sequence[Any]], Mapping[str, Sequence[Any]]]


def create_markdown_artifact(
    markdown: str,
    key: Optional[str] = None,
    description: Optional[str] = None,
    labels: Optional[Mapping[str, str]] = None,
) -> Any:
    """Keeps a text in Markdown, and gives the id of its artifact.

    :param key: what it is a version of: 1 to 128 characters of `a-z 0-9 -`.
    :param description: what it is, for people.
    :param labels: free pairs, to tell it from others.
    """
    if not isinstance(markdown, str):
        raise InvalidArgument(f"markdown={markdown!r} is a {type(markdown).__name__}; a str is shown")
    return _create("markdown", markdown, key, description, labels)


def create_table_artifact(
    table: Table,
    key: Optional[str] = None,
    description: Optional[str] = None,
    labels: Optional[Mapping[str, str]] = None,
) -> Any:
    """Keeps a table, and gives the id of its artifact. See :func:`create_markdown_artifact`.

    :param table: a list of dicts or of lists, or a dict of columns. What JSON does not know (dates, decimals) is shown as
        its text; NaN and infinite numbers are shown as nothing.
    """
    if isinstance(table, (str, bytes)) or not isinstance(table, (Mapping, Sequence)):
        raise InvalidArgument(
            f"table is a {type(table).__name__}; give a list of dicts or of lists, or a dict of columns "
            '(of a data frame: `frame.to_dict("list")`)'
        )
    return _create("table", table, key, description, labels)


def create_link_artifact(
    link: str,
    link_text: Optional[str] = None,
    key: Optional[str] = None,
    description: Optional[str] = None,
    labels: Optional[Mapping[str, str]] = None,
) -> Any:
    """Keeps a link, shown as `link_text`, and gives the id of its artifact. See :func:`create_markdown_artifact`."""
    value = {"link": link} if link_text is None else {"link": link, "link_text": link_text}
    return _create("link", value, key, description, labels)


def create_image_artifact(
    image_url: str,
    key: Optional[str] = None,
    description: Optional[str] = None,
    labels: Optional[Mapping[str, str]] = None,
) -> Any:
    """Keeps an image by its URL, and gives the id of its artifact. See :func:`create_markdown_artifact`."""
    return _create("image", {"image_url": image_url}, key, description, labels)


def create_progress_artifact(
    progress: float = 0.0,
    key: Optional[str] = None,
    description: Optional[str] = None,
    labels: Optional[Mapping[str, str]] = None,
) -> Any:
    """Keeps how far something is, and gives the id of its artifact, for :func:`update_progress_artifact`.

    :param progress: in percent, 0 to 100.
    """
    return _create("progress", None, key, description, labels, _percent(progress))


def update_progress_artifact(
    artifact_id: Union[UUID, str], progress: float, description: Optional[str] = None
) -> Any:
    """Tells how far something is by now, and gives the id of its artifact.

    It may be called for each item: at most a few a second travel, the latest of each artifact, and the last one arrives.
    What the server does not take is told in the log of this process.

    :param artifact_id: what :func:`create_progress_artifact` has given, also in another run: a task may tell how far its
        flow is.
    :param progress: in percent, 0 to 100.
    :param description: what it is, for people. Default: as it was.
    """
    artifact_id = _id(artifact_id)
    run = current_run()
    run_id, epoch = (run.run_id, run._epoch) if run else ("", 0)
    client().write_progress(str(artifact_id), _percent(progress), description, run_id, epoch)
    return dual(_known(artifact_id))


def _create(
    kind: str,
    value: Any,
    key: Optional[str],
    description: Optional[str],
    labels: Optional[Mapping[str, str]],
    progress: Optional[float] = None,
) -> Any:
    run = current_run()
    op = client().create_artifact(
        type=kind,
        key=key or "",
        description=description or "",
        progress=progress,
        data=None if progress is not None else (_payload.JSON, _json(value, kind)),
        labels=dict(labels or {}),
        run_id=run.run_id if run else "",
        epoch=run._epoch if run else 0,
    )
    return dual(answer(op, _id_of))


def _id_of(artifact: _core.Artifact) -> UUID:
    return UUID(artifact.id)


def _known(artifact_id: UUID) -> Steps[UUID]:
    return artifact_id
    yield  # nothing is waited for


def _id(artifact_id: Union[UUID, str]) -> UUID:
    try:
        return artifact_id if isinstance(artifact_id, UUID) else UUID(artifact_id)
    except (ValueError, AttributeError, TypeError):
        raise InvalidArgument(
            f"artifact_id={artifact_id!r} is not the id of an artifact: pass on what create_progress_artifact() has given"
        ) from None


def _percent(progress: float) -> float:
    if isinstance(progress, bool) or not isinstance(progress, (int, float)) or not 0 <= progress <= 100:
        raise InvalidArgument(f"progress={progress!r} is no number from 0 to 100, in percent")
    return float(progress)


def _json(value: Any, kind: str) -> bytes:
    try:
        return json.dumps(_finite(value), default=str, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadError(f"the {kind} cannot be shown, as it is no JSON: {error}; keys are texts or numbers") from error


def _finite(value: Any) -> Any:
    """Without numbers that JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
