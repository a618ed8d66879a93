"""A Python file as the units in which it changes: blocks of functions, how they are defined, and the other statements."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

Def = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.For, ast.AsyncFor, ast.While, ast.Match)
NAMING = (
    *(ast.Name, ast.alias, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar),
    *(ast.MatchMapping, ast.Global, ast.Nonlocal, ast.Yield, ast.YieldFrom),
)
LISTS = ("body", "orelse", "finalbody")
LINE_END = re.compile(r"\r\n|\r|\n")
WORDS = re.compile(r"[\w.:]+")


@dataclass(frozen=True, slots=True)
class Code:
    """Some of a file's code. `lines` are the lines that it stands in, which hold more where it has parts that don't count."""

    lines: str
    parts: tuple[ast.AST, ...]

    def same(self, other: Code) -> bool:
        """Whether both do the same; layout and comments don't count."""
        return self.lines == other.lines or self.text == other.text

    @property
    def text(self) -> str:
        return _text(self.parts)

    def mentions(self, names: frozenset[str]) -> frozenset[str]:
        """Those of `names` that it mentions, also in text that is made of nothing but names, dots and colons."""
        if not any(name in self.lines for name in names):
            return frozenset()
        return names & _names(self.parts)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that runs when the file is imported. `owner` is the class that it stands in, empty at the top; `binds` are the
    names that it gives a value. A `def` counts with its decorators, defaults, annotations and docstring, a `class` with its
    bases; their bodies are units of their own. `uses` is what of it can pass on a change of what it mentions."""

    owner: str
    kind: str
    name: str
    code: Code
    binds: frozenset[str]
    uses: Code

    @property
    def qualified(self) -> str:
        return f"{self.owner}.{self.name}" if self.owner else self.name


@dataclass(frozen=True, slots=True)
class Outline:
    """`functions` are all of a file by qualified name, each with its one node; those of the same name count together."""

    functions: dict[str, list[Code]]
    statements: tuple[Statement, ...]

    def changed(self, after: Outline) -> Iterator[str]:
        """The blocks that are others `after`, or are in one of the two only; some come twice."""
        for name in self.functions.keys() | after.functions.keys():
            old, new = self.functions.get(name, []), after.functions.get(name, [])
            if [code.lines for code in old] != [code.lines for code in new]:
                yield from _changed(name, old, new)

    def mentioning(self, names: frozenset[str]) -> Iterator[str]:
        """The blocks that mention any of `names`."""
        for name, codes in self.functions.items():
            for code in codes:
                if any(one in code.lines for one in names):
                    yield from (block for block, parts in blocks(name, code) if names & _names(parts))


def blocks(name: str, function: Code) -> Iterator[tuple[str, list[ast.AST]]]:
    """The blocks of a function by name, each with what of it is in no other.

    The first has the name of the function and runs whenever that does. Each list of statements in a statement is another, and so
    is what follows such a statement: numbered through the list that holds them, `f:1`, and those in them below that, `f:1:2`.
    Where a block is the same in two texts, blocks below it of the same name stand in the same place, and only it leads there.
    """
    node = function.parts[0]
    if isinstance(node, Def):
        arguments: list[ast.AST] = [ast.Constant(one.arg) for one in _arguments(node)]
        yield from _blocks(name, arguments, node.body[1:] if is_text(node.body[0]) else node.body)


def _blocks(name: str, parts: list[ast.AST], body: Sequence[ast.stmt]) -> Iterator[tuple[str, list[ast.AST]]]:
    block, number = name, 0
    for at, node in enumerate(body):
        parts += _parts(node) if isinstance(node, ast.ClassDef) else _own(node)
        before = number
        for inner in _lists(node) if not isinstance(node, Def | ast.ClassDef) else ():
            number += 1
            yield from _blocks(f"{name}:{number}", [], inner)
        if number > before and at + 1 < len(body):
            number += 1
            yield block, [*parts, ast.Constant("and more")]
            block, parts = f"{name}:{number}", []
    yield block, parts


def _changed(name: str, old: Sequence[Code], new: Sequence[Code]) -> Iterator[str]:
    """The blocks of a function that changed. Its first is among them where what holds for all of it did."""
    if [*map(_scope, old)] != [*map(_scope, new)]:
        yield name
    before, after = _texts(name, old), _texts(name, new)
    yield from (block for block in before.keys() | after.keys() if before.get(block) != after.get(block))


def _texts(name: str, codes: Iterable[Code]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for code in codes:
        for block, parts in blocks(name, code):
            found.setdefault(block, []).append(_text(parts))
    return found


def outline(source: str) -> Outline | None:
    """The outline of a file; None where it can't be parsed."""
    try:
        tree = ast.parse(source)
        made = _Maker(LINE_END.split(source))
        made.block(tree.body, "")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return Outline(made.functions, tuple(made.statements))


