"""A Python file as the units in which it changes: bodies of functions, how they are defined, and the other statements."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

Def = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.For, ast.AsyncFor, ast.While)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that runs when the file is imported. `owner` is the class that it stands in, empty at the top; `binds` are the
    names that it gives a value, `uses` those that it mentions. A `def` counts with its decorators, defaults, annotations and
    docstring, a `class` with its bases; their bodies are units of their own."""

    owner: str
    kind: str
    name: str
    text: str
    binds: frozenset[str]
    uses: frozenset[str]


@dataclass(frozen=True, slots=True)
class Outline:
    """`bodies` and `uses` are by qualified name; definitions of the same name count as one."""

    bodies: dict[str, str]
    uses: dict[str, frozenset[str]]
    statements: tuple[Statement, ...]


def outline(source: str) -> Outline | None:
    """The outline of a file; None where it can't be parsed."""
    try:
        tree = ast.parse(source)
        made = _Maker()
        made.block(tree.body, "", "")
        return Outline(made.bodies, {name: frozenset(found) for name, found in made.uses.items()}, tuple(made.statements))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


class _Maker:
    def __init__(self) -> None:
        self.bodies: dict[str, str] = {}
        self.uses: dict[str, set[str]] = {}
        self.statements: list[Statement] = []

    def block(self, body: Sequence[ast.stmt], prefix: str, owner: str) -> None:
        """Statements of a module or of a class whose qualified name with a dot is `prefix`."""
        for node in body:
            if isinstance(node, Def):
                self.function(node, prefix)
                self._add(owner, "def", node.name, _defined(node), {node.name}, _given(node))
            elif isinstance(node, ast.ClassDef):
                self._add(owner, "class", node.name, _defined(node), {node.name})
                self.block(node.body, f"{prefix}{node.name}.", f"{prefix}{node.name}")
            elif isinstance(node, BLOCKS):
                self._compound(node, prefix, owner)
            else:
                self._add(owner, type(node).__name__, "", (node,), _binds((node,)))

    def _compound(self, node: ast.stmt, prefix: str, owner: str) -> None:
        """A branch or loop: one statement; the functions in it are units as elsewhere."""
        inner = list(_definitions(node))
        own = [part for part in _parts(node) if not isinstance(part, Def)]
        binds = _binds(own) | {one.name for one in inner}
        self._add(owner, "main" if _is_main(node) else type(node).__name__, "", (*own, *map(_shell, inner)), binds)
        for one in inner:
            if isinstance(one, Def):
                self.function(one, prefix)
            else:
                self.block(one.body, f"{prefix}{one.name}.", f"{prefix}{one.name}")

    def function(self, node: Def, prefix: str) -> None:
        name = f"{prefix}{node.name}"
        parts = list(_parts(node))
        args = [arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)]
        own = [part for one in parts for part in ((one,) if not isinstance(one, Def) else _defined(one))]
        body = "\n".join((*args, *(_dump(part) for part in own)))
        self.bodies[name] = f"{self.bodies[name]}\n{body}" if name in self.bodies else body
        self.uses.setdefault(name, set()).update(_names(own))
        for inner in _definitions(node):
            if isinstance(inner, Def):
                self.function(inner, f"{name}.<locals>.")
            else:
                for one in _methods(inner):
                    self.function(one[1], f"{name}.<locals>.{one[0]}")

    def _add(
        self, owner: str, kind: str, name: str, parts: Sequence[ast.AST], binds: Iterable[str], uses: Sequence[ast.AST] = ()
    ) -> None:
        text = "\n".join(_dump(part) for part in parts)
        self.statements.append(Statement(owner, kind, name, text, frozenset(binds), frozenset(_names(uses or parts))))


def _dump(node: ast.AST) -> str:
    return ast.dump(node)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _defined(node: Def | ast.ClassDef) -> tuple[ast.AST, ...]:
    """What of a definition runs where it stands."""
    parts: list[ast.AST | None] = [*node.decorator_list]
    if isinstance(node, ast.ClassDef):
        return tuple(part for part in (*parts, *node.bases, *node.keywords) if part)
    args = node.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
    parts += [*args.defaults, *args.kw_defaults, *(arg.annotation for arg in every), node.returns]
    parts += node.body[:1] if _is_text(node.body[0]) else []
    marks = [ast.Constant(f"{node.name} {isinstance(node, ast.AsyncFunctionDef)}")]
    return (*marks, *(part if part else ast.Constant(None) for part in parts))


def _given(node: Def) -> tuple[ast.AST, ...]:
    """What of a definition is worked out where it stands: annotations only where a decorator may look at them."""
    args = node.args
    return _defined(node) if node.decorator_list else (ast.Constant(None), *args.defaults, *filter(None, args.kw_defaults))


def _shell(node: Def | ast.ClassDef) -> ast.AST:
    return ast.Tuple([part for part in _defined(node) if isinstance(part, ast.expr)], ast.Load())


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
            yield from ((f"{node.name}.{prefix}", inner) for prefix, inner in _methods(one))


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """What runs with the node itself, piece by piece: its blocks without the bodies of functions."""
    blocks = [id(body) for body in _blocks(node)]
    if not isinstance(node, Def):
        for _, value in ast.iter_fields(node):
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, ast.AST) and id(value) not in blocks:
                    yield one
    for body in _blocks(node):
        yield ast.Constant(f"block of {len(body)}")
        for at, one in enumerate(body):
            if isinstance(node, Def) and at == 0 and isinstance(one, ast.stmt) and _is_text(one):
                continue
            if isinstance(one, ast.ClassDef):
                yield from (*_defined(one), *(part for part in _parts_of_class(one)))
            elif isinstance(one, Def) or not any(True for _ in _blocks(one)):
                yield one
            else:
                yield ast.Constant(type(one).__name__)
                yield from _parts(one)


def _parts_of_class(node: ast.ClassDef) -> Iterator[ast.AST]:
    for part in _parts(ast.Module(node.body, [])):
        yield from _defined(part) if isinstance(part, Def) else (part,)


def _is_main(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.If) and not node.orelse and "__name__" in ast.dump(node.test) and "__main__" in ast.dump(node.test)
    )


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
                found.add(node.attr)
            elif isinstance(node, ast.ExceptHandler) and node.name:
                found.add(node.name)
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
                found |= _names((node.value,))
    return found


def _names(parts: Iterable[ast.AST]) -> set[str]:
    """Identifiers that code mentions, also in text that is nothing but one or several with dots."""
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
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 200:
                found.update(word for word in node.value.replace(":", ".").split(".") if word.isidentifier())
    return found
