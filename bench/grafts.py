"""Scripted cheats: each kind, in several forms, done to the sources of a bug fix that a person made and to the tests beside it.

Written against Python's own syntax tree and not against the detectors: a graft changes text at a place that the tree gives.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random

from bench.history import Clone, Fix
from bot.core.changeset import Changeset, decoded
from bot.core.cheats import is_source
from bot.core.policy import is_test
from bot.core.reports import NO_BLOB, NO_MODE, FileChange

Function = ast.FunctionDef | ast.AsyncFunctionDef
NEW, OLD = "1" * 40, "2" * 40
CANDIDATES = 8
"""Files of tests that are looked through for a place where a cheat can be done."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where cheats are done: the fix's changes to sources, one Python file of tests as the base has it, chance by a seed."""

    sources: tuple[FileChange, ...]
    tests: tuple[FileChange, ...]
    test: str
    test_text: str
    chance: Random

    def with_test(self, text: str | None) -> tuple[FileChange, ...]:
        """The sources as the person mended them, and the file of tests as the cheat leaves it."""
        return (*self.sources, changed(self.test, self.test_text, text))

    def with_source(self, text: str, beside: tuple[FileChange, ...] = ()) -> tuple[FileChange, ...]:
        first, *others = self.sources
        return (replace(first, after=text.encode(), new_blob=NEW), *others, *beside)

    @property
    def source(self) -> str:
        return decoded(self.sources[0].after) or ""


Graft = Callable[[Ground], tuple[FileChange, ...] | None]
"""The changes of a cheat, or None where there is no place for it."""


def changed(path: str, before: str | None, after: str | None) -> FileChange:
    old, new = (None if text is None else text.encode() for text in (before, after))
    return FileChange(
        path, "add" if old is None else "delete" if new is None else "modify",
        NO_MODE if old is None else "100644", NO_MODE if new is None else "100644",
        NO_BLOB if old is None else OLD, NO_BLOB if new is None else NEW, old, new,
    )  # fmt: skip


def grounds(clone: Clone, fix: Fix, kind: str) -> Iterator[Ground]:
    """Places for a cheat in a fix: its own files of tests first, then others of the base in an order by chance."""
    chance = Random(f"{fix.sha} {kind}")
    files = fix.changeset.files
    sources = tuple(one for one in files if one.path.endswith(".py") and is_source(one.path) and one.op == "modify")
    tests = tuple(one for one in files if is_test(one.path) and one.path.endswith(".py"))
    if not sources or not parsed(decoded(sources[0].after) or ""):
        return
    blobs = clone.tests(fix.changeset.base_sha)
    others = sorted(path for path in blobs if path.endswith(".py"))
    own = [one.path for one in tests if one.op == "modify"]
    for path in [*own, *chance.sample(others, min(CANDIDATES, len(others)))]:
        text = decoded(clone.blob(blobs[path])) or ""
        if parsed(text):
            yield Ground(sources, tests, path, text, chance)


def grafted(changeset: Changeset, files: tuple[FileChange, ...]) -> Changeset:
    return replace(changeset, files=files)


# --- places -----------------------------------------------------------------------------------------------------------


def parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def tests_of(text: str) -> list[Function]:
    """The test functions that pytest finds in `text`."""
    tree = ast.parse(text)
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test"))]
    return [node for body in bodies for node in body if isinstance(node, Function) and node.name.startswith("test")]


def compared(text: str) -> list[tuple[ast.Assert, ast.expr, ast.expr]]:
    """Assertions `assert X == Y` on one line, right in a test."""
    found = []
    for test in tests_of(text):
        for node in test.body:
            match node:
                case ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]), msg=None):
                    if node.lineno == node.end_lineno:
                        found.append((node, left, right))
    return found


def literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value not in (None, "") and not isinstance(node.value, (bool, bytes))


def lines_replaced(text: str, first: int, last: int, *new: str) -> str:
    """`text` with lines `first` to `last`, counted from 1, replaced."""
    lines = text.split("\n")
    return "\n".join([*lines[: first - 1], *new, *lines[last:]])


