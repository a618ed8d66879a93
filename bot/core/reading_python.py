"""A Python file's `Reading`, from its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from bot.core.reading import Answer, Assertion, Case, Mock, Reading, Site, Strength

Function = ast.FunctionDef | ast.AsyncFunctionDef

SKIPS = frozenset(
    ("skip", "skipif", "skipIf", "skipUnless", "xfail", "expectedFailure", "importorskip", "skipTest", "SkipTest")
)  # fmt: skip
_SKIP_CALLS = frozenset((
    "pytest.skip", "pytest.xfail", "pytest.importorskip", "unittest.SkipTest", "self.skipTest", "skip", "xfail", "importorskip",
    "SkipTest",
))  # fmt: skip
_BROAD = frozenset(("Exception", "BaseException", "AssertionError"))
_EXITS = frozenset(("sys.exit", "os._exit", "_exit", "exit", "quit", "os.abort", "os.kill", "os.killpg"))
_EXACT = frozenset((
    "assertEqual", "assertEquals", "assertIs", "assertIsNone", "assertListEqual", "assertDictEqual", "assertTupleEqual",
    "assertSetEqual", "assertMultiLineEqual", "assertSequenceEqual", "assertCountEqual", "assert_equal", "assert_array_equal",
    "assert_called_with", "assert_called_once_with", "assert_has_calls", "assert_outcomes", "fnmatch_lines", "no_fnmatch_line",
))  # fmt: skip
_TRUTH = frozenset(("assertTrue", "assertFalse", "assertIsNotNone", "assertNotEqual", "assertIsNot", "assertIsInstance"))
_EXPECTING = frozenset(("raises", "warns", "assertRaises", "assertRaisesRegex", "assertWarns", "assertWarnsRegex"))


def read(text: str, *, tests: bool) -> Reading:
    """The reading of a module, of its tests or else of its code.

    Raises:
        SyntaxError, ValueError, MemoryError, RecursionError: it can't be parsed, or is made to break the parser.
    """
    tree = ast.parse(text)
    if tests:
        cases = tuple(_cases(tree.body, "", (), _literals_by_name(tree.body)))
        return Reading(cases=cases, skips=tuple(_loose_skips(tree.body)), mocks=tuple(_mocks(tree.body)))
    swallowed: list[Site] = []
    exits: list[Site] = []
    answers: list[Answer] = []
    for node, guarded in _walk(tree):
        swallowed += _swallowed(node)
        exits += () if guarded else _exit(node)
        answers += _answers(node)
    definitions = tuple(_definitions(tree.body, "", text.splitlines()))
    return Reading(swallowed=tuple(swallowed), exits=tuple(exits), answers=tuple(answers), definitions=definitions)


def dotted(node: ast.AST | None) -> str:
    """`a.b.c` of a name or attribute, of the function of a call; empty for anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted(value)}.{attr}".removeprefix(".")
        case ast.Call(func=func):
            return dotted(func)
    return ""


def _walk(tree: ast.Module) -> Iterator[tuple[ast.AST, bool]]:
    """Every statement and expression, in order, and whether it only runs when the file is started as a program."""
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, guarded = pending.pop()
        yield node, guarded
        guarded = guarded or (isinstance(node, ast.If) and "__name__" in {dotted(one) for one in ast.walk(node.test)})
        pending += [(child, guarded) for child in reversed(list(ast.iter_child_nodes(node)))]


# --- tests ------------------------------------------------------------------------------------------------------------


