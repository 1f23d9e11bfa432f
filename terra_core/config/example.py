"""A commented TOML file with every key of a model: what ``--dump`` prints is made from the models, and so is complete."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from terra_core.config import values
from terra_core.config.kernel_line import KernelArgument
from terra_core.config.structure import key_of

_WIDTH = 124
_PARAMETER = re.compile(r"^:param (\w+): (.*?)(?=^:|\Z)", re.MULTILINE | re.DOTALL)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SAMPLES: Mapping[object, object] = {
    values.Hostname: "example",
    values.Mac: "54:b2:03:07:f1:d1",
    values.Size: 128000,
    values.Duration: "30d",
    values.Label: "data",
    values.MountPath: "/srv",
    values.DevicePath: "/dev/sda",
    values.Compression: "zstd:3",
    values.MountOption: "noatime",
    values.Tag: "6",
    values.Repository: "docker.io/stellarproject",
    values.Address: "10.0.10.1",
    values.Domain: "example.com",
    values.PluginName: "name",
    values.SshKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEhqBPtGVXFMWoEdnTpFgTgbqOXxC8zJLtcrhyqmXQ8s me",
    values.GithubUser: "crosbymichael",
    values.InitPath: "/sbin/init",
    values.Userland: "RUN true\n",
    values.ImageReference: "docker.io/stellarproject/example:6",
    KernelArgument: "console=ttyS1,115200",
    str: "...",
    int: 1,
    float: 1.0,
    bool: False,
}


def example(model: type, given: Mapping[str, object]) -> str:
    """Write the file: each key with the comment that its model's docstring has for it.

    :param model: the frozen attrs class of the file.
    :param given: the keys that stand in the file, with their values as TOML has them. Every other key stands behind a ``#``,
        with what ``given`` has under its name and a ``#`` in front, or else its default, or else a sample of its type.
    """
    return "\n".join(line.rstrip() for line in _lines(model, given, "")).strip("\n") + "\n"


def table_example(name: str, model: type) -> str:
    """Write the table of a plugin, as :func:`example` writes a file; tables within its tables stand on a line each.

    :param name: the plugin's name.
    :param model: the model of its table. Its class variable ``example``, if it has one, has the keys that stand in the file.
    """
    given: Mapping[str, object] = getattr(model, "example", {})
    opened = [f"[{name}]", *_lines(model, given, name, inline=True)]
    live = any(not key.startswith("#") for key in given)
    return "\n".join(line.rstrip() for line in (opened if live else map(_closed, opened))) + "\n"


def _lines(model: type, given: Mapping[str, object], path: str, *, inline: bool = False) -> Iterator[str]:
    """Write the keys of a table.

    :param inline: whether tables within the tables of the table are written as values.
    """
    fields = [field for field in attrs.fields(attrs.resolve_types(model)) if field.init]
    documented = [inspect.getdoc(one) or "" for one in reversed(model.__mro__) if attrs.has(one)]
    explained = {name: " ".join(text.split()) for words in documented for name, text in _PARAMETER.findall(words)}
    indent = "  " * (path.count(".") + bool(path))
    tables = {field.name: None if inline and "." in path else _table_of(field.type) for field in fields}
    for field in sorted(fields, key=lambda field: tables[field.name] is not None):
        if tables[field.name] is not None or not path:
            yield ""
        yield from _comment(explained.get(field.name, "").removesuffix(".") + _choices(field.type), indent)
        if tables[field.name] is None:
            live = field.name in given
            yield indent + ("" if live else "# ") + f"{_word(key_of(field.name))} = {_text(_value(field, given))}"
        else:
            yield from _tables(field, given, f"{path}.{key_of(field.name)}".lstrip("."), indent, inline=inline)


def _tables(
    field: Any, given: Mapping[str, object], path: str, indent: str, *, inline: bool  # attrs.Attribute of any
) -> Iterator[str]:
    """Yield the lines of a key's table, or of one table for each entry of its list."""
    kind, several = _unwrapped(field.type), _is_list(field.type)
    live, sample = field.name in given, given.get(field.name, given.get(f"#{field.name}", {}))
    entries: list[Mapping[str, object]] = sample if isinstance(sample, list) else [sample]  # type: ignore[list-item]  # a table
    for entry in entries:
        block = [f"{indent}{f'[[{path}]]' if several else f'[{path}]'}"]
        if _is_mapping(kind):
            block += [f"{indent}  {_word(str(name))} = {_text(value)}" for name, value in entry.items()]
        else:
            block += _lines(_table_of(field.type) or dict, entry, path, inline=inline)
        yield from block if live else map(_closed, block)


def _value(field: Any, given: Mapping[str, object]) -> object:  # see _tables
    for name in (field.name, f"#{field.name}"):
        if name in given:
            return given[name]
    default = None if field.default is attrs.NOTHING else field.default
    default = default.value if isinstance(default, Enum) else default
    if field.type is values.Duration and isinstance(default, int):
        return values.spell_duration(default)
    if isinstance(default, str | int | float | tuple) and default not in ("", ()):
        return default
    return _sample(field.type)


def _sample(kind: Any) -> object:  # typing's own forms have no common type
    kind = _optional(kind)
    if kind in _SAMPLES:
        return _SAMPLES[kind]
    if _is_list(kind):
        return [_sample(get_args(kind)[0])]
    if _is_mapping(kind):
        return {"...": _sample(get_args(kind)[1])}
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind)).value
    if hasattr(kind, "__supertype__"):
        return _sample(kind.__supertype__)
    if attrs.has(kind):
        return {key_of(field.name): _sample(field.type) for field in attrs.fields(attrs.resolve_types(kind)) if field.init}
    raise TypeError(f"no sample of {kind}")


def _table_of(kind: Any) -> type | None:  # see _sample
    """Return the model of a key that is a table of its own or a list of tables; a mapping is one when it selects plugins."""
    inner = _unwrapped(kind)
    if isinstance(inner, type) and attrs.has(inner) and inner not in _SAMPLES:
        return inner
    return dict if _is_mapping(inner) and get_args(inner)[1] is values.PluginName else None


def _choices(kind: Any) -> str:  # see _sample
    kind = _optional(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f" ({', '.join(str(member.value) for member in kind)})"
    return ""


def _unwrapped(kind: Any) -> Any:  # see _sample
    kind = _optional(kind)
    return _optional(get_args(kind)[0]) if _is_list(kind) else kind


def _optional(kind: Any) -> Any:  # see _sample
    if get_origin(kind) in (Union, types.UnionType):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind


def _is_list(kind: Any) -> bool:  # see _sample
    return get_origin(_optional(kind)) in (tuple, Sequence)


def _is_mapping(kind: Any) -> bool:  # see _sample
    return get_origin(_optional(kind)) in (dict, Mapping)


def _closed(line: str) -> str:
    return f"# {line}" if line else ""


def _comment(text: str, indent: str) -> list[str]:
    text = re.sub(r":class:`([^`]+)`", r"\1", text).replace("``", '"').removesuffix(".")
    wrapped = textwrap.wrap(f"{text[:1].upper()}{text[1:]}.", _WIDTH - len(indent)) if text else []
    return [f"{indent}# {line}" for line in wrapped]


def _word(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_word(str(name))} = {_text(part)}' for name, part in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, str) and "\n" in value:
        return f'"""\n{value}"""'
    return json.dumps(value, ensure_ascii=False)
