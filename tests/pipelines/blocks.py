"""The YAML blocks of the documents, as whole documents that a schema is meant for.

A block may be a part: of a container, of a pod's specification, of a run's. It is put where it belongs. Above one for a system
whose schema is not here stands `<!-- no schema: why -->`.
"""
import json
import pathlib
import re

BLOCK = re.compile(r"^(?:<!-- no schema: ([^\n]{10,}) -->\n)?```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OWN = pathlib.Path(__file__).parent / "schemas"
IMAGE = "registry.example.com/yadokari/executor:0.1.0@sha256:" + 64 * "0"
# What only a pod's security context has, and no container's.
OF_PODS = {"fsGroup", "fsGroupChangePolicy", "supplementalGroups", "sysctls"}
# What Kubernetes' PodSpec has, as far as documents use it. Source: https://kubernetes.io/docs/reference/kubernetes-api/, Pod.
POD = {
    "activeDeadlineSeconds": {"type": "integer", "minimum": 1},
    "automountServiceAccountToken": {"type": "boolean"},
    "containers": {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/io.k8s.api.core.v1.Container"}},
    "enableServiceLinks": {"type": "boolean"},
    "hostUsers": {"type": "boolean"},
    "restartPolicy": {"enum": ["Always", "OnFailure", "Never"]},
    "runtimeClassName": {"type": "string"},
    "securityContext": {"$ref": "#/definitions/io.k8s.api.core.v1.PodSecurityContext"},
    "serviceAccountName": {"type": "string"},
    "volumes": {"type": "array", "items": {"$ref": "#/definitions/io.k8s.api.core.v1.Volume"}},
}


def of(page):
    """Yields the line that each block begins in, its text, and whether a schema is meant for it."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield text.count("\n", 0, found.start(2)) + 1, found[2], not found[1]


def whole(document):
    """Returns the document that a block is a part of, or the block."""
    if isinstance(document, list):
        flow = {"entrypoint": document[0]["name"], "templates": document}
        return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "run"}, "spec": flow}
    if "apiVersion" in document:
        return document
    if "podTemplate" in document or "workspaces" in document:
        run = {"taskRef": {"name": "yadokari"}, **document}
        return {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": "run"}, "spec": run}
    if OF_PODS & set(document.get("securityContext") or {}):
        return pod({**document, "containers": [{"name": "build", "image": IMAGE, "command": ["/kaniko/executor"]}]})
    if "securityContext" in document or "volumeMounts" in document or set(document) == {"env"}:
        return pod({"containers": [{"name": "build", "image": IMAGE, "command": ["/kaniko/executor"], **document}]})
    if set(document) == {"spec"}:
        own = document["spec"]
        containers = [{"image": IMAGE, "command": ["/kaniko/executor"], **each} for each in own["containers"]]
        return pod({**own, "containers": containers})
    return document


def pod(spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "build"}, "spec": spec}


def own_schema(document):
    """Returns a schema of ours; None where none is meant for a document."""
    if (document.get("apiVersion"), document.get("kind")) == ("networking.k8s.io/v1", "NetworkPolicy"):
        return read(OWN / "networkpolicy.schema.json")
    jobs = [job for job in document.values() if isinstance(job, dict) and "script" in job]
    return read(OWN / "gitlab-jobs.schema.json") if jobs and len(jobs) == len(document) else None


def schema_of(document, schemas):
    """Returns the schema of what stands in no file of its own; None where none is meant for it."""
    if (document.get("apiVersion"), document.get("kind")) == ("v1", "Pod"):
        metadata = {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
        spec = {"type": "object", "properties": POD, "additionalProperties": False, "required": ["containers"]}
        fields = {"apiVersion": {}, "kind": {}, "metadata": metadata, "spec": spec}
        definitions = read(schemas / "argo/strict-argo-workflows.schema.json")["definitions"]
        return {"properties": fields, "additionalProperties": False, "required": list(fields), "definitions": definitions}
    if (document.get("apiVersion"), document.get("kind")) == ("v1", "ServiceAccount"):
        metadata = {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
        fields = {"apiVersion": {}, "kind": {}, "metadata": metadata}
        definitions = read(schemas / "argo/strict-argo-workflows.schema.json")["definitions"]
        return {"properties": fields, "additionalProperties": False, "required": list(fields), "definitions": definitions}
    if "apiVersion" not in document and "steps" in document:
        return read(schemas / "other/cloudbuild.json")
    if "apiVersion" not in document and "jobs" in document:
        return read(schemas / "other/github-workflow.json")
    return None


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))