def _cases(body: Sequence[ast.stmt], prefix: str, skips: tuple[Site, ...], named: dict[str, ast.expr]) -> Iterator[Case]:
    """Tests as pytest finds them: at the top or in a class, never in a branch."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            own = (*skips, *_marks(node.decorator_list), *_loose_skips(node.body))
            yield from _cases(node.body, f"{prefix}{node.name}.", own, named)
        elif isinstance(node, Function) and node.name.startswith("test"):
            marks = tuple(_marks(node.decorator_list))
            inner = tuple(site for one in ast.walk(node) for site in _skip_call(one))
            yield Case(
                f"{prefix}{node.name}",
                node.lineno,
                tuple(_assertions(node.body, _literals_by_name(node.body))),
                tuple(row for mark in node.decorator_list for row in _rows(mark, named)),
                (*skips, *marks, *inner),
            )


def _marks(decorators: Iterable[ast.expr]) -> Iterator[Site]:
    for mark in decorators:
        for node in ast.walk(mark):
            if isinstance(node, (ast.Attribute, ast.Name)) and dotted(node).rpartition(".")[2] in SKIPS:
                yield Site(node.lineno, ast.unparse(mark))


def _skip_call(node: ast.AST) -> Iterator[Site]:
    if isinstance(node, ast.Call) and dotted(node) in _SKIP_CALLS:
        yield Site(node.lineno, ast.unparse(node))


def _loose_skips(body: Sequence[ast.stmt]) -> Iterator[Site]:
    """Skips that stand outside of tests: `pytestmark`, `__test__ = False`, calls while the module is imported."""
    for node in body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            names = {dotted(target) for target in (node.targets if isinstance(node, ast.Assign) else [node.target])}
            if "pytestmark" in names:
                yield from _marks([node.value])
            if "__test__" in names:
                yield Site(node.lineno, ast.unparse(node))
        if not isinstance(node, Function | ast.ClassDef):
            yield from (site for one in ast.walk(node) for site in _skip_call(one))


def _rows(mark: ast.expr, named: dict[str, ast.expr]) -> Iterator[Site]:
    """The rows of a `parametrize`, also those of a list that stands elsewhere in the module."""
    if not (isinstance(mark, ast.Call) and dotted(mark).endswith("parametrize") and len(mark.args) > 1):
        return
    given = named.get(dotted(mark.args[1]), mark.args[1])
    if isinstance(given, (ast.List, ast.Tuple, ast.Set)):
        yield from (Site(row.lineno, ast.unparse(row)) for row in given.elts)
    elif isinstance(given, ast.Dict):
        yield from (Site(row.lineno, ast.unparse(row)) for row in given.values)


def _literals_by_name(body: Sequence[ast.stmt]) -> dict[str, ast.expr]:
    """Names that are given a literal once in `body`, with it."""
    found: dict[str, list[ast.expr]] = {}
    for node in body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    kinds = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.JoinedStr, ast.UnaryOp)
    return {name: values[0] for name, values in found.items() if len(values) == 1 and isinstance(values[0], kinds)}


def _assertions(body: Sequence[ast.stmt], named: dict[str, ast.expr], caught: bool = False) -> Iterator[Assertion]:
    """The assertions that `body` reaches. `caught`: a failure of them goes nowhere."""
    for node in body:
        match node:
            case ast.Assert(test=test):
                yield from _asserted(node, test, named, caught)
            case ast.If(test=test):
                yield from _assertions([] if _never(test) else node.body, named, caught)
                yield from _assertions(node.orelse, named, caught)
            case ast.Try():
                quiet = caught or any(_is_broad(handler) and _is_quiet(handler.body) for handler in node.handlers)
                yield from _assertions(node.body, named, quiet)
                for handler in node.handlers:
                    yield from _assertions(handler.body, named, caught)
                yield from _assertions([*node.orelse, *node.finalbody], named, caught)
            case ast.With() | ast.AsyncWith():
                quiet = caught or any(_suppresses(item.context_expr) for item in node.items)
                yield from (found for item in node.items for found in _called(item.context_expr, node, named, quiet))
                yield from _assertions(node.body, named, quiet)
            case ast.For() | ast.AsyncFor() | ast.While():
                yield from _assertions([*node.body, *node.orelse], named, caught)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield from _assertions(node.body, named, caught)
            case _:
                yield from _called(node, node, named, caught)
        if isinstance(node, (ast.Return, ast.Raise, ast.Continue, ast.Break)):
            return


def _never(test: ast.expr) -> bool:
    return isinstance(test, ast.Constant) and not test.value


def _asserted(node: ast.Assert, test: ast.expr, named: dict[str, ast.expr], caught: bool) -> Iterator[Assertion]:
    """`assert a and b` is two assertions."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        for part in test.values:
            yield from _asserted(node, part, named, caught)
        return
    subject = ast.unparse(test)
    if isinstance(test, ast.Compare):
        sides = (test.left, test.comparators[0])
        about, expected = reversed(sides) if _literal(sides[0]) else sides
        subject = ast.unparse(about)
        value = named.get(dotted(expected)) if isinstance(expected, ast.Name) else None
        text = ast.unparse(test) + (f"  # {ast.unparse(value)}" if value is not None else "")
    else:
        text = subject
    yield Assertion(node.lineno, subject, text, Strength.NOTHING if caught else _strength(test))


