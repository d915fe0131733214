"""The chart renders what Kubernetes takes, and everything in it that names something names what is there."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from conftest import CHART, NAMESPACE, ROOT, SERVICES, URLS, VALUES, Release, render, run, started, values_of

# Of other projects: what they may contain is not known here, so it is held to the text below alone.
FOREIGN = {"GRPCRoute", "ServiceMonitor"}
LEAST = next(file for file in VALUES if file.stem == "least")


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector that says anything selects these labels."""
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    named = all(labels.get(expression["key"]) in expression["values"] for expression in expressions)
    return bool(selector) and named and matches(selector.get("matchLabels", {}), labels)


def pods(release: Release) -> dict[str, dict[str, str]]:
    sets = release.of("Deployment") | release.of("StatefulSet")
    return {name: item["spec"]["template"]["metadata"]["labels"] for name, item in sets.items()}


def workers(release: Release) -> dict[str, dict[str, Any]]:
    sets = release.of("Deployment") | release.of("StatefulSet")
    return {name: item for name, item in sets.items() if "-worker-" in name}


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_it_is_linted_and_every_object_is_of_its_schema(file: Path) -> None:
    linted = helm_python.lint(CHART, values_of(file), strict=True)
    assert not linted["errors"]
    assert [message["error"] for message in linted["messages"]] == ["icon is recommended"]
    for item in render(values_of(file)):
        if item["kind"] not in FOREIGN:
            for version in ("1.30", "1.37"):
                kubernetes_validate.validate(item, version, strict=True)


