"""Whether systemd-networkd and udev accept what was rendered, and which key of server.toml they refuse."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath

import attrs

from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem, key_of
from terra_core.errors import CommandError, InterruptedWork, TerraError
from terra_core.hookspecs import RenderedFile
from terra_core.system.namespaces import private_mounts
from terra_core.system.process import clean_environment, converse, run
from terra_core.system.progress import Event, Report
from terra_core.system.reading import lines_of, salvaged
from terra_networkd.files import File
from terra_networkd.render import DIRECTORY, entries
from terra_networkd.sections import Section, said, spelled
from terra_networkd.settings import Networkd

_PLACES = ("/usr/lib/systemd", "/lib/systemd")
_NETWORKD_READS = (".netdev", ".network")
_UDEV_READS = (".link",)
_RUN = Path("/run")
_SECONDS = 120
_DONE = "Enumeration completed"
"""What systemd-networkd logs once it has read every file; its later messages do not matter here."""
_NOBODY = 65534
_UNPRIVILEGED = (
    "unshare", "--net", "--",
    "setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--no-new-privs", "--bounding-set=-all",
)  # fmt: skip
_ANY_INTERFACE = "/sys/class/net/lo"
_SPOKEN = {"SYSTEMD_LOG_TARGET": "console-prefixed", "SYSTEMD_LOG_LEVEL": "debug", "SYSTEMD_LOG_COLOR": "0"}
"""Each line begins with its priority, as in sd-daemon(3); newer ones say that they have read everything only when debugging."""
_LINE = re.compile(r"<(?P<priority>[0-9]{1,3})>(?P<text>.*)")
_WARNING = 4
"""LOG_WARNING of syslog(3), in the last three bits of a priority; what is worse is less."""
_NAMED = re.compile(r"/run/systemd/network/(?P<file>[A-Za-z0-9._-]+\.(?:link|netdev|network))\b(?::(?P<line>[0-9]+))?")
_UNKNOWN = ("Unknown key", "Unknown section", "Unknown lvalue")
_KEY_OF_THE_MACHINE = "key from"
"""Part of the message that a file with a key cannot be read, which exists in the machine only."""


def check(files: Sequence[RenderedFile], networkd: Networkd, *, source: str, report: Report) -> bool:
    """Let systemd-networkd and udev read the files, in a network of its own, as a user who may change nothing.

    Neither has an option that checks files. systemd-networkd is started as it would be in a machine and ended once it has read
    them: without a capability it can make no device, and in an empty network it finds none. udevadm reads the .link files to
    find the one for the loopback interface. A key that one of them does not know is a warning: the machine's own may be newer.

    :param files: rendered files; those that are not of systemd-networkd or udev are passed over.
    :param networkd: what they were rendered from.
    :param source: the name of server.toml.
    :returns: whether all files were read: what reads them is installed here, and this process may isolate it.
    :raises ConfigError: with what was said, and the key that it was said of.
    """
    own = {PurePosixPath(file.path).name: file for file in files if PurePosixPath(file.path).parent == PurePosixPath(DIRECTORY)}
    readers = list(_readers(own))
    here = [reader for reader in readers if reader]
    if not here or os.geteuid() != 0:
        return False
    try:
        with _isolated(own):
            lines = [line for reader in here for line in _said_by(reader)]
    except InterruptedWork:
        raise
    except TerraError as error:  # even root may lack the rights, as in a container
        report(Event("network", f"warning: the files of the network are not checked: {error}"))
        return False
    problems = []
    for line in lines:
        found = _NAMED.search(line)
        if found is None or found["file"] not in own or _KEY_OF_THE_MACHINE in line:
            continue
        text = line.replace("/run/systemd/network/", f"/{DIRECTORY}/")
        if any(word in line for word in _UNKNOWN):
            report(Event("network", f"warning: the systemd of this machine: {text}"))
            continue
        path = _key_of_toml(own[found["file"]], int(found["line"] or 0), networkd)
        problems.append(Problem(path, f"systemd refuses what this becomes: {text}"))
    if problems:
        raise DocumentError(source, list(dict.fromkeys(problems)))
    return len(here) == len(readers)


def _readers(names: Iterable[str]) -> Iterator[Sequence[str]]:
    """Find what reads the files; nothing in its place where it is not installed."""
    suffixes = {PurePosixPath(name).suffix for name in names}
    path = os.pathsep.join((*_PLACES, clean_environment()["PATH"]))
    for read, program, *words in (
        (_NETWORKD_READS, "systemd-networkd"),
        (_UDEV_READS, "udevadm", "test-builtin", "net_setup_link", _ANY_INTERFACE),
    ):
        if suffixes.intersection(read):
            found = shutil.which(str(program), path=path)
            yield () if found is None else (found, *map(str, words))


@contextmanager
def _isolated(files: Mapping[str, RenderedFile]) -> Iterator[None]:
    """Show the calling thread the files in /run/systemd/network, and none of those of the machine that builds.

    Nobody else sees these mounts, and they are gone when the thread returns to those that it had.
    """
    with private_mounts():
        _hide(_RUN)
        place, state = _RUN / "systemd/network", _RUN / "systemd/netif"
        for directory in (place, state):
            directory.mkdir(parents=True)
        os.chown(state, _NOBODY, _NOBODY)
        for name, file in files.items():
            copy = place / name
            copy.write_bytes(file.content)
            copy.chmod(file.mode & 0o640)
            os.chown(copy, _NOBODY, _NOBODY)
        if (configured := Path("/", DIRECTORY)).is_dir():
            _hide(configured)
        yield


def _hide(directory: Path) -> None:
    run(["mount", "--types", "tmpfs", "--options", "mode=755", "terra-networkd", directory])


def _said_by(reader: Sequence[str]) -> Iterator[str]:
    """Yield the warnings and errors of a program, until it has read the files.

    :raises CommandError: when it cannot be run, or ends or hangs before it has read them.
    """
    words = [*_UNPRIVILEGED, *reader]
    if "udevadm" in reader[0]:
        # It fails where no file matches the interface, which is no error of the files.
        said = lines_of(salvaged(run(words, timeout=_SECONDS, accept=range(256), env=_SPOKEN).stderr))
        yield from (text for priority, text in _spoken(said) if priority <= _WARNING)
        return
    with closing(converse(words, timeout=_SECONDS, env=_SPOKEN)) as lines:
        for priority, text in _spoken(lines):
            if text.startswith(_DONE):
                return
            if priority <= _WARNING:
                yield text
    raise CommandError(f"{reader[0]}: ended before it had read the files")


def _spoken(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield priority and text of each line."""
    for line in lines:
        if found := _LINE.fullmatch(line):
            yield int(found["priority"]) % 8, found["text"]


def _key_of_toml(file: RenderedFile, line: int, networkd: Networkd) -> str:
    """Return the path in server.toml of a line of a rendered file."""
    for path, place, entry in entries(networkd):
        if place == file.path:
            return path + _below(lines_of(salvaged(file.content)), line, entry)
    return "networkd"


def _below(lines: Sequence[str], number: int, entry: File) -> str:
    """Return the path of a line below the table of its file: its section, and the key where the table has it."""
    if not 0 < number <= len(lines):
        return ""
    before = lines[:number]
    heads = [text for text in before if text.startswith("[")]
    name = lines[number - 1].partition("=")[0]
    for field in attrs.fields(type(entry)):
        value = getattr(entry, field.name)
        sections = value if isinstance(value, tuple) else (value,)
        if not heads or heads[-1] != f"[{spelled(field.name)}]" or not sections:
            continue
        at = heads.count(heads[-1]) - 1
        own = f".{field.name}[{at}]" if isinstance(value, tuple) else f".{field.name}"
        section = sections[at] if at < len(sections) else None
        keys = [key for key, _ in said(section)] if isinstance(section, Section) else []
        return own + next((f".{key_of(key)}" for key in keys if spelled(key) == name), "")
    return ""
