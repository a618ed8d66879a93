"""Carries out one editing call of a model: stage every file of the call, check that it still parses, write all or nothing.

Two front ends with the semantics their models were trained on: Claude's `str_replace_based_edit_tool` (text_editor_20250728:
view, create, str_replace, insert) and OpenAI's `apply_patch`. What goes wrong comes back as text for the model, never as an
exception; what looks like an attempt to write outside the worktree is listed in `Outcome.refused` besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.core.errors import BadInput, PolicyError, SetupError
from bot.workspace.edits import Applied, Edit, Rejected, apply, apply_in_order
from bot.workspace.files import MAX_ENTRIES, Beneath, Entry, MissingFile, PathRefused
from bot.workspace.patches import FileEdit, parse_operation, parse_patch
from bot.workspace.splice import Document
from bot.workspace.syntax import syntax_problem

VIEW_LINES = 250
VIEW_CHARS = 10_000
"""What one view shows at most. Whole files are worse than windows, for the work (SWE-agent, arXiv 2405.15793) and for the bill;
the view says how to see more."""
REWRITE_LINES = 120
"""`create` may replace a file of up to so many lines; longer ones are edited, so that nothing is lost by abbreviation."""
_AROUND = 3
"""Lines shown around an edit."""
_MAGIC = {
    b"\x89PNG": "PNG image",
    b"\xff\xd8\xff": "JPEG image",
    b"GIF8": "GIF image",
    b"%PDF": "PDF",
    b"PK\x03\x04": "zip archive",
    b"\x1f\x8b": "gzip archive",
    b"\x7fELF": "ELF program",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
"""First bytes of files that are no text for editing, and what they are."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to the model, the files written or deleted, and the paths of refused attempts to write elsewhere."""

    text: str
    is_error: bool = False
    touched: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(slots=True)
class _Stage:
    """One call's files before anything is written: path -> what it was and what it becomes; None where there is no file."""

    files: Beneath
    before: dict[str, bytes | None] = field(default_factory=dict)
    after: dict[str, bytes | None] = field(default_factory=dict)
    programs: set[str] = field(default_factory=set)
    """Paths whose file is executable, should it have to be made."""

    def load(self, path: str) -> bytes | None:
        """The staged bytes, or those on disk; None if there is no file."""
        if path not in self.after:
            try:
                self.before[path] = self.after[path] = self.files.read(path)
                if (entry := self.files.stat(path)) and entry.executable:
                    self.programs.add(path)
            except MissingFile:
                self.before[path] = self.after[path] = None
        return self.after[path]

    def text(self, path: str) -> str:
        data = self.load(path)
        if data is None:
            raise MissingFile(f"{path} does not exist.")
        return _decode(path, data)

    def put(self, path: str, text: str) -> None:
        self.load(path)
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"The new text of {path} contains a lone surrogate, which no file can hold.") from error
        if b"\0" in data:
            raise BadInput(f"The new text of {path} contains a NUL byte.")
        self.after[path] = data

    def delete(self, path: str) -> None:
        if self.load(path) is None:
            raise MissingFile(f"{path} does not exist.")
        self.after[path] = None

    def move(self, path: str, to: str, text: str) -> None:
        self.put(to, text)
        if path in self.programs:
            self.programs.add(to)
        self.delete(path)

    def check(self) -> None:
        """Raises BadInput if a file that parsed, or a new one, would not parse."""
        for path in self._changed():
            data, old = self.after[path], self.before[path]
            problem = syntax_problem(path, data) if data is not None else None
            if problem and (old is None or syntax_problem(path, old) is None):
                raise BadInput(f"Nothing was written: {path} would no longer parse: {problem}.")

    def commit(self) -> tuple[str, ...]:
        """Writes everything, or puts back what it has written and raises."""
        done: list[str] = []
        try:
            for path in self._changed():
                done.append(path)
                self._put_on_disk(path, self.after[path])
        except (BadInput, PolicyError, SetupError):
            for path in reversed(done):
                if self._now(path) != self.before[path]:
                    self._put_on_disk(path, self.before[path])
            raise
        return tuple(done)

    def _changed(self) -> list[str]:
        return [path for path, data in self.after.items() if data != self.before[path]]

    def _now(self, path: str) -> bytes | None:
        try:
            return self.files.read(path)
        except (BadInput, PathRefused):
            return None

    def _put_on_disk(self, path: str, data: bytes | None) -> None:
        if data is None:
            self.files.delete(path)
        else:
            self.files.write(path, data, executable=path in self.programs)


