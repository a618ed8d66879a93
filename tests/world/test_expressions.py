"""The expression language of the demo's Actions runner, compared with GitHub's own implementation where that is installed.

The comparison needs Node and npm's @actions/expressions 0.3.61: in a node_modules beside this file, or in the folder that the
environment variable EXPRESSIONS_NODE names. The answers below were all checked with it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bot.demo.runner import expressions, values
from bot.demo.runner.expressions import EvaluationError, ExpressionError, Scope

CONTEXTS: dict[str, Any] = {
    "github": {
        "event": {
            "issue": {
                "number": 7,
                "labels": [{"name": "bug", "n": 1}, {"name": "Ostler", "n": 2}, {"id": 3}],
                "title": "It's ${{ x }}",
            },
            "nested": [[{"a": 1}, {"a": 2}], [{"a": 3}]],
        },
        "ref": "refs/heads/main",
        "Actor": "Ada",
        "truth": True,
        "lie": False,
        "zero": 0,
        "half": 0.5,
        "nothing": None,
        "empty": "",
        "list": ["a", "B", 3, True, None],
        "map": {"one": 1, "two": {"three": 3}, "with-dash": "d"},
    },
    "needs": {
        "gate": {"result": "success", "outputs": {"go": "true", "next": "build"}},
        "plan": {"result": "skipped", "outputs": {}},
    },
}
FAILS = "fails"  # GitHub refuses it too

TABLE: list[tuple[str, Any]] = [
    # literals
    ("null", None),
    ("true", True),
    ("false", False),
    ("42", 42),
    ("-9.2", -9.2),
    ("+5", 5),
    (".5", 0.5),
    ("5.", 5),
    ("0xff", 255),
    ("0o17", 15),
    ("0b11", 3),
    ("-2.99e-2", -0.0299),
    ("1e3", 1000),
    ("'text'", "text"),
    ("'It''s'", "It's"),
    ("''", ""),
    ("Infinity", math.inf),
    ("NaN == NaN", False),
    ("  1  ", 1),
    # what cannot be read
    ("1 +2", FAILS),
    ("'open", FAILS),
    ('"double"', FAILS),
    ("(1", FAILS),
    ("1)", FAILS),
    ("a b", FAILS),
    ("github..ref", FAILS),
    ("github.", FAILS),
    ("nowhere.x", FAILS),
    ("nofunction(1)", FAILS),
    ("contains('a')", FAILS),
    ("contains('a','b','c')", FAILS),
    ("1 = 1", FAILS),
    ("true & false", FAILS),
    ("true | false", FAILS),
    ("0x", FAILS),
    ("1_000", FAILS),
    ("-", FAILS),
    ("'a'.b", FAILS),
    ("true.x", FAILS),
    ("github['ref'", FAILS),
    ("hashFiles('x')", FAILS),
    ("fromJSON('')", FAILS),
    ("fromJSON('{')", FAILS),
    ("fromJSON('NaN')", FAILS),
    ("format('{0} {1}', 1)", FAILS),
    ("format('{', 1)", FAILS),
    ("format('}', 1)", FAILS),
    ("format('{a}', 1)", FAILS),
    ("case(true, 1)", FAILS),
    ("case('a', 1, 2)", FAILS),
    ("!", FAILS),
    ("1 ==", FAILS),
    ("@", FAILS),
    ("a$b", FAILS),
    # contexts
    ("github.ref", "refs/heads/main"),
    ("GITHUB.REF", "refs/heads/main"),
    ("github['ref']", "refs/heads/main"),
    ("github . ref", "refs/heads/main"),
    ("github.actor", "Ada"),
    ("github.missing", None),
    ("github.missing.deeper", None),
    ("github.ref.deeper", None),
    ("github.map.with-dash", "d"),
    ("github.map['two'].three", 3),
    ("github['map']['TWO']['THREE']", 3),
    ("github.list[0]", "a"),
    ("github.list[1.9]", "B"),
    ("github.list['2']", 3),
    ("github.list[9]", None),
    ("github.list[-1]", None),
    ("github.list['x']", None),
    ("github.list.length", None),
    ("github.map[github.list]", None),
    ("(github).ref", "refs/heads/main"),
    ("github.true", None),
    ("needs.gate.outputs.next", "build"),
    ("needs.plan.outputs.next || needs.gate.outputs.next", "build"),
    # filters
    ("github.event.issue.labels.*.name", ["bug", "Ostler"]),
    ("github.event.issue.labels[*].n", [1, 2]),
    ("github.event.issue.labels.*.missing", []),
    ("github.event.issue.labels.*.name[0]", []),
    ("github.map.*", [1, {"three": 3}, "d"]),
    ("github.map.*.three", [3]),
    ("github.event.nested.*.*.a", [1, 2, 3]),
    ("github.event.nested[*][0].a", [1, 3]),
    ("github.ref.*", []),
    ("contains(github.event.issue.labels.*.name, 'ostler')", True),
    ("contains(needs.*.result, 'failure')", False),
    ("join(needs.*.result)", "success,skipped"),
    # equality
    ("'A' == 'a'", True),
    ("'ß' == 'SS'", True),
    ("'\u0131' == 'I'", False),
    ("1 == '1'", True),
    ("1 == ' 1 '", True),
    ("1 == 'one'", False),
    ("0 == ''", True),
    ("null == ''", True),
    ("null == 0", True),
    ("null == false", True),
    ("null == null", True),
    ("true == 1", True),
    ("true == '1'", True),
    ("true == 'true'", False),
    ("false == ''", True),
    ("'0x10' == 16", True),
    ("github.list == github.list", True),
    ("github.list == github.map", False),
    ("github.list == 'Array'", False),
    ("github.list == null", False),
    ("1 != 2", True),
    ("'a' != 'A'", False),
    ("github.map != github.map", False),
    # order
    ("1 < 2", True),
    ("2 <= 2", True),
    ("'10' < '9'", True),
    ("10 < '9'", False),
    ("'a' < 'B'", True),
    ("'a' >= 'A'", True),
    ("true > false", True),
    ("false < true", True),
    ("null < 1", True),
    ("null <= null", True),
    ("null < null", False),
    ("'x' < 1", False),
    ("'x' > 1", False),
    ("github.list < github.map", False),
    ("1 < 2 == true", True),
    ("1 == 1 == true", True),
    # not, and, or
    ("!true", False),
    ("!!'x'", True),
    ("!null", True),
    ("!''", True),
    ("!'0'", False),
    ("!0", True),
    ("!github.list", False),
    ("!1 == 0", True),
    ("true && 'yes'", "yes"),
    ("false && 'yes'", False),
    ("'' && 'yes'", ""),
    ("null || 'other'", "other"),
    ("'' || 0", 0),
    ("github.truth && 'a' || 'b'", "a"),
    ("github.lie && 'a' || 'b'", "b"),
    ("true && '' || 'b'", "b"),
    ("true || false && false", True),
    ("(true || false) && false", False),
    ("1 && 2 && 3", 3),
    ("NaN || 'n'", "n"),
    # functions
    ("contains('Hello World', 'WORLD')", True),
    ("contains('abc', '')", True),
    ("contains(123, 2)", True),
    ("contains(github.list, 'b')", True),
    ("contains(github.list, '3')", True),
    ("contains(github.list, 'zzz')", False),
    ("contains(github.map, 'one')", False),
    ("contains('x', github.list)", False),
    ("contains(null, '')", True),
    ("startsWith('Hello', 'HE')", True),
    ("startsWith(github.ref, 'refs/heads/')", True),
    ("startsWith(github.list, 'a')", False),
    ("startsWith(123, 12)", True),
    ("endsWith('Hello', 'LLO')", True),
    ("endsWith('Hello', 'x')", False),
    ("format('{0}-{1}-{0}', 'a', 2)", "a-2-a"),
    ("format('{{{0}}}', 'a')", "{a}"),
    ("format('{{}}')", "{}"),
    ("format('plain')", "plain"),
    ("format('{0:x}', 'a')", "a"),
    ("format('{0}', github.list)", "Array"),
    ("format('{0}{1}{2}', true, null, 1.50)", "true1.5"),
    ("format('{0}', '{1}')", "{1}"),
    ("join(github.list)", "a,B,3,true,"),
    ("join(github.list, ' + ')", "a + B + 3 + true + "),
    ("join('text', 'x')", "text"),
    ("join(github.map)", ""),
    ("join(github.event.issue.labels.*.name, '|')", "bug|Ostler"),
    ("toJSON('a')", '"a"'),
    ("toJSON(null)", "null"),
    ("toJSON(1.5)", "1.5"),
    ("toJSON(github.list)", '[\n  "a",\n  "B",\n  3,\n  true,\n  null\n]'),
    ("toJSON(github.map)", '{\n  "one": 1,\n  "two": {\n    "three": 3\n  },\n  "with-dash": "d"\n}'),
    ("toJSON(fromJSON('[]'))", "[]"),
    ("toJSON(fromJSON('{}'))", "{}"),
    ("toJSON('é\"\\ ')", '"é\\"\\\\ "'),
    ("fromJSON('[1,2]')[1]", 2),
    ('fromJSON(\'{"a": {"b": true}}\').A.b', True),
    ("fromJSON('\"t\"')", "t"),
    ("fromJSON('1e2')", 100),
    ("fromJSON(toJSON(github.map)).two.three", 3),
    ("FROMJSON('null')", None),
    ("case(false, 1, true, 2, 3)", 2),
    ("case(false, 1, 3)", 3),
    # numbers as text
    ("format('{0}', 1000000)", "1000000"),
    ("format('{0}', 0.1)", "0.1"),
    ("format('{0}', 1e21)", "1e+21"),
    ("format('{0}', 123456789012345680000)", "123456789012345680000"),
    ("format('{0}', 1e-7)", "1e-7"),
    ("format('{0}', 0.000001)", "0.000001"),
    ("format('{0}', -0)", "0"),
    ("format('{0}', -1.25)", "-1.25"),
    ("format('{0}', 0.1234567890123456789)", "0.123456789012346"),
    ("format('{0}', NaN)", "NaN"),
    ("format('{0}', -Infinity)", "-Infinity"),
]


def evaluate(source: str) -> Any:
    return expressions.parse(source, CONTEXTS).evaluate(Scope(CONTEXTS))


@pytest.mark.parametrize(("source", "expected"), TABLE)
def test_table(source: str, expected: Any) -> None:
    if expected == FAILS:
        with pytest.raises((ExpressionError, EvaluationError)):
            evaluate(source)
        return
    found = evaluate(source)
    assert found == expected
    assert isinstance(found, bool) == isinstance(expected, bool)


_SCRIPT = """
import {pathToFileURL} from "node:url";
import {readFileSync} from "node:fs";
const {Lexer, Parser, Evaluator, data} = await import(pathToFileURL(process.argv[2]));
const {sources, contexts} = JSON.parse(readFileSync(0, "utf-8"));
const make = value => value === null ? new data.Null()
  : typeof value === "string" ? new data.StringData(value)
  : typeof value === "number" ? new data.NumberData(value)
  : typeof value === "boolean" ? new data.BooleanData(value)
  : Array.isArray(value) ? new data.Array(...value.map(make))
  : new data.Dictionary(...Object.entries(value).map(([key, item]) => ({key, value: make(item)})));