class _Maker:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.functions: dict[str, list[Code]] = {}
        self.statements: list[Statement] = []

    def block(self, body: Sequence[ast.stmt], owner: str) -> None:
        """Statements of a module, or of a class by its qualified name."""
        prefix = f"{owner}." if owner else ""
        for node in body:
            if isinstance(node, Def):
                self._function(node, prefix)
                self._add(owner, "def", node, _defined(node), {node.name}, _passing(node))
            elif isinstance(node, ast.ClassDef):
                self._add(owner, "class", node, _defined(node), {node.name})
                self.block(node.body, f"{prefix}{node.name}")
            elif isinstance(node, BLOCKS):
                self._compound(node, prefix, owner)
            else:
                self._add(owner, type(node).__name__, node, (node,), _binds((node,)))

    def _compound(self, node: ast.stmt, prefix: str, owner: str) -> None:
        """A branch or loop: one statement; the functions and classes in it are units as elsewhere."""
        inner = list(_definitions(node))
        own = tuple(_parts(node))
        kind = "main" if _is_main(node) else type(node).__name__
        self._add(owner, kind, node, own, _binds(own) | {one.name for one in inner})
        for one in inner:
            if isinstance(one, Def):
                self._function(one, prefix)
            else:
                self.block(one.body, f"{prefix}{one.name}")

    def _function(self, node: Def, prefix: str) -> None:
        name = f"{prefix}{node.name}"
        self.functions.setdefault(name, []).append(Code(self._lines(node), (node,)))
        for inner in _definitions(node):
            if isinstance(inner, Def):
                self._function(inner, f"{name}.<locals>.")
            else:
                for before, method in _methods(inner):
                    self._function(method, f"{name}.<locals>.{before}")

    def _add(
        self,
        owner: str,
        kind: str,
        node: ast.stmt,
        parts: tuple[ast.AST, ...],
        binds: Iterable[str],
        uses: tuple[ast.AST, ...] | None = None,
    ) -> None:
        name = node.name if isinstance(node, Def | ast.ClassDef) else ""
        lines = self._lines(node) if not isinstance(node, ast.ClassDef) else "\n".join(map(ast.dump, parts))
        code = Code(lines, parts)
        self.statements.append(Statement(owner, kind, name, code, frozenset(binds), code if uses is None else Code(lines, uses)))

    def _lines(self, node: ast.stmt) -> str:
        first = min((node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", ()))))
        return "\n".join(self.lines[first - 1 : node.end_lineno])


def _text(parts: Iterable[ast.AST]) -> str:
    return "\n".join(map(ast.dump, parts))


def is_text(node: ast.AST) -> bool:
    """Whether a statement is nothing but text, as docstrings are."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _arguments(node: Def) -> list[ast.arg]:
    args = node.args
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]


def _defined(node: Def | ast.ClassDef) -> tuple[ast.AST, ...]:
    """What of a definition runs where it stands."""
    if isinstance(node, ast.ClassDef):
        return (*node.decorator_list, *node.bases, *node.keywords)
    parts: list[ast.AST | None] = [ast.Constant(f"{type(node).__name__} {node.name}"), *node.decorator_list]
    parts += [*node.args.defaults, *node.args.kw_defaults, *(arg.annotation for arg in _arguments(node)), node.returns]
    parts += node.body[:1] if is_text(node.body[0]) else []
    return tuple(part or ast.Constant(None) for part in parts)


def _passing(node: Def) -> tuple[ast.AST, ...]:
    """What of a definition passes a change on: annotations only where a decorator may look at them."""
    return _defined(node) if node.decorator_list else (*node.args.defaults, *filter(None, node.args.kw_defaults))


def _lists(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The lists of statements in a node, in the recorder's order."""
    for part in (node, *getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        for field in LISTS:
            if isinstance(found := getattr(part, field, None), list) and found:
                yield found


def _definitions(node: ast.AST) -> Iterator[Def | ast.ClassDef]:
    """The functions and classes that stand in a block, not those in them."""
    for body in _lists(node):
        for one in body:
            if isinstance(one, Def | ast.ClassDef):
                yield one
            else:
                yield from _definitions(one)


def _methods(node: ast.ClassDef) -> Iterator[tuple[str, Def]]:
    """The functions of a local class, each with what stands before its own name."""
    for one in _definitions(node):
        if isinstance(one, Def):
            yield f"{node.name}.", one
        else:
            yield from ((f"{node.name}.{before}", inner) for before, inner in _methods(one))


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """What of a statement runs with it itself: all but the lists of statements in it, but which of those there are."""
    if isinstance(node, Def | ast.ClassDef):
        yield from _defined(node)
        return
    if not any(_lists(node)):
        yield node
        return
    for part in (node, *getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield ast.Constant(f"{type(part).__name__}: {', '.join(field for field in LISTS if getattr(part, field, None))}")
        for field, value in ast.iter_fields(part):
            if field not in (*LISTS, "handlers", "cases"):
                some = value if isinstance(value, list) else [value]
                yield from (one if isinstance(one, ast.AST) else ast.Constant(f"as {one}") for one in some)


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """What runs with a node, piece by piece, without the bodies of functions."""
    yield from _own(node)
    for block in _lists(node) if not isinstance(node, Def) else ():
        yield ast.Constant(f"block of {len(block)}")
        for one in block:
            yield from _parts(one)


def _scope(function: Code) -> set[str]:
    """What holds for all of a function, wherever it stands: which names are local, and whether it yields."""
    found = set()
    for node in ast.walk(function.parts[0]):
        if isinstance(node, NAMING) and not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)):
            names = [getattr(node, field, None) for field in ("id", "name", "asname", "rest", "names")]
            found.add(f"{type(node).__name__} {names}")
    return found


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test).replace('"', "'") == "__name__ == '__main__'"


def _binds(parts: Iterable[ast.AST]) -> set[str]:
    """Names that statements give a value; `*` is a star import."""
    found: set[str] = set()
    for part in parts:
        for node in ast.walk(part):
            if isinstance(node, ast.alias):
                found.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
                found |= _names((node,))
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
                found |= _names((node.value,))
    return found


def _names(parts: Iterable[ast.AST]) -> set[str]:
    found: set[str] = set()
    for part in parts:
        for node in ast.walk(part):
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.alias):
                found.update(node.name.split("."))
            elif isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and WORDS.fullmatch(node.value):
                found.update(re.split(r"[.:]", node.value))
    return found
