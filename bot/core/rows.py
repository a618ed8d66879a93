"""Dataclasses of text and numbers in decoded JSON, as jobs and the App tell them to each other. Strictly read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from math import isfinite
from typing import Any, TypeVar

from bot.core.errors import PolicyError

_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (float, int)}
_MOST = 2**63
Line = TypeVar("Line")


def rows(kind: type[Line], values: Any, **inner: type) -> tuple[Line, ...]:
    """One `kind` for each object of a list; fields that `inner` names are lists of rows themselves.

    Raises:
        PolicyError: no list of objects that have exactly its fields, each of its own type, and no number below zero.
    """
    if not isinstance(values, list | tuple):
        raise PolicyError(f"A list of {kind.__name__} is none.")
    types = {field.name: _TYPES[str(field.type)] for field in fields(kind) if field.name not in inner}  # type: ignore[arg-type]
    return tuple(_row(kind, value, types, inner) for value in values)


def _row(kind: type[Line], value: Any, types: Mapping[str, tuple[type, ...]], inner: Mapping[str, type]) -> Line:
    if not isinstance(value, dict) or value.keys() != types.keys() | inner.keys():
        raise PolicyError(f"A {kind.__name__} does not have the fields that one has.")
    for name, known in types.items():
        found = value[name]
        if type(found) not in known or (type(found) in (int, float) and not (isfinite(found) and 0 <= found < _MOST)):
            raise PolicyError(f"A {kind.__name__} has a {name} that is none.")
    return kind(**value | {name: rows(of, value[name]) for name, of in inner.items()})
