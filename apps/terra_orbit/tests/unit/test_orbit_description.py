"""The agent's API as it describes itself."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from terra_core.service.description import describe
from terra_orbit.agent.api import Context, make_api
from tests.unit.service.openapi import operations, problems_of


def document() -> dict[str, Any]:
    """Return the document; no part behind the API is called."""
    parts: Any = Mock()
    context = Context(containers=parts, overview=parts, moves=parts, operations=parts)
    return describe(make_api(context, parts, "a-token-of-the-tests"))


def test_the_api_describes_itself() -> None:
    found = document()
    logs = "get /v1/containers/{name}/logs: its answers are not described"  # they are frames
    assert [problem for problem in problems_of(found) if problem != logs] == []
    described = {(method, path) for method, path, _ in operations(found)}
    assert {("post", "/v1/containers"), ("delete", "/v1/containers/{name}"), ("get", "/v1/operations")} <= described


def test_the_description_of_a_container_is_that_of_its_file() -> None:
    found = document()
    body = found["paths"]["/v1/containers"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/SentVhost"}
    schemas = found["components"]["schemas"]
    assert schemas["SentVhost"]["required"] == ["id", "image"]
    assert schemas["Mount"]["properties"]["type"]["enum"] == ["bind", "tmpfs"]
    assert schemas["KillRequest"]["properties"]["signal"] == {"type": "string", "description": "the signal's name"}
    stop = found["paths"]["/v1/containers/{name}"]["delete"]
    assert [(one["name"], one["in"]) for one in stop["parameters"]] == [("name", "path"), ("seconds", "query")]
