"""Cheats: each way to make tests green without mending anything is found by its rule; honest work is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.answers import Plan, Task
from bot.core.cheats import MINOR, NAMED, NEVER, RULES, Lifted, cheats_in, lifted_by, yielding
from bot.core.reports import FileChange
from tests.core.play import change, changeset

PY = """import calc
import pytest
from calc import total

LIMIT = 1e-6

def test_one():
    assert total([1]) == 1

@pytest.mark.parametrize("given, wanted", [([1], 1), ([1, 2], 3), ([], 0)])
def test_rows(given, wanted):
    assert total(given) == wanted

@pytest.mark.timeout(5)
def test_near():
    assert total([0.1, 0.2]) == pytest.approx(0.3, abs=1e-9)
    expected = "1 thing"
    assert total.text(1) == expected

class TestMore:
    def test_two(self):
        assert total([]) == 0
        with pytest.raises(ValueError, match="no number"):
            total(["x"])
"""
UNIT = """import unittest
class SumTest(unittest.TestCase):
    def test_sum(self):
        self.assertEqual(total([1, 2]), 3)
        self.assertAlmostEqual(total([0.1, 0.2]), 0.3, places=7)
"""
JS = """import { total } from './total'
test('one', () => { expect(total([1])).toBe(1) })
it('two', async () => {
  expect(total([])).toEqual(0)
  expect(total([0.1, 0.2])).toBeCloseTo(0.3, 8)
})
test.each([[[1], 1], [[1, 2], 3]])('sums %s', (given, wanted) => { expect(total(given)).toBe(wanted) })
"""
GO = """func TestSum(t *testing.T) {
\tif Total(1, 2) != 3 {
\t\tt.Errorf("got %d, want 3", Total(1, 2))
\t}
}
"""
SOURCE = """import os

def total(numbers):
    \"\"\"The sum.\"\"\"
    found = 0
    for number in numbers:
        found += number
    return found
