"""YAML with its lines, read as GitHub reads it: `on` and `yes` are text, only true and false are booleans, no key twice.

Every error is BadInput and begins with file and line. Anchors, aliases, tags and merge keys are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import yaml

from bot.core.errors import BadInput

Read = TypeVar("Read")
Scalar = str | int | float | bool | None

_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file: a scalar, a list of parts, or parts by name."""

    file: str
    line: int
    value: Scalar | list[Part] | dict[str, Part]

    def refuse(self, what: str) -> NoReturn:
        raise BadInput(f"{self.file}:{self.line}: {what}")

    def mapping(self, known: Collection[str] | None = None, what: str = "this") -> dict[str, Part]:
        """The parts by name; an absent value counts as none. Names outside `known` are refused at their line."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            self.refuse(f"{what} must be a mapping")
        for name, part in self.value.items():
            if known is not None and name not in known:
                part.refuse(f"{what} has no key '{name}' that is supported; known are {', '.join(sorted(known))}")
        return self.value

    def items(self, what: str = "this") -> list[Part]:
        if not isinstance(self.value, list):
            self.refuse(f"{what} must be a list")
        return self.value

    def words(self, what: str) -> list[str]:
        """One text or a list of texts."""
        return [one.text(what) for one in self.value] if isinstance(self.value, list) else [self.text(what)]

    def scalar(self, what: str) -> Scalar:
        if isinstance(self.value, list | dict):
            self.refuse(f"{what} must be a single value")
        return self.value

    def text(self, what: str) -> str:
        value = self.scalar(what)
        if not isinstance(value, str):
            self.refuse(f"{what} must be text")
        return value

    def flag(self, what: str) -> bool:
        if not isinstance(self.value, bool):
            self.refuse(f"{what} must be true or false")
        return self.value


def given(keys: Mapping[str, Part], name: str, how: Callable[[Part], Read]) -> Read | None:
    """What `how` makes of the part of that name; None where there is none."""
    return how(keys[name]) if name in keys else None


def read(data: bytes, file: str) -> Part:
    """The whole file. BadInput where it isn't YAML of the kind described above."""
    try:
        source = data.decode("utf-8")
        for event in yaml.parse(source, Loader=yaml.SafeLoader):
            _plain(event, file)
        root = yaml.compose(source, Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        raise BadInput(f"{file}:1: this is not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadInput(f"{file}:{getattr(mark, 'line', 0) + 1}: {error.problem or 'this is not YAML'}") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{file}:1: this is not YAML: {error}") from None
    if root is None:
        raise BadInput(f"{file}:1: the file is empty")
    return _part(root, file)


def _plain(event: yaml.Event, file: str) -> None:
    line = event.start_mark.line + 1 if event.start_mark else 1
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise BadInput(f"{file}:{line}: anchors and aliases are not supported")
    if getattr(event, "tag", None):
        raise BadInput(f"{file}:{line}: tags are not supported")


def _part(node: yaml.Node, file: str) -> Part:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return Part(file, line, [_part(one, file) for one in node.value])
    if isinstance(node, yaml.MappingNode):
        return Part(file, line, dict(_named(node, file)))
    return Part(file, line, _scalar(node))


def _named(node: yaml.MappingNode, file: str) -> Iterator[tuple[str, Part]]:
    seen: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
            raise BadInput(f"{file}:{line}: a key must be plain text")
        if key.value in seen:
            raise BadInput(f"{file}:{line}: the key '{key.value}' is there twice")
        seen.add(key.value)
        yield key.value, Part(file, line, _part(value, file).value)  # the line of its name


def _scalar(node: yaml.Node) -> Scalar:
    text = str(node.value)
    if getattr(node, "style", None) is not None:  # quoted or a block
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text.startswith(("0x", "0o")) else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
