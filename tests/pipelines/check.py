#!/usr/bin/env python3
"""Checks every file for a pipeline engine: by the engine's schema, and by our own rules.

usage: check.py REPOSITORY SCHEMAS     prints one line a fault, "skipped: ..." for what cannot be checked
       check.py --json FILE            prints the documents of a YAML file as one JSON array

Our rules: no privilege, no SYS_ADMIN, no host paths or namespaces; the command is always set, so that no
controller asks a registry for it; our own images are pinned by tag and digest; parameters are arguments or
variables, never text of a script; both Argo templates are the same. What documents show as YAML keeps to the same.
"""
import json
import pathlib
import re
import sys

import blocks
import yaml


class Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a date is text."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
OURS = re.compile(r"^registry\.example\.com/yadokari/executor:\d+\.\d+\.\d+(-debug|-ci)?@sha256:[0-9a-f]{64}$")
SUBSTITUTED = re.compile(r"\$\((params|tasks|steps|workspaces|context)\.|\{\{|\$\{\{")
PLACES = ["tekton", "argo", "shipwright", "deploy", "cloudbuild", "examples"]
# Source: tektoncd/hub, config.yaml.
CATEGORIES = {
    "Automation", "Build Tools", "CLI", "Cloud", "Code Quality", "Continuous Integration", "Deployment", "Developer Tools",
    "Git", "Image Build", "Integration & Delivery", "Kubernetes", "Messaging", "Monitoring", "Networking", "Openshift",
    "Publishing", "Security", "Storage", "Testing",
}
SHIPWRIGHT = {"shp-source-root", "shp-source-context", "shp-output-directory", "shp-output-image", "shp-output-insecure"}


def documents(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.load_all(file, Loader) if document is not None]


