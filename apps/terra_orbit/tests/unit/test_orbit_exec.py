"""The far end of ``ob exec``, as far as it needs no container: what is no request is refused, and silence is not waited for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from litestar.testing import TestClient

from terra_core.errors import TerraError
from terra_orbit.agent import exec as module
from terra_orbit.agent.api import Context, make_api
from terra_orbit.agent.containers import Containers

TOKEN = "a-token-of-the-tests"
PATH = "/v1/containers/one/exec"


@pytest.fixture
def client() -> Iterator[TestClient[Any]]:
    """Yield a client of an agent behind which there is nothing."""
    parts: Any = Mock()
    containers = Mock(spec=Containers, store=parts, engine=parts)
    context = Context(containers=containers, overview=parts, moves=parts, operations=parts)
    with TestClient(make_api(context, parts, TOKEN)) as client:
        client.headers["Authorization"] = f"bearer {TOKEN}"
        yield client


def answer(client: TestClient[Any], text: str | None) -> str:
    """Return the agent's answer to a first message, or to none."""
    with client.websocket_connect(PATH, timeout=10) as socket:
        if text is not None:
            socket.send_text(text)
        problem: dict[str, Any] = json.loads(socket.receive_text(timeout=10))["problem"]
        return str(problem["detail"])


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "1", "[" * 100_000])
def test_a_first_message_that_is_none_is_refused(client: TestClient[Any], text: str) -> None:
    assert answer(client, text) == "the first message has to be a JSON object"


def test_a_request_that_is_none_is_refused(client: TestClient[Any]) -> None:
    assert answer(client, '{"args": "x"}') == 'request: args: expected a list, got "x"'


def test_who_asks_for_nothing_is_not_waited_for(client: TestClient[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ASK_SECONDS", 0.1)
    assert answer(client, None) == "the first message did not come within 0.1 seconds"


@pytest.mark.parametrize("text", ["no JSON", "[]", "[" * 100_000])
def test_a_later_message_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(TerraError, match="a message has to be a JSON object"):
        module._told(text)
