"""Who chooses which tests run after a change: Ostler's map, pytest-testmon, and the static graph of imports."""

from __future__ import annotations

import ast
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from bench.mutants import Mutant
from bench.suites import NOT_RUN, Ran, Tree
from bot.core.affected import FullRun, affected
from bot.core.coverage_map import CoverageMap, read_map
from bot.core.policy import is_test
from bot.core.reports import NO_BLOB, FileChange
from bot.workspace.toolchains import recorder

OSTLER, TESTMON, CLOSURE = "ostler", "testmon", "import-closure"
RULES = FullRun(core_files=(), above_percent=100)
"""The map alone: in the product, a change of `config.py` or `base.py` runs everything, whatever the map says."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a selector did with a mutant. `ran` is None where it chose the whole suite, which was not run once more for it."""

    ran: Ran | None
    why: str
    seconds: float = 0.0
    cpu: float = 0.0
    """What choosing took, where that is not a part of the run."""


class Selector(Protocol):
    def choose(self, tree: Tree, mutant: Mutant, limit: float) -> Choice:
        """Choose, and run what is chosen, in `tree`, which holds the mutant."""
        ...


# --- Ostler -----------------------------------------------------------------------------------------------------------


def record(tree: Tree, place: Path, limit: float) -> tuple[Ran, CoverageMap]:
    """Run the suite and note what each test runs."""
    out = _fresh(tree, "recorded")
    ran = tree.run(place, recorder.recording(out, str(out)), limit=limit, path=(out,))
    notes = out / recorder.NOTES.format("")
    if not notes.exists():
        raise RuntimeError(f"the recorder left no notes: {ran.said[-500:]}")
    return ran, read_map(json.loads(notes.read_text()))


@dataclass(frozen=True, slots=True)
class Ostler:
    place: Path
    known: CoverageMap
    sources: Mapping[str, str]

    def choose(self, tree: Tree, mutant: Mutant, limit: float) -> Choice:
        change = FileChange(
            mutant.path, "modify", "100644", "100644", NO_BLOB, "1" * 40, mutant.before.encode(), mutant.text.encode()
        )
        began, computed = time.monotonic(), time.thread_time()
        found = affected(self.known, [change], {**self.sources, mutant.path: mutant.text}, rules=RULES)
        spent = time.monotonic() - began, time.thread_time() - computed
        if found.everything:
            return Choice(None, found.why, *spent)
        if not found.items:
            return Choice(NOT_RUN, found.why, *spent)
        out = _fresh(tree, "chosen")
        ran = tree.run(self.place, recorder.only(out, str(out), found.items), limit=limit, path=(out,))
        return Choice(ran, found.why, *spent)


def _fresh(tree: Tree, name: str) -> Path:
    out = tree.plugins.parent / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return out


# --- testmon ----------------------------------------------------------------------------------------------------------

DATABASE = ".testmondata"


def build(tree: Tree, place: Path, limit: float) -> tuple[Ran, bytes | None]:
    """Run the suite and have testmon fill its database; None where that breaks pytest."""
    (tree.root / DATABASE).unlink(missing_ok=True)
    ran = tree.run(place, ("--testmon",), limit=limit, cache=True)
    data = (tree.root / DATABASE).read_bytes() if ran.exit in (0, 1) else None
    _clear(tree)
    return ran, data


@dataclass(frozen=True, slots=True)
class Testmon:
    """With a database of the base, which each mutant gets as it was. Where it can make none, everything has to run."""

    place: Path
    data: bytes | None

    def choose(self, tree: Tree, mutant: Mutant, limit: float) -> Choice:
        if self.data is None:
            return Choice(None, "no database")
        (tree.root / DATABASE).write_bytes(self.data)
        ran = tree.run(self.place, ("--testmon",), limit=limit, cache=True)
        _clear(tree)
        if "deactivated" in ran.said:
            raise RuntimeError(f"testmon chose nothing: {ran.said[-300:]}")
        return Choice(ran, "")


def _clear(tree: Tree) -> None:
    for path in tree.root.glob(f"{DATABASE}*"):
        path.unlink()
    shutil.rmtree(tree.root / ".pytest_cache", ignore_errors=True)


# --- import closure ---------------------------------------------------------------------------------------------------


class Closure:
    """Test files from which the changed module can be reached by imports, found in the text, packages and conftest included."""

    def __init__(self, place: Path, root: str, sources: Mapping[str, str]) -> None:
        self.place, self.sources = place, sources
        prefix = "" if root == "." else f"{root}/"
        self._modules = {_dotted(path.removeprefix(prefix)): path for path in sources}
        self._edges = {path: frozenset(self._imports(path, path.removeprefix(prefix))) for path in sources}
        self.tests = tuple(path for path in sources if PurePosixPath(path).name.startswith("test_") and is_test(path))

    def files(self, changed: str) -> tuple[str, ...]:
        """Test files that `changed` concerns."""
        return tuple(path for path in self.tests if changed in self._reached(path))

    def choose(self, tree: Tree, mutant: Mutant, limit: float) -> Choice:
        files = self.files(mutant.path)
        if len(files) == len(self.tests):
            return Choice(None, "all files")
        ran = tree.run(self.place, files, limit=limit) if files else NOT_RUN
        return Choice(ran, f"{len(files)} of {len(self.tests)} files")

    def _reached(self, start: str) -> set[str]:
        folder = PurePosixPath(start).parent
        conftests = {str(parent / "conftest.py") for parent in (folder, *folder.parents)}
        seen: set[str] = set()
        left = [start, *(path for path in conftests if path in self._edges)]
        while left:
            path = left.pop()
            if path not in seen:
                seen.add(path)
                left += self._edges[path]
        return seen

    def _imports(self, path: str, place: str) -> Iterator[str]:
        package = [*PurePosixPath(place).parent.parts]
        for node in ast.walk(ast.parse(self.sources[path])):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._there(alias.name)
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) + 1 - node.level] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                yield from self._there(base)
                for alias in node.names:
                    yield from self._there(f"{base}.{alias.name}")

    def _there(self, name: str) -> Iterator[str]:
        """The files that an import of `name` runs: its packages and itself."""
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            if (path := self._modules.get(".".join(parts[:length]))) is not None:
                yield path


def _dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
