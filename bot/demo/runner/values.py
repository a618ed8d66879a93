"""Values of GitHub's expression language, their coercion, and its functions. Pure.

A value is None, bool, int, float, str, list or dict. `Exact` is a dict whose names differ by case (the `env` context on
Linux); any other is looked up without regard to case. Source: npm @actions/expressions 0.3.61, which tests compare this with.
One difference on purpose: there `''` in a literal is undone only once, GitHub's own runner undoes each.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from bot.core.errors import BadInput

Value = Any
Function = Callable[..., Value]

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?)", re.ASCII)
_RADIX = re.compile(r"0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+")
_BLANK = " \t\n\r\v\f\u00a0\ufeff\u2028\u2029"
_DOTLESS = "\u0131"
_ARGUMENT = re.compile(r"\{(\d+)[^{}]*\}|\{\{|\}\}|[{}]", re.ASCII)


class EvaluationError(BadInput):
    """An expression could be read but not computed."""


class Exact(dict[str, Value]):
    """A context whose names differ by case."""


class Filtered(list[Value]):
    """What `*` makes: a further `.name` is asked of each item."""


def is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_primitive(value: Value) -> bool:
    return not isinstance(value, list | dict)


def truthy(value: Value) -> bool:
    if is_number(value):
        return not (value == 0 or math.isnan(value))
    return True if not is_primitive(value) else bool(value)


def number(value: Value) -> float:
    """The value as a number; NaN where it isn't one."""
    if value is None:
        return 0
    if isinstance(value, str):
        return parse_number(value)
    return float(value) if isinstance(value, bool | int | float) else math.nan


def parse_number(text: str) -> float:
    text = text.strip(_BLANK)
    if text == "":
        return 0
    if _RADIX.fullmatch(text):
        return int(text, 0)
    if text in ("Infinity", "+Infinity", "-Infinity"):
        return float(text)
    return float(text) if _DECIMAL.fullmatch(text) else math.nan


def number_text(value: float) -> str:
    """As JavaScript writes it: no `.0`, `1e+21`, `1e-7`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == int(value) and abs(value) < 2**53:
        return str(int(value))
    sign, digits, exponent = Decimal(repr(float(value))).normalize().as_tuple()
    figures, point = "".join(map(str, digits)), len(digits) + int(exponent)
    if 0 < point <= 21:
        body = figures.ljust(point, "0") if len(figures) <= point else f"{figures[:point]}.{figures[point:]}"
    elif -6 < point <= 0:
        body = "0." + "0" * -point + figures
    else:
        body = figures[0] + (f".{figures[1:]}" if len(figures) > 1 else "") + f"e{point - 1:+d}"
    return ("-" if sign else "") + body


def text(value: Value) -> str:
    """The value as text, as `${{ }}` inside other text shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if is_number(value):
        short = value if abs(value) >= 1e21 or value != value else float(f"{value:.15f}")
        return number_text(short)
    if isinstance(value, str):
        return value
    return "Array" if isinstance(value, list) else "Object"


def folded(value: str) -> str:
    """Upper case, but the dotless i stays itself."""
    return _DOTLESS.join(part.upper() for part in value.split(_DOTLESS))


def _kind(value: Value) -> str:
    if value is None:
        return "null"
    for kind, types in (("boolean", bool), ("number", (int, float)), ("string", str), ("array", list)):
        if isinstance(value, types):
            return kind
    return "object"


def _coerced(left: Value, right: Value) -> tuple[Value, Value]:
    """Both sides as one kind where GitHub makes them so. Null, booleans and text become numbers against another kind."""
    kinds = (_kind(left), _kind(right))
    if kinds[0] == kinds[1] or not (is_primitive(left) and is_primitive(right)):
        return left, right
    return number(left), number(right)


def equal(left: Value, right: Value) -> bool:
    left, right = _coerced(left, right)
    if _kind(left) != _kind(right):
        return False
    if isinstance(left, str):
        return folded(left) == folded(right)
    if not is_primitive(left):
        return left is right
    return bool(left == right)


def less(left: Value, right: Value) -> bool:
    left, right = _coerced(left, right)
    if _kind(left) != _kind(right) or left is None or not is_primitive(left):
        return False
    if isinstance(left, str):
        return folded(left).encode("utf-16-be", "surrogatepass") < folded(right).encode("utf-16-be", "surrogatepass")
    return bool(left < right)


