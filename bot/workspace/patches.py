"""Reads OpenAI's patch format (V4A) into edits: the `*** Begin Patch` envelope and the `apply_patch` tool's operations.

Grammar from the header of codex-rs/apply-patch/parser.rs: file sections `*** Add File:`, `*** Delete File:`, `*** Update File:`
with an optional `*** Move to:`; update sections hold chunks of lines that begin with a space, `-` or `+`, each headed by `@@`
with an optional line of code that narrows the place, and may end in `*** End of File`. There are no line numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bot.core.errors import BadInput
from bot.workspace.edits import Edit

_BEGIN, _END, _END_OF_FILE, _MOVE = "*** Begin Patch", "*** End Patch", "*** End of File", "*** Move to:"
_SECTION = re.compile(r"\*\*\* (Add|Delete|Update) File:(.*)")
_HEREDOC = re.compile(r"(?:apply_patch\s*)?<<\s*(['\"]?)(\w+)\1")
_LINE_NUMBERS = re.compile(r"@@\s*-\d+(?:,\d+)?\s+\+\d+(?:,\d+)?\s*@@(.*)")
_PREFIXES = ("", " ", "-", "+")
_KINDS: dict[str, Literal["create", "update", "delete"]] = {"Add": "create", "Update": "update", "Delete": "delete"}


@dataclass(frozen=True, slots=True)
class FileEdit:
    """What a patch does to one file: `content` is a new file's text, `edits` an old one's chunks in the file's order."""

    kind: Literal["create", "update", "delete"]
    path: str
    content: str = ""
    edits: tuple[Edit, ...] = ()
    move_to: str | None = None


def parse_patch(text: str) -> tuple[FileEdit, ...]:
    """The file edits of a whole patch, in its order. Raises BadInput, naming the line of the patch."""
    lines, skipped = _unwrap(text)
    sections: list[tuple[int, re.Match[str], list[str]]] = []
    for number, line in enumerate(lines, skipped + 1):
        head = _SECTION.fullmatch(line.strip()) if line.startswith("***") else None
        if head:
            sections.append((number, head, []))
        elif sections:
            sections[-1][2].append(line)
        elif line.strip():
            raise BadInput(f"The patch's line {number} stands before any '*** Add|Update|Delete File:' line.")
    if not sections:
        raise BadInput("The patch names no file.")
    return tuple(_section(number, head[1], head[2].strip(), body) for number, head, body in sections)


def parse_operation(operation: Mapping[str, object]) -> FileEdit:
    """One operation of the `apply_patch` tool: type create_file, update_file or delete_file, path, and diff. Raises BadInput."""
    kind, path, diff = operation.get("type"), operation.get("path"), operation.get("diff", "")
    if not isinstance(path, str) or not path:
        raise BadInput("The operation has no path.")
    if kind == "delete_file":
        return FileEdit("delete", path)
    if not isinstance(diff, str):
        raise BadInput("The operation's diff is not a text.")
    lines = diff.replace("\r\n", "\n").removesuffix("\n").split("\n") if diff else []
    if kind == "create_file":
        return FileEdit("create", path, content=_content(path, lines, 1))
    if kind == "update_file":
        return _update(path, lines, 1)
    raise BadInput("The operation's type is none of create_file, update_file, delete_file.")


def _unwrap(text: str) -> tuple[list[str], int]:
    """The lines between the envelope's marks, and how many come before them; code fences and heredocs are taken off."""
    lines = text.replace("\r\n", "\n").split("\n")
    marks = [at for at, line in enumerate(lines) if line.strip() == _BEGIN]
    if not marks:
        raise BadInput(f"The patch does not begin with '{_BEGIN}'.")
    start = marks[0]
    for line in lines[:start]:
        if line.strip() and not line.startswith("```") and not _HEREDOC.fullmatch(line.strip()):
            raise BadInput(f"There is other text before '{_BEGIN}'.")
    stops = [at for at, line in enumerate(lines) if at > start and line.strip() == _END]
    if not stops:
        raise BadInput(f"The patch does not end with '{_END}'; it may have been cut off.")
    if len(marks) > 1 or len(stops) > 1:
        raise BadInput("There are several patches; send one at a time.")
    return lines[start + 1 : stops[0]], start + 1


