"""From parsed TOML or JSON to frozen models: strict keys, no coercion, every problem at once."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
from attrs import frozen
from cattrs import BaseValidationError, Converter

from terra_core.config import kernel_line, values
from terra_core.config.values import shown

M = TypeVar("M")

MISSING = "missing"
"""In the metadata of a model's field: what is said when its key is missing."""
_MOST_ITEMS = 4096
"""The most items of a list or a table in any file, which keeps every check fast."""


@frozen
class Problem:
    """One thing that is wrong in a document.

    :param path: where, such as ``groups[1].type``; empty for the document itself.
    :param text: what is wrong and what was expected.
    """

    path: str
    text: str

    def below(self, path: str) -> Problem:
        """Return the same problem, with ``path`` in front of its own."""
        dot = "." if path and self.path and not self.path.startswith("[") else ""
        return Problem(f"{path}{dot}{self.path}", self.text)

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


class StructureError(ValueError):
    """Raised by :func:`structure`.

    :param problems: every problem that was found.
    :param partial: what could be made all the same, so that what lies around it can be checked too; an instance without
        the attributes that are wrong, a list or a mapping with such instances; ``None`` when nothing could be made.
    """

    def __init__(self, problems: Sequence[Problem], partial: object = None) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
        self.partial = partial


class _Unknown:
    """Stands in a partial list or mapping for an item of which nothing could be made."""

    def __str__(self) -> str:
        return "something else"


def structure(raw: object, model: type[M]) -> M:
    """Make ``model`` from parsed TOML or JSON.

    A model may have a method ``problems()`` that yields a :class:`Problem` for all that is wrong between its fields. It is
    asked even when a field is wrong: that field is then no attribute of ``self``, and :func:`has` and :func:`known` tell.

    :param raw: mappings, lists and scalars.
    :param model: a frozen attrs class.
    :raises StructureError: with every problem, in the order of the model's fields.
    """
    try:
        return _converter.structure(raw, model)
    except (BaseValidationError, ValueError) as error:
        raise StructureError(_problems_of(error)) from None


def has(made: object, *names: str) -> bool:
    """Return whether all of these attributes exist; in a document with problems some may not."""
    return all(hasattr(made, name) for name in names)


def known(items: Iterable[object], name: str) -> Iterator[tuple[int, Any]]:
    """Index and attribute of every item that has it; in a document with problems an item may lack it."""
    return ((at, getattr(item, name)) for at, item in enumerate(items) if hasattr(item, name))


def too_many(path: str, items: Sized, most: int) -> Iterator[Problem]:
    """Yield a problem when a list or a table has more than ``most`` items."""
    if len(items) > most:
        yield Problem(path, f"expected at most {most}, got {len(items)}")


def out_of_range(made: object, ranges: Mapping[str, range]) -> Iterator[Problem]:
    """Find the numbers of a model that are not in their range; those that are left out are right.

    :param ranges: the range of each field.
    """
    for name, allowed in ranges.items():
        value = getattr(made, name, None)
        if value is not None and (wrong := not_in(allowed, value)):
            yield Problem(key_of(name), wrong)


def not_in(allowed: range, value: int) -> str:
    """Return what is wrong with a number that has to be in a range; an empty string when nothing is."""
    return "" if value in allowed else f"expected from {allowed.start} to {allowed.stop - 1}, got {shown(value)}"


def path_of_key(key: str) -> str:
    """Return a key as the path of a problem shows it: unchanged when it is a plain word, quoted otherwise."""
    return key if key.isidentifier() and key.isascii() and len(key) <= 64 else shown(key)


def key_of(name: str) -> str:
    """Return the key of a model's field: a field whose key is a Python keyword ends in an underscore, ``from_``."""
    return name.removesuffix("_")


def _problems_of(error: BaseException) -> Sequence[Problem]:
    return error.problems if isinstance(error, StructureError) else [Problem("", str(error))]


