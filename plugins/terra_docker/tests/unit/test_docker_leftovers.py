"""What the classic builder says of its containers and images is told from what the build says."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from terra_docker.leftovers import Leftovers


@pytest.mark.parametrize(
    ("line", "own"),
    [
        (" ---> Running in 012cd7467e18", True),
        (" ---> 012cd7467e18", True),
        ("Removing intermediate container 012cd7467e18", True),
        (" ---> Removed intermediate container 012cd7467e18", True),
        (" ---> Using cache", True),
        ("Successfully built 012cd7467e18", True),
        ("Removed intermediate container 012cd7467e18", False),
        ("line 500", False),
    ],
)
def test_a_line_about_those_is_known(line: str, own: bool) -> None:
    engine = Mock(**{"images.return_value": [], "containers.return_value": []})
    assert Leftovers(engine).notice(line) is own