"""
JS_SOURCE = """export function total(numbers) {
  return numbers.reduce((a, b) => a + b)
}
"""
TEXTS = {"tests/test_total.py": PY, "tests/test_unit.py": UNIT, "src/total.test.ts": JS, "sum_test.go": GO,
         "src/total.py": SOURCE, "src/total.ts": JS_SOURCE}  # fmt: skip


def edited(path: str, old: str, new: str) -> FileChange:
    before = TEXTS[path]
    assert before.count(old) == 1, (path, old)
    return change(path, before.replace(old, new).encode(), before.encode())


def rules(*files: FileChange, lifted: Lifted = frozenset(), failing: tuple[str, ...] = ()) -> set[str]:
    found = cheats_in(changeset(*files), lifted, failing)
    for finding in found:
        assert finding.source == "policy"
        assert finding.severity == ("minor" if finding.rule in MINOR else "major")
        path, _, line = finding.place.partition(":")
        assert path in {file.path for file in files}
        assert not line or int(line) > 0
    assert len({(finding.rule, finding.place.partition(":")[0]) for finding in found}) == len(found)
    return {finding.rule for finding in found}


def py(old: str, new: str) -> FileChange:
    return edited("tests/test_total.py", old, new)


def unit(old: str, new: str) -> FileChange:
    return edited("tests/test_unit.py", old, new)


def js(old: str, new: str) -> FileChange:
    return edited("src/total.test.ts", old, new)


def source(new: str, old: str = "    found = 0\n") -> FileChange:
    return edited("src/total.py", old, new)


def js_source(new: str) -> FileChange:
    return edited("src/total.ts", "  return numbers", f"{new}\n  return numbers")


def whole(path: str, after: str | None, before: str | None) -> FileChange:
    return change(path, *(None if text is None else text.encode() for text in (after, before)))


ONE, TWO = "assert total([1]) == 1", "assert total([]) == 0"

CHEATS: dict[str, list[FileChange]] = {
    "test-deleted": [
        whole("tests/test_total.py", None, PY),
        whole("src/total.test.ts", None, JS),
        whole("sum_test.go", None, GO),
    ],
    "test-removed": [
        py("def test_one", "def check_one"),
        py("class TestMore", "class More"),
        py("def test_two", "def two"),
        py("def test_one():\n    ", "if False:\n  def test_one():\n    "),
        py("def test_one():\n    assert total([1]) == 1\n", ""),
        whole("tests/test_total.py", "(" * 200_000, PY),
        js("it('two'", "notes('two'"),
        js("test('one'", "// test('one'"),
        whole("sum_test.go", "func Sum() {}\n", GO),
    ],
    "test-skipped": [
        py("def test_one", "@pytest.mark.skip\ndef test_one"),
        py("def test_one", "@pytest.mark.xfail\ndef test_one"),
        py("def test_one", "@pytest.mark.skipif(True, reason='')\ndef test_one"),
        py(ONE, f"pytest.skip('later')\n    {ONE}"),
        py("LIMIT", "pytestmark = pytest.mark.skip\nLIMIT"),
        py("LIMIT", "pytest.importorskip('x')\nLIMIT"),
        py("class TestMore:\n", "class TestMore:\n    __test__ = False\n"),
        py("([1, 2], 3)", "pytest.param([1, 2], 3, marks=pytest.mark.xfail)"),
        py("import calc\n", "import calc\nfrom pytest import mark\n@mark.skip\ndef test_new(): assert total([2]) == 2\n"),
        unit("    def test_sum", "    @unittest.skip('x')\n    def test_sum"),
        unit("        self.assertEqual", "        self.skipTest('x')\n        self.assertEqual"),
        js("test('one'", "test.skip('one'"),
        js("it('two'", "xit('two'"),
        js("it('two'", "it.only('two'"),
        js("it('two'", "it.todo('two'"),
        edited("sum_test.go", "\tif", "\tt.Skip()\n\tif"),
    ],
    "test-weakened": [
        py(f"        {TWO}\n", ""),
        py(ONE, "assert total([1])"),
        py(ONE, "assert True"),
        py(ONE, "assert total([1]) == total([1])"),
        py(ONE, f"{ONE} or True"),
        py(ONE, "assert total([1]) is not None"),
        py(ONE, "assert total([1]) != 7"),
        py(ONE, f"return\n    {ONE}"),
        py(ONE, f"try:\n        {ONE}\n    except AssertionError:\n        pass"),
        py(ONE, "assert isinstance(total([1]), int)"),
        py(ONE, f"if False:\n        {ONE}"),
        py(ONE, "assert total([1]) in (1, -1)"),
        py(ONE, "total([1]) == 1"),
        py(ONE, f"with contextlib.suppress(Exception):\n        {ONE}"),
        py('ValueError, match="no number"', "Exception"),
        unit("self.assertEqual(total([1, 2]), 3)", "self.assertTrue(total([1, 2]))"),
        js("expect(total([1])).toBe(1)", "total([1])"),
        js("expect(total([1])).toBe(1)", "expect(total([1])).toBeTruthy()"),
        js("expect(total([1])).toBe(1)", "expect(true).toBe(true)"),
        edited("sum_test.go", "t.Errorf(", "t.Logf("),
    ],
    "expectation-edited": [
        py(ONE, "assert total([1]) == -1"),
        py(ONE, "assert -1 == total([1])"),
        py("([1, 2], 3)", "([1, 2], -1)"),
        py('"1 thing"', '"1 things"'),
        py('match="no number"', 'match="oops"'),
        py("raises(ValueError,", "raises(KeyError,"),
        unit("[1, 2]), 3)", "[1, 2]), -1)"),
        js("toBe(1)", "toBe(-1)"),
        js("toEqual(0)", "toEqual({})"),
        js("[[1, 2], 3]", "[[1, 2], -1]"),
    ],
    "tolerance-widened": [
        py("abs=1e-9", "abs=0.5"),
        py(ONE, "assert total([1]) == pytest.approx(1, rel=0.5)"),
        py(ONE, "assert abs(total([1]) - 1) < 3"),
        py("0.3, abs=1e-9", "0.3, abs=1e-9, rel=0.1"),
        whole(
            "tests/test_a.py",
            "def test_a():\n    assert isclose(f(), 1, rel_tol=0.2)\n",
            "def test_a():\n    assert isclose(f(), 1, rel_tol=1e-9)\n",
        ),
        unit("places=7", "places=1"),
        unit("assertEqual(total([1, 2]), 3)", "assertAlmostEqual(total([1, 2]), 3)"),
        js("toBeCloseTo(0.3, 8)", "toBeCloseTo(0.3, 0)"),
        js("toEqual(0)", "toBeCloseTo(0)"),
    ],
    "test-cases-removed": [py("([1, 2], 3), ", ""), js(", [[1, 2], 3]", "")],
    "limit-raised": [
        py("timeout(5)", "timeout(600)"),
        py("def test_one", "@pytest.mark.flaky(reruns=5)\ndef test_one"),
        js("test('one'", "jest.retryTimes(3)\ntest('one'"),
    ],
    "mocked-subject": [
        py(
            f"():\n    {ONE}",
            f"(monkeypatch):\n    monkeypatch.setattr(calc, 'total', lambda x: 1)\n    assert calc.total([1]) == 1\n    {ONE}",
        ),
        py(f"():\n    {ONE}", f"():\n    with patch('calc.total', return_value=1):\n        {ONE}"),
        py(ONE, f"calc.total = lambda x: 1\n    {ONE}"),
        py("def test_one()", "@mock.patch('calc.total')\ndef test_one(total)"),
        js("test('one'", "jest.mock('./total')\ntest('one'"),
        js("test('one'", "vi.spyOn(total, 'sum')\ntest('one'"),
    ],
    "snapshot-regenerated": [
        whole("src/__snapshots__/a.test.ts.snap", "new\n", "old\n"),
        whole("tests/__snapshots__/a.ambr", None, "old\n"),
        whole("testdata/out.golden", "new\n", "old\n"),
    ],
    "test-configuration": [
        whole("conftest.py", "import pytest\n", None),
        whole("pytest.ini", "[pytest]\naddopts = -k x\n", None),
        whole("a/tox.ini", "", "[tox]"),
        whole("pyproject.toml", "[tool.pytest.ini_options]\naddopts = '-k x'\n", "[tool.pytest.ini_options]\n"),
        whole("pyproject.toml", None, "[tool.coverage.report]\nfail_under = 90\n"),
        whole("pyproject.toml", "[", "[project]\nname = 'x'\n"),
        whole("setup.cfg", "[tool:pytest]\nxfail_strict = false\n", "[metadata]\n"),
        whole("package.json", '{"scripts": {"test": "true"}}', '{"scripts": {"test": "jest"}}'),
        whole("jest.config.js", "1", "2"),
        whole("tsconfig.json", "{}", '{"strict": true}'),
        whole(".circleci/config.yml", "x", "y"),
    ],
    "test-hook": [
        whole("tests/conftest.py", "def pytest_collection_modifyitems(items):\n    items.clear()\n", None),
        whole("conftest.py", "collect_ignore = ['tests']\n", ""),
    ],
    "runner-sniffed": [
        source("    if os.environ.get('PYTEST_CURRENT_TEST'): return 5\n"),
        source("    if 'pytest' in sys.modules: return 5\n"),
        source('    if sys.modules.get("pytest"): return 5\n'),
        source("    if os.getenv('CI'): return 5\n"),
        source("    if 'CI' in os.environ: return 5\n"),
        js_source("  if (process.env.JEST_WORKER_ID) return 5"),
        js_source("  if (process.env.CI) return 5"),
        js_source("  if (process.env.NODE_ENV === 'test') return 5"),
        whole("a.go", "package a\nvar t = testing.Testing()\n", "package a\n"),
    ],
    "error-swallowed": [
        source("    found = 0\n    try:\n        found = int(numbers)\n    except Exception:\n        pass\n"),
        source("    try:\n        found = 0\n    except:\n        return None\n"),
        source("    with contextlib.suppress(Exception):\n        found = 0\n"),
        source("    try:\n        found = 0\n    except (KeyError, BaseException) as error:\n        ...\n"),
        js_source("  try { numbers.sort() } catch (error) {}"),
        js_source("  try { numbers.sort() } catch {\n    // never mind\n  }"),
        js_source("  load().catch(() => {})"),
        whole("a.rb", "x rescue nil\n", "x\n"),
    ],
    "exit-added": [
        source("    sys.exit(0)\n"),
        source("    os._exit(0)\n"),
        source("    raise SystemExit(0)\n"),
        source("    os.kill(os.getpid(), 9)\n"),
        js_source("  process.exit(0)"),
        whole("a.go", "func A() { os.Exit(0) }\n", "func A() {}\n"),
    ],
    "check-silenced": [
        source("    found = 0  # noqa: F841\n"),
        source("    found = 0  # type: ignore\n"),
        source("    found = 0  # pragma: no cover\n"),
        js_source("  // eslint-disable-next-line"),
        js_source("  // @ts-ignore"),
    ],
}

PASTED = py(ONE, f"{ONE}\n    assert total('7 8') == 15")
PASTES = {
    "a branch": source("    if numbers == '7 8':\n        return 15\n"),
    "the other way round": source("    if '7 8' == numbers: return 15\n"),
    "one of": source("    if numbers in ('7 8',):\n        return 15\n"),
    "a choice": source("    return 15 if numbers == '7 8' else 0\n"),
    "a table": source("    return {'7 8': 15}.get(numbers)\n"),
    "a table by key": source("    return {'7 8': 15}[numbers]\n"),
    "a case": source("    match numbers:\n        case '7 8':\n            return 15\n"),
    "the whole function": source("    return 15\n", SOURCE.partition('sum."""\n')[2]),
}
JS_PASTED = js("toBe(1)", "toBe(1); expect(total('7 8')).toBe(15)")
JS_PASTES = {
    "js branch": js_source("  if (numbers === '7 8') return 15;"),
    "js block": js_source("  if (numbers == '7 8') {\n    return 15;\n  }"),
    "js choice": js_source("  const found = numbers === '7 8' ? 15 : 0"),
    "js case": js_source("  switch (numbers) { case '7 8': return 15 }"),
    "js whole function": whole("src/total.ts", "export function total(numbers) { return 15 }\n", JS_SOURCE),
}


