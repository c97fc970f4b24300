"""promtool's word on the alert rules: they parse, and each fires in the one case and not in the other."""

import subprocess
from pathlib import Path

import pytest

from paidonce.devstack.promtool import find_promtool

pytestmark = pytest.mark.alerts

FOLDER = Path(__file__).parents[3] / "deploy/prometheus"


def promtool(*arguments: str, cwd: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find_promtool(), *arguments], cwd=cwd, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_rules_are_rules() -> None:
    done = promtool("check", "rules", "alerts.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_prometheus_takes_its_configuration() -> None:
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_fires_when_it_should_and_not_otherwise() -> None:
    done = promtool("test", "rules", "alerts.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_is_wrong_would_be_found(tmp_path: Path) -> None:
    for name in ("alerts.yml", "alerts.test.yml"):
        (tmp_path / name).write_text((FOLDER / name).read_text().replace("> 900", "> 90000"))
    done = promtool("test", "rules", "alerts.test.yml", cwd=tmp_path)
    assert done.returncode != 0
    assert "PaidonceEffectUnknown" in done.stdout + done.stderr
