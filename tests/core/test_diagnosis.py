"""Which classes of errors real outputs of tools show, and what a diagnosis keeps to whatever is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.diagnosis import AROUND, Evidence, diagnose, named, of_check, of_output, of_proof, of_suite, order, places
from bot.core.error_classes import CLASSES, OWN_LENGTH, OWN_LINE, PATTERNS, SOURCES, ErrorRow, patterns, unfit
from bot.core.flaky import Repeats
from bot.core.reports import Check
from bot.core.reports import TestCase as Case
from bot.core.reports import TestReport as Report
from bot.core.validation import CheckSet, Proof, judge
from tests.core.play import change, changeset, checks, suite

OUTPUTS = Path(__file__).parent / "outputs"
FOUND = {
    "pytest": {
        "import": 2, "key": 2, "test_failure": 2, "attribute": 1, "type": 1, "undefined_name": 1, "value": 1, "network": 1,
    },
    "mypy": {"type": 3, "import": 2, "attribute": 1, "undefined_name": 1},
    "ruff": {"lint": 11, "undefined_name": 2, "syntax": 2},
    "pip": {"missing_dependency": 2},
    "tsc": {"import": 3, "type": 2, "attribute": 1, "undefined_name": 1},
    "eslint": {"lint": 2, "undefined_name": 1, "syntax": 1},
    "node": {"import": 3, "attribute": 2, "missing_dependency": 1, "undefined_name": 1, "syntax": 1},
    "node_test": {"test_failure": 2},
    "go": {
        "test_failure": 2, "missing_dependency": 1, "import": 1, "attribute": 1, "key": 1, "type": 1, "undefined_name": 1,
        "syntax": 1, "lint": 1,
    },
    "cargo_check": {"import": 2, "attribute": 1, "type": 1, "undefined_name": 1, "syntax": 1},
    "cargo_test": {"key": 1, "value": 1, "test_failure": 1},
    "cargo_resolve": {"missing_dependency": 1},
    "javac": {"undefined_name": 2, "import": 1, "type": 1, "syntax": 1},
    "java": {"attribute": 1},
    "git": {"merge_conflict": 1},
    "shell": {"environment": 2},
}  # fmt: skip
"""What each output shows: its names are those of the files, and what stands in them is what the tool wrote (Go's by hand)."""


@pytest.mark.parametrize("tool", FOUND)
def test_all_classes_of_a_tools_output_are_found_with_their_counts(tool: str) -> None:
    found = diagnose(of_output((OUTPUTS / f"{tool}.txt").read_text("utf-8")))
    assert {row.name: row.count for row in found} == FOUND[tool]


def test_there_is_a_row_for_every_output() -> None:
    assert {path.stem for path in OUTPUTS.iterdir()} == set(FOUND)


def test_every_class_but_ours_is_told_by_some_pattern() -> None:
    assert set(CLASSES) - {one.name for one in PATTERNS} == {"format", "unmet", "unknown"}
    assert {one.name for one in PATTERNS} <= set(CLASSES)


WORDS = st.sampled_from([*SOURCES, "output", "gate", "build"])
EVIDENCE = st.builds(Evidence, WORDS, st.text(max_size=60))
LINES = [line for path in sorted(OUTPUTS.iterdir()) for line in path.read_text("utf-8").splitlines() if line]


@given(st.lists(EVIDENCE | st.builds(Evidence, st.just("output"), st.sampled_from(LINES)), max_size=30))
def test_every_piece_that_says_something_is_counted_once(said: list[Evidence]) -> None:
    found = diagnose(said)
    told = [name for one in said if (name := named(one))]
    assert {row.name: row.count for row in found} == ({name: told.count(name) for name in told} or {"unknown": 1})
    assert [row.count for row in found] == sorted((row.count for row in found), reverse=True)
    mended = [CLASSES[name].order for name in order(found)]
    assert mended == sorted(mended)


@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_what_is_found_does_not_hang_on_what_is_said_first(lines: list[str]) -> None:
    forth, back = (diagnose(Evidence("output", line) for line in said) for said in (lines, lines[::-1]))
    assert [(row.name, row.count) for row in forth] == [(row.name, row.count) for row in back]


@pytest.mark.parametrize("source", SOURCES)
@given(st.text(alphabet="abc xyz", max_size=20))
def test_who_says_it_is_enough_where_the_words_are_not(source: str, words: str) -> None:
    assert named(Evidence(source, words)) == SOURCES[source]


@given(st.sampled_from((OUTPUTS / "shell.txt").read_text("utf-8").splitlines()))
def test_a_tests_own_words_never_blame_the_machine(words: str) -> None:
    assert named(Evidence("output", words)) == "environment"
    assert named(Evidence("tests", words)) == "test_failure"


def test_the_order_of_mending_is_what_causes_first() -> None:
    every = diagnose(Evidence("output", line) for line in LINES)
    at = order(every).index
    assert at("missing_dependency") < at("import") < at("type") < at("syntax") < at("test_failure")


def test_a_command_is_read_line_by_line_and_a_list_of_findings_row_by_row() -> None:
    cargo = "`cargo check`: exit 101: " + (OUTPUTS / "cargo_check.txt").read_text("utf-8")
    assert {row.name for row in diagnose(of_check(Check("types", "fail", cargo)))} == set(FOUND["cargo_check"])
    said = "a.py:1: F401 `os` imported but unused\na.py:7: F821 Undefined name `b`\n... and 3 more"
    assert [(row.name, row.count) for row in diagnose(of_check(Check("lint", "fail", said)))] == [
        ("undefined_name", 1),
        ("lint", 1),
    ]
    assert [row.name for row in diagnose(of_check(Check("lint", "fail", "`make lint`: exit 1: no")))] == ["lint"]


def held_against(base: CheckSet, proof: Proof) -> list[str]:
    verdict = judge(base, proof, is_bug=False, insist_on_reproduction=False)
    return [row.name for row in diagnose(of_proof(base, proof, verdict))]


def test_what_failed_before_is_not_found_again() -> None:
    cases = (Case("a", "failed", "", "KeyError: 'a'"), Case("b", "failed", "", "NameError: name 'b' is not defined"))
    base, head = Report("fail", cases[:1], 1, "1 of 1 failed"), Report("fail", cases, 2, "2 of 2 failed")
    assert held_against(checks(base), Proof(checks(head), None, None)) == ["undefined_name"]


def test_what_comes_and_goes_is_nobodys() -> None:
    """Run again with the change, one of the two passes now and then."""
    base, head = suite({"a": "passed", "b": "passed"}), suite({"a": "failed", "b": "failed"})
    repeats = Repeats((head, suite({"a": "passed", "b": "failed"})), (base,))
    proof = Proof(checks(head), None, None, repeats)
    verdict = judge(checks(base), proof, is_bug=False, insist_on_reproduction=False)
    assert verdict.flaky == ("a",)
    assert [row.count for row in diagnose(of_proof(checks(base), proof, verdict))] == [1]


def test_a_test_that_only_the_old_files_hold_counts() -> None:
    base, head = suite({"t": "passed"}), suite({"t": "passed"})
    original = Report("fail", (Case("t", "failed", "", "AttributeError: 'A' object has no attribute 'b'"),), 1, "")
    assert held_against(checks(base), Proof(checks(head), original, None)) == ["attribute"]


def test_a_suite_that_hangs_or_breaks_is_told_from_one_that_fails() -> None:
    hangs = Report(
        "error", (), 0, "the tests did not end by themselves: stopped after 60 s", timed_out=True, output="KeyError: 1"
    )
    assert [row.name for row in diagnose(of_suite(hangs))] == ["timeout"]
    missing = Report("error", (), 0, "`make test` cannot run: sh: 1: no-such-tool: not found")
    assert [row.name for row in diagnose(of_suite(missing))] == ["environment"]
    assert [row.name for row in diagnose(of_suite(Report("error", (), 0, "exit 3", output="boom")))] == ["unknown"]


@given(st.integers(-3, 60), st.integers(0, 40))
def test_lines_around_a_place_are_those_of_the_changed_file(number: int, length: int) -> None:
    text = "".join(f"line {at}\n" for at in range(1, length + 1))
    found = diagnose([Evidence("types", f"src/a.py:{number}: error: bad [assignment]")])
    shown = places(found, changeset(change("src/a.py", text.encode())))
    if not 1 <= number <= length:
        assert shown == ()
        return
    head, *lines = shown[0].splitlines()
    assert head == f"src/a.py:{number}"
    assert [int(line.split()[0]) for line in lines] == list(range(max(1, number - AROUND), min(length, number + AROUND) + 1))
    assert all(line.split()[0] == line.split()[2] for line in lines)


def test_places_in_files_that_did_not_change_are_not_shown() -> None:
    found = diagnose([Evidence("types", "src/b.py:1: error: bad [assignment]")])
    assert places(found, changeset(change("src/a.py"))) == ()
    assert places(found, None) == ()


@pytest.mark.parametrize(
    ("regex", "why"),
    [
        ("a(", "no regular expression"),
        ("a" * (OWN_LENGTH + 1), "longer"),
        ("a*", "every line"),
        ("(a+)+b", "repeats a group"),
        ("(?:a|b){2,}c", "repeats a group"),
        (r"(a)\1", "refers back"),
        ("(?P<a>b)(?P=a)", "refers back"),
        ("(?x) a ", "ignores blanks"),
        ("a+b+c+d+", "more than"),
        ("a?" * 11 + "b", "more than"),
        (r"[)(]+\)+a(b)c+", ""),
        ("(?i:error) E[0-9]+|(?<=x)y", ""),
    ],
)
def test_a_pattern_of_a_repository_that_a_search_could_get_lost_in_is_not_taken(regex: str, why: str) -> None:
    assert (why in unfit(regex)) if why else unfit(regex) == ""


@given(st.sampled_from(LINES))
def test_the_repositorys_pattern_counts_before_all_others_and_the_first_of_two(line: str) -> None:
    own = patterns((ErrorRow("LEDGER", "value", "Balance the books."), ErrorRow("LEDGER-[0-9]+", "type")))
    (row,) = diagnose(of_output(f"LEDGER-7 {line}"), own)
    assert (row.name, row.count, row.hint) == ("value", 1, "Balance the books.")
    far = Evidence("output", f"{line.ljust(OWN_LINE)}LEDGER-7")
    assert named(far, own) == named(far)
