"""Checks documents of what is installed against the schemas beside this file: check.py DOCUMENT..."""

import collections
import json
import pathlib
import sys
import warnings

warnings.simplefilter("ignore", DeprecationWarning)
import jsonschema

HERE = pathlib.Path(__file__).parent


def load(name):
    return json.loads((HERE / name).read_text())


def validator(schema):
    # References name files, relative to where the schema was published.
    base = schema["$id"].rsplit("/", 1)[0] + "/"
    store = {base + path.name: load(path.name) for path in HERE.glob("*SNAPSHOT.schema.json")}
    resolver = jsonschema.RefResolver(schema["$id"], schema, store=store)
    return jsonschema.validators.validator_for(schema)(schema, resolver=resolver)


def names(document):
    """Returns the names that a document gives, and those that it uses."""
    if "bomFormat" in document:
        image = document["metadata"]["component"]["bom-ref"]
        given = [image] + [component["bom-ref"] for component in document["components"]]
        used = [name for one in document["dependencies"] for name in [one["ref"], *one["dependsOn"]]]
        used += [name for one in document["compositions"] for name in one["assemblies"]]
    else:
        given = [document["SPDXID"]] + [package["SPDXID"] for package in document["packages"]]
        ends = ("spdxElementId", "relatedSpdxElement")
        used = [one[end] for one in document["relationships"] for end in ends]
    return given, used


def faults(document):
    schema = load("bom-1.6.schema.json" if "bomFormat" in document else "spdx-2.3.schema.json")
    for error in validator(schema).iter_errors(document):
        yield f"{'/'.join(map(str, error.absolute_path))}: {error.message}"[:300]
    given, used = names(document)
    yield from (f"{name} is there twice" for name, count in collections.Counter(given).items() if count > 1)
    yield from (f"{name} is not there" for name in set(used) - set(given))


found = [f"{path}: {fault}" for path in sys.argv[1:] for fault in faults(json.loads(pathlib.Path(path).read_text()))]
print("\n".join(found[:20]))
sys.exit(bool(found))
