"""Whether netplan itself accepts what was rendered, and which key of server.toml it refuses."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem
from terra_core.errors import CommandError, CommandTimeout
from terra_core.hookspecs import RenderedFile
from terra_core.system.progress import Event, Report
from terra_core.system.reading import lines_of, salvaged
from terra_netplan.generator import NOT_RUN, find_generator, generate
from terra_netplan.render import DIRECTORY, SECTIONS
from terra_netplan.settings import Netplan

_PLACED = re.compile(r".*?(?P<path>etc/netplan/[^\s:]+):(?P<line>[0-9]+):(?P<column>[0-9]+): (?P<text>.*)")
_OF_DEVICE = re.compile(r"(?:ERROR: )?(?P<device>[A-Za-z0-9][A-Za-z0-9._-]*): (?P<text>.*)")
_LOGGED = re.compile(r"^\*\* \([^()]*\): WARNING \*\*: [0-9:.]+: ")
"""What GLib writes before a warning: program, process and time of day."""
_HEAD = "Error in network definition: "
_KINDS = {section: kind for kind, section in SECTIONS.items()}
Key = tuple[int, int, tuple[str, ...]]
"""A key of a YAML file: line and column, counted from 1, and the keys down to it."""


def check(files: Sequence[RenderedFile], netplan: Netplan, *, source: str, report: Report) -> bool:
    """Let netplan's generator read the files, in a temporary root.

    :param files: rendered files; those that are not netplan's are passed over.
    :param netplan: what they were rendered from.
    :param source: the name of server.toml.
    :returns: whether netplan is installed here, and took them.
    :raises ConfigError: with what netplan said, and the key that it said it of.
    :raises CommandError: when it does not end in time.
    """
    own = {file.path: file for file in files if file.path.startswith(f"{DIRECTORY}/")}
    generator = find_generator()
    if generator is None or not own:
        return False
    with tempfile.TemporaryDirectory(prefix="terra-netplan-") as root:
        for path, file in own.items():
            place = Path(root, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.content)
            place.chmod(0o600)
        try:
            done = generate(generator, Path(root))
        except CommandTimeout:
            raise
        except CommandError as error:  # a signal: it failed in an assertion of its own
            text = f"netplan itself breaks over what this becomes: {lines_of(error.message)[-1]}"
            raise DocumentError(source, [Problem("netplan", text)]) from error
    if done.code == NOT_RUN:
        report(Event("network", f"warning: not checked by netplan: {salvaged(done.stderr).strip()}"))
        return False
    said = [line for line in lines_of(salvaged(done.stderr).replace(f"{root}/", "")) if line.strip()]
    if done.code == 0:
        for line in said:
            report(Event("network", f"warning: netplan: {_LOGGED.sub('', line).strip()}"))
        return True
    raise DocumentError(source, [_problem(said, {path: file.content.decode() for path, file in own.items()}, netplan)])


def _problem(said: Sequence[str], texts: Mapping[str, str], netplan: Netplan) -> Problem:
    for line in said:
        if (found := _PLACED.fullmatch(line)) and found["path"] in texts:
            keys = _key_at(texts[found["path"]], int(found["line"]), int(found["column"]))
            return Problem(key_of_toml(keys, netplan), _refused(found["text"]))
    for line in said:
        if (found := _OF_DEVICE.fullmatch(line)) and (path := _of_device(found["device"], netplan)):
            return Problem(path, _refused(found["text"]))
    return Problem("netplan", _refused(said[-1] if said else "it says nothing"))


def _refused(text: str) -> str:
    return f"netplan refuses what this becomes: {text.removeprefix(_HEAD)}"


def _key_at(text: str, line: int, column: int) -> tuple[str, ...]:
    """Return the last key of a YAML text that begins at or before a place."""
    try:
        keys = list(_keys(yaml.compose(text, Loader=yaml.SafeLoader), ()))
    except yaml.YAMLError:
        return ()
    return max((key for key in keys if key[:2] <= (line, column)), default=(0, 0, ()))[2]


def _keys(node: yaml.Node | None, above: tuple[str, ...]) -> Iterator[Key]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*above, str(key.value))
            yield key.start_mark.line + 1, key.start_mark.column + 1, path
            yield from _keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for at, item in enumerate(node.value):
            path = (*above, f"[{at}]")
            yield item.start_mark.line + 1, item.start_mark.column + 1, path
            yield from _keys(item, path)


def key_of_toml(keys: Sequence[str], netplan: Netplan) -> str:
    """Return the path in server.toml of a key in what was rendered from it.

    :param keys: the keys down to it, such as ``network``, ``vlans``, ``v20``, ``link``.
    """
    kind = _KINDS.get(keys[1], "") if len(keys) > 1 else ""
    names = [device.name for device in getattr(netplan, kind)] if kind else []
    if len(keys) < 3 or keys[2] not in names:
        return f"netplan.{kind}" if names else "netplan"
    path = f"netplan.{kind}[{names.index(keys[2])}]"
    for key in keys[3:]:
        path += key if key.startswith("[") else f".{key.replace('-', '_')}"
    return path


def _of_device(name: str, netplan: Netplan) -> str:
    for kind in SECTIONS:
        for at, device in enumerate(getattr(netplan, kind)):
            if device.name == name:
                return f"netplan.{kind}[{at}]"
    return ""