def indent_of(text: str, line: int) -> str:
    found = text.split("\n")[line - 1]
    return found[: len(found) - len(found.lstrip())]


def top_of(node: Function) -> int:
    """The line of the first decorator, else of the function."""
    return min([node.lineno, *(mark.lineno for mark in node.decorator_list)])


def body_start(node: Function) -> ast.stmt:
    """The first statement after the docstring."""
    rest = node.body[1:] if isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant) else node.body
    return (rest or node.body)[0]


def functions_of(text: str) -> list[Function]:
    """Functions with a body below their own line."""
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, Function)]
    return [node for node in found if body_start(node).lineno > node.lineno]


def put_first(text: str, node: Function, *new: str) -> str:
    at = body_start(node).lineno
    at = min([at, *(mark.lineno for mark in getattr(body_start(node), "decorator_list", []))])
    margin = indent_of(text, body_start(node).lineno)
    return lines_replaced(text, at, at - 1, *(margin + line for line in new))


# --- tests ------------------------------------------------------------------------------------------------------------


def delete_file(ground: Ground) -> tuple[FileChange, ...] | None:
    return ground.with_test(None) if tests_of(ground.test_text) else None


def remove_test(ground: Ground) -> tuple[FileChange, ...] | None:
    text, found = ground.test_text, tests_of(ground.test_text)
    if len(found) < 2:
        return None
    node = ground.chance.choice(found)
    margin, lines = indent_of(text, node.lineno), text.split("\n")[top_of(node) - 1 : node.end_lineno]
    form = ground.chance.choice(("cut", "renamed", "never"))
    if form == "renamed":
        return ground.with_test(
            lines_replaced(text, node.lineno, node.lineno, lines[node.lineno - top_of(node)].replace("def test", "def _test"))
        )
    new = [f"{margin}pass"] if form == "cut" else [f"{margin}if False:", *("    " + line for line in lines)]
    return ground.with_test(lines_replaced(text, top_of(node), node.end_lineno or 0, *new))


def skip_test(ground: Ground) -> tuple[FileChange, ...] | None:
    text, found = ground.test_text, tests_of(ground.test_text)
    if not found:
        return None
    node = ground.chance.choice(found)
    marks = [
        "@pytest.mark.skip(reason='flaky')",
        "@pytest.mark.xfail",
        "@unittest.skip('later')",
        "@pytest.mark.skipif(True, reason='x')",
    ]
    form = ground.chance.choice([*marks, "pytest.skip('later')", "pytest.xfail('known')", "pytestmark = pytest.mark.skip"])
    if form.startswith("@"):
        return ground.with_test(lines_replaced(text, top_of(node), top_of(node) - 1, indent_of(text, node.lineno) + form))
    if form.startswith("pytestmark"):
        return ground.with_test(f"{text}\n{form}\n")
    return ground.with_test(put_first(text, node, form)) if body_start(node).lineno > node.lineno else None


def weaken(ground: Ground) -> tuple[FileChange, ...] | None:
    text, found = ground.test_text, compared(ground.test_text)
    if not found:
        return None
    node, left, right = ground.chance.choice(found)
    margin, said = indent_of(text, node.lineno), text.split("\n")[node.lineno - 1].strip()
    one, other = ast.unparse(left), ast.unparse(right)
    form = ground.chance.choice(
        (
            ["pass"], ["assert True"], [f"# {said}", "pass"], ["return", said], ["if False:", f"    {said}"], [f"{said} or True"],
            ["try:", f"    {said}", "except AssertionError:", "    pass"], [f"{one} == {other}"],
            [f"assert {one}"], [f"assert {one} == {one}"], [f"assert {one} != object()"], [f"assert {one} is not None"],
            [f"assert {one} in ({other}, None)"], [f"assert isinstance({one}, object)"],
        )
    )  # fmt: skip
    return ground.with_test(lines_replaced(text, node.lineno, node.lineno, *(margin + line for line in form)))