class Editor:
    """The file tools of one worktree. `root_alias` is an absolute path that models may use for it besides `/repo`."""

    def __init__(self, files: Beneath, root_alias: str = "") -> None:
        self.files = files
        self.roots = tuple(root.rstrip("/") for root in ("/repo", root_alias) if root.rstrip("/"))

    def text_editor(self, arguments: Mapping[str, Any]) -> Outcome:
        """One call of `str_replace_based_edit_tool`."""
        commands = {"create": self._create, "str_replace": self._str_replace, "insert": self._insert}
        command = arguments.get("command")
        if command == "view":
            return self.view(arguments)
        if not isinstance(command, str) or command not in commands:
            return Outcome("The command is none of view, create, str_replace, insert.", is_error=True)
        return self._change(lambda stage: commands[command](stage, arguments))

    def apply_patch(self, arguments: Mapping[str, Any]) -> Outcome:
        """One call of `apply_patch`: an operation (`operation`, or its fields), or a whole patch as `patch` or `input`."""

        def work(stage: _Stage) -> str:
            return "\n".join(self._file_edit(stage, edit) for edit in self._parsed(arguments))

        try:
            refused = self._refusals(self._parsed(arguments))
        except BadInput as error:
            return Outcome(str(error), is_error=True)
        return refused or self._change(work)

    def view(self, arguments: Mapping[str, Any]) -> Outcome:
        """Shows a file with line numbers, or a folder two levels deep. Reads elsewhere are plain errors."""
        try:
            path = self._path(arguments)
            entry = self.files.stat(path)
            if entry is None:
                raise MissingFile(f"{path} does not exist.")
            return Outcome(self._folder(path) if entry.kind == "dir" else self._file(path, entry, arguments.get("view_range")))
        except (BadInput, PathRefused, SetupError) as error:
            return Outcome(str(error), is_error=True)

    def _change(self, work: Callable[[_Stage], str]) -> Outcome:
        """Runs `work` on a fresh stage; everything it staged is checked and written, or nothing is."""
        stage = _Stage(self.files)
        try:
            text = work(stage)
            stage.check()
            touched = stage.commit()
        except PathRefused as error:
            return Outcome(str(error), is_error=True, refused=(error.path,))
        except (BadInput, SetupError) as error:
            return Outcome(str(error), is_error=True)
        return Outcome(text, touched=touched)

    def _path(self, arguments: Mapping[str, Any]) -> str:
        return self._relative(_text(arguments, "path"))

    def _relative(self, path: str) -> str:
        """The path below the worktree, "" for the worktree itself; what isn't below it stays as it is, to be refused."""
        for root in self.roots:
            if path == root or path.startswith(f"{root}/"):
                path = path[len(root) :].lstrip("/")
                break
        while path.startswith("./"):
            path = path[2:].lstrip("/")
        return path.rstrip("/") if path not in ("/", ".") else path.strip(".")

    def _create(self, stage: _Stage, arguments: Mapping[str, Any]) -> str:
        path, text = self._path(arguments), _text(arguments, "file_text")
        old = stage.load(path)
        if old is not None and _decode(path, old).count("\n") > REWRITE_LINES:
            raise BadInput(f"{path} exists and has more than {REWRITE_LINES} lines; change it with str_replace or insert.")
        stage.put(path, text)
        return f"{'Created' if old is None else 'Rewrote'} {path}."

    def _str_replace(self, stage: _Stage, arguments: Mapping[str, Any]) -> str:
        path, old, new = self._path(arguments), _text(arguments, "old_str"), _text(arguments, "new_str", default="")
        done = _applied(path, apply(stage.text(path), Edit(old, new)))
        stage.put(path, done.text)
        return f"Edited {path}{_result(done)}"

    def _insert(self, stage: _Stage, arguments: Mapping[str, Any]) -> str:
        path, at = self._path(arguments), arguments.get("insert_line")
        # text_editor_20250728 says insert_text; earlier versions, and models that remember them, say new_str.
        new = _text(arguments, "insert_text" if "insert_text" in arguments else "new_str")
        document = Document.parse(stage.text(path))
        if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at <= len(document.lines):
            raise BadInput(f"insert_line must be a number from 0 to {len(document.lines)}, the number of lines of {path}.")
        lines = new.replace("\r\n", "\n").removesuffix("\n").split("\n")
        document.put(at, at, lines)
        text = document.render()
        stage.put(path, text)
        return f"Edited {path}, lines {at + 1}-{at + len(lines)}."

    def _parsed(self, arguments: Mapping[str, Any]) -> tuple[FileEdit, ...]:
        """The call's file edits, with paths relative to the worktree."""
        whole = arguments.get("patch", arguments.get("input"))
        operation = arguments.get("operation", arguments)
        if isinstance(whole, str):
            edits = parse_patch(whole)
        elif isinstance(operation, Mapping):
            edits = (parse_operation(operation),)
        else:
            raise BadInput("The call has neither an operation nor a patch.")
        return tuple(
            FileEdit(
                edit.kind,
                self._relative(edit.path),
                edit.content,
                edit.edits,
                self._relative(edit.move_to) if edit.move_to is not None else None,
            )
            for edit in edits
        )

    def _refusals(self, edits: tuple[FileEdit, ...]) -> Outcome | None:
        """All paths of a patch that may not be written, so that the answer names each of them."""
        refused: list[PathRefused] = []
        for path in dict.fromkeys(path for edit in edits for path in (edit.path, edit.move_to) if path is not None):
            try:
                self.files.read(path)
            except PathRefused as error:
                refused.append(error)
            except (BadInput, SetupError):
                continue  # a mistake is reported where it is met
        if not refused:
            return None
        return Outcome("\n".join(map(str, refused)), is_error=True, refused=tuple(error.path for error in refused))

    def _file_edit(self, stage: _Stage, edit: FileEdit) -> str:
        if edit.kind == "delete":
            stage.delete(edit.path)
            return f"Deleted {edit.path}."
        if edit.kind == "create":
            if stage.load(edit.path) is not None:
                raise BadInput(f"{edit.path} exists already; update it instead.")
            stage.put(edit.path, edit.content)
            return f"Created {edit.path}."
        text, note = stage.text(edit.path), ""
        if edit.edits:
            done = _applied(edit.path, apply_in_order(text, edit.edits))
            text, note = done.text, _how(done)
        if edit.move_to is None or edit.move_to == edit.path:
            stage.put(edit.path, text)
            return f"Edited {edit.path}{note}."
        if stage.load(edit.move_to) is not None:
            raise BadInput(f"{edit.move_to} exists already; nothing can be moved there.")
        stage.move(edit.path, edit.move_to, text)
        return f"Moved {edit.path} to {edit.move_to}{note}."

    def _folder(self, path: str) -> str:
        """Two levels, without what is hidden and without node_modules, as the tool's users expect it."""
        entries = self.files.list(path, 2, skip=lambda name: name.startswith(".") or name == "node_modules")
        marks = {"dir": "/", "link": " (link)"}
        lines = [f"{path or '.'}/", *(_printable(entry.path) + marks.get(entry.kind, "") for entry in entries)]
        shown, room = [], VIEW_CHARS
        for line in lines[: VIEW_LINES + 1]:
            room -= len(line) + 1
            if room < 0:
                break
            shown.append(line)
        if len(shown) < len(lines) or len(entries) == MAX_ENTRIES:
            shown.append("(There are more entries; view a folder below to see them.)")
        return "\n".join(shown)

    def _file(self, path: str, entry: Entry, view_range: object) -> str:
        data = self.files.read(path)
        try:
            lines = Document.parse(_decode(path, data)).lines
        except BadInput:
            return f"{path}: {entry.size} bytes, {_kind_of(data)}; not shown."
        first, last = _range(view_range, len(lines))
        return _numbered(lines, first, last) if lines else f"{path} is empty."


