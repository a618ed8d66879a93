"""Who applies an edit: Ostler by both its tools, and beside it the exact quotation, a first-match ladder, and aider's own code.

Each takes a case and says what became of the file's text, None where it refused.
"""

from __future__ import annotations

import json
import subprocess
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.corpus import Source
from bench.damages import Case
from bot.workspace.editor import Editor, Outcome
from bot.workspace.files import Beneath


class Ostler:
    """Ostler's editor in a folder, as a run calls it: the file is read, edited, checked for its syntax and written."""

    def __init__(self, folder: Path, tool: str) -> None:
        self.tool = tool
        self._folder = folder
        folder.mkdir()
        self._editor = Editor(Beneath(folder))
        self._there: dict[str, str] = {}

    def __call__(self, case: Case) -> tuple[str | None, float]:
        """The file's text afterwards and the CPU seconds it took."""
        path = self._folder / case.source.path
        self._lay(case.source, path)
        began = time.process_time()
        done = self._call(case)
        taken = time.process_time() - began
        if done.is_error:
            return None, taken
        self._there.pop(case.source.path)
        return path.read_bytes().decode(), taken

    def _call(self, case: Case) -> Outcome:
        if self.tool == "apply_patch":
            return self._editor.apply_patch({"patch": case.patch})
        texts = {"old_str": case.search, "new_str": case.replace}
        return self._editor.text_editor({"command": "str_replace", "path": case.source.path, **texts})

    def _lay(self, source: Source, path: Path) -> None:
        if self._there.get(source.path) is not source.text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.text.encode())
            self._there[source.path] = source.text


def exact_unique(case: Case) -> str | None:
    """The characters as quoted, if they occur once."""
    text = case.source.text
    return text.replace(case.search, case.replace, 1) if text.count(case.search) == 1 else None


_PUNCTUATION = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
}
_LENIENT: tuple[Callable[[str], str], ...] = (
    str,
    str.rstrip,
    str.strip,
    lambda line: "".join(_PUNCTUATION.get(char, " " if unicodedata.category(char) == "Zs" else char) for char in line.strip()),
)


def first_match(case: Case) -> str | None:
    """Line by line, ever more lenient, the first place taken and all lines written as they were typed (evidence 2.3)."""
    lines, old = case.source.text.split("\n"), case.search.removesuffix("\n").split("\n")
    new = case.replace.removesuffix("\n").split("\n") if case.replace else []
    for key in _LENIENT:
        keys, wanted = [key(line) for line in lines], [key(line) for line in old]
        for at in range(len(keys) - len(wanted) + 1):
            if keys[at : at + len(wanted)] == wanted:
                return "\n".join([*lines[:at], *new, *lines[at + len(wanted) :]])
    return None


_WORKER = """
import json, sys, time
from aider.coders.editblock_coder import do_replace
for line in sys.stdin:
    asked = json.loads(line)
    began = time.process_time()
    text = do_replace(asked["path"], asked["text"], asked["search"], asked["replace"], ("```", "```"))
    print(json.dumps({"text": text or None, "seconds": time.process_time() - began}), flush=True)
"""


@contextmanager
def aider(place: Path) -> Iterator[Callable[[Case], tuple[str | None, float]]]:
    """aider's `do_replace`, which its search/replace format applies each block with, in its own environment at `place`.

    An empty result counts as refused there, and so it does here.
    """
    command = [str(place / "bin" / "python"), "-I", "-c", _WORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:

        def apply(case: Case) -> tuple[str | None, float]:
            replace = case.replace if not case.replace or case.replace.endswith("\n") else f"{case.replace}\n"
            search = case.search if case.search.endswith("\n") else f"{case.search}\n"
            asked = {"path": case.source.path, "text": case.source.text, "search": search, "replace": replace}
            answer = _ask(worker, asked)
            return answer["text"], answer["seconds"]

        yield apply
        if worker.stdin is not None:
            worker.stdin.close()


def _ask(worker: subprocess.Popen[str], asked: Mapping[str, str]) -> dict[str, Any]:
    """One line there, one line back."""
    if worker.stdin is None or worker.stdout is None:
        raise RuntimeError("aider's process has no pipes")
    worker.stdin.write(json.dumps(asked) + "\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"aider ended at a block of {asked['path']}")
    answer: dict[str, Any] = json.loads(line)
    return answer