def member(mapping: Mapping[str, Value], name: str) -> tuple[bool, Value]:
    """(found, value) of a name; the first of several that differ by case alone."""
    if isinstance(mapping, Exact):
        return name in mapping, mapping.get(name)
    for key, value in mapping.items():
        if key.lower() == name.lower():
            return True, value
    return False, None


def index(container: Value, key: Value) -> Value:
    """container[key]; null where there is none."""
    if isinstance(container, Filtered):
        return Filtered(found for item in container for has, found in [_item(item, key)] if has)
    return _item(container, key)[1]


def _item(container: Value, key: Value) -> tuple[bool, Value]:
    if isinstance(container, dict):
        return member(container, text(key)) if is_primitive(key) else (False, None)
    if not isinstance(container, list):
        return False, None
    place = number(key)
    if math.isnan(place) or math.isinf(place) or place < 0 or int(place) >= len(container):
        return False, None
    return True, container[int(place)]


def star(container: Value) -> Filtered:
    """container.*: all its items; of a filtered list, all items of its items."""
    if isinstance(container, Filtered):
        return Filtered(found for item in container for found in star(item if not isinstance(item, Filtered) else list(item)))
    if isinstance(container, dict):
        return Filtered(container.values())
    return Filtered(container) if isinstance(container, list) else Filtered()


def contains(search: Value, item: Value) -> bool:
    if isinstance(search, list):
        return any(equal(item, one) for one in search)
    return is_primitive(search) and is_primitive(item) and text(item).lower() in text(search).lower()


def starts_with(search: Value, start: Value) -> bool:
    return is_primitive(search) and is_primitive(start) and folded(text(search)).startswith(folded(text(start)))


def ends_with(search: Value, end: Value) -> bool:
    return is_primitive(search) and is_primitive(end) and folded(text(search)).endswith(folded(text(end)))


def format_(pattern: Value, *arguments: Value) -> str:
    whole = text(pattern)

    def one(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if found[1] is None:
            raise EvaluationError(f"the following format string is invalid: {whole}")
        if int(found[1]) >= len(arguments):
            raise EvaluationError(f"the following format string references more arguments than were supplied: {whole}")
        return text(arguments[int(found[1])])

    return _ARGUMENT.sub(one, whole)


def join(items: Value, separator: Value = ",") -> str:
    if is_primitive(items):
        return text(items)
    between = text(separator) if is_primitive(separator) else ","
    return between.join(map(text, items)) if isinstance(items, list) else ""


def to_json(value: Value, indent: str = "\n") -> str:
    """As JSON.stringify with two spaces."""
    deeper = indent + "  "
    if isinstance(value, dict):
        inside = [f"{json.dumps(key, ensure_ascii=False)}: {to_json(item, deeper)}" for key, item in value.items()]
        return "{" + deeper + f",{deeper}".join(inside) + indent + "}" if inside else "{}"
    if isinstance(value, list):
        inside = [to_json(item, deeper) for item in value]
        return "[" + deeper + f",{deeper}".join(inside) + indent + "]" if inside else "[]"
    if is_number(value):
        return number_text(value) if math.isfinite(value) else "null"
    return json.dumps(value, ensure_ascii=False)


def from_json(value: Value) -> Value:
    try:
        return json.loads(text(value), parse_constant=_no_constant)
    except ValueError as error:
        raise EvaluationError(f"error parsing JSON when evaluating fromJSON: {error}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def case(*arguments: Value) -> Value:
    for place in range(0, len(arguments) - 1, 2):
        if not isinstance(arguments[place], bool):
            raise EvaluationError("case predicate must evaluate to a boolean value")
        if arguments[place]:
            return arguments[place + 1]
    return arguments[-1]


# Lower-case name: the function, fewest and most arguments.
FUNCTIONS: Mapping[str, tuple[Function, int, int]] = {
    "contains": (contains, 2, 2),
    "startswith": (starts_with, 2, 2),
    "endswith": (ends_with, 2, 2),
    "format": (format_, 1, 255),
    "join": (join, 1, 2),
    "tojson": (to_json, 1, 1),
    "fromjson": (from_json, 1, 1),
    "case": (case, 3, 255),
}