def test_every_service_is_what_the_others_take_it_for(release: Release) -> None:
    labels = pods(release)
    of_services = set(labels) - set(workers(release))
    assert len(of_services) == len(SERVICES)
    services = release.of("Service")
    for kind, selector_of in {
        "Deployment": lambda spec: spec["selector"]["matchLabels"],
        "Service": lambda spec: spec["selector"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
    }.items():
        objects = release.of(kind)
        wanted = set(labels) - set(release.of("StatefulSet")) if kind == "Deployment" else of_services
        assert set(objects) == wanted or (kind == "NetworkPolicy" and not objects)
        for name, item in objects.items():
            selector = selector_of(item["spec"])
            assert [other for other, pod in labels.items() if matches(selector, pod)] == [name], f"{kind} {name}"
    for service in SERVICES:
        container = release.container(service)
        (port,) = container["ports"]
        listens = next(item["value"] for item in container["env"] if item["name"] == "TIDEGATE__LISTEN")
        assert listens == f"{release.values.get('listenAddress', '0.0.0.0')}:{port['containerPort']}"
        for probe in ("startupProbe", "readinessProbe"):
            assert container[probe]["grpc"] == {"port": port["containerPort"]}
        # Health also tells of loops that hang, as they do where Postgres hangs: that is no reason for a restart.
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": port["name"]}
        (published,) = next(item for name, item in services.items() if name.endswith(service))["spec"]["ports"]
        assert published["targetPort"] == port["name"] == published["name"]
    for service in SERVICES:  # each reaches the others by their names
        for item in release.container(service)["env"]:
            found = re.fullmatch(rf"http://([^.]+)\.{NAMESPACE}:(\d+)", item.get("value", ""))
            if found:
                assert services[found[1]]["spec"]["ports"][0]["port"] == int(found[2]), item


def test_volumes_secrets_and_accounts_are_there(release: Release) -> None:
    for service in SERVICES:
        pod, container = release.pod(service), release.container(service)
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert {mount["name"] for mount in mounts.values()} == set(volumes)
        names = [item["name"] for item in container["env"]]
        assert len(names) == len(set(names))
        for item in container["env"]:
            if (value := item.get("value", "")).startswith("file:/run/"):
                folder, _, file = value.removeprefix("file:").rpartition("/")
                items = volumes[mounts[folder]["name"]]["secret"]["items"]
                assert [entry["path"] for entry in items] == [file]
            if item["name"] == "TIDEGATE__OBJECT_STORAGE__URL" and value.startswith("file:"):
                (mount,) = [path for path in mounts if value.startswith(f"file://{path}")]
                assert "readOnly" not in mounts[mount]
        account = pod["serviceAccountName"]
        assert account in release.of("ServiceAccount") or account == "default"
    wanted = {"postgres": ("tidegate-postgres", "url"), "redis": ("tidegate-redis", "url")}
    for what, (name, key) in wanted.items():
        secret = release.values.get(what, {}).get("secret", {"name": name, "key": key})
        for service in SERVICES:
            for volume in release.pod(service)["volumes"]:
                if volume["name"] == what:
                    assert volume["secret"]["secretName"] == secret["name"]
                    assert volume["secret"]["items"][0]["key"] == secret["key"]


def test_pods_may_do_nothing(release: Release) -> None:
    for account in release.of("ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False
    of_services = [release.pod(service) for service in SERVICES]
    of_workers = {name: item["spec"]["template"]["spec"] for name, item in workers(release).items()}
    with_rights = [pod for name, pod in of_workers.items() if name in release.of("StatefulSet")]
    for pod in [*of_services, *of_workers.values()]:
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is (pod in with_rights)
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
    for pod in of_services:
        assert pod["containers"][0]["resources"]["requests"] and pod["containers"][0]["resources"]["limits"]["memory"]


def test_a_pod_has_time_to_drain(release: Release, tmp_path: Path) -> None:
    for service in SERVICES:
        shown = run(service, "--print-config", env=release.env(service, URLS, tmp_path))
        assert shown.returncode == 0, shown.stderr
        grace = tomllib.loads(shown.stdout)["shutdown_grace"]
        seconds = sum(int(n) * {"m": 60, "s": 1}[unit] for n, unit in re.findall(r"(\d+)([ms])", grace))
        announced = release.container(service)["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert release.pod(service)["terminationGracePeriodSeconds"] > announced + seconds


def test_the_programs_take_what_they_are_given(release: Release, tmp_path: Path) -> None:
    for service in SERVICES:
        env = release.env(service, URLS, tmp_path)
        assert (checked := run(service, "--check-config", env=env)).returncode == 0, checked.stderr
        shown = run(service, "--print-config", env=env).stdout
        assert tomllib.loads(shown)["listen"] == env["TIDEGATE__LISTEN"]
        # An unknown variable would have been refused, so every one of these has been read.
        assert run(service, "--check-config", env=env | {"TIDEGATE__NO_SUCH": "1"}).returncode == 64


@pytest.mark.parametrize(
    ("service", "config"),
    [
        ("api", {"engine": {"lanes": 3, "lane_capacity": 2_000_000}, "payload": {"presigned_requests": False}}),
        ("scheduler", {"webhooks": {"private_addresses": True, "hosts": ["hooks.tools", "*.example.com", "192.0.2.1"]}}),
        ("scheduler", {"webhooks": {"allow_http": True, "hosts": []}}),
    ],
)
def test_configuration_reaches_the_program_as_it_was_written(
    service: str, config: dict[str, Any], tmp_path: Path
) -> None:
    release = Release(values_of(LEAST, **{service: {"config": config}}))
    shown = tomllib.loads(run(service, "--print-config", env=release.env(service, URLS, tmp_path)).stdout)
    for section, keys in config.items():
        assert keys.items() <= shown[section].items()


def test_workers_can_be_started_and_have_time_to_drain() -> None:
    (everything,) = [Release(values_of(file)) for file in VALUES if file.stem == "everything"]
    assert set(workers(everything)) == {"flows-worker-least", "flows-worker-most", "flows-worker-jobs"}
    for item in workers(everything).values():
        pod = item["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert (read := started(container["args"])).returncode == 0, read.stderr
        assert started([*container["args"], "--no-such-option"]).returncode != 0
        drains = next(int(arg.partition("=")[2]) for arg in container["args"] if arg.startswith("--drain-seconds="))
        assert pod["terminationGracePeriodSeconds"] > drains + 30
        types = [arg.partition("=")[2] for arg in container["args"] if arg.startswith("--type=")]
        assert (item["kind"] == "StatefulSet") is (types == ["kubernetes"])
        assert pod["serviceAccountName"] in everything.of("ServiceAccount")
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
        env = {variable["name"]: variable["value"] for variable in container["env"]}
        assert env["TIDEGATE_WORKER_DATA_DIR"].startswith(f"{mounts['data']}/") and env["HOME"] == mounts["data"]
        assert env["TIDEGATE_ADDRESS"] == f"http://flows-api.{NAMESPACE}:4400"
        (port,) = {int(arg.rpartition(":")[2]) for arg in container["args"] if arg.startswith("--health-address=")}
        assert container["ports"] == [{"name": "health", "containerPort": port}]
        assert container["readinessProbe"]["grpc"] == {"port": port}
        # It answers also while the server is away.
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "health"}
        for arg in container["args"]:
            assert not arg.startswith("--secrets-dir=") or arg == f"--secrets-dir={mounts['secrets']}"
    least = workers(everything)["flows-worker-least"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert not [arg for arg in least if arg.startswith("--type=")], "what is not said is not guessed: the pool knows it"
    most = workers(everything)["flows-worker-most"]
    assert most["spec"]["replicas"] == 0
    wanted = {"--pool=large", "--type=process", "--queue=second", "--label=gpu=a100", "--limit=4", "--drain-seconds=0"}
    assert wanted <= set(most["spec"]["template"]["spec"]["containers"][0]["args"])


def test_a_worker_of_a_cluster_may_start_jobs_and_nothing_else() -> None:
    (everything,) = [Release(values_of(file)) for file in VALUES if file.stem == "everything"]
    worker = everything.of("StatefulSet")["flows-worker-jobs"]
    pod = worker["spec"]["template"]["spec"]
    wanted = {"--type=kubernetes", "--drain-seconds=10", "--job-secret=of-flows"}
    image = pod["containers"][0]["image"]
    wanted |= {f"--job-image={image}", f"--source-image={image}", "--job-namespace=batch", "--job-namespace=flows"}
    assert wanted <= set(pod["containers"][0]["args"])
    assert all(volume["name"] != "secrets" for volume in pod["volumes"]), "they come to the Jobs by reference"
    account = {"kind": "ServiceAccount", "name": pod["serviceAccountName"], "namespace": NAMESPACE}
    roles = [item for item in everything.objects if item["kind"] == "Role"]
    bindings = [item for item in everything.objects if item["kind"] == "RoleBinding"]
    for items in (roles, bindings):
        assert [item["metadata"]["namespace"] for item in items] == [NAMESPACE, "batch"]
    for binding in bindings:
        assert binding["subjects"] == [account] and binding["roleRef"]["name"] == account["name"]
    # What services/worker/tests/kubernetes/cluster.rs holds the worker to.
    rights = {
        resource: set(rule["verbs"]) for role in roles for rule in role["rules"] for resource in rule["resources"]
    }
    assert rights == {
        "jobs": {"create", "delete", "get", "list", "patch", "watch"},
        "pods": {"delete", "list", "watch"},
        "pods/log": {"get"},
    }
    assert not [item for item in everything.objects if item["kind"].startswith("ClusterRole")]


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"image": {"registry": ""}}, "image.registry is empty: say where you pushed the images"),
        ({"objectStorage": {"url": ""}}, "objectStorage.url is empty: say where payloads"),
        ({"objectStorage": {"url": "ftp://x"}}, "'/objectStorage/url'.*does not match pattern"),
        ({"objectStorage": {"url": "file:///var/lib/tidegate/payloads"}}, "claimName is empty: a file:// URL needs"),
        (
            {"objectStorage": {"url": "file:///srv/x", "volume": {"claimName": "x"}}},
            "file:///srv/x, which is not in the volume .* payloads would be lost",
        ),
        ({"api": {"replica": 3}}, "'/api'.*'replica' not allowed"),
        ({"scheduler": {"replicas": "two"}}, "'/scheduler/replicas'.*want integer"),
        ({"logIngest": {"maxUnavailable": 0}}, "'/logIngest/maxUnavailable'.*minimum.*want 1"),
        ({"taskqueue": {}}, "'taskqueue' not allowed"),
        ({"shutdown": {"graceSeconds": 1}}, "'/shutdown/graceSeconds'.*minimum.*want 10"),
        ({"postgres": {"url": "postgres://x"}}, "'/postgres'.*'url' not allowed"),
        ({"api": {"config": {"listen": "[::]:1"}}}, r"api.config.listen: the chart sets this itself"),
        ({"api": {"config": {"postgres": {"url": "x"}}}}, r"api.config.postgres.url: the chart sets this itself"),
        ({"taskQueue": {"config": {"lease": [1]}}}, "taskQueue.config.lease is a list: no service has such a key"),
        ({"api": {"config": {"webhooks": {"hosts": ["a"]}}}}, "api.config.webhooks.hosts is a list: no service has such"),
        ({"workers": [{"name": "a"}]}, "'/workers/0'.*missing property 'pool'"),
        ({"workers": [{"name": "a", "pool": "b", "type": "vm"}]}, "'/workers/0/type'.*'process'.*'kubernetes'"),
        ({"ingress": {"enabled": True}}, "ingress.host is empty: clients have to know a name"),
        ({"gateway": {"enabled": True, "host": "x.example.com"}}, "gateway.parentRefs is empty: name the Gateway"),
        (
            {"ingress": {"enabled": True, "host": "a"}, "gateway": {"enabled": True, "host": "b"}},
            "both true: clients can be told one outer address",
        ),
    ],
)
def test_wrong_values_are_refused_and_named(over: dict[str, Any], told: str) -> None:
    with pytest.raises(helm_python.HelmError) as refused:
        render(values_of(LEAST, **over))
    assert re.search(told, str(refused.value), re.DOTALL), refused.value


