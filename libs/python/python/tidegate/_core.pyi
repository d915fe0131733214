from typing import Any, Callable, Optional

__version__: str

def error_kinds() -> list[str]: ...
def next_callbacks(seconds: float) -> list[tuple[Callable[..., None], tuple[Any, ...]]]: ...

class Op:
    def wait(self, seconds: float) -> bool: ...
    def subscribe(self, callback: Callable[[], None]) -> None: ...
    def result(self) -> Any: ...

class ChildCalls:
    def __init__(self, run_id: str, epoch: int) -> None: ...

class NewRun:
    id: str
    def __init__(
        self,
        *,
        kind: str,
        name: str,
        encoding: str,
        data: bytes,
        run_name: str = "",
        queue: Optional[str] = None,
        calls: Optional[ChildCalls] = None,
        always_new: bool = False,
        traceparent: str = "",
        tags: list[str] = ...,
        key: str = "",
        use_existing: bool = False,
        priority: Optional[int] = None,
        due_at: Optional[float] = None,
        max_retries: int = 0,
        delays: list[float] = ...,
        jitter: float = 0.0,
        retry_on: list[str] = ...,
        never_retry_on: list[str] = ...,
        run_timeout: Optional[float] = None,
        cancel_grace: Optional[float] = None,
        max_crashes: Optional[int] = None,
        detached: bool = False,
        detached_on_failure: Optional[bool] = None,
        detached_on_crash: Optional[bool] = None,
        labels: dict[str, str] = ...,
        inherit_labels: bool = False,
        deployment: str = "",
        expires_at: Optional[float] = None,
        cache_key: str = "",
        cache_expiration: Optional[float] = None,
        concurrency_limits: list[str] = ...,
        fairness_key: str = "",
        required_labels: dict[str, str] = ...,
        sticky: bool = False,
        refresh_cache: bool = False,
        job_variables: str = "",
    ) -> None: ...

class Run:
    id: str
    kind: str
    name: str
    run_name: str
    queue: str
    parent_run_id: str
    root_run_id: str
    attempt: int
    crashes: int
    tags: list[str]
    labels: dict[str, str]
    deployment: str
    deployment_version: int
    work_pool: str
    schedule: str
    fire_at: Optional[float]
    cache_key: str
    concurrency_limits: list[str]
    fairness_key: str
    required_labels: dict[str, str]
    preferred_worker: str
    priority: int
    created_at: Optional[float]
    due_at: Optional[float]
    started_at: Optional[float]
    ended_at: Optional[float]
    state: tuple[str, str, str]
    parameters: Optional[tuple[str, bytes]]
    result: Optional[tuple[str, bytes]]
    failure: Optional[tuple[str, str, str]]

class Client:
    address: str
    max_payload_size: int
    def __init__(self, address: Optional[str] = None, namespace: Optional[str] = None) -> None: ...
    def create(self, runs: list[NewRun]) -> Op: ...
    def create_local(self, run: NewRun) -> Op: ...
    def deploy(
        self,
        name: str,
        template: NewRun,
        schedules: list[NewSchedule],
        *,
        description: str,
        entrypoint: str,
        parameters: str,
        parameter_schema: str,
        enforce_parameter_schema: bool,
        max_concurrent_runs: Optional[int],
        on_collision: str,
        version_label: str,
        work_pool: str = "",
        source: Optional[tuple[str, dict[str, str]]] = None,
        command: list[str] = ...,
        job_variables: str = "",
    ) -> Op: ...
    def get_deployment(self, name: str) -> Op: ...
    def get_run(self, run_id: str) -> Op: ...
    def peek_run(self, run_id: str) -> Op: ...
    def wait(self, run_id: str) -> Op: ...
    def wait_many(self, run_ids: list[str]) -> Op: ...
    def cancel(self, run_id: str, reason: str) -> Op: ...
    def pause(self, run_id: str, timeout: Optional[float], reason: str) -> Op: ...
    def resume(self, run_id: str, input: Optional[tuple[str, bytes]]) -> Op: ...
    def retry(self, run_id: str, reason: str) -> Op: ...
    def acquire_slots(
        self,
        limits: list[str],
        *,
        lease: float,
        timeout: Optional[float],
        run_id: str,
        n_slots: int = 1,
        must_exist: bool = False,
    ) -> Op: ...
    def create_artifact(
        self,
        *,
        type: str,
        key: str,
        description: str,
        progress: Optional[float],
        data: Optional[tuple[str, bytes]],
        labels: dict[str, str],
        run_id: str,
        epoch: int,
    ) -> Op: ...
    def get_artifact(self, *, id: str = "", key: str = "") -> Op: ...
    def write_progress(
        self, artifact_id: str, percent: float, description: Optional[str], run_id: str, epoch: int
    ) -> None: ...
    def set_variable(
        self, name: str, value_json: str, *, tags: list[str], description: str, overwrite: bool
    ) -> Op: ...
    def get_variable(self, name: str) -> Op: ...
    def delete_variable(self, name: str) -> Op: ...
    def find_run(self, key: str, scope: str, of: str) -> Op: ...
    def list_runs(self, filter: str, page_size: int, page_token: str, order_by: str = ...) -> Op: ...
    def query_logs(self, run_id: str) -> Op: ...
    def log(
        self,
        *,
        run_id: str,
        root_run_id: str,
        attempt: int,
        level: int,
        logger: str,
        message: str,
        traceparent: str,
    ) -> None: ...
    def flush_logs(self, seconds: float) -> Op: ...
    def close(self, seconds: float) -> Op: ...

