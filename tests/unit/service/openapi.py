"""What every OpenAPI document of Terra's has to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def problems_of(document: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a document, a line each."""
    found = [f"{path}: no schema of that name" for path in _references(document) if _resolved(document, path) is None]
    names = [operation["operationId"] for _, _, operation in operations(document)]
    found += [f"{name}: is there twice" for name in set(names) if names.count(name) > 1]
    for method, path, operation in operations(document):
        where = f"{method} {path}"
        if "callable" in str(operation.get("summary", "callable")).lower() or len(operation["summary"].split()) < 2:
            found.append(f"{where}: has no summary")
        if method == "post" and "requestBody" not in operation and not path.endswith(("/start", "/rollback")):
            found.append(f"{where}: has no body")
        found += [f"{where}: {name} is not described" for name in _placeholders(path) - _parameters(operation)]
        responses = operation["responses"]
        if "default" not in responses or not any("content" in one for status, one in responses.items() if status != "default"):
            found.append(f"{where}: its answers are not described")
    for name, schema in document["components"]["schemas"].items():
        if not schema.get("description"):
            found.append(f"{name}: is not described")
        found += [f"{name}.{key}: is not described" for key, one in schema["properties"].items() if not one.get("description")]
    return found


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and description of every route."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def _placeholders(path: str) -> set[str]:
    return {part[1:-1] for part in path.split("/") if part.startswith("{")}


def _parameters(operation: Mapping[str, Any]) -> set[str]:
    return {parameter["name"] for parameter in operation.get("parameters", ())}


def _references(part: object) -> Iterator[str]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for one in part:
            yield from _references(one)


def _resolved(document: Mapping[str, Any], path: str) -> object:
    found: Any = document
    for name in path.removeprefix("#/").split("/"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
