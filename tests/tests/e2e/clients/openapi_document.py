"""The API's document: what OpenAPI says of it, and whether its examples are what it describes."""

import json
import sys

from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

document = json.load(sys.stdin)
validate(document)
registry = Registry().with_resource("urn:document", Resource(contents=document, specification=DRAFT202012))


def absolute(schema):
    """The schema with references into the document."""
    if isinstance(schema, dict):
        return {name: "urn:document" + part if name == "$ref" else absolute(part) for name, part in schema.items()}
    return [absolute(part) for part in schema] if isinstance(schema, list) else schema


def examples(part, path):
    """Every schema in the document with an example, and where it is."""
    if isinstance(part, list):
        for index, each in enumerate(part):
            yield from examples(each, f"{path}/{index}")
    if isinstance(part, dict):
        if "schema" in part and "example" in part:
            yield path, part["schema"], part["example"]
        elif "example" in part and ("type" in part or "allOf" in part):
            yield path, {name: each for name, each in part.items() if name != "example"}, part["example"]
        for name, each in part.items():
            if name != "example":
                yield from examples(each, f"{path}/{name}")


found = list(examples(document, ""))
assert found
for path, schema, example in found:
    errors = list(OAS31Validator(absolute(schema), registry=registry).iter_errors(example))
    assert not errors, f"{path}: {errors[0].json_path}: {errors[0].message}"

operations = [operation for path in document["paths"].values() for operation in path.values()]
for operation in operations:
    name = operation["operationId"]
    assert operation.get("summary") and operation.get("tags"), name
    for status, response in operation["responses"].items():
        reference = response.get("$ref", "").removeprefix("#/components/responses/")
        response = document["components"]["responses"][reference] if reference else response
        if status[0] in "45":
            assert list(response["content"]) == ["application/problem+json"], f"{name}: {status}"
    assert {"500", "503"} <= set(operation["responses"]), name
print(f"{len(found)} examples, {len(operations)} operations")
