"""JSON Schemas (draft 2020-12) of models, as :func:`terra_core.config.structure.structure` takes them."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, MutableMapping, Sequence
from enum import Enum
from typing import Any, Literal, NewType, Union, get_args, get_origin

import attrs

from terra_core.config import values

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
    values.ImageReference: {"type": "string", "examples": ["docker.io/stellarproject/example:6"]},
}
_PARAMETER = re.compile(r"^\s*:param (\w+): (.*?)(?=^\s*:|\Z)", re.MULTILINE | re.DOTALL)


def schema_of(kind: Any, models: MutableMapping[str, Schema]) -> Schema:  # any type that a model's field may have
    """Return the schema of a type.

    :param kind: a model, or the type of a field of one.
    :param models: gets the schema of every model that is met, by its name; they are referred to as OpenAPI has it.
    """
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if isinstance(kind, NewType):
        return schema_of(kind.__supertype__, models)
    if isinstance(kind, type) and attrs.has(kind):
        return _reference(kind, models)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if one is type(None) else schema_of(one, models) for one in inner]}
    if origin in (tuple, list, Sequence):
        return {"type": "array", "items": schema_of(inner[0], models)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": schema_of(inner[1], models)}
    raise TypeError(f"no schema is known for {kind!r}")


def summary_of(documented: object) -> tuple[str, str]:
    """Return the first paragraph of a docstring as a line, and what follows it up to its parameters."""
    text = (documented.__doc__ or "").split("\n    :", 1)[0].split("\n        :", 1)[0]
    first, *rest = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    return first, "\n\n".join(part for part in rest if part)


def _reference(model: type[attrs.AttrsInstance], models: MutableMapping[str, Schema]) -> Schema:
    name = model.__name__
    if name not in models:
        models[name] = {}  # so that a model may hold others of its kind
        models[name] = _object(model, models)
    return {"$ref": f"#/components/schemas/{name}"}


def _object(model: type[attrs.AttrsInstance], models: MutableMapping[str, Schema]) -> Schema:
    fields = [field for field in attrs.fields(attrs.resolve_types(model)) if field.init]
    said = {name: text for one in reversed(model.__mro__) for name, text in _PARAMETER.findall(one.__doc__ or "")}
    properties = {}
    for field in fields:
        properties[field.name] = schema_of(field.type, models)
        if field.name in said:
            properties[field.name]["description"] = " ".join(said[field.name].split()).rstrip(".")
    return {
        "type": "object",
        "description": " ".join(part for part in summary_of(model) if part),
        "properties": properties,
        "required": [field.name for field in fields if field.default is attrs.NOTHING],
        "additionalProperties": False,
    }
