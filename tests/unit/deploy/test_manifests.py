"""deploy/, as far as reading it can hold it: every process, setting, port, path and bound is the code's own."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from paidonce.app.settings import Settings
from paidonce.console.place import place
from paidonce.workers.consumer import SUBSCRIBERS
from paidonce.workers.effect_lane import SETTLE_TRIES

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
#: Where there are processes: the console is asked for.
PROCESSES = ("base", "components/console")
KINDS_OF_PODS = {"Deployment", "Job"}
#: Processes of the compose file that are for development alone, or another's.
NOT_HERE = {"secrets", "postgres", "kafka", "valkey", "issuer", "provider", "keycloak", "api-keycloak"}
RUN_AS = 10_001


def documents(folder: str) -> Iterator[dict[str, Any]]:
    for file in sorted((DEPLOY / folder).rglob("*.yaml")):
        yield from (one for one in yaml.safe_load_all(file.read_text()) if one)


def of_kind(kind: str, *folders: str) -> dict[str, dict[str, Any]]:
    """Return those of the processes by name, or of other folders."""
    found = (one for folder in folders or PROCESSES for one in documents(folder))
    return {one["metadata"]["name"]: one for one in found if one["kind"] == kind}


def settings_file() -> dict[str, str]:
    lines = (DEPLOY / "base/settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


PODS = {name: one["spec"]["template"] for kind in KINDS_OF_PODS for name, one in of_kind(kind).items()}
CONTAINERS: dict[str, dict[str, Any]] = {name: pod["spec"]["containers"][0] for name, pod in PODS.items()}
DEPLOYMENTS = of_kind("Deployment")


def ours() -> set[str]:
    """Our processes in the compose file."""
    return {name for name, one in COMPOSE.items() if "profiles" not in one} - NOT_HERE


def given(name: str) -> dict[str, str]:
    own = {one["name"]: one["value"] for one in CONTAINERS[name].get("env", [])}
    return settings_file() | own


def test_each_process_of_the_compose_file_is_there_with_its_command() -> None:
    assert {name: container["args"] for name, container in CONTAINERS.items()} == {
        name: COMPOSE[name]["command"] for name in ours()
    } | {"console": ["console"]}
    assert {f"consumer-{name}" for name in SUBSCRIBERS} <= set(DEPLOYMENTS)


def test_each_setting_exists_and_has_a_value_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    merged = [
        dict(literal.split("=", 1) for literal in generator["literals"])
        for file in DEPLOY.rglob("kustomization.yaml")
        for generator in yaml.safe_load(file.read_text()).get("configMapGenerator", [])
        if "literals" in generator
    ]
    assert merged, "an overlay has settings of its own"
    known = {f"PAIDONCE_{name.upper()}" for name in Settings.model_fields} | {"PAIDONCE_SECRETS_DIR"}
    for values in [*merged, *(given(name) for name in PODS)]:
        assert set(values) - known == set()
        with monkeypatch.context() as process:
            for name, value in values.items():
                process.setenv(name, value)
            Settings()


def test_no_secret_stands_in_the_files() -> None:
    text = "".join(file.read_text() for file in DEPLOY.rglob("*") if file.is_file())
    assert not re.search(r"whsec_|://\w+:\w+@|kind: Secret\b|_DSN=|PASSWORD", text)
    for name, pod in PODS.items():
        secret = next(one["secret"] for one in pod["spec"]["volumes"] if "secret" in one)
        assert secret["defaultMode"] == 0o440
        mounted = {one["name"]: one for one in CONTAINERS[name]["volumeMounts"]}["secrets"]
        assert (mounted["mountPath"], mounted["readOnly"]) == (given(name)["PAIDONCE_SECRETS_DIR"], True)


@pytest.mark.parametrize("name", sorted(PODS))
def test_it_has_no_rights_and_writes_nowhere_but_into_its_volumes(name: str) -> None:
    pod, container = PODS[name]["spec"], CONTAINERS[name]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": RUN_AS,
        "runAsGroup": RUN_AS,
        "fsGroup": RUN_AS,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert f"--uid {RUN_AS}" in (ROOT / "Dockerfile").read_text()
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] in of_kind("ServiceAccount")
    assert pod["enableServiceLinks"] is False, "a Service's API_PORT=tcp://… would be taken for a setting"
    assert {"requests", "limits"} <= set(container["resources"])
    assert "memory" in container["resources"]["limits"]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    folder = given(name).get("PAIDONCE_JWKS_FOLDER")
    assert folder is None or any(folder.startswith(f"{one['mountPath']}/") for one in container["volumeMounts"])


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_its_ports_are_those_that_it_listens_on_for_others(name: str) -> None:
    told = given(name)
    ports = {one["name"]: one["containerPort"] for one in CONTAINERS[name]["ports"]}
    wanted = {"metrics": int(told["PAIDONCE_METRICS_PORT"])}
    if name == "api":
        wanted["http"] = int(told["PAIDONCE_API_PORT"])
        assert told["PAIDONCE_API_HOST"] == "0.0.0.0"
    elif name == "console":
        wanted["http"] = int(told["PAIDONCE_CONSOLE_PORT"])
        assert told["PAIDONCE_CONSOLE_HOST"] == "0.0.0.0"
    else:
        wanted["probe"] = int(told["PAIDONCE_WORKER_PORT"])
    assert ports == wanted
    assert told["PAIDONCE_PROBE_HOST"] == "0.0.0.0"
    assert PODS[name]["metadata"]["annotations"]["prometheus.io/port"] == told["PAIDONCE_METRICS_PORT"]


def served_by_workers() -> set[str]:
    tree = ast.parse((ROOT / "workers/readiness.py").read_text())
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"/\w+", node.value)
    }


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_its_probes_ask_a_path_that_it_serves_at_a_port_that_it_has(name: str) -> None:
    container = CONTAINERS[name]
    probes = {kind: container[kind]["httpGet"] for kind in container if kind.endswith("Probe")}
    served = served_by_workers()
    if name == "api":
        served = set(re.findall(r'path="(/\w+)"', (ROOT / "app/api/health.py").read_text()))
    elif name == "console":
        served = set(re.findall(r'Route\("(/\w+)"', (ROOT / "console/main.py").read_text()))
    assert {probe["path"] for probe in probes.values()} <= served
    assert {probe["port"] for probe in probes.values()} <= {one["name"] for one in container["ports"]} - {"metrics"}
    assert probes["readinessProbe"]["path"] == "/readyz"
    # What waits for PostgreSQL, Kafka or an operator is not ready; to end it would mend nothing.
    assert probes["livenessProbe"]["path"] == "/healthz"


def test_a_process_has_the_time_that_its_work_may_take_when_it_is_to_stop() -> None:
    settings = Settings()
    grace = {name: pod["spec"]["terminationGracePeriodSeconds"] for name, pod in PODS.items()}
    drain_s = settings.api_drain_s
    ready_s = CONTAINERS["api"]["lifecycle"]["preStop"]["sleep"]["seconds"]
    for name, seconds in grace.items():
        before_s = ready_s + drain_s if name == "api" else 0
        assert seconds > before_s + settings.stop_s, "a process ends by itself before it is killed"
    # ANSWER_S of app/db.py, and the two waits on a running request that come before it.
    waits_s = (settings.idempotency_first_wait_ms + settings.idempotency_wait_ms) / 1_000 + settings.api_pool_wait_s
    assert grace["api"] > ready_s + 10 + waits_s
    assert grace["relay"] > settings.relay_lease_s
    assert grace["effects"] > max(settings.effect_call_s, settings.webhook_call_s) + SETTLE_TRIES
    assert all(grace[f"consumer-{name}"] > settings.consumer_lock_timeout_ms / 1_000 + 1 for name in SUBSCRIBERS)


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_a_drain_takes_one_at_a_time_and_is_never_held_up(name: str) -> None:
    budget, deployment = of_kind("PodDisruptionBudget")[name]["spec"], DEPLOYMENTS[name]["spec"]
    assert budget["selector"] == deployment["selector"]
    assert budget["selector"]["matchLabels"].items() <= PODS[name]["metadata"]["labels"].items()
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_what_is_shared_out_has_no_more_owners_than_parts() -> None:
    settings = Settings()
    assert DEPLOYMENTS["relay"]["spec"]["replicas"] <= settings.outbox_shards
    scaled = of_kind("HorizontalPodAutoscaler", "components/autoscaling")
    for name in SUBSCRIBERS:
        assert DEPLOYMENTS[f"consumer-{name}"]["spec"]["replicas"] <= settings.topic_partitions
        assert scaled[f"consumer-{name}"]["spec"]["maxReplicas"] == settings.topic_partitions
    assert "relay" not in scaled, "shards are fixed at the first migration"
    assert {one["spec"]["scaleTargetRef"]["name"] for one in scaled.values()} <= set(DEPLOYMENTS)


def allowed(name: str) -> tuple[set[int], set[int | str]]:
    """Return the ports that `name` may call anywhere, and those on which it may be called."""
    egress: set[int] = set()
    ingress: set[int | str] = set()
    labels = PODS[name]["metadata"]["labels"]
    for policy in of_kind("NetworkPolicy").values():
        selector = policy["spec"]["podSelector"]
        chosen = selector["matchLabels"].items() <= labels.items() and all(
            labels[one["key"]] in one["values"] for one in selector.get("matchExpressions", [])
        )
        if chosen:
            egress |= {port["port"] for rule in policy["spec"].get("egress", []) for port in rule.get("ports", [])}
            ingress |= {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]}
    return egress, ingress


def test_each_process_reaches_the_servers_that_it_needs_and_no_others() -> None:
    names, postgres, kafka, valkey, https = 53, 5432, 9092, 6379, 443
    for name in PODS:
        egress, ingress = allowed(name)
        wanted = {names, postgres}
        if name == "api":
            wanted |= {valkey, https}
        elif name == "console":
            wanted |= {kafka, valkey, https}
        elif name not in {"effects", "migrate"}:
            wanted |= {kafka}
        assert egress == wanted, name
        assert ingress == ({"http", "metrics"} if name == "api" else {"metrics"}), name
    told = settings_file()
    assert told["PAIDONCE_KAFKA"].endswith(f":{kafka}")
    assert f":{valkey}/" in told["PAIDONCE_VALKEY"]
    nothing = of_kind("NetworkPolicy")["nothing-else"]["spec"]
    assert nothing["policyTypes"] == ["Ingress", "Egress"]
    assert {"ingress", "egress"}.isdisjoint(nothing)


def test_the_console_is_reached_by_a_tunnel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leads there but a port-forward to its own port, which is where browsers are told that it is."""
    for name, value in given("console").items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert place(settings).origin == f"http://127.0.0.1:{settings.console_port}"
    assert settings.console_tenants
    assert "console" not in of_kind("Service") | of_kind("Ingress")


def test_a_kustomization_names_every_file_beside_it_and_only_what_is_there() -> None:
    found = list(DEPLOY.rglob("kustomization.yaml"))
    assert len(found) >= 4
    for file in found:
        document = yaml.safe_load(file.read_text())
        named = {*document.get("resources", []), *document.get("components", [])}
        assert all((file.parent / one).exists() for one in named)
        beside = {one.name for one in file.parent.glob("*.yaml")} - {"kustomization.yaml"}
        assert beside <= named
