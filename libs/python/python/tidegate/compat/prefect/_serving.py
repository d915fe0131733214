"""Workers: programs that serve flows and tasks."""

from __future__ import annotations

import os
import socket
from typing import Any, Optional

from ... import _process, serving
from . import _schedules
from ._functions import Flow, Function

#: Runs at once, unless `limit` says otherwise.
_DEFAULT_LIMIT = 10
#: Of Prefect's own infrastructure, or of what it prints.
_WITHOUT_EFFECT = frozenset(
    {
        "pause_on_shutdown",
        "print_starting_message",
        "entrypoint_type",
        "print_next_steps",
        "ignore_warnings",
        "version_type",
        "_sla",
    }
)


class RunnerDeployment:
    """A flow that is to be served under a name: what ``flow.to_deployment("name")`` gives."""

    def __init__(self, flow: Flow, name: str, options: dict[str, Any]) -> None:
        self.flow = flow
        self.name = name.rpartition("/")[2]
        self.options = options

    @property
    def flow_name(self) -> str:
        """The flow's name."""
        return self.flow.name

    @property
    def full_name(self) -> str:
        """What :func:`run_deployment` finds it by."""
        return f"{self.flow.name}/{self.name}"

    def apply(self, **pooled: Any) -> None:
        """Makes it known to the server. `pooled` is what the workers of a pool are told."""
        from ._deployments import deploy

        deploy(self, pooled)


def deployment_of(flow: Flow, name: str, options: dict[str, Any]) -> RunnerDeployment:
    """Checks `options`, which are those of `to_deployment` and `serve`."""
    options = {key: value for key, value in options.items() if value is not None and key not in _WITHOUT_EFFECT}
    if options.get("triggers"):
        raise NotImplementedError(f"`triggers=` of the deployment {name!r}: Tidegate has none yet")
    said = _schedules.wanted(options)  # what is wrong with them is told here
    if said is not None:
        options["schedules"] = said
    return RunnerDeployment(flow, name, options)


def serve(
    *args: Flow | Function | RunnerDeployment,
    pause_on_shutdown: bool = True,
    print_starting_message: bool = True,
    limit: Optional[int] = None,
    webserver: bool = False,
    **options: Any,
) -> Any:
    """Executes the runs of flows, tasks and deployments until SIGTERM or SIGINT. Where an event loop runs it gives an
    awaitable. With `webserver`, or PREFECT_RUNNER_SERVER_ENABLE, ``/health`` at PREFECT_RUNNER_SERVER_HOST and _PORT tells how
    it is."""
    unknown = sorted(options.keys() - _WITHOUT_EFFECT)
    if unknown:
        raise TypeError(f"serve() has no option `{unknown[0]}` here; its options are limit, pause_on_shutdown")
    if _process.is_importing:
        return None  # in a process that a worker has started, which imports the script and serves nothing itself
    functions: dict[tuple[str, str], Any] = {}
    for served in args:
        if isinstance(served, RunnerDeployment):
            served.apply()
            served = served.flow
        function = served.as_served()
        functions.setdefault((function.kind, function.name), function.in_thread())
    limit = limit or _DEFAULT_LIMIT
    return serving.serve(*functions.values(), limit=limit, flow_limit=limit, health_address=_health_address(webserver))


def _health_address(webserver: bool) -> Optional[str]:
    """Where Prefect's runner has its web server, of which there is ``/health`` here."""
    if not webserver and os.environ.get("PREFECT_RUNNER_SERVER_ENABLE", "").lower() not in ("1", "true", "t", "yes", "on"):
        return None
    host = os.environ.get("PREFECT_RUNNER_SERVER_HOST", "localhost")
    port = os.environ.get("PREFECT_RUNNER_SERVER_PORT", "8080")
    family = socket.AF_INET if host == "localhost" else socket.AF_UNSPEC
    try:
        address, number, *_ = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
    except OSError as error:
        raise ValueError(
            f"PREFECT_RUNNER_SERVER_HOST={host} and PREFECT_RUNNER_SERVER_PORT={port} are no address here: {error}"
        ) from None
    assert isinstance(address, str)  # of IPv4 and IPv6
    return f"[{address}]:{int(number)}" if ":" in address else f"{address}:{int(number)}"


async def aserve(*args: Any, **options: Any) -> None:
    """As :func:`serve`, in async code."""
    await serve(*args, **options)


def serve_tasks(
    *tasks: Function, limit: Optional[int] = 10, status_server_port: Optional[int] = None, timeout: Optional[float] = None
) -> Any:
    """Executes the delayed runs of tasks, and of flows, until SIGTERM or SIGINT."""
    if status_server_port is not None or timeout is not None:
        raise NotImplementedError(
            "serve() has neither `status_server_port` nor `timeout` here: ask the server of its workers, and for probes set "
            "TIDEGATE_WORKER_HEALTH_ADDRESS=0.0.0.0:8080, which gives /livez and /readyz"
        )
    return serve(*tasks, limit=limit)