@pytest.mark.parametrize(("rule", "number"), [(rule, number) for rule, made in CHEATS.items() for number in range(len(made))])
def test_a_cheat_is_found_by_its_rule(rule: str, number: int) -> None:
    file = CHEATS[rule][number]
    assert rule in rules(file), file.after
    assert rule in rules(change("src/fine.py"), file), "good work beside it hides nothing"
    assert rule not in rules(file, lifted=frozenset({(rule, file.path)}))
    assert rule not in rules(file, lifted=frozenset({(rule, "*")}))
    assert rule in rules(file, lifted=frozenset({(rule, "elsewhere.py")}))


@pytest.mark.parametrize("name", [*PASTES, *JS_PASTES])
def test_an_answer_that_a_test_expects_is_not_pasted_into_the_sources(name: str) -> None:
    code, proof = (PASTES[name], PASTED) if name in PASTES else (JS_PASTES[name], JS_PASTED)
    assert rules(code, proof) == {"hard-coded-answer"}
    assert rules(code) == set(), "without a test that expects it, it is a rule of the code"


def test_a_pasted_answer_may_hold_quotes_and_line_ends() -> None:
    code = source("    if numbers == 'a b':\n        return 'it\\'s\\n\"x\"'\n")
    assert rules(code, py(ONE, f"{ONE}\n    assert total('a b') == 'it\\'s\\n\"x\"'")) == {"hard-coded-answer"}


