"""Artifacts and variables."""

import asyncio
from uuid import UUID

from prefect import flow, task
from prefect.artifacts import (
    acreate_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.variables import Variable


@task
def report() -> bool:
    ids = [create_markdown_artifact("# All is well", key="report"), create_table_artifact([{"a": 1}], key="table")]
    progress = create_progress_artifact(0.0, description="half way")
    update_progress_artifact(progress, progress=50)
    return all(isinstance(made, UUID) for made in [*ids, progress])


@flow
async def main() -> None:
    print(report(), isinstance(await acreate_link_artifact("https://example.org", key="link"), UUID))
    await Variable.set("compat_answer", {"is": 42}, overwrite=True)
    print(await Variable.get("compat_answer"), await Variable.get("compat_nothing", default=1))


@flow
def plain() -> None:
    Variable.set("compat_answer", 43, overwrite=True)
    print(Variable.get("compat_answer"))
    try:
        Variable.set("compat_answer", 44)
    except ValueError:
        print("is there")
    print(Variable.unset("compat_answer"), Variable.get("compat_answer"))


if __name__ == "__main__":
    asyncio.run(main())
    plain()
