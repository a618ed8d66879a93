"""The verdict over a change, the findings made from it, and how a run is summed up: not run is never passed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.findings import Finding, merge
from bot.core.machines import RunState, terminal
from bot.core.reports import CaseOutcome, Check, TestReport
from bot.core.run import Run, Waiting
from bot.core.summary import EXIT_CODES, exit_code, status
from bot.core.validation import Proof, Verdict, judge
from tests.core.play import checks, request, suite

Cases = dict[str, CaseOutcome]
LINT = Check("lint", "pass", "nothing found")


def verdict(
    base: Cases | TestReport,
    head: Cases | TestReport,
    *,
    original: Cases | TestReport | None = None,
    before: Cases | TestReport | None = None,
    is_bug: bool = False,
    insist: bool = False,
    check: Check = LINT,
) -> Verdict:
    def report(cases: Cases | TestReport) -> TestReport:
        return suite(cases) if isinstance(cases, dict) else cases

    proof = Proof(
        checks(report(head), "head", check),
        None if original is None else report(original),
        None if before is None else report(before),
    )
    return judge(checks(report(base)), proof, is_bug=is_bug, insist_on_reproduction=insist)


GREEN: Cases = {"a": "passed", "b": "passed"}
BROKEN = suite({}, "error", "collection failed")
NONE = suite({}, "neutral", "no tests here")


class TestRegressions:
    def test_green_stays_green(self) -> None:
        assert verdict(GREEN, GREEN) == Verdict("pass", (), (), (), (), ())

    @pytest.mark.parametrize("now", ["failed", "error"])
    def test_what_passed_and_fails_now_is_the_changes_fault(self, now: CaseOutcome) -> None:
        found = verdict(GREEN, {**GREEN, "b": now})
        assert found.outcome == "fail"
        assert found.problems == ("passed before and fail now: b",)

    def test_a_new_test_that_fails_is_a_problem(self) -> None:
        assert verdict(GREEN, {**GREEN, "c": "failed"}).problems == ("new tests fail: c",)

    def test_a_test_that_is_not_there_any_more_is_lost(self) -> None:
        assert "1 tests that passed before were not collected: b" in verdict(GREEN, {"a": "passed"}).problems

    def test_a_test_that_is_skipped_now_is_not_passed(self) -> None:
        assert verdict(GREEN, {**GREEN, "a": "skipped"}).problems == ("passed before and are skipped now: a",)

    def test_what_failed_before_is_nobodys_fault(self) -> None:
        found = verdict({"a": "passed", "old": "failed"}, {"a": "passed", "old": "failed"})
        assert (found.outcome, found.problems, found.preexisting) == ("pass", (), ("old",))

    def test_what_failed_before_and_is_gone_or_skipped_is_nobodys_fault_either(self) -> None:
        assert verdict({"a": "passed", "old": "error"}, {"a": "passed", "old": "skipped"}).outcome == "pass"
        assert verdict({"a": "passed", "old": "failed"}, {"a": "passed"}).outcome == "pass"

    def test_what_failed_and_passes_now_is_fixed(self) -> None:
        assert verdict({"a": "failed"}, {"a": "passed"}).fixed == ("a",)

    def test_a_failing_check_is_a_problem_even_with_green_tests(self) -> None:
        assert verdict(GREEN, GREEN, check=Check("types", "fail", "a.py: no such name")).problems == (
            "types: a.py: no such name",
        )

    def test_a_check_that_could_not_run_is_no_problem_and_verifies_nothing(self) -> None:
        neutral = Check("types", "neutral", "no mypy")
        assert verdict(GREEN, GREEN, check=neutral).outcome == "pass"
        assert verdict(NONE, NONE, check=neutral).outcome == "neutral"

    def test_messages_of_failures_are_told(self) -> None:
        head = suite({"a": "failed"})
        head = replace(head, cases=tuple(replace(case, message="expected 3") for case in head.cases))
        assert verdict({"a": "passed"}, head).problems == ("passed before and fail now: a (expected 3)",)


class TestSuitesThatDidNotRun:
    def test_a_suite_that_breaks_is_a_problem_though_no_test_failed(self) -> None:
        assert verdict(GREEN, BROKEN).outcome == "fail"
        assert verdict(NONE, BROKEN).outcome == "fail"

    def test_tests_that_vanish_are_a_problem(self) -> None:
        assert any("result none" in problem for problem in verdict(GREEN, NONE).problems)

    def test_no_tests_before_and_after_is_not_verified(self) -> None:
        found = verdict(NONE, NONE)
        assert (found.outcome, found.notes) == ("neutral", ("not verified by tests: no tests here",))

    def test_a_suite_that_never_ran_is_not_verified(self) -> None:
        found = verdict(BROKEN, BROKEN)
        assert found.outcome == "neutral"
        assert "neither before nor after" in found.notes[0]

    def test_the_first_tests_of_a_repository_count(self) -> None:
        assert verdict(NONE, {"new": "passed"}).outcome == "pass"
        assert verdict(NONE, {"new": "failed"}).outcome == "fail"

    def test_a_suite_with_only_skipped_tests_verifies_nothing_it_had(self) -> None:
        assert verdict(GREEN, {"a": "skipped", "b": "skipped"}).outcome == "fail"


class TestOriginalTests:
    """The base's own test files, run against the result."""

    def test_a_test_that_had_to_be_changed_to_pass_is_found(self) -> None:
        found = verdict(GREEN, GREEN, original={"a": "passed", "b": "failed"})
        assert found.problems == ("with the test files as they were before, these fail or are skipped: b",)

    def test_a_test_that_no_longer_runs_as_it_was_is_found(self) -> None:
        assert verdict(GREEN, GREEN, original={"a": "passed", "b": "skipped"}).outcome == "fail"
        assert verdict(GREEN, GREEN, original=BROKEN).outcome == "fail"

    def test_what_failed_on_the_base_may_fail_still(self) -> None:
        assert verdict({"a": "failed"}, {"a": "passed"}, original={"a": "failed"}).outcome == "pass"
        assert verdict(BROKEN, GREEN, original=BROKEN).outcome == "pass"


