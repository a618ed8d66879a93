"""First-order mutants of Python sources: one small change each, in the words of the source around it."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from difflib import unified_diff
from hashlib import sha256
from itertools import zip_longest

COMPARES: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
OUTSIDE_EVERY = 6
"""One mutant in so many is of a statement outside functions."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`text` in place of the text of `path`; `line` is where, `function` is empty outside functions."""

    path: str
    line: int
    operator: str
    function: str
    before: str
    text: str

    @property
    def key(self) -> str:
        return sha256(f"{self.path}\0{self.text}".encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        return f"{self.path}:{self.line} {self.operator} in {self.function or 'the module'}"

    @property
    def diff(self) -> str:
        lines = unified_diff(self.before.splitlines(), self.text.splitlines(), self.path, self.path, n=1, lineterm="")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a change can be made, and what it puts there. To write out and parse every one would take minutes."""

    path: str
    node: ast.expr | ast.stmt
    operator: str
    function: str
    new: str


def mutants(sources: Mapping[str, str], ran: Mapping[str, frozenset[int]], seed: int) -> Iterator[Mutant]:
    """Mutants of `sources` on lines that `ran`, at most one a line: operators in turn, in an order that `seed` settles."""
    chance = random.Random(seed)
    inside: dict[str, list[_Spot]] = {}
    outside: dict[str, list[_Spot]] = {}
    for path, text in sources.items():
        for spot in _spots(path, text):
            if spot.node.lineno in ran.get(path, frozenset()):
                (inside if spot.function else outside).setdefault(spot.operator, []).append(spot)
    seen: set[tuple[str, int]] = set()
    functions, modules = (_in_turn(groups, chance) for groups in (inside, outside))
    for number, spot in enumerate(functions, 1):
        extra = next(modules, None) if number % (OUTSIDE_EVERY - 1) == 0 else None
        for one in (spot, extra):
            if one is None or (one.path, one.node.lineno) in seen:
                continue
            before, changed = sources[one.path], _spliced(sources[one.path], one.node, one.new)
            if _differs(changed, before):
                seen.add((one.path, one.node.lineno))
                yield Mutant(one.path, one.node.lineno, one.operator, one.function, before, changed)


def _in_turn(groups: Mapping[str, list[_Spot]], chance: random.Random) -> Iterator[_Spot]:
    mixed = [chance.sample(groups[operator], len(groups[operator])) for operator in sorted(groups)]
    return (spot for row in zip_longest(*mixed) for spot in row if spot is not None)


def _spots(path: str, text: str) -> Iterator[_Spot]:
    for node, function in _nodes(ast.parse(text), ""):
        for operator, place, new in _changes(node, function):
            yield _Spot(path, place, operator, function, new)


def _differs(changed: str, before: str) -> bool:
    try:
        return ast.dump(ast.parse(changed)) != ast.dump(ast.parse(before))
    except SyntaxError:
        return False


def _nodes(node: ast.AST, function: str) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Nodes that may change, with the function that they run in. What decorates a function and its defaults run outside of it;
    docstrings, annotations and the parts of f-strings, which have no places of their own in older Pythons, are left out."""
    for name, field in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params") or isinstance(node, ast.JoinedStr):
            continue
        within = function
        if isinstance(node, FUNCTIONS) and name == "body":
            within = f"{function}.{getattr(node, 'name', '<lambda>')}".lstrip(".")
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            if isinstance(child, (ast.expr, ast.stmt)):
                yield child, within
            if isinstance(child, ast.AST):
                yield from _nodes(child, within)


def _changes(node: ast.expr | ast.stmt, function: str) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    """Operator, the node that goes, and what stands in its place."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARES:
        other = deepcopy(node)
        other.ops[0] = COMPARES[type(node.ops[0])]()
        yield "compare", node, f"({ast.unparse(other)})"
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not _is_text(node.left):
        yield "arithmetic", node, f"({ast.unparse(ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right))})"
    elif isinstance(node, ast.BoolOp):
        swapped = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "boolean", node, f"({ast.unparse(ast.BoolOp(swapped, node.values))})"
    elif isinstance(node, ast.Constant):
        if (constant := _other(node.value)) is not None:
            yield "constant", node, constant
    elif isinstance(node, (ast.If, ast.While)):
        yield "condition", node.test, f"(not ({ast.unparse(node.test)}))"
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield "return", node, "return None"
    elif function and (isinstance(node, (ast.AugAssign, ast.Raise)) or _calls(node)):
        yield "statement", node, "pass"


def _other(value: object) -> str | None:
    if isinstance(value, bool):
        return repr(not value)
    if isinstance(value, (int, float)):
        return repr(value + 1)
    return repr(value + "XX") if isinstance(value, str) else None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _calls(node: ast.expr | ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Await))


def _spliced(text: str, node: ast.expr | ast.stmt, new: str) -> str:
    """`text` with `new` where the node stands."""
    lines = text.encode().splitlines(keepends=True)
    last = node.lineno if node.end_lineno is None else node.end_lineno
    head = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    tail = lines[last - 1][node.end_col_offset :] + b"".join(lines[last:])
    return (head + new.encode() + tail).decode()
