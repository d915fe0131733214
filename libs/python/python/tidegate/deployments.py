"""Deployments: flows that any process can start by name, ``flow/deployment``.

``flow.deploy("nightly")`` makes one, ``run_deployment("etl/nightly", {"day": "monday"})`` starts a run of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Optional, Sequence, Union

from . import _core, _payload
from ._connection import client
from ._dependencies import resolve
from ._dual import Steps, Within, deadline, dual
from ._json_values import as_json, as_json_object
from ._runtime import current_run
from .context import current_tags, joined
from .errors import InvalidArgument, WaitTimeout
from .handles import RunHandle

if TYPE_CHECKING:
    from .schedules import DeployedSchedule

#: Runs of one request, at most.
_MAX_BATCH = 1_000


@dataclass(frozen=True)
class PathSource:
    """Code that is in a directory of the worker's machine or image."""

    #: An absolute path.
    path: str

    def _told(self) -> tuple[str, dict[str, str]]:
        return "path", {"path": self.path}


@dataclass(frozen=True)
class GitSource:
    """Code in a Git repository."""

    #: What ``git clone`` takes. No passwords: people see it.
    url: str
    #: A branch, a tag or a commit. Default: the default branch.
    ref: str = ""
    #: The directory in it from which the entrypoint is looked for.
    directory: str = ""
    #: The name of a secret of the worker that has a token for ``https`` urls.
    token_secret: str = ""

    def _told(self) -> tuple[str, dict[str, str]]:
        fields = {"url": self.url, "ref": self.ref, "directory": self.directory, "token_secret": self.token_secret}
        return "git", fields


@dataclass(frozen=True)
class ArchiveSource:
    """Code in an archive: ``.tar``, ``.tar.gz`` or ``.zip``."""

    #: ``s3://bucket/key``, ``gs://…``, ``az://…``, ``https://…``, ``file:///…``.
    url: str
    #: SHA-256 of its bytes, in hexadecimal. Default: not checked.
    sha256: str = ""
    #: The directory in it from which the entrypoint is looked for.
    directory: str = ""

    def _told(self) -> tuple[str, dict[str, str]]:
        return "archive", {"url": self.url, "sha256": self.sha256, "directory": self.directory}


@dataclass(frozen=True)
class ImageSource:
    """Code in the working directory of an image, for pools of containers."""

    #: The image.
    image: str

    def _told(self) -> tuple[str, dict[str, str]]:
        return "image", {"image": self.image}


#: Where the code of a deployment comes from.
Source = Union[PathSource, GitSource, ArchiveSource, ImageSource]


@dataclass(frozen=True)
class Deployment:
    """A deployment as it was when it was made or changed."""

    #: ``flow/deployment``.
    name: str
    #: Grows with each change.
    version: int
    #: False when it was there before.
    created: bool
    #: The schedules that it was said to have.
    schedules: Sequence[DeployedSchedule] = ()


@dataclass(frozen=True)
class DeploymentCall:
    """A run of a deployment that is to be started; see :func:`run_deployment`."""

    #: ``flow/deployment``.
    name: str
    #: By name; they go over the deployment's own.
    parameters: Optional[Mapping[str, Any]] = None
    #: Inside a run: it becomes the child of that run, which finds it again when it is executed anew.
    as_subflow: bool = True
    #: One key, one run of this deployment, whoever calls.
    idempotency_key: str = ""
    #: Words to find it by, beside those of the deployment.
    tags: Sequence[str] = ()
    #: Not before this time.
    scheduled_time: Optional[datetime] = None
    #: What people call it.
    run_name: str = ""
    #: The queue that delivers it, instead of the deployment's.
    queue: Optional[str] = None
    #: Job variables over those of the deployment, which has a work pool.
    job_variables: Optional[Mapping[str, Any]] = None
    #: Labels that the worker which gets it must have, with these values.
    require_labels: Mapping[str, str] = field(default_factory=dict)

    def _new_run(self) -> _core.NewRun:
        if not isinstance(self.name, str) or "/" not in self.name.strip("/"):
            raise InvalidArgument(
                f"{self.name!r} is no deployment: its name has the form `flow/deployment`, such as \"etl/nightly\""
            )
        parameters = as_json(resolve(dict(self.parameters or {})), f"the parameters of `{self.name}`")
        encoding, data = _payload.encode_arguments(parameters, self.name)
        parent = current_run() if self.as_subflow else None
        return _core.NewRun(
            kind="flow",
            name=self.name.rpartition("/")[0],
            encoding=encoding,
            data=data,
            run_name=self.run_name,
            queue=self.queue,
            calls=parent._calls if parent is not None else None,
            traceparent=parent.traceparent if parent is not None else "",
            tags=list(joined(current_tags(), tuple(self.tags))),
            key=self.idempotency_key,
            due_at=self.scheduled_time.timestamp() if self.scheduled_time is not None else None,
            deployment=self.name,
            job_variables=as_json_object(self.job_variables, f"the job variables of a run of `{self.name}`"),
            required_labels=_labels(self.require_labels, self.name),
        )