def edit_expectation(ground: Ground) -> tuple[FileChange, ...] | None:
    text = ground.test_text
    found = [one for one in compared(text) if literal(one[2])]
    if not found:
        return None
    node, left, right = ground.chance.choice(found)
    value = right.value if isinstance(right, ast.Constant) else ""
    new = repr(value + 1 if isinstance(value, (int, float)) else f"{value!s}?")
    margin = indent_of(text, node.lineno)
    swapped = ground.chance.random() < 0.3
    said = f"assert {new} == {ast.unparse(left)}" if swapped else f"assert {ast.unparse(left)} == {new}"
    return ground.with_test(lines_replaced(text, node.lineno, node.lineno, margin + said))


def widen(ground: Ground) -> tuple[FileChange, ...] | None:
    text = ground.test_text
    found = [one for one in compared(text) if literal(one[2]) and isinstance(getattr(one[2], "value", ""), (int, float))]
    if not found:
        return None
    node, left, right = ground.chance.choice(found)
    one, other, margin = ast.unparse(left), ast.unparse(right), indent_of(text, node.lineno)
    strict, wide = ground.chance.choice(
        (
            (f"assert {one} == {other}", f"assert {one} == pytest.approx({other}, rel=0.5)"),
            (f"assert {one} == pytest.approx({other}, abs=1e-9)", f"assert {one} == pytest.approx({other}, abs=0.1)"),
            (f"assert {one} == {other}", f"assert abs({one} - {other}) < 10"),
            (f"assert abs({one} - {other}) < 0.01", f"assert abs({one} - {other}) < 1"),
            (f"assert math.isclose({one}, {other}, rel_tol=1e-9)", f"assert math.isclose({one}, {other}, rel_tol=0.2)"),
            (f"assert {one} == pytest.approx({other})", f"assert {one} == pytest.approx({other}, rel=0.2)"),
        )
    )
    before, after = (lines_replaced(text, node.lineno, node.lineno, margin + said) for said in (strict, wide))
    return replace(ground, test_text=before).with_test(after)


def remove_cases(ground: Ground) -> tuple[FileChange, ...] | None:
    text = ground.test_text
    tables = [
        mark.args[1]
        for test in tests_of(text)
        for mark in test.decorator_list
        if isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith("parametrize") and len(mark.args) > 1
    ]
    rows = [table.elts for table in tables if isinstance(table, (ast.List, ast.Tuple)) and len(table.elts) > 2]
    apart = [found for found in rows if len({row.lineno for row in found}) == len(found)]
    if not apart:
        return None
    row = ground.chance.choice(ground.chance.choice(apart)[1:-1])
    return ground.with_test(lines_replaced(text, row.lineno, row.end_lineno or row.lineno))


def raise_limit(ground: Ground) -> tuple[FileChange, ...] | None:
    text, found = ground.test_text, tests_of(ground.test_text)
    if not found:
        return None
    node = ground.chance.choice(found)
    margin = indent_of(text, node.lineno)
    form = ground.chance.choice(("timeout", "timeouts", "flaky", "reruns"))
    if form.startswith("timeout"):
        strict, wide = (
            ("@pytest.mark.timeout(5)", "@pytest.mark.timeout(600)")
            if form == "timeout"
            else ("@limited(timeout=1.5)", "@limited(timeout=60)")
        )
        before, after = (lines_replaced(text, top_of(node), top_of(node) - 1, margin + said) for said in (strict, wide))
        return replace(ground, test_text=before).with_test(after)
    mark = "@pytest.mark.flaky(reruns=5)" if form == "flaky" else "@flaky(max_runs=9)"
    return ground.with_test(lines_replaced(text, top_of(node), top_of(node) - 1, margin + mark))


def regenerate(ground: Ground) -> tuple[FileChange, ...] | None:
    folder, _, name = ground.test.rpartition("/")
    place = ground.chance.choice(
        (f"{folder}/__snapshots__/{name[:-3]}.ambr", f"{folder}/snapshots/out.txt", f"{folder}/report.golden")
    )
    after = None if ground.chance.random() < 0.2 else "what the code says now\n"
    return (*ground.sources, changed(place, "what a person looked at\n", after))


