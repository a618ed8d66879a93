"""Which jobs of improve.yml run, by its own conditions: wherever a session enters, and whatever became of the jobs before."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest

from bot.core.jobs import Job
from bot.core.minutes import MINUTES
from bot.demo.runner import workflow as reader
from bot.demo.runner.expressions import Scope
from tests.house.tree import ROOT

ORDER = tuple(str(job) for job in Job)
DIGEST = "d" * 64
Needs = dict[str, dict[str, Any]]


@cache
def improve() -> reader.Workflow:
    path = ".github/workflows/improve.yml"
    return reader.read((ROOT / path).read_bytes(), path)


def after(told: Mapping[str, Mapping[str, str]], *, failed: str = "", cancelled: bool = False) -> Needs:
    """How the jobs end, by the file's own conditions: each that runs tells what `told` says, `failed` fails having told it."""
    seen: Needs = {}
    for name in ORDER:
        job = improve().jobs[name]
        needs = {each: seen[each] for each in job.needs}
        status: dict[str, Callable[[], bool]] = {
            "always": lambda: True,
            "cancelled": lambda: cancelled,
            "failure": lambda needs=needs: any(each["result"] == "failure" for each in needs.values()),  # type: ignore[misc]
            "success": lambda needs=needs: all(each["result"] == "success" for each in needs.values()),  # type: ignore[misc]
        }
        runs = job.condition.holds(Scope({"needs": needs, "inputs": {}, "github": {}, "vars": {}}, status))
        result = "failure" if name == failed else "success"
        seen[name] = {"result": result if runs else "skipped", "outputs": dict(told.get(name, {})) if runs else {}}
    return seen


def ran(needs: Needs) -> list[str]:
    return [name for name, each in needs.items() if each["result"] != "skipped"]


def gate(then: str, digest: str = "") -> dict[str, str]:
    return {"go": "true", "next": then, "session_id": "s", "changeset_digest": digest}


def passes(then: str, digest: str = DIGEST) -> dict[str, str]:
    return {"next": then, "verdict": "pass", "changeset_digest": digest}


WHOLE = {
    "gate": gate("plan"),
    "plan": {"next": "build"},
    "build": {"next": "prove", "changeset_digest": DIGEST},
    "prove": passes("audit"),
    "audit": passes("confirm"),
    "confirm": passes("publish"),
}
CLEAR = WHOLE | {"audit": passes("publish")}
"""An audit that claims nothing major: there is nothing to confirm."""


def test_a_session_goes_through_all_jobs() -> None:
    assert ran(after(WHOLE)) == list(ORDER)


def test_an_audit_that_claims_nothing_major_leaves_nothing_to_confirm() -> None:
    assert ran(after(CLEAR)) == [name for name in ORDER if name != "confirm"]


@pytest.mark.parametrize("at", ["build", "prove", "audit", "confirm", "publish"])
def test_a_session_enters_where_it_stopped(at: str) -> None:
    later = ORDER[ORDER.index(at) :]
    assert ran(after(WHOLE | {"gate": gate(at, DIGEST)})) == ["gate", "post", *later]


def test_a_plan_that_waits_for_a_person_is_posted() -> None:
    assert ran(after({"gate": gate("plan"), "plan": {"next": "post"}})) == ["gate", "plan", "post", "conclude"]


def test_a_stop_seen_while_posting_ends_it() -> None:
    assert ran(after(WHOLE | {"post": {"next": "conclude"}})) == ["gate", "plan", "post", "conclude"]


def test_an_answer_to_a_command_needs_no_session() -> None:
    assert ran(after({"gate": {"go": "true", "next": "post", "session_id": ""}})) == ["gate", "post"]


def test_a_gate_that_says_no_ends_it() -> None:
    assert ran(after(WHOLE | {"gate": {"go": "false", "next": "", "session_id": ""}})) == ["gate"]
    assert ran(after(WHOLE | {"gate": {"go": "false", "next": "conclude", "session_id": "s"}})) == ["gate", "conclude"]


