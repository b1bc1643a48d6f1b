"""The files of deploy/: what can be checked of them without a container engine or a cluster."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"

# Fields of ray.io/v1 that are published in KubeRay's API reference (ray-project.github.io/kuberay/reference/api and
# ray-operator/apis/ray/v1/{raycluster,rayjob}_types.go), and of Kubernetes' core/v1 as far as the file uses them.
# `None`: anything may stand below.
RESOURCES = {"requests": None, "limits": None, "claims": None}
CONTAINER = {
    **dict.fromkeys(["name", "image", "imagePullPolicy", "command", "args", "env", "envFrom", "ports", "lifecycle"]),
    **dict.fromkeys(["livenessProbe", "readinessProbe", "securityContext"]),
    "resources": RESOURCES,
    "volumeMounts": dict.fromkeys(["mountPath", "name", "readOnly", "subPath"]),
}
POD = {
    **dict.fromkeys(["nodeSelector", "affinity", "serviceAccountName", "terminationGracePeriodSeconds"]),
    **dict.fromkeys(["imagePullSecrets", "restartPolicy", "initContainers", "securityContext", "volumes"]),
    "containers": CONTAINER,
    "tolerations": dict.fromkeys(["key", "operator", "value", "effect", "tolerationSeconds"]),
}
TEMPLATE = {"metadata": None, "spec": POD}
CLUSTER = {
    **dict.fromkeys(["rayVersion", "enableInTreeAutoscaling", "headServiceAnnotations", "suspend", "managedBy"]),
    "gcsFaultToleranceOptions": None,
    "authOptions": {"mode": None},
    "autoscalerOptions": {
        **dict.fromkeys(["image", "imagePullPolicy", "env", "envFrom", "volumeMounts", "securityContext", "version"]),
        **dict.fromkeys(["idleTimeoutSeconds", "upscalingMode"]),
        "resources": RESOURCES,
    },
    "headGroupSpec": {
        **dict.fromkeys(["serviceType", "headService", "enableIngress", "rayStartParams", "resources", "labels"]),
        "template": TEMPLATE,
    },
    "workerGroupSpecs": {
        **dict.fromkeys(["groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams"]),
        **dict.fromkeys(["idleTimeoutSeconds", "suspend", "scaleStrategy", "resources", "labels"]),
        "template": TEMPLATE,
    },
}
JOB = {
    **dict.fromkeys(["activeDeadlineSeconds", "backoffLimit", "metadata", "clusterSelector", "managedBy", "jobId"]),
    **dict.fromkeys(["deletionStrategy", "entrypoint", "runtimeEnvYAML", "submissionMode", "entrypointResources"]),
    **dict.fromkeys(["entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished", "suspend"]),
    **dict.fromkeys(["shutdownAfterJobFinishes", "preRunningDeadlineSeconds"]),
    "submitterPodTemplate": TEMPLATE,
    "submitterConfig": {"backoffLimit": None},
    "rayClusterSpec": CLUSTER,
}
REQUIRED = {
    "headGroupSpec": {"template"},
    "workerGroupSpecs": {"groupName", "minReplicas", "maxReplicas", "template"},
    "containers": {"name", "image"},
}


def strange(value: Any, allowed: Any, place: str) -> list[str]:
    """Fields that the extract does not know and required ones that are missing, by their place."""
    if allowed is None:
        return []
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in strange(item, allowed, f"{place}[{index}]")]
    found = [f"{place}.{key}" for key in value if key not in allowed]
    missing = REQUIRED.get(place.split(".")[-1].split("[")[0], set()) - value.keys()
    found += [f"{place} lacks {key}" for key in sorted(missing)]
    for key, below in value.items():
        found += strange(below, allowed.get(key), f"{place}.{key}")
    return found


@pytest.fixture
def documents() -> dict[str, dict]:
    loaded = list(yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text()))
    assert all(document["apiVersion"] == "ray.io/v1" for document in loaded)
    return {document["kind"]: document for document in loaded}


def test_kuberay_knows_every_field(documents: dict[str, dict]):
    assert sorted(documents) == ["RayCluster", "RayJob"]
    assert not strange(documents["RayCluster"]["spec"], CLUSTER, "spec")
    assert not strange(documents["RayJob"]["spec"], JOB, "spec")


def test_a_typo_and_a_missing_field_would_be_seen(documents: dict[str, dict]):
    spec = documents["RayCluster"]["spec"]
    group = spec["workerGroupSpecs"][0]
    group["maxReplica"] = group.pop("maxReplicas")
    assert strange(spec, CLUSTER, "spec") == [
        "spec.workerGroupSpecs[0].maxReplica",
        "spec.workerGroupSpecs[0] lacks maxReplicas",
    ]


def test_the_kubernetes_cluster_is_ray_ups(documents: dict[str, dict]):
    spec = documents["RayCluster"]["spec"]
    other = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    groups = {group["groupName"].replace("-", "_"): group for group in spec["workerGroupSpecs"]}
    kinds = {name: kind for name, kind in other["available_node_types"].items() if name != other["head_node_type"]}
    assert groups.keys() == kinds.keys()
    for name, group in groups.items():
        assert (group["minReplicas"], group["maxReplicas"]) == (kinds[name]["min_workers"], kinds[name]["max_workers"])
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert ("nvidia.com/gpu" in limits) == ("GPU" in kinds[name]["resources"])
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["autoscalerOptions"]["idleTimeoutSeconds"] == other["idle_timeout_minutes"] * 60
    assert f"ray=={spec['rayVersion']}" in (ROOT / "requirements.lock").read_text()
    assert documents["RayJob"]["spec"]["clusterSelector"] == {
        "ray.io/cluster": documents["RayCluster"]["metadata"]["name"]
    }
    images = {
        container["image"]
        for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
        for container in group["template"]["spec"]["containers"]
    }
    assert len(images) == 1, "nodes of one cluster run one version"
    assert not images.pop().endswith("latest")


@pytest.fixture
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_the_compose_file_pins_its_versions_to_the_locks(compose: dict[str, Any]):
    lock = (ROOT / "requirements.lock").read_text()
    for name, service in compose["services"].items():
        if "image" in service:
            assert re.search(r":[\w.-]*\d[\w.-]*$", service["image"]), f"{name}: {service['image']}"
    pinned = re.findall(r"([\w-]+==[\w.]+)", compose["services"]["mlflow"]["build"]["dockerfile_inline"])
    assert len(pinned) == 3
    assert all(f"\n{requirement} " in lock for requirement in pinned)


def test_it_listens_on_this_machine_alone_unless_told_otherwise(compose: dict[str, Any]):
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published == ["${BIND:-127.0.0.1}:5000:5000"]


def test_its_parts_wait_for_each_other_and_keep_what_they_hold(compose: dict[str, Any]):
    services = compose["services"]
    for service in services.values():
        for other, wanted in service.get("depends_on", {}).items():
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in services[other]
            assert other in services
    named = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert named == set(compose["volumes"])


@pytest.mark.parametrize("name", ["compose.yaml", "kuberay.yaml", "Dockerfile"])
def test_no_secret_is_written_into_it(name: str):
    text = (DEPLOY / name).read_text()
    written = re.sub(r"\$\{\w+(:\?[^}]*)?\}", "", text)  # what comes from the environment is no secret here
    assert not re.search(r"(?im)(password|secret_?(access_)?key|access_key(_id)?)\s*[:=][ \t]*\S", written)
    assert not re.search(r"://[^/\s:]+:[^/\s@]+@", written)
    assert not re.search(r"AKIA[0-9A-Z]{16}", written)
