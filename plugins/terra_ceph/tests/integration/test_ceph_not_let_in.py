"""A host that does not get into the cluster at all: nothing is said of images then, and nothing is taken for removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from terra_ceph import plugin
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import NotFoundError, TerraError
from terra_core.hookspecs import Volume, VolumeRequest

VOLUME = Volume(name="terra/cm-01.0", size=16)
CALLS: dict[str, Callable[[Session], object]] = {
    "plan": lambda session: plugin.plan_volume(VolumeRequest(hostname=Hostname("cm-01"), number=0, size=16), session),
    "reach": lambda session: plugin.reach_volume(VOLUME, session),
    "stamp": lambda session: plugin.stamp_volume(VOLUME, session),
    "remove": lambda session: plugin.remove_volume(VOLUME, session),
    "remove all": lambda session: plugin.remove_volumes(Hostname("cm-01"), session),
    "room": plugin.measure_store,
}


def session_of(tmp_path: Path, *lines: str) -> Session:
    config = tmp_path / "ceph.conf"
    config.write_text("\n".join(["[global]", "mon host = 127.0.0.1:1", f"keyring = {tmp_path}/of-nobody", *lines, ""]))
    return Session(paths=Paths(tmp_path), tables={"ceph": {"config": str(config)}})


@pytest.mark.parametrize("call", CALLS)
def test_a_user_without_a_keyring_is_said_and_no_image_is_missing_or_removed(call: str, tmp_path: Path) -> None:
    session = session_of(tmp_path, "auth client required = cephx")
    with pytest.raises(TerraError, match=r"Ceph cluster|error connecting to the cluster") as caught:
        CALLS[call](session)
    assert not isinstance(caught.value, NotFoundError)
    if call != "room":
        assert "unable to find a keyring" in caught.value.message
        assert "is the keyring of client.terra there?" in caught.value.hint


def test_why_no_monitor_lets_a_user_in_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terra_ceph.cluster._MONITOR_SECONDS", 1)
    with pytest.raises(TerraError, match=r"does not answer: no monitor let rbd in for 1 seconds: .*unable to find a keyring"):
        CALLS["remove"](session_of(tmp_path))