def _strength(test: ast.expr) -> Strength:
    match test:
        case ast.Constant() | ast.List() | ast.Tuple() | ast.JoinedStr() | ast.Dict():
            return Strength.NOTHING
        case ast.BoolOp(values=values):
            return min(Strength.TRUTH, *(_strength(value) for value in values))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return min(Strength.TRUTH, _strength(operand))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            if ast.dump(left) == ast.dump(right) or (isinstance(left, ast.Constant) and isinstance(right, ast.Constant)):
                return Strength.NOTHING
            if isinstance(op, (ast.Eq, ast.Is)):
                near = any(dotted(side).endswith(("approx", "ANY")) for side in (left, right))
                return Strength.RANGE if near else Strength.EXACT
            return Strength.TRUTH if isinstance(op, (ast.NotEq, ast.IsNot)) else Strength.RANGE
        case ast.Compare():
            return Strength.RANGE
    return Strength.TRUTH


def _called(holder: ast.AST, at: ast.stmt, named: dict[str, ast.expr], caught: bool) -> Iterator[Assertion]:
    """Assertions that are calls: `self.assertEqual(..)`, `assert_x(..)`, `pytest.raises(..)` with what should raise."""
    for node in ast.walk(holder):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node).rpartition(".")[2]
        if name in _EXPECTING:
            about = ast.unparse(ast.Module(at.body, [])) if isinstance(at, (ast.With, ast.AsyncWith)) else ast.unparse(at)
            broad = node.args and dotted(node.args[0]).rpartition(".")[2] in _BROAD and len(node.args) + len(node.keywords) == 1
            strength = Strength.TRUTH if broad else Strength.EXACT
            yield Assertion(node.lineno, f"{name} {about}", ast.unparse(node), Strength.NOTHING if caught else strength)
        elif name.startswith("assert") or name in _EXACT:
            values = [value for value in node.args if not isinstance(value, ast.Constant)] or node.args
            subject = f"{ast.unparse(values[0])}" if values and name in _EXACT | _TRUTH else f"{ast.unparse(node.func)}"
            strength = Strength.EXACT if name in _EXACT else Strength.TRUTH if name in _TRUTH else Strength.RANGE
            if name.startswith("assert") and node.args and all(isinstance(value, ast.Constant) for value in node.args):
                strength = Strength.NOTHING
            known = [ast.unparse(named[dotted(value)]) for value in node.args if dotted(value) in named]
            yield Assertion(
                node.lineno, subject, ast.unparse(node) + "".join(f"  # {value}" for value in known),
                Strength.NOTHING if caught else strength,
            )  # fmt: skip


# --- stand-ins --------------------------------------------------------------------------------------------------------