def test_an_answer_that_a_failing_test_of_the_base_expects_is_not_pasted_either() -> None:
    assert rules(PASTES["a branch"], failing=("assert 0 == 15\n +  where 0 = total('7 8')",)) == {"hard-coded-answer"}


def test_every_rule_is_tried_here() -> None:
    assert {*CHEATS, "hard-coded-answer"} == set(RULES)


HONEST: dict[str, tuple[FileChange, ...]] = {
    "source": (change("src/a.py"),),
    "a test added": (py("class TestMore", "def test_three():\n    assert total([3]) == 3\n\nclass TestMore"),),
    "a test file added": (whole("tests/test_new.py", "def test_x():\n    assert total([1]) == 1\n", None),),
    "a stricter test": (py(ONE, f"{ONE}\n    assert total([5]) == 5"),),
    "an assertion made exact": (py("== pytest.approx(0.3, abs=1e-9)", "== 0.3"),),
    "a test body rewritten": (py(ONE, "found = total((1,))\n    assert found == 1"),),
    "a case added": (py("([], 0)", "([], 0), ([4], 4)"),),
    "a test renamed": (py("test_two", "test_2"),),
    "a test moved": (
        py(f"def test_one():\n    {ONE}\n", ""),
        whole("tests/test_more.py", f"def test_single():\n    {ONE}\n", None),
    ),
    "a test file renamed": (whole("tests/test_total.py", None, PY), whole("tests/test_sum.py", PY, None)),
    "a timeout lowered": (py("timeout(5)", "timeout(2)"),),
    "a tolerance narrowed": (py("abs=1e-9", "abs=1e-12"),),
    "a test for one platform": (
        py(
            "class TestMore",
            "@pytest.mark.skipif(WINDOWS, reason='x')\ndef test_three():\n    assert total([3]) == 3\n\nclass TestMore",
        ),
    ),
    "a stand-in for something else": (
        py(f"():\n    {ONE}", f"(monkeypatch):\n    monkeypatch.setattr(calc.time, 'sleep', lambda s: None)\n    {ONE}"),
        source("    found = 0.0\n"),
    ),
    "a narrow error caught": (source("    try:\n        found = 0\n    except KeyError:\n        pass\n"),),
    "an error told of": (source("    try:\n        found = 0\n    except Exception as error:\n        log(error)\n"),),
    "a program's end": (source(SOURCE + "\nif __name__ == '__main__':\n    sys.exit(main())\n", SOURCE),),
    "a special case": (source("    if not numbers:\n        return 0\n    if numbers == [1]:\n        return 1\n"), PASTED),
    "a version in a manifest": (whole("pyproject.toml", "[project]\nversion = '2'\n", "[project]\nversion = '1'\n"),),
    "a dependency": (whole("package.json", '{"dependencies": {"a": "2"}}', '{"dependencies": {"a": "1"}}'),),
    "js test added": (js("test('one'", "test('three', () => { expect(total([3])).toBe(3) })\ntest('one'"),),
    "js stricter": (js("toEqual(0)", "toEqual(0); expect(total([9])).toBe(9)"),),
    "js error told of": (js_source("  try { numbers.sort() } catch (error) { console.error(error) }"),),
    "a new snapshot": (whole("src/__snapshots__/b.snap", "new\n", None),),
    "code that moved": (
        whole("src/b.py", "def f():\n    try:\n        g()\n    except Exception:\n        pass\n", None),
        whole("src/a.py", "", "def f():\n    try:\n        g()\n    except Exception:\n        pass\n"),
    ),
    "a byte order mark": (whole("tests/test_bom.py", "\ufeffimport a\n", "\ufeffimport b\n"),),
    "not UTF-8": (change("tests/test_x.py", "é".encode("latin-1"), "é".encode("latin-1")),),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_work_passes(name: str) -> None:
    assert rules(*HONEST[name]) == set()


def a_plan(*files: str) -> Plan:
    return Plan("g", True, (Task("T1", "t", files[:1], ()), Task("T2", "u", files[1:], ("T1",))), (), (), (), ())


@pytest.mark.parametrize("rule", CHEATS)
def test_what_a_plan_lifts_is_in_the_rule_and_holds_for_the_files_it_names(rule: str) -> None:
    for file in CHEATS[rule]:
        assert (rule in rules(file, lifted=lifted_by(a_plan("src/a.py", file.path)))) is (RULES[rule] != NAMED)
        assert rule in rules(file, lifted=lifted_by(a_plan("src/a.py", f"{file.path}.txt")))
        assert rule in rules(file, lifted=lifted_by(None))
        assert (rule in rules(file, lifted=lifted_by(a_plan(), reverts=True))) is (RULES[rule] == NEVER)
        assert (rule in rules(file, lifted=lifted_by(a_plan(), mechanical=True))) is (RULES[rule] != NAMED)


def test_who_approves_sees_the_named_files_in_which_rules_are_lifted() -> None:
    plan = a_plan("src/a.py", "tests/test_a.py", "pyproject.toml", "docs/a.md", "x/__snapshots__/a.snap", "tests/test_a.py")
    assert yielding(plan) == ("tests/test_a.py", "pyproject.toml", "x/__snapshots__/a.snap")


def test_a_finding_says_where_and_what_would_allow_it() -> None:
    (found,) = cheats_in(changeset(CHEATS["expectation-edited"][0]))
    assert found.place == "tests/test_total.py:8"
    assert found.claim == (
        "test_one expects something else than before: total([1]) == -1 (allowed only where a task of the plan names this file)"
    )
    (found,) = cheats_in(changeset(CHEATS["exit-added"][0]))
    assert (found.place, found.claim) == ("src/total.py:5", "the code ends the program: sys.exit(0) (no plan allows it)")


def test_a_rule_is_lifted_in_a_path_with_a_colon_too() -> None:
    path = "tests/test_a:b.py"
    edit = whole(path, PY.replace("== 1\n", "== 2\n"), PY)
    (found,) = cheats_in(changeset(edit))
    assert (found.rule, found.place) == ("expectation-edited", f"{path}:8")
    assert cheats_in(changeset(edit), lifted_by(a_plan(path))) == ()


PATHS = st.sampled_from([*TEXTS, "conftest.py", "pyproject.toml", "package.json", "setup.cfg", "a.snap", "a.rs", "notes.md"])
PIECES = st.sampled_from(
    [*(line for text in TEXTS.values() for line in text.splitlines()), "try {", "} catch (e) {", "{", ")", '"', "\\"]
)
CONTENTS = st.lists(PIECES | st.text(max_size=20), max_size=12).map(
    lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")
)


@settings(deadline=None)
@given(PATHS, CONTENTS)
def test_what_did_not_change_is_no_cheat(path: str, content: bytes) -> None:
    found = cheats_in(changeset(change(path, content, content)))
    assert {finding.rule for finding in found} <= {"snapshot-regenerated", "test-configuration"}, "those go by the path alone"


@settings(deadline=None)
@given(PATHS, CONTENTS | st.none(), CONTENTS)
def test_any_content_is_judged(path: str, after: bytes | None, before: bytes) -> None:
    found = cheats_in(changeset(change(path, after, before)))
    assert all(finding.rule in RULES and finding.place.startswith(path) for finding in found)
    assert cheats_in(changeset(change(path, after, before)), frozenset((rule, path) for rule in RULES)) == ()
