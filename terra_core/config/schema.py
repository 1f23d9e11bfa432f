"""JSON Schemas (draft 2020-12) of models, as :func:`terra_core.config.structure.structure` takes them."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, MutableMapping, Sequence
from enum import Enum
from typing import Any, Literal, NewType, Union, get_args, get_origin

import attrs

from terra_core.config import values
from terra_core.config.structure import key_of

Schema = dict[str, Any]
"""A schema, as JSON has it."""

_PLAIN: Mapping[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Any: {},
    object: {},
    values.Size: {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}], "examples": [128000, "128GiB"]},
    values.Duration: {"type": "string", "examples": ["12h", "30d"]},
    values.ImageReference: {"type": "string", "examples": ["docker.io/stellarproject/example:6"]},
}
_PARAMETER = re.compile(r"^\s*:param (\w+): (.*?)(?=^\s*:|\Z)", re.MULTILINE | re.DOTALL)


def schema_of(kind: Any, models: MutableMapping[str, Schema], prefix: str = "") -> Schema:  # any type of a model's field
    """Return the schema of a type.

    :param kind: a model, or the type of a field of one.
    :param models: gets the schema of every model that is met, by its name; they are referred to as OpenAPI has it.
    :param prefix: stands before the name of each, where models of several owners come together.
    """
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if isinstance(kind, NewType):
        return schema_of(kind.__supertype__, models, prefix)
    if isinstance(kind, type) and attrs.has(kind):
        return _reference(kind, models, prefix)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if one is type(None) else schema_of(one, models, prefix) for one in inner]}
    if origin in (tuple, list, Sequence):
        return {"type": "array", "items": schema_of(inner[0], models, prefix)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": schema_of(inner[1], models, prefix)}
    raise TypeError(f"no schema is known for {kind!r}")


def summary_of(documented: object) -> tuple[str, str]:
    """Return the first paragraph of a docstring as a line, and what follows it up to its parameters."""
    text = (documented.__doc__ or "").split("\n    :", 1)[0].split("\n        :", 1)[0]
    first, *rest = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    return first, "\n\n".join(part for part in rest if part)


def _name_of(model: type, prefix: str) -> str:
    """Return the name of a model's schema: with an owner, modules of which may have models of one name, its place there too."""
    return f"{prefix}{'.'.join([*model.__module__.split('.')[1:], model.__name__])}" if prefix else model.__name__


def _reference(model: type[attrs.AttrsInstance], models: MutableMapping[str, Schema], prefix: str) -> Schema:
    name = _name_of(model, prefix)
    if name not in models:
        models[name] = {}  # so that a model may hold others of its kind
        models[name] = _object(model, models, prefix)
    return {"$ref": f"#/components/schemas/{name}"}


def _object(model: type[attrs.AttrsInstance], models: MutableMapping[str, Schema], prefix: str) -> Schema:
    fields = [field for field in attrs.fields(attrs.resolve_types(model)) if field.init]
    said = {name: text for one in reversed(model.__mro__) for name, text in _PARAMETER.findall(one.__doc__ or "")}
    properties = {}
    for field in fields:
        key = key_of(field.name)
        properties[key] = schema_of(field.type, models, prefix)
        if field.name in said:
            properties[key]["description"] = " ".join(said[field.name].split()).rstrip(".")
    return {
        "type": "object",
        "description": " ".join(part for part in summary_of(model) if part),
        "properties": properties,
        "required": [key_of(field.name) for field in fields if field.default is attrs.NOTHING],
        "additionalProperties": False,
    }
