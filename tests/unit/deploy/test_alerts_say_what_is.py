"""Rules, dashboard, runbook: every metric in them exists with its labels, every rule has its section and its cases."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
KINDS = {"Counter", "Gauge", "Histogram"}
SUFFIXES = re.compile(r"_(?:bucket|sum|count)$")
#: What Prometheus adds, and what an expression may group by besides a metric's own labels.
LABELS_OF_PROMETHEUS = {"le", "pod", "process", "job", "instance", "alertname", "alertstate"}
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
CASES: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus/alerts.test.yml").read_text())["tests"]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/paidonce.json").read_text())
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def made() -> dict[str, tuple[str, frozenset[str]]]:
    """Return metric -> kind and labels, as the code makes them."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for file in [*(ROOT / "app").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS):
                continue
            if not (node.args and isinstance(node.args[0], ast.Constant)):
                continue
            listed = [part for part in node.args[2:3] if isinstance(part, ast.List)]
            labels = frozenset(ast.literal_eval(part) for one in listed for part in one.elts)
            found[node.args[0].value] = node.func.id, labels
    return found


MADE = made()


def panels() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


EXPRESSIONS = [(rule["alert"], rule["expr"]) for rule in RULES] + list(panels())
EXTERNAL = [
    (metric["external"]["metric"]["name"], set(metric["external"]["metric"]["selector"]["matchLabels"]))
    for scaler in yaml.safe_load_all((DEPLOY / "components/autoscaling/autoscaling.yaml").read_text())
    for metric in scaler["spec"]["metrics"]
    if metric["type"] == "External"
]


def test_the_metrics_are_named_by_convention() -> None:
    assert len(MADE) > 30
    for name, (kind, _) in MADE.items():
        assert name.startswith("paidonce_"), name
        assert name.endswith("_total") == (kind == "Counter"), name
        assert not re.search(r"_(?:ms|milliseconds|minutes|hours|days|kb|mb)(?:_|$)", name), f"{name}: no base unit"


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_each_metric_and_label_of_an_expression_is_in_the_code(where: str, expression: str) -> None:
    metrics = re.findall(r"\bpaidonce_\w+", expression)
    assert metrics or "ALERTS" in expression
    bases = {name: name if name in MADE else SUFFIXES.sub("", name) for name in metrics}
    assert set(bases.values()) <= set(MADE), where
    for name, base in bases.items():
        assert (name != base) == (MADE[base][0] == "Histogram"), f"{where}: {name} of a {MADE[base][0]}"
    known = LABELS_OF_PROMETHEUS.union(*(MADE[base][1] for base in bases.values()))
    used = set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', expression))
    for listed in re.findall(r"\bby \(([^)]*)\)", expression):
        used |= {one.strip() for one in listed.split(",")}
    assert used - known == set(), where


@pytest.mark.parametrize(("metric", "labels"), EXTERNAL)
def test_what_scales_is_in_the_code(metric: str, labels: set[str]) -> None:
    assert labels <= MADE[metric][1]


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_a_counter_is_never_read_without_its_rate(where: str, expression: str) -> None:
    for name in re.findall(r"\bpaidonce_\w+_total\b", expression):
        read = re.findall(rf"(\w+)\({name}\b", expression)
        assert read, where
        assert set(read) <= {"rate", "increase", "absent"}, where


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_each_rule_has_its_section_and_its_two_cases(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    section = re.search(rf"^### {name}\n\n(.+?)(?=^#|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert section, f"docs/runbook.md has no section {name}"
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    assert rule["labels"]["severity"] in {"page", "ticket"}
    expected = [
        bool(case["exp_alerts"]) for one in CASES for case in one["alert_rule_test"] if case["alertname"] == name
    ]
    assert sorted(expected) == [False, True], "one that sets it off, one that looks alike"


def test_the_runbook_has_no_section_of_a_rule_that_is_gone() -> None:
    assert set(re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)) == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize("name", ["runbook.md", "scaling.md", "kubernetes.md"])
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([\w.]*)(?:#([\w-]+))?\)", (ROOT / "docs" / name).read_text())
    assert links
    for file, section in links:
        headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / (file or name)).read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
        assert not section or section in anchors, f"{file}#{section}"


@pytest.mark.parametrize("name", ["runbook.md", "scaling.md", "kubernetes.md"])
def test_what_is_named_is_in_the_code(name: str) -> None:
    text = (ROOT / "docs" / name).read_text()
    assert set(re.findall(r"`(paidonce_\w+)`", text)) <= set(MADE)
    settings = (ROOT / "docs/settings.md").read_text() + "`PAIDONCE_SECRETS_DIR`"
    assert [one for one in re.findall(r"`(PAIDONCE_\w+)`", text) if f"`{one}`" not in settings] == []


def numbers(text: str) -> set[str]:
    """Return those that were measured: with a thousands separator, or as milliseconds, seconds and megabytes."""
    return set(re.findall(r"\d{1,3}(?:,\d{3})+|\d+\.\d+", text))


def test_the_figures_of_scaling_are_measured_figures() -> None:
    """Those with a comma or a point stand where they were measured; what was measured here stands in dated tables."""
    text = (ROOT / "docs/scaling.md").read_text()
    here = text[text.index("What one payment leaves") : text.index("So 6 KB")]
    measured = "".join((ROOT / "docs" / one).read_text() for one in ("performance.md", "cdc.md")) + here
    own = {"10,000", "15,000", "0.02", "2.4", "2.7"}  # thresholds, a setting, and what is reckoned from the tables
    assert {one for one in numbers(text) if f"{float(one.replace(',', '')):g}" not in rounded(measured)} - own == set()


def rounded(text: str) -> set[str]:
    """Return every number of `text`, as it is and to one digit behind the point."""
    values = [float(one.replace(",", "")) for one in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]
    return {f"{value:g}" for value in values} | {f"{round(value, 1):g}" for value in values}


def test_prometheus_of_the_compose_file_asks_every_process_at_its_port() -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    (asked,) = job["dns_sd_configs"]
    services = COMPOSE["services"]
    ours = {name for name, one in services.items() if (one.get("command") or [""])[0] in PROCESSES}
    assert set(asked["names"]) == {name for name in ours if "profiles" not in services[name]}
    for name in asked["names"]:
        assert services[name]["environment"]["PAIDONCE_METRICS_PORT"] == str(asked["port"])
        assert services[name]["environment"]["PAIDONCE_PROBE_HOST"] == "0.0.0.0"
    assert services["prometheus"]["profiles"] == services["grafana"]["profiles"] == ["metrics"]
    mounted = {volume.split(":")[0] for name in ("prometheus", "grafana") for volume in services[name]["volumes"]}
    assert all((ROOT / path).exists() for path in mounted if path.startswith("./"))


PROCESSES = {"api", "relay", "consumer", "effects", "cleaner"}


def test_the_dashboard_fits_on_its_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
