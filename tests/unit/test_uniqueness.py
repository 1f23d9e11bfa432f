"""Two machines of one image: nothing that tells them apart is the same, and what was changed is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from terra_core.image.contained import ContainedRoot
from terra_core.uniqueness import make_unique

ID = "0123456789abcdef0123456789abcdef\n"


def made(root: Path, **files: str) -> list[str]:
    """Return the notes about a root with these files, by path, that is made unique."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    with ContainedRoot(root) as inside:
        return list(make_unique(inside))


def test_nothing_is_said_of_an_image_without_an_identity(tmp_path: Path) -> None:
    assert made(tmp_path, **{"etc/machine-id": "", "etc/iscsi/initiatorname.iscsi": "GenerateName=yes\n"}) == []
    assert (tmp_path / "etc/machine-id").read_text() == ""
    assert (tmp_path / "etc/iscsi/initiatorname.iscsi").read_text() == "GenerateName=yes\n"


def test_the_machine_id_of_dbus_goes_with_the_other_one(tmp_path: Path) -> None:
    said = made(tmp_path, **{"etc/machine-id": ID, "var/lib/dbus/machine-id": ID})
    assert (tmp_path / "etc/machine-id").read_text() == ""
    assert not (tmp_path / "var/lib/dbus/machine-id").exists(), "systemd takes it where /etc/machine-id is empty"
    own = "not taken from the image, since each machine makes its own"
    assert said == [f"{own}: /var/lib/dbus/machine-id, /etc/machine-id"]


@pytest.mark.parametrize(("target", "kept"), [("/etc/machine-id", True), ("../../../etc/machine-id", True), ("/id", False)])
def test_a_link_to_the_machine_id_stays(tmp_path: Path, target: str, kept: bool) -> None:
    (tmp_path / "var/lib/dbus").mkdir(parents=True)
    (tmp_path / "id").write_text(ID)
    (tmp_path / "var/lib/dbus/machine-id").symlink_to(target)
    made(tmp_path)
    assert (tmp_path / "var/lib/dbus/machine-id").is_symlink() == kept


@pytest.mark.parametrize("path", [
    "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret", "boot/loader/random-seed", "etc/hostid",
    "var/lib/dhcp/dhclient.eth0.leases", "var/lib/NetworkManager/internal-1-eth0.lease", "var/lib/dhcpcd/duid",
    "etc/udev/rules.d/70-persistent-net.rules", "var/lib/docker/engine-id", "var/lib/zerotier-one/identity.secret",
    "etc/openvswitch/system-id.conf",
])  # fmt: skip
def test_seeds_and_secrets_are_dropped(tmp_path: Path, path: str) -> None:
    said = made(tmp_path, **{path: "shared\n"})
    assert not (tmp_path / path).exists()
    assert f"/{path}" in said[0]


def test_names_of_the_storage_network_are_made_anew(tmp_path: Path) -> None:
    name, nqn, host = "etc/iscsi/initiatorname.iscsi", "etc/nvme/hostnqn", "etc/nvme/hostid"
    shared = {
        name: "# kept\nInitiatorName=iqn.1993-08.org.debian:01:abc\n",
        nqn: "nqn.2014-08.org.nvmexpress:uuid:1\n",
        host: "1\n",
    }
    machines = []
    for number in range(2):
        root = tmp_path / str(number)
        root.mkdir()
        assert made(root, **shared) == [f"made anew for this machine: /{name}, /{nqn}, /{host}"]
        machines.append([(root / path).read_text() for path in (name, nqn, host)])
    (first, second), (initiator, identity, uuid) = machines, machines[0]
    assert not set(first) & set(second)
    assert re.fullmatch(r"# kept\nInitiatorName=iqn\.1993-08\.org\.debian:01:[0-9a-f]{16}\n", initiator)
    assert identity == f"nqn.2014-08.org.nvmexpress:uuid:{uuid}"


