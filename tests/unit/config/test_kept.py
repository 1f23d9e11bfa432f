"""What a version can take over from the former one, and what is said of the rest."""

from __future__ import annotations

import pytest

from terra_core.config.loader import make_document, received_document
from terra_core.config.node import NetworkNode, SentNode
from terra_core.config.problems import DocumentError

_OF_IMAGE = "is what an image is made of: a version that keeps it would be the former one; name what is yours in it"
_AT_START = "is made anew at each start, so that nothing of it can be kept"
_TERRAS = "is Terra's own, and made for each version"


def raw(*keep: str) -> dict[str, object]:
    return {
        "hostname": "cm-01",
        "mac": "52:54:00:00:00:01",
        "image": "docker.io/example/os:1",
        "groups": [{"label": "os", "disk": [{"device": "/dev/sda", "size": 512}]}],
        "upgrade": {"keep": list(keep)},
    }


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/usr", _OF_IMAGE),
        ("/usr/", _OF_IMAGE),
        ("/bin", _OF_IMAGE),
        ("/boot", _OF_IMAGE),
        ("/lib64", _OF_IMAGE),
        ("/usr/lib", _OF_IMAGE),
        ("/usr/share", _OF_IMAGE),
        ("/lib/modules", _OF_IMAGE),
        ("/usr/lib/modules", _OF_IMAGE),
        ("/usr/lib/terra", _TERRAS),
        ("/usr/lib/terra/version", _TERRAS),
        ("/usr/lib/terra/version/record.json", _TERRAS),
        ("/proc", _AT_START),
        ("/run/app", _AT_START),
        ("/dev/shm", _AT_START),
    ],
)
def test_what_no_version_can_take_over_is_refused_of_a_new_file_alone(path: str, why: str) -> None:
    with pytest.raises(DocumentError) as caught:
        received_document(raw("/etc/app", path), SentNode, NetworkNode, source="node.toml")
    assert [str(one) for one in caught.value.found] == [f"upgrade.keep[1]: {path.rstrip('/')} {why}"]
    there = make_document(raw("/etc/app", path), NetworkNode, source="database").value
    assert there.upgrade.kept == ("/etc/app",), "a machine that has it stays readable, and does not keep it"
    assert [str(one) for one in there.upgrade.refused()] == [f"upgrade.keep[1]: {path.rstrip('/')} {why}"]


@pytest.mark.parametrize(
    "path",
    ["/etc", "/var", "/root", "/home", "/srv", "/opt", "/usr/local", "/usr/share/app", "/usr/lib/app", "/usr/lib/terra-app",
     "/boot/grub/themes", "/usr/lib/systemd/system/own.service", "/running", "/libs"],
)  # fmt: skip
def test_all_else_is_taken_over(path: str) -> None:
    node = received_document(raw(path), SentNode, NetworkNode, source="node.toml").value
    assert node.upgrade.kept == (path,)
    assert not [*node.upgrade.refused()]
