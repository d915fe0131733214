"""Making deployments, with their schedules, and serving what was deployed."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, Optional, Sequence, Union

from . import _core, _payload
from ._connection import client
from ._dual import Steps, dual
from ._json_values import as_json, as_json_object
from ._timetables import Schedule, Span, of_options
from .deployments import ArchiveSource, Deployment, GitSource, ImageSource, PathSource, Source
from .errors import InvalidArgument

if TYPE_CHECKING:
    from .functions import Function

#: What becomes of a run that finds no slot of its deployment.
_COLLISIONS = ("wait", "skip", "cancel_oldest", "cancel_newest")
#: What `serve` says of the deployment that it makes.
SAID_BY_SERVE = (
    "cron",
    "description",
    "enforce_parameter_schema",
    "interval",
    "parameters",
    "prune_schedules",
    "rrule",
    "schedules",
    "tags",
    "version",
)
_logger = logging.getLogger("tidegate.deployments")


def deploy(
    flow: Function[Any, Any],
    name: str,
    *,
    description: Optional[str] = None,
    entrypoint: Optional[str] = None,
    parameters: Optional[Mapping[str, Any]] = None,
    enforce_parameter_schema: bool = True,
    tags: Sequence[str] = (),
    labels: Optional[Mapping[str, str]] = None,
    queue: Optional[str] = None,
    priority: Optional[int] = None,
    concurrency_limit: Optional[int] = None,
    on_collision: str = "wait",
    version: str = "",
    work_pool: str = "",
    source: Union[Source, str, None] = None,
    command: Sequence[str] = (),
    job_variables: Optional[Mapping[str, Any]] = None,
    cron: Optional[str] = None,
    interval: Optional[Span] = None,
    rrule: Optional[str] = None,
    schedules: Optional[Iterable[Schedule]] = None,
    prune_schedules: bool = False,
) -> Any:
    """Makes the deployment ``flow/name``, or has one that is there say this; see :meth:`Flow.deploy`."""
    from . import _schema
    from .functions import _NOBODY

    if flow.kind != "flow":
        raise InvalidArgument(f"`{flow.name}` is a task, and deployments are of flows: decorate it with @flow, or .delay() it")
    if flow._receiver is not _NOBODY:
        raise InvalidArgument(
            f"`{flow.name}` is a method, and what it is called on does not travel by a name: deploy a function that makes it"
        )
    if not name or "/" in name:
        raise InvalidArgument(
            f"{name!r} is no name of a deployment: give what follows the flow's, such as \"nightly\", which makes "
            f'"{flow.name}/nightly"'
        )
    if on_collision not in _COLLISIONS:
        raise InvalidArgument(f"on_collision={on_collision!r}: it is one of {', '.join(_COLLISIONS)}")
    if isinstance(command, str):
        raise InvalidArgument(
            f"command={command!r}: give the program and its arguments as a list, such as ['python', 'etl.py']"
        )
    if not work_pool and (source is not None or command or job_variables):
        raise InvalidArgument(
            "source, command and job_variables are for the workers of a work pool: name one with work_pool="
        )
    options = flow.options
    full_name = f"{flow.name}/{name}"
    wanted = of_options(f"the deployment `{full_name}`", cron, interval, rrule, schedules)
    if prune_schedules and wanted is None:
        raise InvalidArgument(
            f"the deployment `{full_name}` has prune_schedules=True and no schedules: give those that are to stay, which "
            "schedules=[] says of none"
        )
    told = None if wanted is None else [schedule._told(full_name) for schedule in wanted]
    what = f"the parameters of the deployment `{full_name}`"
    encoding, defaults = _payload.encode_readable(as_json(dict(parameters or {}), what), what)
    template = _core.NewRun(
        kind="flow",
        name=flow.name,
        encoding=encoding,
        data=defaults,
        queue=queue or options.queue,
        tags=[*options.tags, *(tag for tag in tags if tag not in options.tags)],
        labels={**options.labels, **(labels or {})},
        priority=options.priority if priority is None else priority,
        max_retries=options.retries,
        delays=options.delays(),
        jitter=options.retry_jitter_factor,
        run_timeout=options.timeout_seconds,
        cancel_grace=options.cancel_grace_seconds,
        max_crashes=options.max_crashes,
        detached=options.detached,
        detached_on_failure=options.detached_on_failure,
        detached_on_crash=options.detached_on_crash,
    )
    begin = partial(
        client().deploy,
        full_name,
        template,
        told or [],  # checked before anything is changed
        description=options.description or inspect.getdoc(flow.fn) or "" if description is None else description,
        entrypoint=("" if command else entrypoint_of(flow)) if entrypoint is None else entrypoint,
        parameters=defaults.decode() if parameters else "",
        parameter_schema=_schema.of_parameters(flow._parameters),
        enforce_parameter_schema=enforce_parameter_schema,
        max_concurrent_runs=concurrency_limit,
        on_collision=on_collision,
        version_label=version or options.version,
        work_pool=work_pool,
        source=_source(source),
        command=list(command),
        job_variables=as_json_object(job_variables, f"the job variables of the deployment `{full_name}`"),
    )
    return dual(_deployed(full_name, begin, wanted, told, prune_schedules))


def _deployed(
    name: str,
    begin: Callable[[], _core.Op],
    wanted: Optional[list[Schedule]],
    told: Optional[list[_core.NewSchedule]],
    prunes: bool,
) -> Steps[Deployment]:
    version, created, warnings = yield begin()
    for warning in warnings:
        _logger.warning("the deployment `%s`: %s", name, warning)
    if wanted is None or told is None:
        return Deployment(name, version, created)
    from . import schedules

    there, left = yield from schedules.put(name, told, prunes)
    if left:
        _logger.warning(
            "the deployment `%s` still has the schedules %s, which are not among those that it was given now: "
            "prune_schedules=True takes such away",
            name,
            ", ".join(left),
        )
    for schedule, asked in zip(there, wanted):
        if schedule.pause is None and not asked.active:
            _logger.warning(
                "the schedule `%s` of `%s` was there before, and goes on: active=False is how a new one begins; "
                "pause_schedule() pauses it",
                schedule.name,
                name,
            )
    return Deployment(name, version, created, tuple(there))


def serve(flow: Function[Any, Any], name: str, options: dict[str, Any]) -> Any:
    """Makes the deployment ``flow/name``, and serves the flow; see :meth:`Flow.serve` for the options."""
    from . import _process
    from .serving import serve

    said = {option: options.pop(option) for option in SAID_BY_SERVE if option in options}
    if _process.is_importing:
        return serve(flow, **options)  # tells that the call is where it must not be
    queues = list(options.get("queues", ("default",)))
    queue = flow.options.queue if flow.options.queue in queues else queues[0]
    deployed = deploy(flow, name, queue=queue, **said)
    if isinstance(deployed, Deployment):
        return serve(flow, **options)

    async def both() -> Any:
        await deployed
        return await serve(flow, **options)

    return both()


def _source(source: Union[Source, str, None]) -> Optional[tuple[str, dict[str, str]]]:
    """A text is the path of a directory."""
    if source is None:
        return None
    if isinstance(source, str):
        source = PathSource(source)
    if not isinstance(source, (PathSource, GitSource, ArchiveSource, ImageSource)):
        raise InvalidArgument(
            f"source={source!r}: it is a path, or a PathSource, GitSource, ArchiveSource or ImageSource of tidegate.deployments"
        )
    return source._told()


def entrypoint_of(flow: Function[Any, Any]) -> str:
    """``module:flow``, or ``path.py:flow`` of a script."""
    module, name = flow.fn.__module__, flow.fn.__qualname__
    if module != "__main__":
        return f"{module}:{name}"
    path = getattr(sys.modules["__main__"], "__file__", None)
    return f"{os.path.relpath(path)}:{name}" if path else ""