class NewSchedule:
    def __init__(
        self,
        *,
        name: str,
        kind: str,
        rule: str = "",
        day_and: bool = False,
        every: int = 0,
        anchor: Optional[int] = None,
        time_zone: str = "",
        start_at: Optional[int] = None,
        end_at: Optional[int] = None,
        jitter: int = 0,
        parameters: str = "",
        catch_up: str = "skip",
        max_catch_up: int = 0,
        catch_up_grace: Optional[int] = None,
        overlap: str = "allow",
        tags: list[str] = ...,
        queue: str = "",
        job_variables: str = "",
        description: str = "",
        paused: bool = False,
    ) -> None: ...

class Schedules:
    def __init__(self, client: Client) -> None: ...
    def put(self, deployment: str, schedules: list[NewSchedule], prunes: bool) -> Op: ...
    def get(self, deployment: str, name: str) -> Op: ...
    def find(self, deployment: str, filter: str) -> Op: ...
    def pause(self, deployment: str, name: str, reason: str) -> Op: ...
    def resume(self, deployment: str, name: str) -> Op: ...
    def delete(self, deployment: str, name: str, allow_missing: bool) -> Op: ...
    def preview(
        self, schedule: Optional[NewSchedule], deployment: str, name: str, after: Optional[int], count: int
    ) -> Op: ...
    def backfill(
        self, deployment: str, name: str, start: int, end: int, validate_only: bool, expected_count: Optional[int]
    ) -> Op: ...

class Automations:
    def __init__(self, client: Client) -> None: ...
    def set(
        self,
        name: str,
        *,
        description: str,
        states: list[str],
        state_names: list[str],
        filter: str,
        each_attempt: bool,
        url: str,
        headers: dict[str, str],
        signing_secret: str,
        timeout: Optional[float],
        overwrite: bool,
    ) -> Op: ...
    def get(self, name: str) -> Op: ...
    def all(self) -> Op: ...
    def delete(self, name: str) -> Op: ...
    def pause(self, name: str) -> Op: ...
    def resume(self, name: str) -> Op: ...
    def firings(self, name: str, limit: int) -> Op: ...

class StopWatch: ...

class Pauser:
    def pause(
        self,
        key: str,
        *,
        timeout: Optional[float] = None,
        suspend: bool = False,
        request: Optional[tuple[str, bytes]] = None,
    ) -> Op: ...

class LocalRun:
    id: str
    existing: bool
    epoch: int
    def on_stop(self, callback: Callable[[str, str, float], None]) -> StopWatch: ...
    def pauser(self) -> Pauser: ...
    def start(self) -> None: ...
    def begin_again(self, epoch: int) -> None: ...
    def make_room(self, size: int) -> Optional[Op]: ...
    def finish(
        self,
        end: str,
        first: str = "",
        second: str = "",
        third: str = "",
        data: bytes = b"",
        non_retryable: bool = False,
    ) -> Op: ...

class Worker:
    id: str
    status: tuple[bool, int, int]
    health_address: Optional[str]
    def __init__(
        self,
        client: Client,
        *,
        queues: list[str],
        functions: list[tuple[str, str]],
        task_slots: int,
        flow_slots: int,
        drain_grace: float,
        labels: dict[str, str] = ...,
        health_address: Optional[str] = None,
    ) -> None: ...
    @staticmethod
    def executing(client: Client, run_id: str, epoch: int) -> Worker: ...
    def next(self, seconds: float) -> Optional[list[Attempt]]: ...
    def drain(self) -> None: ...
    def stopped(self, seconds: float) -> bool: ...

class Attempt:
    run_id: str
    kind: str
    name: str
    run_name: str
    attempt: int
    epoch: int
    queue: str
    root_run_id: str
    parent_run_id: str
    traceparent: str
    tags: list[str]
    parameters: Optional[tuple[str, bytes]]
    def on_stop(self, callback: Callable[[str, str, float], None]) -> StopWatch: ...
    def pauser(self) -> Pauser: ...
    def start(self) -> None: ...
    def finish(
        self,
        end: str,
        first: str = "",
        second: str = "",
        third: str = "",
        data: bytes = b"",
        non_retryable: bool = False,
        hear: bool = False,
    ) -> Optional[Op]: ...

class Codecs:
    def __init__(self, writing: list[Any], reading: list[Any]) -> None: ...
    def encode(self, encoding: str, data: bytes) -> tuple[str, bytes]: ...
    def encode_parameters(self, encoding: str, data: bytes) -> tuple[str, bytes]: ...
    def decode(self, encoding: str, data: bytes) -> tuple[str, bytes]: ...

class Artifact:
    id: str
    type: str
    key: str
    version: int
    description: str
    progress: Optional[float]
    labels: dict[str, str]
    run_id: str
    root_run_id: str
    data: Optional[tuple[str, bytes]]

class Slots:
    is_lost: bool
    def release(self) -> Op: ...

class Span:
    traceparent: str
    def __init__(self, name: str, run_id: str, attempt: int, traceparent: str) -> None: ...
    def end(self, failure: Optional[str] = None) -> None: ...

class EmbeddedServer:
    address: str
    def __init__(self) -> None: ...
    def stop(self, seconds: float) -> None: ...

class Exporter:
    @staticmethod
    def from_env(service: str) -> Optional[Exporter]: ...
    def close(self, seconds: float) -> None: ...