class TestReproduction:
    def test_a_test_that_fails_without_the_change_shows_that_the_defect_is_gone(self) -> None:
        found = verdict(GREEN, {**GREEN, "new": "passed"}, before={"new": "failed"}, is_bug=True, insist=True)
        assert (found.outcome, found.reproduced) == ("pass", ("new",))

    def test_a_test_that_passes_without_the_change_shows_nothing(self) -> None:
        found = verdict(GREEN, {**GREEN, "new": "passed"}, before={"new": "passed"}, is_bug=True, insist=True)
        assert found.outcome == "fail"
        assert any("new tests that pass without the change too: new" in note for note in found.notes)

    def test_a_test_of_the_base_that_failed_twice_and_passes_now_is_enough(self) -> None:
        assert verdict({"a": "failed"}, {"a": "passed"}, before={"a": "failed"}, is_bug=True, insist=True).reproduced == ("a",)

    def test_a_test_of_the_base_that_fails_only_sometimes_shows_nothing(self) -> None:
        found = verdict({"a": "failed"}, {"a": "passed"}, before={"a": "passed"}, is_bug=True, insist=True)
        assert (found.outcome, found.reproduced) == ("fail", ())

    def test_without_insisting_it_is_a_note(self) -> None:
        found = verdict(GREEN, GREEN, is_bug=True)
        assert found.outcome == "pass"
        assert any("nothing shows that the defect is gone" in note for note in found.notes)
        assert verdict(GREEN, GREEN, is_bug=True, insist=True).outcome == "fail"

    def test_only_defects_need_one(self) -> None:
        assert verdict(GREEN, GREEN, insist=True).outcome == "pass"

    def test_where_no_test_can_run_none_is_asked_for(self) -> None:
        assert verdict(NONE, NONE, is_bug=True, insist=True).outcome == "neutral"


