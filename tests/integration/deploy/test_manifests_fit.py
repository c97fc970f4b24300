"""What kustomize makes of deploy/ is what Kubernetes takes, by its published schemas; no cluster is asked."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from paidonce.devstack.kustomize import find_kustomize

pytestmark = pytest.mark.deploy

DEPLOY = Path(__file__).parents[3] / "deploy"
OVERLAYS = sorted(file.parent.name for file in (DEPLOY / "overlays").glob("*/kustomization.yaml"))
COMPONENTS = sorted(file.parent.name for file in (DEPLOY / "components").glob("*/kustomization.yaml"))
#: The oldest that we promise (preStop's `sleep` is on by default since), and the newest whose schemas are here.
VERSIONS = ("1.30", "1.37")


def built(folder: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [find_kustomize(), "build", str(DEPLOY / folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()
    return list(yaml.safe_load_all(done.stdout))


def named(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in documents if one["kind"] == kind}


def complaints(document: dict[str, Any], version: str) -> str | None:
    import kubernetes_validate  # noqa: PLC0415  only make test-deploy installs it

    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{document['kind']} {document['metadata']['name']} ({version}): {error.message}"
    return None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", ["base", *(f"overlays/{name}" for name in OVERLAYS)])
def test_every_document_fits_its_schema(folder: str, version: str) -> None:
    documents = built(folder)
    assert len(documents) > 20
    assert [found for one in documents if (found := complaints(one, version))] == []


def test_a_mistake_would_be_found() -> None:
    (job,) = named(built("base"), "Job").values()
    job["spec"]["template"]["spec"]["containers"][0]["readonly"] = True
    assert complaints(job, VERSIONS[-1])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_goes_over_the_base(component: str, version: str, tmp_path: Path) -> None:
    there = os.path.relpath(DEPLOY, tmp_path.resolve())  # kustomize takes no absolute path
    overlay = {"resources": [f"{there}/base"], "components": [f"{there}/components/{component}"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    documents = built(str(tmp_path))
    assert len(documents) > len(built("base"))
    assert [found for one in documents if (found := complaints(one, version))] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_leaves_every_process_with_its_settings_and_its_namespace(overlay: str) -> None:
    base, made = built("base"), built(f"overlays/{overlay}")
    pods = named(made, "Deployment") | named(made, "Job")
    assert set(pods) == set(named(base, "Deployment") | named(base, "Job"))
    assert {one["metadata"].get("namespace") for one in made if one["kind"] != "Namespace"} == {"paidonce"}
    (settings,) = named(made, "ConfigMap")
    for one in pods.values():
        (container,) = one["spec"]["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": settings}}], "the name that says what is in it"
        assert ":" in container["image"], "an image without a tag is another one tomorrow"


def test_what_is_scaled_by_itself_has_no_number_that_applying_again_would_set_back() -> None:
    made = built("overlays/production")
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in named(made, "HorizontalPodAutoscaler").values()}
    counted = {name for name, one in named(made, "Deployment").items() if "replicas" in one["spec"]}
    assert scaled
    assert scaled & counted == set()
