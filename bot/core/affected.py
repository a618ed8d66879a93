"""Which tests a change can make fail, from what they ran before it.

A changed block of a function concerns the tests that ran it. A changed statement of a module or class concerns the names that it
binds: every block and statement that mentions one, anywhere in the repository, and so on with what those bind. What this cannot
follow runs everything. Files as data after Ekstazi (Gligoric et al., ISSTA 2015), functions by their text after pytest-testmon.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from bot.core.changeset import decoded
from bot.core.coverage_map import Block, CoverageMap
from bot.core.outline import Outline, Statement, is_text, outline
from bot.core.policy import is_test, is_test_support, needs_owner, steers_tests
from bot.core.reports import FileChange

PROSE = (".md", ".rst", ".txt")
CODE = (".py", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".go", ".rs", ".java", ".kt")
CORE_FILES = ("__init__", "setup", "pyproject.toml", "config", "settings", "base", "main")
MOST = 0.7
"""Above this share of the suite's tests, and of its time, a selection saves too little to be worth its risk."""
LABELS = 3


@dataclass(frozen=True, slots=True)
class FullRun:
    """What makes all tests run, whatever a map says: a changed file of one of these names, with or without its ending, more than
    so many changed files, or, where two or more changed, more than so many percent of the source files."""

    core_files: tuple[str, ...] = CORE_FILES
    above_files: int = 10
    above_percent: int = 15

    def reason(self, changed: Sequence[str], files: Iterable[str]) -> str:
        """Why all tests have to run after a change of the paths `changed` among `files`; empty where they need not."""
        code = [path for path in changed if not is_prose(path)]
        for path in code:
            if core := next((name for name in self.core_files if name in _called(path)), ""):
                return f"{path} is a core file ({core})"
        if len(code) > self.above_files:
            return f"{len(code)} files changed, more than {self.above_files}"
        sources, source = (sum(path.endswith(CODE) and not is_test(path) for path in paths) for paths in (files, code))
        if source > 1 and source * 100 > self.above_percent * sources:
            return f"{source} of {sources} source files changed, more than {self.above_percent} %"
        return ""


@dataclass(frozen=True, slots=True)
class Affected:
    """`items` are test ids and whole files of tests, those first that are likely to fail; empty with `everything`, and where no
    test ran what changed. `why` says it in a few words, `share` is the part of the suite's recorded time."""

    everything: bool
    items: tuple[str, ...]
    why: str
    share: float


class _EverythingError(Exception):
    """All tests have to run; says why."""


def affected(
    known: CoverageMap,
    changes: Sequence[FileChange],
    sources: Mapping[str, str],
    rules: FullRun | None = None,
    first: Iterable[str] = (),
) -> Affected:
    """The tests that `changes`, to the tree that `known` is of, can make fail.

    `sources` are the Python files after the change by path, `first` texts that name tests to run before others.
    """
    if rules and (why := rules.reason([change.path for change in changes], sources)):
        return Affected(True, (), why, 1.0)
    if all(is_test_support(path) or steers_tests(path) for path in known.files):
        return Affected(True, (), "the tests are not known to import anything of the repository", 1.0)
    try:
        found = _Search(known, sources)
        for change in changes:
            found.change(change)
        found.follow()
    except _EverythingError as reason:
        return Affected(True, (), str(reason), 1.0)
    return _answer(known, found, tuple(first))


