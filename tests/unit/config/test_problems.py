"""Every problem of a file in one go: paths, remedies, no coercion, and what is wrong between the fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Literal

import pytest
import tomli
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from terra_core.config.controller import Controller
from terra_core.config.loader import load, make_document
from terra_core.config.node import NetworkNode, Node, Profile, is_needed_first
from terra_core.config.server import Server
from terra_core.config.session import Session
from terra_core.config.structure import Problem, StructureError, has, known, structure
from terra_core.errors import ConfigError

NODE = """
hostname = "terra-01"
image = "docker.io/stellarproject/example:6"
"""
SERVER = 'hostname = "example"\nversion = "6"\nos = "terraos:v11"\nrepo = "docker.io/stellarproject"\n'


def group(label: str = "os", type_: str = "single", devices: Sequence[str] = ("/dev/sda",), more: str = "") -> str:
    disks = "".join(f'[[groups.disk]]\ndevice = "{device}"\n' for device in devices)
    return f'[[groups]]\nlabel = "{label}"\ntype = "{type_}"\n{disks}{more}'


def subvolume(name: str, path: str) -> str:
    return f'[[groups.subvolumes]]\nname = "{name}"\npath = "{path}"\n'


def problems(text: str, model: type[Node] | type[NetworkNode] | type[Server] | type[Controller]) -> list[str]:
    try:
        make_document(tomli.loads(text), model, source="x.toml", owners={"netplan"})
    except ConfigError as error:
        return [problem.removeprefix("x.toml: ") for problem in error.problems]
    return []


def test_every_problem_of_a_node_is_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        'hostname = "-x"\nimage = 6\nmac = "xx"\ncolour = "red"\n"two words" = 1\n'
        '[[groups]]\nlabel = "os"\nmbr = "false"\n[[groups.disk]]\ndevice = "sda"\nsize = "20 gigs"\nspeed = 1\n'
        '[[groups]]\nlabel = "os"\ntype = "raid7"\n[[groups.disk]]\ndevice = "/dev/sdb"\n[[groups.disk]]\ndevice = "/dev/sdb"\n'
        "[[groups]]\n[groups.disk]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path, Node)
    assert [problem.removeprefix(f"{path}: ") for problem in caught.value.problems] == [
        'hostname: expected a host name of letters, digits and hyphens, at most 63 characters a label and 64 in all, got "-x"',
        'image: expected the name of an image, such as "docker.io/stellarproject/example:6", got 6',
        'mac: expected a MAC address of six hexadecimal pairs, such as "54:b2:03:07:f1:d1", got "xx"',
        'groups[0].mbr: expected true or false, got "false"',
        'groups[0].disk[0].device: expected the absolute path of a device, such as "/dev/sda", got "sda"',
        'groups[0].disk[0].size: expected MB as a number, or a size such as "128GiB", got "20 gigs"',
        "groups[0].disk[0].speed: no such key here (known: allocation, device, size)",
        'groups[1].type: "raid7" is not one of single, raid0, raid1, raid1c3, raid1c4, raid5, raid6, raid10',
        "groups[2].disk: expected a list, got a table",
        "groups[2].label: is required and missing",
        'groups[1].label: "os" stands at groups[0].label already',
        'groups[1].disk[1].device: "/dev/sdb" stands at groups[1].disk[0].device already',
        "colour: neither a key of this file (groups, host, hostname, image, kernel_arguments, mac, plugins, trust, upgrade) "
        "nor the table of an installed plugin (none)",
        '"two words": neither a key of this file (groups, host, hostname, image, kernel_arguments, mac, plugins, trust, '
        "upgrade) nor the table of an installed plugin (none)",
    ]


def test_an_empty_file_says_what_is_missing() -> None:
    assert problems("", Node) == [f"{key}: is required and missing" for key in ("hostname", "image", "groups")]
    assert problems("", Server) == [f"{key}: is required and missing" for key in ("hostname", "version", "os", "repo")]
    assert problems("", Controller) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('mbr = "false"', 'groups[0].mbr: expected true or false, got "false"'),
        ("mbr = 0", "groups[0].mbr: expected true or false, got 0"),
        ("disk = {device = '/dev/sda'}", "groups[0].disk: expected a list, got a table"),
        ('disk = "/dev/sda"', 'groups[0].disk: expected a list, got "/dev/sda"'),
        ('disk = ["/dev/sda"]', 'groups[0].disk[0]: expected a table, got "/dev/sda"'),
        ("disk = [{device = '/dev/sda', size = true}]",
         'groups[0].disk[0].size: expected MB as a number, or a size such as "128GiB", got true'),
        ("disk = [{device = '/dev/sda', size = 1.0}]",
         'groups[0].disk[0].size: expected MB as a number, or a size such as "128GiB", got 1.0'),
        ("stage = 1", "groups[0].stage: 1 is not one of stage0, stage1"),
        ("type = []", "groups[0].type: a list is not one of single, raid0, raid1, raid1c3, raid1c4, raid5, raid6, raid10"),
        ("filesystem = 2026-11-22", 'groups[0].filesystem: expected the name of a plugin, such as "ext4", got 2026-11-22'),
    ],
)  # fmt: skip
def test_nothing_is_coerced_in_a_node(line: str, problem: str) -> None:
    disk = "" if line.startswith("disk") else '[[groups.disk]]\ndevice = "/dev/sda"\n'
    assert problems(f'{NODE}[[groups]]\nlabel = "os"\n{line}\n{disk}', Node) == [problem]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("init = 1", 'init: expected the absolute path of a program, such as "/sbin/init", got 1'),
        ("userland = ['RUN true']", "userland: expected lines of a Dockerfile, got a list"),
        ("components = 'a'", 'components: expected a list, got "a"'),
        ("components = ['a', 'B']",
         'components[1]: expected the name of an image, such as "docker.io/stellarproject/example:6", got "B"'),
        ("ssh = 'me'", 'ssh: expected a table, got "me"'),
        ("ssh.github = ['me']", "ssh.github: expected the name of a GitHub account, got a list"),
        ("ssh.keys = 'ssh-ed25519 AAAA'", 'ssh.keys: expected a list, got "ssh-ed25519 AAAA"'),
        ("ssh.keys = [1]", 'ssh.keys[0]: expected a public ssh key on one line, such as "ssh-ed25519 AAAA... name", got 1'),
        ("resolvconf.nameservers = ['dns']",
         'resolvconf.nameservers[0]: expected an IP address, such as "10.0.10.3", got "dns"'),
        ("resolvconf.search = 'example.com'", 'resolvconf.search: expected a list, got "example.com"'),
        ("plugins.network = 1", 'plugins.network: expected the name of a plugin, such as "ext4", got 1'),
        ("plugins = []", "plugins: expected a table, got a list"),
    ],
)  # fmt: skip
def test_nothing_is_coerced_in_a_server(line: str, problem: str) -> None:
    assert problems(SERVER + line, Server) == [problem]


def test_every_key_of_a_server_loads() -> None:
    text = SERVER + (
        'init = "/lib/systemd/systemd"\ncomponents = ["docker.io/stellarproject/orbit:v1"]\n'
        '[ssh]\ngithub = "crosbymichael"\nkeys = ["ssh-ed25519 AAAA me"]\n'
        '[resolvconf]\nnameservers = ["8.8.8.8"]\nsearch = ["example.com"]\n[plugins]\nnetwork = "paper"\n'
    )
    server = make_document(tomli.loads(text), Server, source="x.toml").value
    assert (server.init, [str(part) for part in server.components]) == (
        "/lib/systemd/systemd",
        ["docker.io/stellarproject/orbit:v1"],
    )
    assert (server.ssh.github, server.ssh.keys) == ("crosbymichael", ("ssh-ed25519 AAAA me",))
    assert (server.resolvconf.search, server.plugins) == (("example.com",), {"network": "paper"})


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("port = '9000'", 'port: expected a whole number, got "9000"'),
        ("port = 9000.0", "port: expected a whole number, got 9000.0"),
        ("port = true", "port: expected a whole number, got true"),
        ("port = 65536", "port: expected a port from 1 to 65535, got 65536"),
        ("jobs = 0", "jobs: expected from 1 to 64, got 0"),
        ("jobs = 0\nport = 'x'", 'port: expected a whole number, got "x"'),
        ("tls.certificate = 'x'", "tls.key: is required and missing"),
        ("gateway = 'fe80::1%eth0'", 'gateway: expected an IP address, such as "10.0.10.3", got "fe80::1%eth0"'),
    ],
)
def test_controller_problems(line: str, problem: str) -> None:
    assert problem in problems(line, Controller)


@pytest.mark.parametrize("profile", Profile)
def test_a_profile_needs_its_disks(profile: Profile) -> None:
    def devices(count: int) -> list[str]:
        return [f"/dev/sd{chr(97 + at)}" for at in range(count)]

    least = {"single": 1, "raid0": 2, "raid1": 2, "raid1c3": 3, "raid1c4": 4, "raid5": 3, "raid6": 4, "raid10": 4}
    enough = least[profile.value]
    assert not problems(NODE + group("os", profile.value, devices(enough)), Node)
    none = '[[groups]]\nlabel = "os"\ndisk = []\n'
    text = NODE + (none if enough == 1 else group("os", profile.value, devices(enough - 1)))
    assert problems(text, Node) == [f"groups[0].disk: {profile.value} needs at least {enough} disks, got {enough - 1}"]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (group("data"), 'groups: one group must be labelled "os", for the operating system'),
        ("groups = []", 'groups: one group must be labelled "os", for the operating system'),
        (group() + group("os", devices=["/dev/sdb"]), 'groups[1].label: "os" stands at groups[0].label already'),
        (group() + group("data"), 'groups[1].disk[0].device: "/dev/sda" stands at groups[0].disk[0].device already'),
        (group("os", "raid1", ["/dev/sda", "/dev/sda"]),
         'groups[0].disk[1].device: "/dev/sda" stands at groups[0].disk[0].device already'),
        (group(more=subvolume("home", "/home")) + group("data", devices=["/dev/sdb"], more=subvolume("home", "/home")),
         'groups[1].subvolumes[0].path: "/home" stands at groups[0].subvolumes[0].path already'),
        (group(more=subvolume("home", "/home") + subvolume("home", "/srv")),
         'groups[0].subvolumes[1].name: "home" stands at groups[0].subvolumes[0].name already'),
        (group(more=subvolume("x", "/boot/grub")),
         "groups[0].subvolumes[0].path: /boot/grub has to be there before the machine mounts a subvolume"),
        (group(more=subvolume("x", "/usr/lib")),
         "groups[0].subvolumes[0].path: /usr/lib has to be there before the machine mounts a subvolume"),
        (group(more=subvolume("x", "/usr/lib/modules")),
         "groups[0].subvolumes[0].path: /usr/lib/modules has to be there before the machine mounts a subvolume"),
        (group(more=subvolume("x", "/usr/bin")),
         "groups[0].subvolumes[0].path: /usr/bin has to be there before the machine mounts a subvolume"),
        (group(more=subvolume("x", "/etc/systemd")),
         "groups[0].subvolumes[0].path: /etc/systemd has to be there before the machine mounts a subvolume"),
        (group(more=subvolume("x", "/lib64/x")),
         "groups[0].subvolumes[0].path: /lib64/x has to be there before the machine mounts a subvolume"),
        (group(more=subvolume("boot", "/boot")),
         "groups[0].subvolumes[0].path: /boot has to be there before the machine mounts a subvolume"),
        (group(more=subvolume("x", "/proc/x")),
         "groups[0].subvolumes[0].path: /proc/x has to be there before the machine mounts a subvolume"),
        (group().replace('label = "os"', 'label = "os"\nmbr = true\nboot = "uefi"'),
         'groups[0].boot: is "uefi", and mbr = true asks for a boot loader for a BIOS: leave one out, or say "both"'),
        (group() + group("data", devices=["/dev/sdb"]).replace('"data"', '"data"\nboot = "bios"'),
         'groups[1].boot: only the group "os" is booted from'),
        (group(more=subvolume("os", "/srv")),
         'groups[0].subvolumes[0].name: "os" is the subvolume of the system itself; choose another name'),
    ],
)  # fmt: skip
def test_what_is_wrong_between_the_fields_of_a_node(groups: str, expected: str) -> None:
    assert problems(NODE + groups, Node) == [expected]


def test_a_subvolume_of_another_group_may_be_named_as_one_of_the_first() -> None:
    data = group("data", devices=["/dev/sdb"], more=subvolume("log", "/srv/log") + subvolume("os", "/srv/os"))
    assert not problems(NODE + group(more=subvolume("log", "/var/log")) + data, Node)


def test_a_missing_os_group_is_not_claimed_while_a_label_is_wrong() -> None:
    found = problems(NODE + group("-os") + group("data", devices=["/dev/sdb"]), Node)
    assert [problem.partition(":")[0] for problem in found] == ["groups[0].label"]


def test_an_image_name_that_a_registry_would_not_take_is_the_hostnames_problem() -> None:
    long = SERVER.replace("docker.io/stellarproject", "docker.io/" + "a/" * 220 + "a")
    (problem,) = problems(long.replace('"example"', '"' + "h" * 60 + '"'), Server)
    assert problem.endswith("is no name that a registry takes")


Form = Literal["square", "round"]


@frozen(kw_only=True)
class Table:
    form: Form = "square"
    widths: Sequence[int] = ()
    weight: float | None = None
    count: int
    legs: Mapping[str, int] = {}

    def problems(self) -> Iterator[Problem]:
        if has(self, "count") and self.count > len(self.widths):
            yield Problem("count", "too many")


def test_the_table_of_a_plugin_reads_like_cores() -> None:
    session = Session(source="server.toml", tables={"table": {"form": "oval", "widths": "12", "weight": float("nan"),
                                                              "count": 1, "lags": 1, "legs": {"a b": "x"}}})  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        session.settings("table", Table)
    assert caught.value.problems == (
        'server.toml: table.form: "oval" is not one of square, round',
        'server.toml: table.widths: expected a list, got "12"',
        "server.toml: table.weight: expected a number, got NaN",
        'server.toml: table.legs."a b": expected a whole number, got "x"',
        "server.toml: table.lags: no such key here (known: count, form, legs, weight, widths)",
    )


@pytest.mark.parametrize(
    ("raw", "problem"),
    [({}, "table.count: is required and missing"), ([], "table: expected a table, got a list"),
     (None, "table: expected a table, got null"), ({"count": 1}, "table.count: too many")],
)  # fmt: skip
def test_a_plugins_table_that_is_wrong(raw: object, problem: str) -> None:
    session = Session(source="controller.toml", tables={"table": raw} if raw != {} else {})
    with pytest.raises(ConfigError) as caught:
        session.settings("table", Table)
    assert caught.value.problems == (f"controller.toml: {problem}",)


def test_a_plugins_table_that_is_right() -> None:
    session = Session(tables={"table": {"count": 1, "widths": [1, 2], "weight": 3, "legs": {"left": 2}}})
    assert session.settings("table", Table) == Table(count=1, widths=(1, 2), weight=3.0, legs={"left": 2})


def test_a_defect_in_a_check_between_fields_is_not_hidden_when_all_fields_are_right() -> None:
    @frozen
    class Broken:
        name: str

        def problems(self) -> Iterator[Problem]:
            yield Problem(self.nome, "")  # type: ignore[attr-defined]  # the defect

    with pytest.raises(AttributeError):
        structure({"name": "x"}, Broken)
    with pytest.raises(StructureError):
        structure({"name": 1}, Broken)


def test_known_gives_what_is_there() -> None:
    assert list(known([Problem("a", "b"), object()], "path")) == [(0, "a")]


def test_a_deep_table_where_a_word_belongs_is_a_problem_like_any_other() -> None:
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(StructureError, match=r"hostname: expected a host name .*, got a table"):
        structure({"hostname": deep, "image": "a", "groups": []}, Node)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["hostname", "image", "mac", "groups", "plugins", "label", "type", "stage", "mbr", "disk", "subvolumes", "device",
        "size", "name", "path", "version", "os", "repo", "ssh", "keys", "resolvconf", "init",
        "components", "userland"]  # fmt: skip
ALMOST = st.recursive(
    JSON | st.sampled_from(["os", "single", "raid1", "/dev/sda", "/home", "terra-01", "docker.io/a:6", True, 128]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)


def every_line(raw: Mapping[str, object], model: type[Node] | type[Server] | type[Controller]) -> Sequence[str] | None:
    try:
        make_document(raw, model, source="body")
    except ConfigError as error:
        return error.problems
    return None


@pytest.mark.parametrize("model", [Node, Server, Controller])
@settings(max_examples=30)
@given(raw=st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), ALMOST, max_size=8))
def test_whatever_a_document_holds_it_loads_or_has_problems_a_line_each(
    model: type[Node] | type[Server] | type[Controller], raw: Mapping[str, object]
) -> None:
    found = every_line(raw, model)
    assert found is None or (found and all(problem.isprintable() for problem in found))


@pytest.mark.parametrize("path", ["/usr/local", "/usr/src", "/usr/share/data", "/var/lib/containerd", "/home", "/srv/boot/etc"])
def test_a_subvolume_may_be_where_nothing_is_needed_first(path: str) -> None:
    assert not is_needed_first(path)


@frozen(kw_only=True)
class Named:
    """With a key that is a word of Python's, and a check that looks at each item."""

    from_: str
    to: tuple[str, ...] = ()

    def problems(self) -> Iterator[Problem]:
        yield from (Problem(f"to[{at}]", f"{item!s} is too short") for at, item in enumerate(self.to) if len(str(item)) < 20)