outcomes = st.sampled_from(["passed", "passed", "failed", "error", "skipped"])
suites = st.dictionaries(st.sampled_from("abc"), outcomes, max_size=3)


@settings(max_examples=400)
@given(suites, suites, st.none() | suites, st.none() | suites, st.booleans(), st.booleans())
def test_a_pass_means_that_nothing_got_worse(
    base: Cases, head: Cases, original: Cases | None, before: Cases | None, is_bug: bool, insist: bool
) -> None:
    found = verdict(base, head, original=original, before=before, is_bug=is_bug, insist=insist)
    assert (found.outcome == "fail") is bool(found.problems)
    if found.outcome == "fail":
        return
    for name, outcome in base.items():
        if outcome == "passed":
            assert head[name] == "passed"
            assert (original or {}).get(name, "passed") == "passed"
    assert all(base.get(name) in ("failed", "error", "skipped") for name, now in head.items() if now in ("failed", "error"))
    if found.outcome == "pass":
        assert head
        assert found.reproduced or not (is_bug and insist)


@given(suites, suites)
def test_nothing_is_blamed_twice_or_praised_for_nothing(base: Cases, head: Cases) -> None:
    found = verdict(base, head)
    assert not set(found.fixed) & set(found.preexisting)
    assert all(head[name] == "passed" and base[name] in ("failed", "error") for name in found.fixed)


def finding(rule: str, place: str, severity: str = "minor", claim: str = "c") -> Finding:
    return Finding("auditor", "major" if severity == "major" else "minor", rule, place, claim)


class TestFindings:
    def test_the_same_defect_on_another_line_is_the_same(self) -> None:
        assert finding("r", "a.py:3").key == finding("r", "a.py:99").key != finding("r", "b.py:3").key
        assert finding("r", "a.py").key == finding("r", "a.py:1").key
        assert finding("r", "t.py::test_x").key != finding("r", "t.py::test_y").key
        assert finding("r", "a.py").key != finding("q", "a.py").key

    def test_majors_come_first_and_the_severer_of_two_stays(self) -> None:
        merged = merge((finding("r", "a:1"), finding("q", "b")), (finding("r", "a:2", "major"), finding("z", "c", "major")))
        assert [(item.rule, item.severity) for item in merged] == [("r", "major"), ("z", "major"), ("q", "minor")]
        assert merge((finding("r", "a", "major"),), (finding("r", "a"),))[0].severity == "major"

    @given(st.lists(st.builds(finding, st.sampled_from("rq"), st.sampled_from("ab"), st.sampled_from(["minor", "major"]))))
    def test_merging_again_changes_nothing_and_loses_no_major(self, found: list[Finding]) -> None:
        merged = merge(tuple(found))
        assert merge(merged) == merged
        assert merge(merged, tuple(found)) == merged
        assert {item.key for item in found if item.severity == "major"} == {
            item.key for item in merged if item.severity == "major"
        }
        assert {item.key for item in found} == {item.key for item in merged}


class TestExitCode:
    def test_every_end_has_its_own(self) -> None:
        ends = [state for state in RunState if terminal(state)]
        assert set(ends) == set(EXIT_CODES)
        assert sorted(exit_code(replace(Run(request()), state=state)) for state in ends) == [0, 2, 3, 4, 5]

    def test_who_waits_says_for_what(self) -> None:
        run = replace(Run(request()), state=RunState.GATE)
        assert exit_code(replace(run, waiting=Waiting("budget", "more"))) == 3
        assert exit_code(replace(run, waiting=Waiting("approval", "look"))) == 2
        assert status(replace(run, waiting=Waiting("approval", "look"))) == "paused"

    def test_a_run_cut_off_is_no_success(self) -> None:
        assert exit_code(Run(request())) == 1
        assert status(Run(request())) == "running"