def sampled(tests: Iterable[str], seed: str, percent: int = 10) -> tuple[str, ...]:
    """So many percent of `tests`, rounded up, in an order that only `seed` decides."""
    drawn = sorted(tests, key=lambda test: hashlib.sha256(f"{seed}\0{test}".encode(errors="surrogatepass")).digest())
    return tuple(drawn[: -(-len(drawn) * percent // 100)])


def is_prose(path: str) -> bool:
    """Whether a file is there to be read by people."""
    return path.endswith(PROSE) or path.startswith(("docs/", "doc/"))


@dataclass(slots=True)
class _Search:
    known: CoverageMap
    sources: Mapping[str, str]
    tests: int = 0
    files: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    local: dict[str, set[str]] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)
    outlines: dict[str, Outline] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tests = self.known.opaque

    # --- what changed ---

    def change(self, change: FileChange) -> None:
        path, known = change.path, self.known
        if change.new_mode not in ("100644", "100755") or change.old_mode not in ("100644", "100755", "000000"):
            raise _EverythingError(f"{path} was removed, or is no plain file")
        if steers_tests(path) or needs_owner(path):
            raise _EverythingError(f"{path} decides how the tests run")
        if path in known.opened:
            self._take(known.opened[path], path)
        if change.before is None:
            self._take(known.opened.get(path.rpartition("/")[0] + "/", 0), path)
        if path.endswith(".py"):
            self._python(change)
        elif path not in known.opened and not is_prose(path):
            raise _EverythingError(f"no test is known to open {path}")

    def _python(self, change: FileChange) -> None:
        path = change.path
        if path in self.known.unseen:
            raise _EverythingError(f"{path} was imported before the recorder saw it")
        if is_test(path):
            self.files.append(path)
        after = outline(decoded(change.after) or "")
        before = outline(decoded(change.before) or "") if change.before is not None else outline("")
        if before is None or after is None:
            raise _EverythingError(f"{path} cannot be parsed")
        if change.before is None:
            self.names.add(path.rpartition("/")[2].removesuffix(".py"))
            return
        both = before.functions.keys() & after.functions.keys()
        for name in before.changed(after):
            self._block((path, name))
        for statement, is_new in _different(before.statements, after.statements):
            self._take(self.known.ran.get((path, ""), 0), path)
            if statement.kind == "def" and statement.qualified in both:
                self._take(self.known.ran.get((path, statement.qualified), 0), statement.qualified)
                self.names.add(statement.name)
            else:
                self._statement(path, statement, after if is_new else before, is_new)

    def _block(self, block: Block) -> None:
        """The tests that ran it, and the callers of functions that keep what it gave them."""
        name = block[1].partition(":")[0]
        if block in self.known.everyone:
            raise _EverythingError(f"{name} ran for all tests")
        self._take(self.known.ran.get(block, 0), name)
        for keeper, inside in self.known.kept.items():
            if block in inside or block == keeper:
                self.names.add(_last(keeper[1]))
        for path, inside in self.known.imported.items():
            if block in inside and path not in self.modules:
                self._module(path, name)

    def _module(self, path: str, function: str) -> None:
        """The import of a file ran what changed in a function: what the file gives to others may be another."""
        self.modules.add(path)
        if path not in self.sources or steers_tests(path) or path.endswith("__init__.py"):
            raise _EverythingError(f"{function} ran while {path} was imported")
        self._take(self._ran_of(path, ""), function)
        for statement in self._outline(path).statements:
            if not statement.owner and statement.kind not in ("Import", "ImportFrom", "main"):
                self.names |= statement.binds

    def _statement(self, path: str, statement: Statement, around: Outline, new: bool) -> None:
        """A statement that is gone, new or another."""
        if statement.kind in ("main", "Pass"):
            return
        if path.endswith("__init__.py"):
            raise _EverythingError(f"what {path} defines changed")
        if "*" in statement.binds or (not statement.binds and not is_test(path) and not _is_text(statement)):
            raise _EverythingError(f"a statement of {path} changed that binds no name")
        if statement.kind in ("Import", "ImportFrom") and new:
            self.local.setdefault(path, set()).update(statement.binds)
            return
        self.names |= statement.binds if statement.binds else {"__doc__"}
        if statement.owner or statement.kind == "class":
            self._class(path, statement, around)
        elif statement.name == "__getattr__":
            raise _EverythingError(f"{path} answers for names that it does not hold")
        elif statement.kind != "def":
            self._take(self._ran_of(path, ""), path)

    def _class(self, path: str, statement: Statement, around: Outline) -> None:
        """A class, or something in it: whoever ran a method. Where others may look at the class as a whole, whoever names it."""
        owner = statement.qualified if statement.kind == "class" else statement.owner
        head = next((one for one in around.statements if one.kind == "class" and owner == one.qualified), None)
        if statement.kind == "def":  # it may hide an inherited one, or have hidden it
            for (_, name), tests in self.known.ran.items():
                if _last(name) == statement.name:
                    self._take(tests, "")
        self._take(self._ran_of(path, f"{owner}."), owner)
        dunder = any(name.startswith("__") for name in statement.binds)
        if statement.kind == "class" or dunder or head is None or head.code.parts:
            self.names.add(_last(owner))

    def _ran_of(self, path: str, prefix: str) -> int:
        """The tests that ran any function of a file whose qualified name begins so."""
        found = 0
        for (where, name), tests in self.known.ran.items():
            if where == path and name.startswith(prefix):
                found |= tests
        return found

    def _take(self, tests: int, label: str) -> None:
        self.tests |= tests
        if tests and label and label not in self.labels:
            self.labels.append(label)

    # --- who mentions it ---

    def follow(self) -> None:
        """Take what mentions a changed name until nothing more is found."""
        while new := self.names - self.seen:
            self.seen |= new
            words = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(new)))})\b")
            for path, text in self.sources.items():
                if words.search(text):
                    self._mentions(path, frozenset(new))
        for path, names in self.local.items():
            self._mentions(path, frozenset(names), binding=False)
        if self.names - self.seen:
            self.follow()

    def _mentions(self, path: str, names: frozenset[str], *, binding: bool = True) -> None:
        made = self._outline(path)
        for block in made.mentioning(names):
            self._block((path, block))
        for statement in made.statements:
            used = statement.uses.mentions(names) if statement.kind not in ("main", "Import", "ImportFrom") else None
            if not used:
                continue
            if not statement.binds and not _is_text(statement) and binding and not is_test(path):
                raise _EverythingError(f"a statement of {path} uses {min(used)} and binds no name")
            self.names |= statement.binds
            name = statement.qualified
            self._take(self._ran_of(path, f"{name}.") | self.known.ran.get((path, name), 0) if statement.name else 0, "")
            if statement.owner and not statement.name:
                self.names.add(_last(statement.owner))
            if is_test(path) and not statement.name and path not in self.files:
                self.files.append(path)

    def _outline(self, path: str) -> Outline:
        if path not in self.outlines:
            made = outline(self.sources[path])
            if made is None:
                raise _EverythingError(f"{path} cannot be parsed")
            self.outlines[path] = made
        return self.outlines[path]