def run_deployment(
    name: str,
    parameters: Optional[Mapping[str, Any]] = None,
    *,
    timeout: Optional[float] = None,
    as_subflow: bool = True,
    idempotency_key: str = "",
    tags: Sequence[str] = (),
    scheduled_time: Optional[datetime] = None,
    run_name: str = "",
    flow_run_name: str = "",
    queue: Optional[str] = None,
    job_variables: Optional[Mapping[str, Any]] = None,
    require_labels: Optional[Mapping[str, str]] = None,
) -> Any:
    """Starts a run of the deployment `name` and waits for its end; gives its :class:`RunHandle`, however it ended.

    In a thread without a running event loop it blocks; where one runs it gives an awaitable of the handle.

    Inside a run the new one is its child. When that run is executed again, its n-th same call finds the child of the
    n-th such call before, and starts no second one.

    :param parameters: by name; they go over the deployment's own.
    :param timeout: seconds to wait. 0: not at all, the handle comes at once. Default: as long as it takes. When they have
        passed, :class:`WaitTimeout` is raised, whose `handle` is that of the run; that goes on.
    :param as_subflow: False: it is no child of the current run.
    :param idempotency_key: one key, one run of this deployment: a second call with it gives the run of the first, and a
        handle whose `created` is False. The same key for another deployment is another one.
    :param tags: words to find it by, beside those of the deployment.
    :param scheduled_time: it does not start before.
    :param run_name: what people call it. `flow_run_name` is the same.
    :param queue: the queue that delivers it, instead of the deployment's.
    :param job_variables: for a deployment with a work pool: what its workers start it with, over what the deployment says.
        Mappings such as ``env`` go over each other key by key; a key that is ``None`` is taken away.
    :param require_labels: labels that the worker which gets the run must have, with these values: `{"gpu": "true"}`. Until one
        with all of them has a free slot the run waits, which ``tidegate run explain`` tells.
    """
    if run_name and flow_run_name:
        raise InvalidArgument("run_name and flow_run_name are the same: give one of them")
    call = DeploymentCall(
        name,
        parameters,
        as_subflow=as_subflow,
        idempotency_key=idempotency_key,
        tags=tags,
        scheduled_time=scheduled_time,
        run_name=run_name or flow_run_name,
        queue=queue,
        job_variables=job_variables,
        require_labels={} if require_labels is None else require_labels,
    )
    return dual(_first(_start([call], timeout)))


def run_deployments(
    calls: Iterable[Union[DeploymentCall, tuple[str, Mapping[str, Any]]]], *, timeout: Optional[float] = None
) -> Any:
    """Starts many runs in few requests and waits for all of them; gives their handles, in order.

    :param calls: for each run a :class:`DeploymentCall`, or a pair of name and parameters.
    :param timeout: as for :func:`run_deployment`, for all together.
    """
    all_calls = [call if isinstance(call, DeploymentCall) else DeploymentCall(*call) for call in calls]
    return dual(_start(all_calls, timeout))


def _start(calls: Sequence[DeploymentCall], timeout: Optional[float]) -> Steps[list[RunHandle[Any]]]:
    """Starts the runs and waits for them. What is wrong is told before anything is awaited."""
    if timeout is not None and not timeout >= 0:
        raise InvalidArgument(
            f"timeout={timeout!r}: give the seconds to wait, 0 not to wait at all, or None to wait as long as it takes"
        )
    # The calls of a run are counted here, in their order.
    runs = [call._new_run() for call in calls]
    return _started(runs, [call.name for call in calls], timeout)


def _started(runs: list[_core.NewRun], names: list[str], timeout: Optional[float]) -> Steps[list[RunHandle[Any]]]:
    by = deadline(timeout)
    handles: list[RunHandle[Any]] = []
    for begin in range(0, len(runs), _MAX_BATCH):
        made: list[tuple[str, bool]] = yield client().create(runs[begin : begin + _MAX_BATCH])
        handles.extend(RunHandle(run_id, created) for run_id, created in made)
    if timeout == 0 or not handles:
        return handles
    try:
        ended: list[_core.Run] = yield Within(client().wait_many([handle.id for handle in handles]), by, "")
    except WaitTimeout:
        raise _too_late(handles, names, timeout) from None
    for handle, run in zip(handles, ended):
        handle._keep(run)
    return handles


def _labels(labels: Mapping[str, str], name: str) -> dict[str, str]:
    """Checks what `require_labels` was given as: a mapping of texts."""
    if not isinstance(labels, Mapping):
        raise InvalidArgument(
            f"require_labels of a run of `{name}` is {labels!r}: give a dict of texts, such as {{\"gpu\": \"true\"}}"
        )
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidArgument(
                f"require_labels of a run of `{name}`: {key!r}: {value!r} is no pair of texts; labels are compared as texts, "
                f"so write {{{str(key)!r}: {_as_label(value)!r}}}"
            )
    return dict(labels)


def _as_label(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _first(steps: Steps[list[RunHandle[Any]]]) -> Steps[RunHandle[Any]]:
    return (yield from steps)[0]


def _too_late(handles: list[RunHandle[Any]], names: list[str], timeout: Optional[float]) -> WaitTimeout:
    what = f"run {handles[0].id} of `{names[0]}` has" if len(handles) == 1 else f"some of {len(handles)} runs have"
    error = WaitTimeout(f"{what} not ended within {timeout:g} s, and goes on; wait for its end by `handle`")
    error.handle = handles[0]
    error.handles = handles
    return error
