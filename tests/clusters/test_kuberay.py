"""The manifests of clusters/kuberay against KubeRay's fields and Kubernetes' published schemas."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.helpers import paths

KUBERAY = paths.CHECKOUT / "clusters" / "kuberay"
SCHEMA = yaml.safe_load((Path(__file__).parent / "schemas" / "ray_v1.yaml").read_text())
KUBERNETES = "1.34"
RAY_FILES = ["rayjob.yaml", "raycluster.yaml"]
OF_A_CONTAINER = {
    "env", "envFrom", "image", "imagePullPolicy", "resources", "securityContext", "volumeMounts",
}  # fmt: skip
"""Fields of autoscalerOptions that go to the autoscaler's container as they are."""


def manifests(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((KUBERAY / file).read_text()))


def check(manifest: dict[str, Any]) -> None:
    """Raises unless the API server would take it; unknown fields are errors."""
    if manifest["apiVersion"] != "ray.io/v1":
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return
    jsonschema.Draft202012Validator(SCHEMA).validate(manifest)
    for template in (*pod_templates(manifest["spec"]), autoscaler_pod(manifest["spec"])):
        wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}}
        kubernetes_validate.validate({**wrapped, "template": template}, KUBERNETES, strict=True)


def pod_templates(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cluster = cluster_of(spec)
    yield cluster["headGroupSpec"]["template"]
    for group in cluster["workerGroupSpecs"]:
        yield group["template"]
    if "submitterPodTemplate" in spec:
        yield spec["submitterPodTemplate"]


def autoscaler_pod(spec: dict[str, Any]) -> dict[str, Any]:
    options = cluster_of(spec).get("autoscalerOptions", {})
    container = {name: value for name, value in options.items() if name in OF_A_CONTAINER}
    return {"spec": {"containers": [{"name": "autoscaler", **container}]}}


def cluster_of(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spec.get("rayClusterSpec", spec)
    return found


@pytest.mark.parametrize("file", sorted(p.name for p in KUBERAY.glob("*.yaml")))
def test_manifests_are_valid(file: str) -> None:
    for manifest in manifests(file):
        check(manifest)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "backoffLimits"), 3),
        (("spec", "activeDeadlineSeconds"), "1h"),
        (("spec", "activeDeadlineSeconds"), 2**31),
        (("spec", "shutdownAfterJobFinishes"), False),
        (("spec", "deletionStrategy"), {"onSuccess": {"policy": "DeleteCluster"}}),
        (("spec", "rayClusterSpec", "gcsFaultToleranceOptions"), {}),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("spec", "rayClusterSpec", "autoscalerOptions", "resources", "limit"), {}),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplica"), 4),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "container"), []),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "volumes", 0, "pvc"), {}),
    ],
)
def test_mistakes_are_found(path: tuple[Any, ...], value: Any) -> None:
    manifest = copy.deepcopy(manifests("rayjob.yaml")[0])
    place = manifest
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check(manifest)


@pytest.mark.parametrize("file", RAY_FILES)
def test_manifests_have_what_a_sweep_needs(file: str) -> None:
    """A token, the image's Ray, shared storage on every pod, autoscaled GPU and CPU workers."""
    (manifest,) = manifests(file)
    claims = {m["metadata"]["name"]: m for m in manifests("storage.yaml")}
    cluster = cluster_of(manifest["spec"])
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == version("ray")
    assert cluster["enableInTreeAutoscaling"]
    for template in pod_templates(manifest["spec"]):
        (container,) = template["spec"]["containers"]
        (volume,) = template["spec"]["volumes"]
        (mount,) = container["volumeMounts"]
        claim = claims[volume["persistentVolumeClaim"]["claimName"]]["spec"]
        assert (mount["name"], mount["mountPath"]) == (volume["name"], "/shared")
        assert claim["accessModes"] == ["ReadWriteMany"]
        assert template["spec"]["securityContext"]["runAsNonRoot"]
        assert container["resources"]["limits"]["memory"]
    groups = {g["groupName"]: g for g in cluster["workerGroupSpecs"]}
    limits = {n: g["template"]["spec"]["containers"][0]["resources"] for n, g in groups.items()}
    assert limits["gpu"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in limits["cpu"]["limits"]
    for group in groups.values():
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_job_has_the_same_cluster() -> None:
    (job,), (cluster,) = manifests("rayjob.yaml"), manifests("raycluster.yaml")
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]


def test_job_resumes_after_a_failure_and_leaves_nothing() -> None:
    """An attempt that fails is tried again by what resumes; nothing stays behind."""
    spec = manifests("rayjob.yaml")[0]["spec"]
    assert spec["shutdownAfterJobFinishes"] and spec["ttlSecondsAfterFinished"] > 0
    assert spec["activeDeadlineSeconds"] > 0 and spec["backoffLimit"] > 0
    image = (KUBERAY.parent / "image" / "Dockerfile").read_text()
    folder = re.findall(r"^WORKDIR (.+)$", image, re.MULTILINE)[0]
    script = spec["entrypoint"].split()[1]
    assert script == f"{folder}/clusters/launch.sh"
    assert "COPY clusters/launch.sh clusters/launch.sh" in image