def test_a_fixers_change_passes_the_audit_without_a_model() -> None:
    assert ran(after(CLEAR | {"prove": passes("publish")})) == [name for name in ORDER if name != "confirm"]


@pytest.mark.parametrize("failed", ORDER[1:-1])
def test_nothing_is_built_on_a_job_that_failed(failed: str) -> None:
    """Even where it had already told what comes next. A plan that failed is still told about."""
    done = ran(after(WHOLE, failed=failed))
    assert done == [*ORDER[: ORDER.index(failed) + 1], *(["post"] if failed == "plan" else []), "conclude"]


def test_a_cancelled_workflow_run_is_concluded() -> None:
    assert ran(after(WHOLE, cancelled=True))[-1] == "conclude"
    assert "publish" not in ran(after(WHOLE, cancelled=True))


def test_a_gate_that_died_leaves_nothing_to_conclude() -> None:
    assert ran(after({}, failed="gate")) == ["gate"]


def judged(by: str, then: str) -> dict[str, str]:
    """What a judge tells: `by` is the digest that it passed, or `fail`."""
    return passes(then, by) if by != "fail" else passes(then) | {"verdict": "fail"}


def test_only_what_was_proved_and_audited_is_published() -> None:
    """Every way to enter, every digest and every verdict: what a job tells can be wrong or missing."""
    other, count = "e" * 64, 0
    outcomes = (DIGEST, other, "fail")
    entries = ("plan", "build", "prove", "audit", "confirm", "publish")
    ways = itertools.product(entries, (DIGEST, ""), (DIGEST, other, ""), outcomes, outcomes, ("", *outcomes))
    for at, known, made, proved, audited, confirmed in ways:
        told = WHOLE | {
            "gate": gate(at, known),
            "build": {"next": "prove", "changeset_digest": made},
            "prove": judged(proved, "audit"),
            "audit": judged(audited, "confirm" if confirmed else "publish"),
            "confirm": judged(confirmed, "publish") if confirmed else {},
        }
        needs = after(told)
        of = {name: needs[name]["outputs"].get("changeset_digest", "") for name in ("build", "prove", "audit", "confirm")}
        ends = {of[name] if needs[name]["result"] != "skipped" else known for name in of if name != "confirm"}
        ends |= {of["confirm"]} if needs["confirm"]["result"] != "skipped" else set()
        judges = ("prove", "audit", "confirm")
        verdicts = {needs[name]["outputs"].get("verdict") for name in judges if needs[name]["result"] != "skipped"}
        allowed = len(ends) == 1 and ends != {""} and verdicts <= {"pass"}
        assert ("publish" in ran(needs)) == allowed, told
        count += allowed
    assert count


def test_what_an_audit_leaves_to_confirm_is_not_published_unconfirmed() -> None:
    assert "publish" not in ran(after(WHOLE | {"confirm": passes("build") | {"verdict": "fail"}}))
    assert "publish" not in ran(after(WHOLE | {"gate": gate("confirm", DIGEST), "confirm": {}}))


@pytest.mark.parametrize("liar", ["plan", "build", "prove"])
def test_no_job_can_send_the_session_past_its_judges(liar: str) -> None:
    """Not even within one workflow run by naming a job further on: whoever made something does not judge it."""
    for then in ("prove", "audit", "confirm", "publish"):
        silent = ("audit", "confirm", *(("prove",) if liar != "prove" else ()))
        assert "publish" not in ran(after(WHOLE | {liar: passes(then)} | {name: {} for name in silent}))
        assert "publish" not in ran(after(CLEAR | {liar: passes(then), "audit": {}}))


@pytest.mark.parametrize("job", MINUTES)
def test_a_jobs_minutes_are_held_for_as_long_as_github_lets_it_run(job: Job) -> None:
    text = (ROOT / ".github/workflows/improve.yml").read_text("utf-8")
    found = re.search(rf"^  {job}:\n(?:(?!^  \w).*\n)*?    timeout-minutes: (\d+)$", text, re.MULTILINE)
    assert found
    assert int(found[1]) == MINUTES[job]