def _text(arguments: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = arguments.get(name, default)
    if value is None and default is not None:
        value = default
    if not isinstance(value, str):
        raise BadInput(f"The argument {name} is missing or not a text.")
    return value


def _decode(path: str, data: bytes) -> str:
    """The text of a file; BadInput if it isn't UTF-8 text. A byte order mark stays, as U+FEFF."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text and can't be edited.") from error
    if "\0" in text:
        raise BadInput(f"{path} is a binary file and can't be edited.")
    return text


def _kind_of(data: bytes) -> str:
    """A word for what a file that isn't text may be, by its first bytes."""
    found = [kind for start, kind in _MAGIC.items() if data.startswith(start)]
    return found[0] if found else "binary" if b"\0" in data else "text that isn't UTF-8"


def _applied(path: str, done: Applied | Rejected) -> Applied:
    if isinstance(done, Rejected):
        raise BadInput(f"{path}: {done.reason} Nothing was written.")
    return done


def _how(done: Applied) -> str:
    return "" if done.level == "exact" else f" (the quoted lines differed from the file's; matched by level '{done.level}')"


def _result(done: Applied) -> str:
    """Where the edit was made. Only where the quotation was not exact does the model need to see what came of it."""
    if done.level == "exact":
        return f", lines {done.first}-{done.last}."
    return f"{_how(done)}.\n{_excerpt(done.text, done.first, done.last)}"


def _excerpt(text: str, first: int, last: int) -> str:
    """The lines of an edit and some around it, so that the model sees what came of it."""
    lines = Document.parse(text).lines
    if not lines:
        return "(The file is empty now.)"
    start, stop = max(first - _AROUND, 1), min(last + _AROUND, len(lines))
    return _numbered(lines, start, min(stop, start + 40), hint=False)


def _numbered(lines: list[str], first: int, last: int, *, hint: bool = True) -> str:
    """Lines first..last (from 1) as `cat -n` prints them, within the limits of a view."""
    shown: list[str] = []
    room = VIEW_CHARS
    for number in range(first, min(last, first + VIEW_LINES - 1) + 1):
        line = f"{number:6}\t{lines[number - 1]}"
        if len(line) >= room:
            if not shown:
                shown.append(f"{line[:room]} (line {number} has {len(lines[number - 1])} characters; cut)")
            break
        shown.append(line)
        room -= len(line) + 1
    end = first + len(shown) - 1
    if hint and end < last:
        shown.append(
            f"(Lines {first} to {end} of {len(lines)}; for more use view_range [{end + 1}, {min(end + VIEW_LINES, last)}].)"
        )
    return "\n".join(shown)


def _range(view_range: object, count: int) -> tuple[int, int]:
    """The lines to show, from 1; -1 as the end means the last one."""
    if view_range is None:
        return 1, count
    if not isinstance(view_range, list | tuple) or len(view_range) != 2 or not all(type(edge) is int for edge in view_range):
        raise BadInput("view_range must be two whole numbers: the first and the last line.")
    first, last = view_range
    last = count if last == -1 else last
    if not 1 <= first <= max(count, 1) or last < first:
        raise BadInput(f"view_range must lie within lines 1 to {count}, the first before the last.")
    return first, min(last, count)


def _printable(name: str) -> str:
    """A file's name as bytes gave it, without what a terminal or a JSON encoder chokes on."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