const context = make(contexts);
const answers = sources.map(source => {
  try {
    const tree = new Parser(new Lexer(source).lex().tokens, Object.keys(contexts), []).parse();
    const value = new Evaluator(tree, context).evaluate();
    const special = value.kind === data.Kind.Number && !Number.isFinite(value.value);
    return special ? {special: String(value.value)} : {value: JSON.parse(JSON.stringify(value, data.replacer))};
  } catch (error) { return {fails: String(error)}; }
});
console.log(JSON.stringify(answers));
"""


def _package() -> Path | None:
    for folder in (os.environ.get("EXPRESSIONS_NODE"), str(Path(__file__).parent)):
        entry = Path(folder or "/nowhere") / "node_modules/@actions/expressions/dist/index.js"
        if entry.is_file():
            return entry
    return None


def test_github_answers_the_same(tmp_path: Path) -> None:
    node, package = shutil.which("node"), _package()
    if not node or not package:
        pytest.skip("needs Node and @actions/expressions 0.3.61: npm i @actions/expressions@0.3.61")
    script = tmp_path / "ask.mjs"
    script.write_text(_SCRIPT)
    asked = json.dumps({"sources": [source for source, _ in TABLE], "contexts": CONTEXTS})
    done = subprocess.run([node, script, package], input=asked, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    differ = []
    for (source, expected), theirs in zip(TABLE, json.loads(done.stdout), strict=True):
        ours = {"fails": True} if expected == FAILS else _shown(expected)
        if ("fails" in ours) != ("fails" in theirs) or ("fails" not in ours and ours != theirs):
            differ.append((source, ours, theirs))
    assert differ == []


def _shown(value: Any) -> dict[str, Any]:
    if isinstance(value, float) and not math.isfinite(value):
        return {"special": values.number_text(value)}
    return {"value": value}


def test_templates() -> None:
    def read(source: str) -> Any:
        return expressions.template(source, CONTEXTS).evaluate(Scope(CONTEXTS))

    assert read("plain") == "plain"
    assert read("") == ""
    assert read("${{ github.zero }}") == 0
    assert read("${{ github.map }}") == CONTEXTS["github"]["map"]
    assert read("a ${{ github.half }} b ${{ github.truth }}${{ null }}") == "a 0.5 b true"
    assert read("${{ 'a}}b' }}") == "a}}b"
    assert read("${{ 'It''s }}' }} $ { }}") == "It's }} $ { }}"
    assert read("${{ github.event.issue.title }}") == "It's ${{ x }}"  # what comes in is not read again
    for bad in ("${{ github.ref", "${{ }}", "${{ 'x }}"):
        with pytest.raises(ExpressionError):
            read(bad)


def test_every_doubled_quote_is_one() -> None:
    """@actions/expressions undoes the first only; the runner on GitHub's machines undoes all."""
    assert evaluate("'a''b''c'") == "a'b'c"