def test_a_field_whose_key_python_has_a_meaning_for_ends_in_an_underscore() -> None:
    assert structure({"from": "a"}, Named) == Named(from_="a")
    wrong = {"from: is required and missing": {}, "from: expected a string": {"from": 1}, "known: from": {"from_": "a"}}
    for text, raw in wrong.items():
        with pytest.raises(StructureError, match=text):
            structure(raw, Named)


def test_what_is_wrong_itself_is_not_said_to_be_wrong_among_others_too() -> None:
    with pytest.raises(StructureError) as caught:
        structure({"from": "a", "to": [{"b": 1}, "c"]}, Named)
    found = [str(problem) for problem in caught.value.problems]
    assert found == ["to[0]: expected a string, got a table", "to[1]: c is too short"]


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Plain(Enum):
    RED = "red"


@frozen
class Chosen:
    colour: Colour
    number: Number
    plain: Plain
    maybe: Colour | None = None


def test_a_value_is_one_of_its_enumeration_whatever_that_is_made_of() -> None:
    right = {"colour": "red", "number": 1, "plain": "red", "maybe": "red"}
    made = structure(right, Chosen)
    assert made == Chosen(Colour.RED, Number.ONE, Plain.RED, Colour.RED)
    assert isinstance(made.maybe, Colour)
    with pytest.raises(StructureError) as caught:
        structure({"colour": "blue", "number": True, "plain": 1, "maybe": "blue"}, Chosen)
    assert [str(problem) for problem in caught.value.problems] == [
        'colour: "blue" is not one of red',
        "number: true is not one of 1",
        "plain: 1 is not one of red",
        'maybe: "blue" is not one of red',
    ]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('check = "/bin/true"', 'upgrade.check: expected a list, got "/bin/true"'),
        ('check = ["true"]', 'upgrade.check[0]: expected the path of a program, such as "/usr/local/bin/check", got "true"'),
        ('check = ["/bin/true", 1]', "upgrade.check[1]: expected a string, got 1"),
        ('check = ["/bin/true", "a\\u0000b"]', "upgrade.check[1]: expected at most 4096 characters, none of them NUL, got "),
        (f"check = {['/bin/true'] * 65}", "upgrade.check: expected at most 64, got 65"),
        ("timeout = 600", "upgrade.timeout: expected a time with its unit"),
        ('timeout = "5s"', 'upgrade.timeout: expected "30s" to "1d", got 5 seconds'),
        ('timeout = "2d"', 'upgrade.timeout: expected "30s" to "1d", got 172800 seconds'),
    ],
)
def test_how_a_version_on_trial_is_checked(table: str, expected: str) -> None:
    found = problems(f"{NODE}{group()}[upgrade]\n{table}\n", Node)
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_a_check_is_words_and_its_time_has_a_unit() -> None:
    text = f'{NODE}{group()}[upgrade]\ncheck = ["/usr/local/bin/check", "--all the rest"]\ntimeout = "3m"\n'
    upgrades = structure(tomli.loads(text), Node).upgrade
    assert (upgrades.check, upgrades.timeout) == (("/usr/local/bin/check", "--all the rest"), 180)


def test_a_network_machine_has_a_check_and_the_time_of_its_controller() -> None:
    network = f'{NODE}mac = "54:b2:03:07:f1:d1"\n{group()}size = 128\n[upgrade]\ncheck = ["/usr/local/bin/check"]\n'
    assert structure(tomli.loads(network), NetworkNode).upgrade.check == ("/usr/local/bin/check",)
    (found,) = problems(f'{network}timeout = "3m"\n', NetworkNode)
    assert "leave timeout and versions out" in found