@pytest.mark.parametrize(
    ("name", "authority"),
    [
        ("iqn.1993-08.org.debian:01:abc", r"iqn\.1993-08\.org\.debian:01"),
        ("iqn.1993-08.org.debian:", r"iqn\.1993-08\.org\.debian"),
        ("iqn.2005-03.org.open-iscsi", r"iqn\.2005-03\.org\.open-iscsi"),
        ("eui.02004567A425678D", r"iqn\.2016-04\.com\.open-iscsi"),
    ],
)
def test_the_naming_authority_of_an_initiator_stays(tmp_path: Path, name: str, authority: str) -> None:
    made(tmp_path, **{"etc/iscsi/initiatorname.iscsi": f"#InitiatorName=iqn.x:y\n InitiatorName = {name}  # own\n"})
    written = (tmp_path / "etc/iscsi/initiatorname.iscsi").read_text()
    assert re.fullmatch(rf"#InitiatorName=iqn\.x:y\n InitiatorName = {authority}:[0-9a-f]{{16}}  # own\n", written)


def test_host_keys_are_made_anew_in_their_kinds(tmp_path: Path) -> None:
    kinds = ("rsa", "ecdsa", "ed25519")
    shared = {f"etc/ssh/ssh_host_{kind}_key{end}": "shared" for kind in kinds for end in ("", ".pub", "-cert.pub")}
    said = made(tmp_path, **shared, **{"etc/ssh/sshd_config": "", "etc/ssh/ssh_host_dsa_key": "shared"})
    names = [f"ssh_host_{kind}_key" for kind in kinds]
    assert {path.name for path in (tmp_path / "etc/ssh").iterdir()} == {"sshd_config", *names, *(f"{n}.pub" for n in names)}
    for kind, name in zip(kinds, names, strict=True):
        private = tmp_path / "etc/ssh" / name
        assert private.stat().st_mode & 0o777 == 0o600
        key = load_ssh_private_key(private.read_bytes(), None).public_key()
        public = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        assert public == private.with_suffix(".pub").read_bytes().strip()
        assert kind in public.decode().split()[0]
    assert said == [
        "warning: not taken from the image, and nothing makes them anew: /etc/ssh/ssh_host_dsa_key",
        f"made anew for this machine: {', '.join(f'/etc/ssh/{name}' for name in sorted(names))}",
    ]


def test_host_keys_are_left_to_a_unit_that_makes_them(tmp_path: Path) -> None:
    key, unit = "etc/ssh/ssh_host_ed25519_key", "etc/systemd/system/terra-ssh-keys.service"
    said = made(tmp_path / "with", **{key: "shared", unit: "[Service]\n"})
    assert said == [f"not taken from the image, since each machine makes its own: /{key}"]
    assert not (tmp_path / "with" / key).exists()
    masked = tmp_path / "masked" / unit
    masked.parent.mkdir(parents=True)
    masked.symlink_to("/dev/null")
    made(tmp_path / "masked", **{key: "shared"})
    assert "OPENSSH PRIVATE KEY" in (tmp_path / "masked" / key).read_text()


def test_what_nobody_makes_anew_is_said(tmp_path: Path) -> None:
    said = made(tmp_path, **{"etc/krb5.keytab": "shared", "etc/dropbear/dropbear_rsa_host_key": "shared"})
    assert said == ["warning: every machine of this image has the same: /etc/krb5.keytab, /etc/dropbear/dropbear_rsa_host_key"]


def test_no_link_leads_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "random-seed").write_text("the host's")
    (outside / "ssh_host_rsa_key").write_text("the host's")
    root = tmp_path / "root"
    (root / "var/lib").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "var/lib/systemd").symlink_to(outside)
    (root / "etc/ssh").symlink_to(f"../../..{outside}")
    assert made(root) == []
    assert {path.read_text() for path in outside.iterdir()} == {"the host's"}
