"""What auditors say together, and what is left of it: nothing is lost in between, and only what was shown blocks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bot.core.answers import Audit, AuditCheck, AuditFinding, CriterionVerdict
from bot.core.opinions import (
    KEPT_UNSHOWN,
    MAX_BODY,
    MAX_CHECKS,
    Claim,
    claims,
    disagreement,
    file_of,
    to_run,
    united,
    weighed,
)
from bot.core.reports import Check, Trial

checks = st.builds(AuditCheck, st.sampled_from(("none", "test", "command")), st.sampled_from(("", "false", "true", "a\0b")))
findings = st.builds(
    AuditFinding,
    severity=st.sampled_from(("minor", "major")),
    category=st.sampled_from(("correctness", "regression", "security", "test-integrity", "style")),
    place=st.sampled_from(("a.py:1", "a.py:7-9", "a.py", "b.py:1")),
    claim=st.sampled_from(("one", "two", "three")),
    evidence=st.lists(st.sampled_from(("a.py:1", "tests")), max_size=2).map(tuple),
    check=checks,
    confidence=st.sampled_from(("low", "medium", "high")),
)
verdicts = st.builds(
    CriterionVerdict,
    id=st.sampled_from(("C1", "C2")),
    verdict=st.sampled_from(("met", "unmet", "unverifiable")),
    evidence=st.just(("tests",)),
)
audits = st.builds(
    Audit,
    criteria=st.lists(verdicts, max_size=3).map(tuple),
    findings=st.lists(findings, max_size=4).map(tuple),
    not_checked=st.lists(st.sampled_from(("speed", "docs")), max_size=2).map(tuple),
)
outcomes = st.sampled_from(("pass", "fail", "neutral"))
trials = st.builds(Trial, *(st.builds(Check, st.just("audit check"), outcomes, st.just("exit 1")) for _ in range(2)))


@given(st.lists(audits, min_size=1, max_size=2))
def test_together_auditors_claim_all_that_each_of_them_claims(said: list[Audit]) -> None:
    found, apart = claims(said), [claims((audit,)) for audit in said]
    assert {claim.key for claim in found} == {claim.key for each in apart for claim in each}
    assert {check for claim in found for check in claim.checks} == {check for each in apart for c in each for check in c.checks}
    for claim in (claim for each in apart for claim in each):
        same = [one for one in found if one.key == claim.key]
        assert any(claim.text in one.text for one in same)
        assert claim.severity == "minor" or any(one.severity == "major" for one in same)
    assert [claim.severity for claim in found] == sorted(claim.severity for claim in found)


@given(audits)
def test_one_auditor_is_not_put_together_with_itself(said: Audit) -> None:
    assert len(claims((said,))) == len(said.findings)
    assert disagreement((said,)) == (0, 0)


@given(audits)
def test_two_who_say_the_same_agree(said: Audit) -> None:
    apart, of = disagreement((said, said))
    assert apart == 0
    assert of == len(
        {f"{f.category}@{file_of(f.place)}" for f in said.findings if f.severity == "major"}
        | {v.id for v in said.criteria if v.verdict == "unmet"}
    )


@given(audits, audits)
def test_disagreement_is_a_share_and_the_same_both_ways(one: Audit, other: Audit) -> None:
    apart, of = disagreement((one, other))
    assert 0 <= apart <= of
    assert disagreement((other, one)) == (apart, of)


@given(audits, audits)
def test_what_anybody_calls_unmet_is_and_evidence_of_one_is_enough(one: Audit, other: Audit) -> None:
    said = [(verdict.id, verdict.verdict) for audit in (one, other) for verdict in audit.criteria]
    for verdict in united((one, other)).criteria:
        each = {word for name, word in said if name == verdict.id}
        expected = "unmet" if "unmet" in each else "met" if "met" in each else "unverifiable"
        assert verdict.verdict == expected
    assert {verdict.id for verdict in united((one, other)).criteria} == {name for name, _ in said}


def test_one_major_each_on_one_file_is_one_major_with_both_checks() -> None:
    said = [
        Audit((), (AuditFinding("major", "security", f"a.py:{n}", text, ("a.py:1",), AuditCheck("command", text), "high"),), ())
        for n, text in enumerate(("one", "two"))
    ]
    (claim,) = claims(said)
    assert (claim.severity, claim.text, claim.by) == ("major", "one; two", 2)
    assert [check.body for check in to_run((claim,))] == ["one", "two"]
    assert disagreement(said) == (0, 1)


@given(st.lists(audits, min_size=1, max_size=2))
def test_only_checks_of_majors_are_run_each_once_and_not_many(said: list[Audit]) -> None:
    found = claims(said)
    wanted = to_run(found)
    assert len(wanted) == len(set(wanted)) <= MAX_CHECKS
    assert set(wanted) <= {check for claim in found if claim.severity == "major" for check in claim.checks}
    assert all(check.body.strip() and "\0" not in check.body and len(check.body) <= MAX_BODY for check in wanted)


@given(findings, trials, st.booleans(), st.booleans())
def test_a_claim_blocks_by_what_was_shown(found: AuditFinding, trial: Trial, ran: bool, resolves: bool) -> None:
    """Never a minor one; a major one where its check fails on the result, for a regression only if not on the base too. What
    nothing showed blocks only for what is worst."""
    (claim,) = claims((Audit((), (found,), ()),))
    severity, note = weighed(claim, dict.fromkeys(claim.checks, trial) if ran else {}, resolves=resolves)
    tried = ran and bool(claim.checks)
    shown = tried and trial.head.outcome == "fail"
    if found.category == "regression":
        shown = shown and trial.base.outcome != "fail"
    told = tried and trial.head.outcome != "neutral"
    kept = not told and resolves and found.category in KEPT_UNSHOWN and found.confidence != "low"
    assert (severity == "major") == (found.severity == "major" and (shown or kept))
    assert bool(note) == (found.severity == "major")
    assert not note or note.startswith(
        "confirmed" if shown else "refuted" if told else "not executed" if kept else "not verifiable"
    )


@given(st.lists(st.tuples(findings, trials), min_size=2, max_size=4))
def test_of_several_checks_one_that_fails_is_enough(pairs: list[tuple[AuditFinding, Trial]]) -> None:
    some = {AuditCheck("command", str(n)): trial for n, (_, trial) in enumerate(pairs)}
    claim = Claim("major", "correctness", "a.py", "wrong", (), tuple(some), sure=True)
    failing = any(trial.head.outcome == "fail" for trial in some.values())
    assert (weighed(claim, some, resolves=True)[0] == "major") == failing