def test_the_schema_knows_every_value() -> None:
    """A value without a schema would take anything, and a schema without a value would be for nothing."""
    schema = json.loads((CHART / "values.schema.json").read_text())

    def walk(schema_at: dict[str, Any], value: Any, at: str) -> None:
        schema_at = schema["$defs"][schema_at["$ref"].rpartition("/")[2]] if "$ref" in schema_at else schema_at
        if isinstance(value, dict) and "properties" in schema_at:
            assert at.endswith(".resources") or set(value) == set(schema_at["properties"]) - {"global"}, at
            assert schema_at["additionalProperties"] is False, at
            for key, inner in value.items():
                walk(schema_at["properties"][key], inner, f"{at}.{key}")

    walk(schema, yaml.safe_load((CHART / "values.yaml").read_text()), "")


def test_what_is_public_can_be_reached_and_nothing_else() -> None:
    proto = {}
    for file in sorted((ROOT / "proto/tidegate/v1").glob("*.proto")):
        for name in re.findall(r"^service (\w+)", file.read_text(), re.MULTILINE):
            own = {"WorkerService": "task-queue", "LogService": "log-ingest"}.get(name, "api")
            proto[f"tidegate.v1.{name}"] = own
    standard = {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"}
    standard |= {"grpc.reflection.v1alpha.ServerReflection"}
    wanted = proto | dict.fromkeys(standard, "api")

    (everything,) = [Release(values_of(file)) for file in VALUES if file.stem == "everything"]
    (ingress,) = everything.of("Ingress").values()
    (rule,) = ingress["spec"]["rules"]
    reached = {}
    for path in rule["http"]["paths"]:
        backend = path["backend"]["service"]
        assert backend["port"] == {"name": everything.of("Service")[backend["name"]]["spec"]["ports"][0]["name"]}
        reached[path["path"].removeprefix("/")] = backend["name"].removeprefix("flows-")
    assert reached == wanted

    (gateway,) = [Release(values_of(file)) for file in VALUES if file.stem == "high-availability"]
    (route,) = gateway.of("GRPCRoute").values()
    reached = {}
    for rule in route["spec"]["rules"]:
        (backend,) = rule["backendRefs"]
        assert len(rule["matches"]) <= 8
        assert backend["port"] == gateway.of("Service")[backend["name"]]["spec"]["ports"][0]["port"]
        for match in rule["matches"]:
            reached[match["method"]["service"]] = backend["name"].removeprefix("prod-tidegate-")
    assert reached == wanted


def test_clients_are_told_where_they_reach_workers_and_logs() -> None:
    def told(**over: Any) -> list[str]:
        env = Release(values_of(LEAST, **over)).container("api")["env"]
        return [item["value"] for item in env if item["name"].startswith("TIDEGATE__ENDPOINTS__")]

    inner = [f"http://prod-tidegate-task-queue.{NAMESPACE}:4401", f"http://prod-tidegate-log-ingest.{NAMESPACE}:4403"]
    assert told() == inner
    host = {"enabled": True, "host": "x.example.com"}
    assert told(ingress=host) == ["http://x.example.com:80"] * 2
    assert told(ingress=host | {"tlsSecretName": "x"}) == inner
    assert told(gateway=host | {"port": 443, "tls": True, "parentRefs": [{"name": "a"}]}) == inner
    assert told(gateway=host | {"port": 4400, "parentRefs": [{"name": "a"}]}) == ["http://x.example.com:4400"] * 2
    assert told(ingress=host, advertise={"taskQueue": "http://a:1"}) == ["http://a:1", "http://x.example.com:80"]


def test_who_may_call_whom(release: Release) -> None:
    policies = {name.rpartition("flows-")[2]: item["spec"] for name, item in release.of("NetworkPolicy").items()}
    if not policies:
        return
    components = {
        service: {
            component
            for rule in policies[service]["ingress"]
            for source in rule["from"]
            for labels in pods(release).values()
            if (component := labels["app.kubernetes.io/component"]) and selects(source.get("podSelector", {}), labels)
        }
        for service in SERVICES
    }
    own = {labels["app.kubernetes.io/component"] for name, labels in pods(release).items() if "-worker-" in name}
    assert own
    assert components["api"] == {"task-queue"} | own
    assert components["task-queue"] == components["log-ingest"] == {"api", "scheduler"} | own
    assert components["scheduler"] == {"api"}
    for service in SERVICES:
        # What it reaches is not held back: webhooks go to the outside.
        assert policies[service]["policyTypes"] == ["Ingress"] and "egress" not in policies[service]
        for rule in policies[service]["ingress"]:
            assert [port["port"] for port in rule["ports"]] == [release.container(service)["ports"][0]["name"]]


def test_metrics_are_collected_from_every_service() -> None:
    (everything,) = [Release(values_of(file)) for file in VALUES if file.stem == "everything"]
    (monitor,) = everything.of("ServiceMonitor").values()
    selector = monitor["spec"]["selector"]["matchLabels"]
    (endpoint,) = monitor["spec"]["endpoints"]
    for service in everything.of("Service").values():
        assert matches(selector, service["metadata"]["labels"])
        assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