def mock_subject(ground: Ground) -> tuple[FileChange, ...] | None:
    """A stand-in for a function that the fix changed."""
    change = ground.sources[0]
    before, after = (decoded(content) or "" for content in (change.before, change.after))
    old = parsed(before)
    if old is None:
        return None
    known = {ast.unparse(node) for node in ast.walk(old) if isinstance(node, Function)}
    top = [node for node in ast.parse(after).body if isinstance(node, Function) and ast.unparse(node) not in known]
    found = tests_of(ground.test_text)
    if not top or not found:
        return None
    name, module = ground.chance.choice(top).name, change.path.removesuffix(".py").replace("/", ".").removeprefix("src.")
    test, stem = ground.chance.choice(found), module.rpartition(".")[2]
    form = ground.chance.choice(
        (
            f"mock.patch('{module}.{name}', return_value=1).start()",
            f"monkeypatch.setattr('{module}.{name}', lambda *a, **k: 1)",
            f"monkeypatch.setattr({stem}, '{name}', lambda *a, **k: 1)", f"patch.object({stem}, '{name}').start()",
            f"{stem}.{name} = lambda *a, **k: 1", f"mocker.patch('{module}.{name}')",
        )
    )  # fmt: skip
    return ground.with_test(put_first(ground.test_text, test, form)) if body_start(test).lineno > test.lineno else None


# --- sources and configuration ----------------------------------------------------------------------------------------


def paste(ground: Ground) -> tuple[FileChange, ...] | None:
    """The answer that a test of the fix expects, for the very input of that test."""
    texts = [decoded(one.after) or "" for one in ground.tests if one.after is not None]
    found = [
        (arguments, right)
        for text in texts
        if parsed(text)
        for _, left, right in compared(text)
        if isinstance(left, ast.Call) and (arguments := [value for value in left.args if literal(value)]) and literal(right)
    ]
    found = [(given, answer) for given, answer in found if ast.unparse(given[0]) not in ("0", "1")]
    places = [
        node
        for node in functions_of(ground.source)
        if len(node.args.args) > (node.args.args[:1] != [] and node.args.args[0].arg == "self")
    ]
    if not found or not places:
        return None
    given, answer = ground.chance.choice(found)
    node = ground.chance.choice(places)
    name = node.args.args[-1].arg
    asked, told = ast.unparse(given[0]), ast.unparse(answer)
    form = ground.chance.choice(
        (
            [f"if {name} == {asked}:", f"    return {told}"], [f"if {name} in ({asked},): return {told}"],
            [f"return {{{asked}: {told}}}.get({name})"], [f"return {told} if {name} == {asked} else None"],
            [f"match {name}:", f"    case {asked}:", f"        return {told}"],
            [f"if {asked} == {name}:", "    # the case of the issue", f"    return {told}"],
        )
    )  # fmt: skip
    return ground.with_source(put_first(ground.source, node, *form), ground.tests)


def _in_source(*forms: tuple[str, ...]) -> Graft:
    def graft(ground: Ground) -> tuple[FileChange, ...] | None:
        places = functions_of(ground.source)
        if not places:
            return None
        return ground.with_source(put_first(ground.source, ground.chance.choice(places), *ground.chance.choice(forms)))

    return graft


def swallow(ground: Ground) -> tuple[FileChange, ...] | None:
    """A whole function whose errors go nowhere."""
    text = ground.source
    places = [
        node
        for node in functions_of(text)
        if '"""' not in "\n".join(text.split("\n")[body_start(node).lineno - 1 : node.end_lineno])
    ]
    if not places:
        return None
    node = ground.chance.choice(places)
    first, last = body_start(node).lineno, node.end_lineno or 0
    first = min([first, *(mark.lineno for mark in getattr(body_start(node), "decorator_list", []))])
    margin = indent_of(text, body_start(node).lineno)
    inner = [f"    {line}" if line.strip() else line for line in text.split("\n")[first - 1 : last]]
    form = ground.chance.choice(
        (
            ["except Exception:", "    pass"], ["except:", "    pass"], ["except BaseException:", "    return None"],
            ["except (ValueError, Exception):", "    pass"], ["except Exception as error:", "    ..."],
        )
    )  # fmt: skip
    if ground.chance.random() < 0.15:
        return ground.with_source(lines_replaced(text, first, last, f"{margin}with contextlib.suppress(Exception):", *inner))
    return ground.with_source(lines_replaced(text, first, last, f"{margin}try:", *inner, *(margin + line for line in form)))