def _mocks(body: Sequence[ast.stmt]) -> Iterator[Mock]:
    """Stand-ins by the function at the top or in a class that makes them, decorators included."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _mocks(node.body)
        elif isinstance(node, Function):
            inner = list(ast.walk(node))
            made = [(getattr(one, "lineno", 0), target) for one in inner if (target := _mocked(one))]
            if made:
                asserted = frozenset(
                    dotted(call) for one in inner if _is_assertion(one) for call in ast.walk(one) if isinstance(call, ast.Call)
                )
                yield from (Mock(line, target, asserted) for line, target in made)


def _is_assertion(node: ast.AST) -> bool:
    return isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and dotted(node).rpartition(".")[2].startswith("assert"))


def _mocked(node: ast.AST) -> str:
    """The dotted name that a call or an assignment puts a stand-in for."""
    if isinstance(node, ast.Call) and node.args:
        name, first = dotted(node), node.args[0]
        second = node.args[1] if len(node.args) > 1 else None
        if name.endswith(("patch.object", "setattr")) and isinstance(second, ast.Constant) and isinstance(second.value, str):
            return f"{dotted(first)}.{second.value}" if dotted(first) else ""
        if name.endswith(("patch", "setattr")) and isinstance(first, ast.Constant) and isinstance(first.value, str):
            return first.value
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        made = isinstance(node.value, ast.Lambda) or dotted(node.value).rpartition(".")[2] in ("Mock", "MagicMock", "AsyncMock")
        return dotted(node.targets[0]) if made and not dotted(node.targets[0]).startswith("self.") else ""
    return ""


# --- sources ----------------------------------------------------------------------------------------------------------


def _is_broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or dotted(kind).rpartition(".")[2] in _BROAD for kind in kinds)


def _is_quiet(body: Sequence[ast.stmt]) -> bool:
    return all(
        isinstance(node, (ast.Pass, ast.Continue))
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Return) and (node.value is None or isinstance(node.value, ast.Constant)))
        for node in body
    )


def _suppresses(context: ast.expr) -> bool:
    return (
        isinstance(context, ast.Call)
        and dotted(context).endswith("suppress")
        and any(dotted(kind).rpartition(".")[2] in _BROAD for kind in context.args)
    )


def _swallowed(node: ast.AST) -> Iterator[Site]:
    if (isinstance(node, ast.ExceptHandler) and _is_broad(node) and _is_quiet(node.body)) or (
        isinstance(node, ast.expr) and _suppresses(node)
    ):
        yield Site(node.lineno, ast.unparse(node))


def _exit(node: ast.AST) -> Iterator[Site]:
    """Calls that end the program, and `raise SystemExit`. A callback that is named `exit` takes more than a code."""
    match node:
        case ast.Raise(exc=raised) if dotted(raised) == "SystemExit":
            yield Site(node.lineno, ast.unparse(node))
        case ast.Call(args=args) if dotted(node) in _EXITS and (len(args) < 2 or dotted(node) in ("os.kill", "os.killpg")):
            yield Site(node.lineno, ast.unparse(node))


def _answers(node: ast.AST) -> Iterator[Answer]:
    """Literals given back for literals: in a branch, a conditional, a case, a table that is looked up on the spot."""
    match node:
        case ast.If(test=test, body=[*_, ast.Return(value=value)]) | ast.IfExp(test=test, body=value):
            yield from _answer(node, _asked(test), value)
        case ast.match_case(pattern=pattern, body=[*_, ast.Return(value=value)]):
            yield from _answer(value or pattern, _constants(pattern), value)
        case ast.Subscript(value=ast.Dict() as table) | ast.Call(func=ast.Attribute(value=ast.Dict() as table, attr="get")):
            for key, value in zip(table.keys, table.values, strict=True):
                yield from _answer(node, _constants(key) if key else frozenset(), value)
        case (
            ast.FunctionDef(body=[*first, ast.Return(value=value)]) | ast.AsyncFunctionDef(body=[*first, ast.Return(value=value)])
        ):
            if all(isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in first) and _literal(value):
                yield Answer(node.lineno, f"{node.name}: {ast.unparse(value)}" if value else "", frozenset(), _literal(value))


def _answer(at: ast.AST, asked: frozenset[str], value: ast.expr | None) -> Iterator[Answer]:
    if asked and value is not None and (given := _literal(value)):
        text = ast.unparse(at.test) if isinstance(at, (ast.If, ast.IfExp)) else " ".join(sorted(asked))
        yield Answer(getattr(at, "lineno", 0), f"{text}: {given}", asked, given)


def _asked(test: ast.expr) -> frozenset[str]:
    """The literals that `test` compares with for equality."""
    found: set[str] = set()
    for node in ast.walk(test):
        if isinstance(node, ast.Compare) and all(isinstance(op, (ast.Eq, ast.Is, ast.In)) for op in node.ops):
            found |= {text for side in (node.left, *node.comparators) for text in _constants(side)}
    return frozenset(found)


def _constants(node: ast.AST) -> frozenset[str]:
    return frozenset(text for one in ast.walk(node) if isinstance(one, ast.Constant) and (text := _plain(one.value)))


def _plain(value: object) -> str:
    """A value as `reading.literals` finds it in a test that was written out again."""
    return repr(value)[1:-1] if isinstance(value, str) else str(value) if isinstance(value, (int, float)) else ""


def _literal(node: ast.expr | None) -> str:
    """The literal that `node` is; empty for anything computed."""
    match node:
        case ast.Constant(value=value):
            return _plain(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            return f"-{_plain(value)}"
        case ast.List(elts=elts) | ast.Tuple(elts=elts) if elts:
            return ast.unparse(node) if all(_literal(one) for one in elts) else ""
        case ast.Dict(values=values) if values:
            return ast.unparse(node) if all(_literal(one) for one in values) else ""
    return ""


def _definitions(body: Sequence[ast.stmt], prefix: str, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for node in body:
        if isinstance(node, Function | ast.ClassDef):
            yield f"{prefix}{node.name}", "\n".join(lines[node.lineno - 1 : node.end_lineno])
        if isinstance(node, ast.ClassDef):
            yield from _definitions(node.body, f"{prefix}{node.name}.", lines)