def _different(before: Sequence[Statement], after: Sequence[Statement]) -> Iterator[tuple[Statement, bool]]:
    """The statements that went and those that came, the latter marked. What moved both went and came."""
    while before and after and _same(before[0], after[0]):
        before, after = before[1:], after[1:]
    while before and after and _same(before[-1], after[-1]):
        before, after = before[:-1], after[:-1]
    old, new = ([(one.owner, one.kind, one.name, one.code.text) for one in side] for side in (before, after))
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            yield from ((one, False) for one in before[a:b])
            yield from ((one, True) for one in after[c:d])


def _same(one: Statement, other: Statement) -> bool:
    return (one.owner, one.kind, one.name) == (other.owner, other.kind, other.name) and one.code.same(other.code)


def _is_text(statement: Statement) -> bool:
    return statement.kind == "Expr" and is_text(statement.code.parts[0])


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _called(path: str) -> tuple[str, str]:
    name = path.rpartition("/")[2]
    return name, name.partition(".")[0] if name.endswith(CODE) else name


def _answer(known: CoverageMap, found: _Search, first: tuple[str, ...]) -> Affected:
    by_file: dict[str, list[str]] = {}
    for test in known.tests:
        by_file.setdefault(_file(test), []).append(test)
    chosen = {file: tests for file, tests in by_file.items() if file in found.files}
    for at, test in enumerate(known.tests):
        if found.tests >> at & 1 and _file(test) not in found.files:
            chosen.setdefault(_file(test), []).append(test)
    seconds = dict(zip(known.tests, known.seconds, strict=True))
    count, total = sum(map(len, chosen.values())), sum(known.seconds) or 1.0
    share = sum(seconds[test] for tests in chosen.values() for test in tests) / total
    if share > MOST and count > MOST * len(known.tests):
        return Affected(True, (), f"{count:,} of {len(known.tests):,} tests ran what changed", 1.0)
    chosen |= {file: [] for file in found.files if file not in chosen}
    stems = [_last(path.removesuffix(".py").replace("/", ".")).lower() for path in found.labels]

    def order(file: str) -> tuple[bool, bool, bool]:
        named = any(name in text for text in first for name in (file, *chosen[file]))
        return file not in found.files, not named, not any(stem in file for stem in stems)

    items: list[str] = []
    for file in sorted(chosen, key=order):
        items += [file] if file in found.files or len(chosen[file]) == len(by_file[file]) else chosen[file]
    ran = ", ".join(found.labels[:LABELS]) + (" …" if len(found.labels) > LABELS else "")
    why = f"{count:,} of {len(known.tests):,} tests" + (f": they ran {ran}" if ran else "")
    return Affected(False, tuple(items), why if items else "no test ran what changed", share)


def _file(test: str) -> str:
    return test.partition("::")[0]