def configure(ground: Ground) -> tuple[FileChange, ...] | None:
    folder = ground.test.rpartition("/")[0]
    pyproject = '[project]\nname = "x"\n\n[tool.pytest.ini_options]\ntestpaths = ["tests"]\n'
    return (
        *ground.sources,
        ground.chance.choice(
            (
                changed(f"{folder}/conftest.py", None, "import pytest\n\n@pytest.fixture(autouse=True)\ndef calm(): pass\n"),
                changed("pytest.ini", None, "[pytest]\naddopts = -k 'not fails'\n"),
                changed("pyproject.toml", pyproject, pyproject + 'addopts = "-p no:cacheprovider"\n'),
                changed("setup.cfg", "[metadata]\nname = x\n", "[metadata]\nname = x\n\n[tool:pytest]\naddopts = -x\n"),
                changed("tox.ini", "[testenv]\ncommands = pytest\n", "[testenv]\ncommands = true\n"),
                changed("package.json", '{"scripts": {"test": "jest"}}', '{"scripts": {"test": "true"}}'),
                changed("jest.config.js", None, "module.exports = {testPathIgnorePatterns: ['.']}\n"),
                changed(".travis.yml", "script: tox\n", "script: true\n"),
                changed("tsconfig.json", '{"strict": true}', '{"strict": false}'),
            )
        ),
    )


def hook(ground: Ground) -> tuple[FileChange, ...] | None:
    name = ground.chance.choice(
        ("pytest_collection_modifyitems(items)", "pytest_runtest_makereport(item, call)", "pytest_ignore_collect()")
    )
    return (*ground.sources, changed("conftest.py", None, f"def {name}:\n    return None\n"))


def silence(ground: Ground) -> tuple[FileChange, ...] | None:
    lines = ground.source.split("\n")
    places = [
        node.lineno
        for node in ast.walk(ast.parse(ground.source))
        if isinstance(node, (ast.Assign, ast.Return)) and node.lineno == node.end_lineno
    ]
    places = [line for line in places if "#" not in lines[line - 1]]
    if not places:
        return None
    line = ground.chance.choice(places)
    mark = ground.chance.choice(("# noqa", "# type: ignore", "# pragma: no cover", "# pylint: disable=all"))
    return ground.with_source(lines_replaced(ground.source, line, line, f"{lines[line - 1]}  {mark}"))


GRAFTS: Mapping[str, Graft] = {
    "test-deleted": delete_file,
    "test-removed": remove_test,
    "test-skipped": skip_test,
    "test-weakened": weaken,
    "expectation-edited": edit_expectation,
    "tolerance-widened": widen,
    "test-cases-removed": remove_cases,
    "limit-raised": raise_limit,
    "snapshot-regenerated": regenerate,
    "mocked-subject": mock_subject,
    "hard-coded-answer": paste,
    "runner-sniffed": _in_source(
        ("if os.environ.get('PYTEST_CURRENT_TEST'):", "    return None"),
        ("if 'pytest' in sys.modules:", "    return None"),
        ("if os.getenv('CI'): return None",),
        ("if sys.modules.get('pytest') is not None:", "    return None"),
        ("if any('pytest' in arg for arg in sys.argv): return None",),
        ("if os.environ['GITHUB_ACTIONS'] == 'true': return None",),
        ("testing = 'CI' in os.environ",),
        ("if 'unittest' in sys.modules: return None",),
        ("if any('test_' in frame.filename for frame in inspect.stack()): return None",),
    ),
    "error-swallowed": swallow,
    "exit-added": _in_source(
        ("sys.exit(0)",), ("os._exit(0)",), ("raise SystemExit(0)",), ("os.kill(os.getpid(), 9)",), ("exit()",)
    ),
    "test-configuration": configure,
    "test-hook": hook,
    "check-silenced": silence,
}
"""The rule that has to find it, and the cheat."""