def walk(node, path=""):
    """Yields every mapping with its path."""
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            yield from walk(value, f"{path}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from walk(value, f"{path}[{number}]")


def privilege_rules(document):
    for path, node in walk(document):
        for key in ("privileged", "hostPID", "hostIPC", "hostNetwork"):
            if node.get(key) not in (None, False):
                yield f"{path}.{key} is set"
        if "hostPath" in node:
            yield f"{path}.hostPath is used"
        if node.get("procMount") == "Unmasked" or node.get("type") == "Unconfined":
            yield f"{path} takes protection away"
        added = (node.get("capabilities") or {}).get("add") if isinstance(node.get("capabilities"), dict) else None
        if added:
            yield f"{path}.capabilities adds {added}"
        if node.get("allowPrivilegeEscalation") is True:
            yield f"{path}.allowPrivilegeEscalation is true"


def container_rules(document):
    for path, node in walk(document):
        image = node.get("image")
        inner = "steps" in path or "container" in path or path == ".spec"
        if isinstance(image, str) and inner and "container" not in node:
            if not {"command", "commands"} & set(node) and "steps:" not in path and document.get("kind") and "script" not in node:
                yield f"{path}: no command"
            yield from image_rule(path, image)
        if isinstance(image, dict) and isinstance(image.get("name"), str):
            yield from image_rule(path, image["name"])
        if node.get("name") == "BUILDER_IMAGE" or node.get("name") == "builder-image":
            if "default" in node:
                yield from image_rule(path, node["default"])
        for key in ("script", "run"):
            lines = node.get(key)
            text = "\n".join(lines) if isinstance(lines, list) else lines
            if isinstance(text, str) and SUBSTITUTED.search(text):
                yield f"{path}.{key} has a parameter as text"


def image_rule(path, image):
    if image.startswith("$(params."):
        return
    if "yadokari/executor" in image and not OURS.match(image):
        yield f"{path}: {image} is not pinned"
    if image.endswith(":latest"):
        yield f"{path}: {image} is whatever it is today"


def cloud_build_rules(document):
    for number, step in enumerate(document.get("steps", [])):
        if "entrypoint" not in step:
            yield f".steps[{number}]: no entrypoint"
        yield from image_rule(f".steps[{number}]", step["name"])


def tekton_rules(document):
    """What Tekton's own validation would say of variables."""
    kind = document.get("kind")
    if kind not in ("Task", "StepAction") or "app.kubernetes.io/version" not in document["metadata"].get("labels", {}):
        return
    spec = document["spec"]
    text = json.dumps(spec)
    declared = {"params": spec.get("params", []), "workspaces": spec.get("workspaces", [])}
    for what, items in declared.items():
        names = {item["name"] for item in items}
        for used in set(re.findall(r"\$\(%s\.([A-Za-z0-9_-]+)" % what, text)):
            if used not in names and not (kind == "StepAction" and what == "workspaces"):
                yield f"{what}.{used} is used and not declared"
        if what == "params":
            for name in names - set(re.findall(r"\$\(params\.([A-Za-z0-9_-]+)", text)):
                yield f"params.{name} is declared and not used"
    steps = spec.get("steps", [spec])
    if any("script" in step for step in steps):
        yield "a step has a script"
    if kind == "Task" and len(steps) != 1:
        yield f"{len(steps)} steps"


def shipwright_rules(document):
    """What Shipwright's own validation would say of variables."""
    if document.get("kind") != "ClusterBuildStrategy":
        return
    spec = document["spec"]
    names = {parameter["name"] for parameter in spec["parameters"]}
    used = set(re.findall(r"\$\(params\.([A-Za-z0-9_-]+)", json.dumps(spec)))
    for name in used - names - SHIPWRIGHT:
        yield f"params.{name} is used and not declared"
    for name in names - used:
        yield f"params.{name} is declared and not used"


def retry_rules(document):
    """A node is tried again for the executor's own transient failure, and not for a RUN with the same exit code."""
    for path, node in walk(document):
        expression = (node.get("retryStrategy") or {}).get("expression") if "retryStrategy" in node else None
        if expression is None:
            continue
        pattern = re.fullmatch(r"lastRetry\.message matches '(.*)'", expression)
        transient = "main: Error (exit code 75): transient: the registry r.io did not answer"
        run = "main: Error (exit code 75): run: Dockerfile:2: RUN failed: exit code 75: transient: x"
        denied = "main: Error (exit code 77): denied: no"
        if not pattern or not re.search(pattern[1], transient) or any(re.search(pattern[1], m) for m in (run, denied)):
            yield f"{path}.retryStrategy tries the wrong failures again"


def list_rules(document):
    """Lists end, and what follows an array that users give cannot be taken for a part of it."""
    for path, node in walk(document):
        args = node.get("args")
        if not isinstance(args, list) or "/kaniko/executor" not in (node.get("command") or []):
            continue
        begun = [word for word in args if word in ("--build-args", "--labels", "--platforms")]
        if begun and args.count("--end-lists") != 1:
            yield f"{path}.args: a list without an end"
        flags = [word.split("=")[0] for word in args if isinstance(word, str)]
        extra = [i for i, word in enumerate(args) if "EXTRA_ARGS" in word or "extra-args" in word or word == "@/arguments"]
        three = [i for i, flag in enumerate(flags) if flag in ("--dockerfile", "--context", "--destination")]
        if extra and any(i < extra[0] for i in three):
            yield f"{path}.args: further arguments stand behind what they must not replace"
        if extra and any(flag.startswith("--") and i > extra[0] and i not in three for i, flag in enumerate(flags)):
            yield f"{path}.args: a default stands behind further arguments"


def step_rules(spec):
    """What catlin warns of in steps; of an image that is a parameter it warns as well, which kaniko's Task has, too."""
    defaults = {f"$(params.{one['name']})": one.get("default") for one in spec.get("params", [])}
    for step in spec.get("steps", []):
        image = defaults.get(step["image"], step["image"]) if step["image"] == "$(params.BUILDER_IMAGE)" else step["image"]
        if not re.fullmatch(r"[a-z0-9-]+\.[a-z0-9.-]+(:\d+)?/[^:@]+:(?!latest@)[^:@]+@sha256:[0-9a-f]{64}", str(image)):
            yield f"the image {image} lacks its registry, a tag or a digest"
        for variable in step.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield f"the variable {variable['name']} is a secret: catlin wants a file"
        if "envFrom" in step:
            yield "variables come from a secret or a ConfigMap: catlin wants files"


def owner_rules(owners, hub):
    """Who may approve changes, for the catalog's robot; who publishes, for Artifact Hub."""
    for file in (owners, hub):
        if not file.exists():
            yield f"no {file.name} above it"
            return
    lists = documents(owners)[0]
    if set(lists) != {"approvers", "reviewers"} or not all(isinstance(one, list) for one in lists.values()):
        yield f"{owners.name} has other things than two lists, approvers and reviewers"
    known = documents(hub)[0]
    if set(known) - {"repositoryID", "owners", "ignore"}:
        yield f"{hub.name} has what Artifact Hub does not read: {sorted(known)}"
    if not all(set(one) == {"name", "email"} for one in known.get("owners", [])):
        yield f"{hub.name}: an owner is a name and an email"
    identity = known.get("repositoryID")
    if identity is not None and not re.fullmatch(r"(?!0{8})[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", identity):
        yield f"{hub.name}: {identity} is no id of a repository"


def catalog_rules(path, document):
    """What the catalog's own check (catlin) refuses."""
    if document.get("kind") not in ("Task", "StepAction", "Pipeline") or {"samples", "tests"} & set(path.parts[-3:]):
        return
    metadata, spec = document["metadata"], document["spec"]
    name, version = metadata["name"], metadata["labels"]["app.kubernetes.io/version"]
    if path.parts[-4:] != (document["kind"].lower(), name, version, f"{name}.yaml"):
        yield f"stands at {path}, not in {document['kind'].lower()}/{name}/{version}"
    for annotation in ("pipelines.minVersion", "categories", "tags", "displayName", "platforms"):
        if not metadata["annotations"].get(f"tekton.dev/{annotation}"):
            yield f"no annotation tekton.dev/{annotation}"
    for category in metadata["annotations"].get("tekton.dev/categories", "").split(","):
        if category.strip() not in CATEGORIES:
            yield f"{category.strip()!r} is no category of the hub"
    for platform in re.split("[ ,]+", metadata["annotations"].get("tekton.dev/platforms", "")):
        if not re.fullmatch(r"[a-z0-9]+/[a-z0-9]+", platform):
            yield f"the platform {platform!r} is not OS/ARCH"
    if not spec.get("description"):
        yield "no description"
    yield from step_rules(spec)
    if not path.with_name("README.md").exists():
        yield "no README.md beside it"
    yield from owner_rules(path.parents[1] / "OWNERS", path.parents[2] / "artifacthub-repo.yml")
    if not path.with_name("tests").joinpath("run.yaml").exists():
        yield "no tests/run.yaml beside it"


def schema_of(path, document, schemas):
    """Returns the schema for a document, or None when none is meant for it."""
    load = lambda name: json.loads((schemas / name).read_text(encoding="utf-8"))
    api, kind = document.get("apiVersion", ""), document.get("kind", "")
    if api.startswith("tekton.dev/"):
        return load(f"tekton/strict-{api.split('/')[1]}-{kind.lower()}.schema.json")
    if api.startswith("argoproj.io/"):
        definitions = load("argo/strict-argo-workflows.schema.json")["definitions"]
        name = f"io.argoproj.workflow.{api.split('/')[1]}.{kind}"
        # Other projects of Argo's (Events) have schemas of their own.
        return {"$ref": f"#/definitions/{name}", "definitions": definitions} if name in definitions else None
    if path.parts[-2] == "cloudbuild":
        return load("other/cloudbuild.json")
    if api.startswith("shipwright.io/"):
        own = pathlib.Path(__file__).parent / "schemas" / f"shipwright-{kind.lower()}.schema.json"
        return json.loads(own.read_text(encoding="utf-8"))
    if path.parts[-2] == "github":
        return load("other/github-workflow.json")
    return None


def schema_faults(schema, document):
    import jsonschema

    if schema is None:
        return
    if True in document:  # `on:` is a boolean in YAML 1.1; GitHub reads it as a word.
        document = {("on" if key is True else key): value for key, value in document.items()}
    for error in jsonschema.validators.validator_for(schema)(schema).iter_errors(document):
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        yield f"{place}: {error.message[:200]}"


def same_templates(repository):
    one, two = (documents(repository / "argo" / f"{name}.yaml")[0] for name in ("workflowtemplate", "clusterworkflowtemplate"))
    if one["spec"] != two["spec"]:
        yield "argo: the two templates differ"


def block_faults(page, text, has_schema, schemas):
    """Checks what a document shows."""
    for document in yaml.load_all(text, Loader):
        document = blocks.whole(document) if has_schema else document
        yield from privilege_rules(document)
        yield from container_rules(document)
        if not has_schema:
            continue
        if "steps" in document:
            yield from cloud_build_rules(document)
        schema = blocks.own_schema(document)
        if schema is None and schemas.is_dir():
            schema = blocks.schema_of(document, schemas) or schema_of(page, document, schemas)
            if schema is None:
                yield "no schema is meant for it"
        yield from schema_faults(schema, document)


def check(repository, schemas):
    faults, count = [], 0
    have_schemas = schemas.is_dir()
    if not have_schemas:
        print(f"skipped: schemas of the engines: {schemas} is not there")
    paths = sorted(p for place in PLACES for p in (repository / place).rglob("*") if p.suffix in (".yaml", ".yml"))
    for path in paths:
        for document in documents(path):
            count += 1
            found = list(privilege_rules(document)) + list(container_rules(document))
            if path.parts[-2] == "cloudbuild":
                found += cloud_build_rules(document)
            found += tekton_rules(document)
            found += shipwright_rules(document)
            found += retry_rules(document)
            found += list_rules(document)
            found += catalog_rules(path, document)
            # Shipwright's schemas are beside this file.
            if have_schemas or document.get("apiVersion", "").startswith("shipwright.io/"):
                found += schema_faults(schema_of(path, document, schemas), document)
            faults += [f"{path.relative_to(repository)}: {fault}" for fault in found]
    faults += same_templates(repository)
    for page in sorted((repository / "docs").glob("*.md")):
        for line, text, has_schema in blocks.of(page):
            count += 1
            where = f"{page.relative_to(repository)}:{line}"
            faults += [f"{where}: {fault}" for fault in block_faults(page, text, has_schema, schemas)]
    for fault in faults:
        print(fault)
    print(f"checked: {count} documents")
    return 1 if faults or not count else 0


if __name__ == "__main__":
    if sys.argv[1] == "--json":
        print(json.dumps(documents(sys.argv[2])))
        sys.exit(0)
    sys.exit(check(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])))
