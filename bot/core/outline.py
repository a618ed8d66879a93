"""A Python file as the units in which it changes: bodies of functions, how they are defined, and the other statements."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

Def = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.For, ast.AsyncFor, ast.While, ast.Match)
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
        return "\n".join(map(ast.dump, self.parts))

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
    """`bodies` are those of functions by qualified name; definitions of the same name count together."""

    bodies: dict[str, tuple[Code, ...]]
    statements: tuple[Statement, ...]


def outline(source: str) -> Outline | None:
    """The outline of a file; None where it can't be parsed."""
    try:
        tree = ast.parse(source)
        made = _Maker(LINE_END.split(source))
        made.block(tree.body, "")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return Outline({name: tuple(found) for name, found in made.bodies.items()}, tuple(made.statements))


class _Maker:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.bodies: dict[str, list[Code]] = {}
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
        args = tuple(ast.Constant(arg.arg) for arg in _arguments(node))
        self.bodies.setdefault(name, []).append(Code(self._lines(node), (*args, *_parts(node))))
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


def _blocks(node: ast.AST) -> Iterator[list[ast.AST]]:
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        if isinstance(found := getattr(node, field, None), list):
            yield found


def _definitions(node: ast.AST) -> Iterator[Def | ast.ClassDef]:
    """The functions and classes that stand in a block, not those in them."""
    for body in _blocks(node):
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


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """What runs with a node itself, piece by piece: its blocks without the bodies of functions, and for a function no more."""
    blocks = list(_blocks(node))
    if not isinstance(node, Def):
        for _, value in ast.iter_fields(node):
            if not any(value is block for block in blocks):
                yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, ast.AST))
    for block in blocks:
        yield ast.Constant(f"block of {len(block)}")
        for at, one in enumerate(block):
            if isinstance(one, Def):
                yield from _defined(one)
            elif isinstance(one, ast.ClassDef):
                yield from (*_defined(one), *_parts(ast.Module(one.body, [])))
            elif any(True for _ in _blocks(one)):
                yield ast.Constant(f"{type(one).__name__} ")
                yield from _parts(one)
            elif not (isinstance(node, Def) and at == 0 and is_text(one)):
                yield one


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
            elif isinstance(node, ast.ExceptHandler) and node.name:
                found.add(node.name)
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
