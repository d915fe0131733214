"""Artifacts, with the parameters of Prefect's functions."""

from __future__ import annotations

from typing import Any, Optional
from uuid import UUID

from ... import artifacts
from ._calls import as_code_asks


def create_markdown_artifact(
    markdown: str, key: Optional[str] = None, description: Optional[str] = None, client: Any = None
) -> Any:
    """Keeps a text in Markdown; the id of its artifact. In async code await it, as with all of these."""
    return as_code_asks(artifacts.create_markdown_artifact, markdown, key, description)


def create_table_artifact(
    table: Any, key: Optional[str] = None, description: Optional[str] = None, client: Any = None
) -> Any:
    """Keeps a table; the id of its artifact."""
    return as_code_asks(artifacts.create_table_artifact, table, key, description)


def create_link_artifact(
    link: str,
    link_text: Optional[str] = None,
    key: Optional[str] = None,
    description: Optional[str] = None,
    client: Any = None,
) -> Any:
    """Keeps a link; the id of its artifact."""
    return as_code_asks(artifacts.create_link_artifact, link, link_text, key, description)


def create_image_artifact(
    image_url: str, key: Optional[str] = None, description: Optional[str] = None, client: Any = None
) -> Any:
    """Keeps an image by its URL; the id of its artifact."""
    return as_code_asks(artifacts.create_image_artifact, image_url, key, description)


def create_progress_artifact(
    progress: float, key: Optional[str] = None, description: Optional[str] = None, client: Any = None
) -> Any:
    """Keeps how far something is, in percent; the id of its artifact."""
    return as_code_asks(artifacts.create_progress_artifact, progress, key, description)


def update_progress_artifact(
    artifact_id: UUID, progress: float, description: Optional[str] = None, client: Any = None
) -> Any:
    """Tells how far it is by now; the id of its artifact."""
    return as_code_asks(artifacts.update_progress_artifact, artifact_id, progress, description)
