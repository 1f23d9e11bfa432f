"""From parsed TOML or JSON to frozen models: strict keys, no coercion, every problem at once."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs
from attrs import frozen
from cattrs import (
    BaseValidationError,
    ClassValidationError,
    Converter,
    ForbiddenExtraKeysError,
)
from cattrs.gen import make_dict_structure_fn

from terra_core.config import values
from terra_core.config.values import shown

M = TypeVar("M")


@frozen
class Problem:
    """One thing that is wrong in a document.

    :param path: where, such as ``groups[1].type``; empty for the document itself.
    :param text: what is wrong and what was expected.
    """

    path: str
    text: str

    def below(self, path: str) -> Problem:
        """The same problem, with ``path`` in front of its own."""
        dot = "." if path and self.path and not self.path.startswith("[") else ""
        return Problem(f"{path}{dot}{self.path}", self.text)

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


class StructureError(ValueError):
    """Raised by :func:`structure`; holds every problem that was found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def structure(raw: object, model: type[M]) -> M:
    """Make ``model`` from parsed TOML or JSON.

    A model may have a method ``problems()`` that yields :class:`Problem`; it is asked once its own fields are right.

    :param raw: mappings, lists and scalars.
    :param model: a frozen attrs class.
    :raises StructureError: with every problem, in the order of the model's fields.
    """
    try:
        return _converter.structure(raw, model)
    except (BaseValidationError, StructureError) as error:
        raise StructureError(list(_flatten(error))) from None


def _flatten(error: BaseException) -> Iterator[Problem]:
    if isinstance(error, StructureError):
        yield from error.problems
    elif isinstance(error, ClassValidationError):
        with_notes, others = error.group_exceptions()
        for part, note in with_notes:
            for problem in _flatten(part):
                yield problem.below(note.name)
        for part in others:
            yield from _flatten(part)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = ", ".join(sorted(attribute.name for attribute in attrs.fields(error.cl)))
        for key in sorted(error.extra_fields):
            yield Problem(key if key.isidentifier() else shown(key), f"no such key here (known: {known})")
    elif isinstance(error, KeyError):
        yield Problem("", "is required and missing")
    else:
        yield Problem("", str(error))


def _attrs_hook(model: type) -> Callable[[object, object], object]:
    inner: Any = make_dict_structure_fn(model, _converter, _cattrs_forbid_extra_keys=True)

    def hook(raw: object, target: object) -> object:
        if not isinstance(raw, Mapping):
            raise ValueError(f"expected a table, got {shown(raw)}")  # cattrs collects ValueError
        made = inner(raw, target)
        problems = list(made.problems()) if hasattr(made, "problems") else []
        if problems:
            raise StructureError(problems)
        return made

    return hook


def _scalar(kind: type, expected: str) -> Callable[[object, object], object]:
    def hook(raw: object, _: object) -> object:
        if type(raw) is not kind:
            raise ValueError(f"expected {expected}, got {shown(raw)}")
        return raw

    return hook


def _number(raw: object, _: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ValueError(f"expected a number, got {shown(raw)}")  # cattrs collects ValueError
    return float(raw)


def _enum(raw: object, kind: type[Enum]) -> Enum:
    for member in kind:
        if type(raw) is type(member.value) and raw == member.value:
            return member
    raise ValueError(f"{shown(raw)} is not one of {', '.join(str(member.value) for member in kind)}")


def _is_optional(kind: Any) -> bool:  # typing's own forms have no common type
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind) and len(get_args(kind)) == 2


def _optional_hook(kind: Any) -> Callable[[object, object], object]:  # see _is_optional
    (inner,) = (part for part in get_args(kind) if part is not type(None))
    return lambda raw, _: None if raw is None else _converter.structure(raw, inner)


def _is_tuple(kind: Any) -> bool:  # see _is_optional
    return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)


def _tuple_hook(kind: Any) -> Callable[[object, object], object]:  # see _is_optional
    item = get_args(kind)[0]

    def hook(raw: object, _: object) -> object:
        if not isinstance(raw, list | tuple):
            raise ValueError(f"expected a list, got {shown(raw)}")  # cattrs collects ValueError
        return tuple(_each(enumerate(raw), item, lambda at: f"[{at}]").values())

    return hook


def _is_mapping(kind: Any) -> bool:  # see _is_optional
    return get_origin(kind) in (dict, Mapping)


def _mapping_hook(kind: Any) -> Callable[[object, object], object]:  # see _is_optional
    item = get_args(kind)[1]

    def hook(raw: object, _: object) -> object:
        if not isinstance(raw, Mapping):
            raise ValueError(f"expected a table, got {shown(raw)}")  # cattrs collects ValueError
        return _each(raw.items(), item, str)

    return hook


def _each(items: Any, kind: Any, path: Callable[[Any], str]) -> dict[Any, object]:  # as parsed
    made: dict[Any, object] = {}
    problems: list[Problem] = []
    for at, raw in items:
        try:
            made[at] = _converter.structure(raw, kind)
        except (BaseValidationError, ValueError) as error:
            problems += [problem.below(path(at)) for problem in _flatten(error)]
    if problems:
        raise StructureError(problems)
    return made


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook_factory(attrs.has, _attrs_hook)
    converter.register_structure_hook_factory(_is_optional, _optional_hook)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_factory(_is_mapping, _mapping_hook)
    converter.register_structure_hook_func(lambda kind: isinstance(kind, type) and issubclass(kind, Enum), _enum)
    converter.register_structure_hook(str, _scalar(str, "a string"))
    converter.register_structure_hook(int, _scalar(int, "a whole number"))
    converter.register_structure_hook(bool, _scalar(bool, "true or false"))
    converter.register_structure_hook(float, _number)
    for kind, parse in {
        values.Hostname: values.parse_hostname,
        values.Mac: values.parse_mac,
        values.Size: values.parse_size,
        values.Label: values.parse_label,
        values.MountPath: values.parse_mount_path,
        values.DevicePath: values.parse_device,
        values.Tag: values.parse_tag,
        values.Repository: values.parse_repository,
        values.Address: values.parse_address,
        values.Domain: values.parse_domain,
        values.PluginName: values.parse_plugin_name,
        values.SshKey: values.parse_ssh_key,
        values.GithubUser: values.parse_github_user,
        values.InitPath: values.parse_init,
        values.Userland: values.parse_userland,
        values.ImageReference: values.parse_image_reference,
    }.items():
        converter.register_structure_hook(kind, _without_target(parse))
    return converter


def _without_target(parse: Callable[[object], object]) -> Callable[[object, object], object]:
    return lambda raw, _: parse(raw)


_converter = _make_converter()
