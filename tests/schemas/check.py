"""Checks documents against a schema of docs/schemas: check.py SCHEMA FILE ...

A file ending in .jsonl has a document a line. Fields that the schema does not name are refused: it may leave readers room for
more, but it must know all that there are. Prints the events that were seen."""
import json
import sys

import jsonschema


def closed(schema):
    if isinstance(schema, dict):
        schema = {key: closed(value) for key, value in schema.items()}
        if "properties" in schema:
            schema["additionalProperties"] = False
    elif isinstance(schema, list):
        schema = [closed(one) for one in schema]
    return schema


with open(sys.argv[1]) as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(closed(schema))
seen = set()
for name in sys.argv[2:]:
    with open(name) as file:
        documents = file.read().splitlines() if name.endswith(".jsonl") else [file.read()]
    for document in map(json.loads, documents):
        # Of alternatives only the one with the same event is worth telling.
        for error in validator.iter_errors(document):
            about = [e for e in error.context if "const" not in str(e.validator)] or [error]
            sys.exit(f"{name}: {json.dumps(document)[:2000]}\n" + "\n".join(e.message[:500] for e in about))
        seen.add(document.get("event"))
print("\n".join(sorted(event for event in seen if event)))
