"""`prefect.artifacts`."""

from .._artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

# Where there is an event loop, these give an awaitable themselves.
acreate_image_artifact = create_image_artifact
acreate_link_artifact = create_link_artifact
acreate_markdown_artifact = create_markdown_artifact
acreate_progress_artifact = create_progress_artifact
acreate_table_artifact = create_table_artifact
aupdate_progress_artifact = update_progress_artifact

__all__ = [
    "acreate_image_artifact",
    "acreate_link_artifact",
    "acreate_markdown_artifact",
    "acreate_progress_artifact",
    "acreate_table_artifact",
    "aupdate_progress_artifact",
    "create_image_artifact",
    "create_link_artifact",
    "create_markdown_artifact",
    "create_progress_artifact",
    "create_table_artifact",
    "update_progress_artifact",
]