def _attrs_hook(model: Any) -> Callable[[object, object], object]:  # any attrs class
    fields = [field for field in attrs.fields(attrs.resolve_types(model)) if field.init]
    keys = {field.name: key_of(field.name) for field in fields}

    def hook(raw: object, _: object) -> object:
        if not isinstance(raw, Mapping):
            raise ValueError(f"expected a table, got {shown(raw)}")  # see _number
        _refuse_too_many(raw)
        missing = [field for field in fields if keys[field.name] not in raw and field.default is attrs.NOTHING]
        given = [(field.name, key, raw[key], field.type) for field in fields if (key := keys[field.name]) in raw]
        right, problems = _each(given)
        problems += [
            Problem(keys[field.name], field.metadata.get(MISSING, "is required and missing")) for field in missing
        ]
        problems += _strangers(raw, list(keys.values()))
        whole = {field.alias: right[field.name] for field in fields if field.name in right}
        made: object = _partial(model, fields, right) if problems else model(**whole)
        said = {problem.path for problem in problems}  # a field that is wrong itself is reported once
        problems += [problem for problem in _between(made, whole=not problems) if problem.path not in said]
        if problems:
            raise StructureError(problems, made)
        return made

    return hook


def _strangers(raw: Mapping[str, object], names: Sequence[str]) -> list[Problem]:
    strangers = [key for key in raw if key not in names]
    known = f"known: {', '.join(sorted(names))}" if names else "this table has none"
    return [Problem(path_of_key(key), f"no such key here ({known})") for key in sorted(strangers)]


def _partial(model: type, fields: Sequence[Any], right: Mapping[str, object]) -> object:  # attrs.Attribute of any
    made: object = object.__new__(model)
    for field in fields:
        if field.name in right:
            if not isinstance(right[field.name], _Unknown):
                object.__setattr__(made, field.name, right[field.name])
        elif isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]  # a class, which the stubs show as a function
            object.__setattr__(made, field.name, field.default.factory())
        elif field.default is not attrs.NOTHING:
            object.__setattr__(made, field.name, field.default)
    return made


def _between(made: object, *, whole: bool) -> list[Problem]:
    check = getattr(type(made), "problems", None)
    found: list[Problem] = []
    try:
        found.extend(check(made) if callable(check) else ())
    except (AttributeError, TypeError):  # a field that it reads is wrong, and reported already
        if whole:
            raise
    return found


def _each(items: Iterable[tuple[Any, str, object, Any]]) -> tuple[dict[Any, object], list[Problem]]:
    """Structure items of (key, path, raw, type); return the values by key, and the problems."""
    made: dict[Any, object] = {}
    problems: list[Problem] = []
    for key, path, raw, kind in items:
        try:
            made[key] = _converter.structure(raw, kind)
        except (BaseValidationError, ValueError) as error:
            problems += [problem.below(path) for problem in _problems_of(error)]
            partial = error.partial if isinstance(error, StructureError) else None
            made[key] = _Unknown() if partial is None else partial
    return made, problems


def _scalar(kind: type, expected: str) -> Callable[[object, object], object]:
    def hook(raw: object, wanted: object) -> object:
        if isinstance(wanted, type) and issubclass(wanted, Enum):  # a hook of str is asked for each StrEnum, too
            return _enum(raw, wanted)
        if type(raw) is not kind:
            raise ValueError(f"expected {expected}, got {shown(raw)}")
        return raw

    return hook


def _number(raw: object, _: object) -> float:
    if not isinstance(raw, bool) and isinstance(raw, int | float):
        with suppress(OverflowError):  # an integer of hundreds of digits
            if math.isfinite(raw):
                return float(raw)
    raise ValueError(f"expected a number, got {shown(raw)}")  # not TypeError: a defect of ours would raise that


def _one_of(raw: object, choices: Mapping[object, object]) -> object:
    for value, member in choices.items():
        if type(raw) is type(value) and raw == value:
            return member
    raise ValueError(f"{shown(raw)} is not one of {', '.join(str(value) for value in choices)}")


def _enum(raw: object, kind: type[Enum]) -> object:
    return _one_of(raw, {member.value: member for member in kind})


