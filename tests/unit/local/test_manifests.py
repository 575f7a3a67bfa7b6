"""The checker of the manifests finds what is wrong with one."""

import copy
from typing import Any

from local.manifests import pod_faults, schema_faults

CONTAINER = {
    "name": "service",
    "image": "sextant",
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    },
    "startupProbe": {"httpGet": {"path": "/health/live", "port": "http"}},
    "readinessProbe": {"httpGet": {"path": "/health/ready", "port": "http"}},
    "livenessProbe": {"httpGet": {"path": "/health/live", "port": "http"}},
    "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
}
GOOD: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "ingest"},
    "spec": {
        "selector": {"matchLabels": {"app": "ingest"}},
        "template": {
            "metadata": {"labels": {"app": "ingest"}},
            "spec": {
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [CONTAINER],
            },
        },
    },
}


def changed(**container: Any) -> dict[str, Any]:
    deployment = copy.deepcopy(GOOD)
    deployment["spec"]["template"]["spec"]["containers"][0].update(container)
    return deployment


def test_a_restricted_deployment_has_no_faults() -> None:
    assert list(pod_faults(GOOD)) == []
    assert list(schema_faults(GOOD)) == []


def test_a_missing_probe_is_named() -> None:
    deployment = copy.deepcopy(GOOD)
    del deployment["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    assert list(pod_faults(deployment)) == ["no livenessProbe"]


def test_a_container_that_keeps_its_capabilities_is_refused() -> None:
    faults = list(pod_faults(changed(securityContext={"allowPrivilegeEscalation": False})))
    assert faults == ["keeps capabilities", "writes to its image"]


def test_a_misspelt_key_does_not_pass_the_schema() -> None:
    (fault,) = schema_faults(changed(comand=["python"]))
    assert "comand" in fault


def test_a_kind_of_another_project_is_left_to_that_project() -> None:
    assert list(schema_faults({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret"})) == []