def _section(number: int, verb: str, path: str, body: list[str]) -> FileEdit:
    if not path:
        raise BadInput(f"The patch's line {number} names no path.")
    kind = _KINDS[verb]
    if kind == "delete":
        if any(line.strip() for line in body):
            raise BadInput(f"'*** Delete File: {path}' is followed by lines that belong to no file.")
        return FileEdit("delete", path)
    if kind == "create":
        return FileEdit("create", path, content=_content(path, body, number + 1))
    return _update(path, body, number + 1)


def _content(path: str, lines: list[str], first: int) -> str:
    """A new file's text: every line of the diff begins with +."""
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    for number, line in enumerate(lines, first):
        if line and not line.startswith("+"):
            raise BadInput(f"The new file {path}: line {number} of the patch must begin with '+'.")
    return "".join(f"{line[1:]}\n" for line in lines)


@dataclass(slots=True)
class _Chunk:
    scope: tuple[str, ...] = ()
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    touched: bool = False
    at_end: bool = False

    def take(self, mark: str, line: str) -> None:
        """A line of the chunk; an empty one is context that lost its space."""
        if mark != "+":
            self.old.append(line)
        if mark != "-":
            self.new.append(line)
        self.touched = self.touched or mark in ("-", "+")

    def edit(self) -> Edit:
        search, replace = ("".join(f"{line}\n" for line in lines) for lines in (self.old, self.new))
        return Edit(search, replace, self.scope, whole_lines=True, at_end=self.at_end)


def _update(path: str, lines: list[str], first: int) -> FileEdit:
    move: str | None = None
    while lines and not lines[-1]:
        lines = lines[:-1]
    if lines and lines[0].startswith(_MOVE):
        move = lines[0].removeprefix(_MOVE).strip()
        lines, first = lines[1:], first + 1
    if move == "":
        raise BadInput(f"The move of {path} names no new path.")
    chunks: list[_Chunk] = [_Chunk()]
    for number, line in enumerate(lines, first):
        _line(path, number, line, chunks)
    kept = [chunk for chunk in chunks if chunk.touched or chunk.old]
    if any(not chunk.touched for chunk in kept):
        raise BadInput(f"A chunk for {path} has no line that begins with '-' or '+'.")
    if not kept and move is None:
        raise BadInput(f"The update of {path} has no chunk.")
    return FileEdit("update", path, edits=tuple(chunk.edit() for chunk in kept), move_to=move)


def _line(path: str, number: int, line: str, chunks: list[_Chunk]) -> None:
    """Takes one line of an update section into the last chunk, or opens the next one."""
    chunk = chunks[-1]
    if line.startswith("@@"):
        scope = _scope(line)
        if chunk.touched or chunk.old or chunk.at_end:
            chunks.append(_Chunk((scope,) if scope else ()))
        elif scope:
            chunk.scope = (*chunk.scope, scope)
    elif line.strip() == _END_OF_FILE:
        chunk.at_end = True
    elif chunk.at_end:
        raise BadInput(f"{path}: line {number} of the patch follows '{_END_OF_FILE}' without a new '@@'.")
    elif line[:1] in _PREFIXES:
        chunk.take(line[:1], line[1:])
    else:
        raise BadInput(f"{path}: line {number} of the patch must begin with a space, '-', '+' or '@@'.")


def _scope(line: str) -> str:
    """The code after `@@`; line numbers of a unified diff, which V4A doesn't have, are dropped."""
    numbered = _LINE_NUMBERS.match(line)
    scope = (numbered[1] if numbered else line[2:]).strip()
    return scope.removesuffix("@@").strip()