def _literal_hook(kind: Any) -> Callable[[object, object], object]:  # typing's own forms have no common type
    return lambda raw, _: _one_of(raw, {value: value for value in get_args(kind)})


def _is_optional(kind: Any) -> bool:  # see _literal_hook
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind) and len(get_args(kind)) == 2


def _optional_hook(kind: Any) -> Callable[[object, object], object]:  # see _literal_hook
    (inner,) = (part for part in get_args(kind) if part is not type(None))
    return lambda raw, _: None if raw is None else _converter.structure(raw, inner)


def _is_tuple(kind: Any) -> bool:  # see _literal_hook
    return _origin(kind) is Sequence or (_origin(kind) is tuple and get_args(kind)[1:] == (...,))


def _origin(kind: Any) -> object:  # see _literal_hook
    return get_origin(kind)


def _tuple_hook(kind: Any) -> Callable[[object, object], object]:  # see _literal_hook
    item = get_args(kind)[0]

    def hook(raw: object, _: object) -> object:
        if not isinstance(raw, list | tuple):
            raise ValueError(f"expected a list, got {shown(raw)}")  # see _number
        _refuse_too_many(raw)
        made, problems = _each((at, f"[{at}]", part, item) for at, part in enumerate(raw))
        if problems:
            raise StructureError(problems, tuple(made.values()))
        return tuple(made.values())

    return hook


def _is_mapping(kind: Any) -> bool:  # see _literal_hook
    return _origin(kind) in (dict, Mapping)


def _mapping_hook(kind: Any) -> Callable[[object, object], object]:  # see _literal_hook
    item = get_args(kind)[1]

    def hook(raw: object, _: object) -> object:
        if not isinstance(raw, Mapping):
            raise ValueError(f"expected a table, got {shown(raw)}")  # see _number
        _refuse_too_many(raw)
        made, problems = _each((key, path_of_key(key), part, item) for key, part in raw.items())
        if problems:
            raise StructureError(problems, made)
        return made

    return hook


def _refuse_too_many(raw: Sized) -> None:
    for problem in too_many("", raw, _MOST_ITEMS):
        raise StructureError([problem])


def _make_converter() -> Converter:
    converter = Converter()
    converter.register_structure_hook_factory(attrs.has, _attrs_hook)
    converter.register_structure_hook_factory(_is_optional, _optional_hook)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_factory(_is_mapping, _mapping_hook)
    converter.register_structure_hook_factory(lambda kind: _origin(kind) is Literal, _literal_hook)
    converter.register_structure_hook_func(lambda kind: isinstance(kind, type) and issubclass(kind, Enum), _enum)
    converter.register_structure_hook(str, _scalar(str, "a string"))
    converter.register_structure_hook(int, _scalar(int, "a whole number"))
    converter.register_structure_hook(bool, _scalar(bool, "true or false"))
    converter.register_structure_hook(float, _number)
    for kind, parse in {
        values.Hostname: values.parse_hostname,
        values.Mac: values.parse_mac,
        values.Size: values.parse_size,
        values.Duration: values.parse_duration,
        values.Label: values.parse_label,
        values.MountPath: values.parse_mount_path,
        values.DevicePath: values.parse_device,
        values.Compression: values.parse_compression,
        values.MountOption: values.parse_mount_option,
        values.Tag: values.parse_tag,
        values.Repository: values.parse_repository,
        values.Address: values.parse_address,
        values.HostAddress: values.parse_host_address,
        values.Domain: values.parse_domain,
        values.PluginName: values.parse_plugin_name,
        values.SshKey: values.parse_ssh_key,
        values.GithubUser: values.parse_github_user,
        values.InitPath: values.parse_init,
        values.Userland: values.parse_userland,
        values.ImageReference: values.parse_image_reference,
        kernel_line.KernelArgument: kernel_line.parse_kernel_argument,
    }.items():
        converter.register_structure_hook(kind, _without_target(parse))
    return converter


def _without_target(parse: Callable[[object], object]) -> Callable[[object, object], object]:
    return lambda raw, _: parse(raw)


_converter = _make_converter()
