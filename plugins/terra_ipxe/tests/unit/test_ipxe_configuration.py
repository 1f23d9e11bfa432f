"""lighttpd's configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.config.values import Address
from terra_core.errors import TerraError
from terra_ipxe.configuration import configuration
from terra_ipxe.http import failure

ADDRESS = Address("10.0.10.3")


def test_it_listens_where_it_is_told_and_follows_no_link() -> None:
    lines = configuration(Path("/tftp/ipxe/http"), ADDRESS, 8069, Path("/run/terra/ipxe/requests.log")).splitlines()
    assert {
        'server.document-root = "/tftp/ipxe/http"', 'server.bind = "10.0.10.3"', "server.port = 8069",
        'server.follow-symlink = "disable"',
    } <= set(lines)  # fmt: skip


@pytest.mark.parametrize("tree", ["/srv/a b", '/srv/"', "/srv/a\nserver.port = 1", "/srv/$a", "/srv/#"])
def test_a_path_that_the_file_cannot_hold_is_refused(tree: str) -> None:
    with pytest.raises(TerraError, match="lighttpd cannot be given a path"):
        configuration(Path(tree), ADDRESS, 8069, Path("/run/requests.log"))


def test_a_server_that_does_not_start_says_why() -> None:
    taken = failure("(network.c.537) bind() 10.0.10.3:8069: Address already in use", ADDRESS, 8069)
    assert "its TCP port 8069 is taken" in taken.message
    assert "ss -tlpn sport = :8069" in taken.hint
    assert "no such module" in failure("no such module", ADDRESS, 8069).message