def test_names_of_env_differ_by_case() -> None:
    scope = Scope({"env": values.Exact(A="upper")})
    assert expressions.parse("env.A", ["env"]).evaluate(scope) == "upper"
    assert expressions.parse("env.a", ["env"]).evaluate(scope) is None


@pytest.mark.parametrize(
    ("source", "status", "expected"),
    [
        ("true", True, True),
        ("true", False, False),
        ("always()", False, True),
        ("${{ always() && github.truth }}", False, True),
        ("ALWAYS()", False, True),
        ("failure()", False, True),
        ("!cancelled()", False, True),
        ("github.lie || failure()", False, True),
        ("'always()' == 'x' || true", False, False),
    ],
)
def test_condition_implies_success(source: str, status: bool, expected: bool) -> None:
    functions = {"always": lambda: True, "success": lambda: status, "failure": lambda: not status, "cancelled": lambda: False}
    node = expressions.condition(source, CONTEXTS)
    assert values.truthy(node.evaluate(Scope(CONTEXTS, functions))) is expected


def test_conditions_that_mislead_are_refused() -> None:
    for bad in ("${{ github.lie }} && true", "!${{ github.truth }}", "hashFiles('a') != ''", "secrets.X != ''"):
        with pytest.raises(ExpressionError):
            expressions.condition(bad, CONTEXTS)


def test_depth_and_length_are_bounded() -> None:
    for bad in ("(" * 60 + "1" + ")" * 60, "!" * 60 + "1", "github" + ".a" * 60, "'" + "a" * 21_000 + "'"):
        with pytest.raises(ExpressionError):
            evaluate(bad)
