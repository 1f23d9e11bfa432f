"""What tgtadm 1.0.85 shows, as it was recorded."""

from __future__ import annotations

import pytest

from terra_iscsi.shown import (
    Exported,
    Nexus,
    parse_accounts,
    parse_portals,
    parse_sessions,
    parse_statistics,
    parse_targets,
)

CONTROLLER = """        LUN: 0
            Type: controller
            SCSI ID: IET     00030000
            SCSI SN: beaf30
            Size: 0 MB, Block size: 1
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: null
            Backing store path: None
            Backing store flags: 
"""  # noqa: W291  # as it was recorded
DISK = """        LUN: 1
            Type: disk
            SCSI ID: IET     00030001
            SCSI SN: beaf31
            Size: 17 MB, Block size: 512
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: rdwr
            Backing store path: /iscsi/cm-01/0.lun
            Backing store flags: 
"""  # noqa: W291  # as it was recorded
SHOWN = f"""Target 3: iqn.2024.san.x.cm-01:fs
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
        I_T nexus: 3
            Initiator: iqn.2024.node.x:cm-01 alias: none
            Connection: 0
                IP Address: 127.0.0.1
        I_T nexus: 17
            Initiator: iqn.2024.node.x:guest alias: some host
            Connection: 1
                IP Address: 127.0.0.2
            Connection: 0
                IP Address: 127.0.0.2
    LUN information:
{CONTROLLER}{DISK}{DISK.replace("LUN: 1", "LUN: 12").replace("0.lun", "11.lun")}    Account information:
        user
    ACL information:
        10.0.0.0/8
        ALL
        iqn.2024.node.x:cm-01
Target 4: iqn.2024.san.x.cm-02:fs
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
    LUN information:
{CONTROLLER}    Account information:
    ACL information:
"""


def test_targets() -> None:
    assert parse_targets(SHOWN) == (
        Exported(
            id=3,
            iqn="iqn.2024.san.x.cm-01:fs",
            sessions=(
                Nexus(3, "iqn.2024.node.x:cm-01", (0,), "127.0.0.1"),
                Nexus(17, "iqn.2024.node.x:guest", (1, 0), "127.0.0.2"),
            ),
            luns={1: "/iscsi/cm-01/0.lun", 12: "/iscsi/cm-01/11.lun"},
            accounts=("user",),
            rules=("10.0.0.0/8", "ALL", "iqn.2024.node.x:cm-01"),
        ),
        Exported(id=4, iqn="iqn.2024.san.x.cm-02:fs"),
    )


MADE_UP = """x
    LUN information:
    Account information:
    ACL information:
Target {number}: {name}
    System information:
    I_T nexus information:
        I_T nexus: 9
            Initiator: z alias: q"""


@pytest.mark.parametrize(
    ("alias", "said"),
    [
        (MADE_UP.format(number=4, name="iqn.2024.san.x.cm-02:fs"), "target 4 stands after target 4"),
        (MADE_UP.format(number=1, name="iqn.2024.san.x.cm-00:fs"), "target 1 stands after target 3"),
        (MADE_UP.format(number=2, name="iqn.2024.san.x.cm-02:fs").replace("Target 2", "Target 3"), "target 3 stands after"),
        ("x\n    ACL information:\n        ALL", "target 3 has its ACL information twice"),
        ("x\n    I_T nexus information:\n", "target 3 has its I_T nexus information twice"),
        ("x\nTarget of nobody", "target 3 has System information"),
        ("x\nTarget 3: y\n    System information:\n    I_T nexus information:", "has System information, I_T nexus"),
    ],
)
def test_what_a_machine_makes_up_by_its_alias_is_refused(alias: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_targets(SHOWN.replace("alias: none", f"alias: {alias}"))


def test_no_targets() -> None:
    assert parse_targets("") == ()


def test_accounts() -> None:
    assert parse_accounts("Account list:\n    iqn.2024.san.x.cm-01:fs\n    user\n") == {"iqn.2024.san.x.cm-01:fs", "user"}
    assert parse_accounts("") == frozenset()


def test_portals() -> None:
    assert parse_portals("Portal: 127.0.0.1:3260,1\nPortal: [::]:3260,1\n") == {("127.0.0.1", 3260), ("::", 3260)}
    assert parse_portals("") == frozenset()


STATISTICS = """tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) errs
  1   0   1            0      0            0      0            0      0            0      0    0
  1   1   1          749      9          748      9      3145728      1      3145727      1    1
  1   1   2      5243629     10      5243628     10            0      0            0      0    1
12   1   7            5      1            5      1            9      1            8      1    0
"""


def test_what_was_served_is_summed_by_target() -> None:
    assert parse_statistics(STATISTICS) == {1: (748 + 5243628, 3145727), 12: (5, 8)}
    assert parse_statistics("tgtadm: something new\n") == {}
    assert parse_sessions(STATISTICS) == {(1, 1), (1, 2), (12, 7)}
