"""Conversations: what people say on an issue, what Ostler answers and does, with the App and alone.

What is said is compared whole with `snapshots/`; the same words for both set-ups. `UPDATE_SNAPSHOTS=1` writes them anew: read the
difference before you keep it.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bot.core.events import BudgetRaised, JobBegan, ProofRepeated
from bot.demo.hub.people import NotAllowed
from tests.world.town import FIXER_BODY, FIXER_TITLE, IMPORTS, Setup, Town, town
from tests.world.world import approves, drafts, git, rule

pytestmark = pytest.mark.sampled(of=4)

SETUPS: tuple[Setup, ...] = ("app", "alone")
SNAPSHOTS = Path(__file__).parent / "snapshots"

both = pytest.mark.parametrize("setup", SETUPS)

# --- what is said, as one text to compare -----------------------------------------------------------------------------

_VOLATILE = (
    (r"http://127\.0\.0\.1:[0-9]+/runs/\S+?(?=[)\s])", "https://app/run"),
    (r"http://127\.0\.0\.1:[0-9]+/acme/purse/(actions/runs/[0-9]+)", "https://github/run"),
    (r"http://127\.0\.0\.1:[0-9]+", "https://there"),
    (r"(issue-[0-9]+)-[0-9a-f]{8}_[0-9]{8}_[0-9]{6}", r"\1-SESSION"),
    (r"(ostler/issue-[0-9]+[a-z-]*)-[0-9a-f]{8}\b", r"\1-SESSION"),
    (r"ostler:reply-[0-9a-z-]+ \S+", "ostler:reply"),
    (r"`[0-9a-f]{12}`", "`BASE`"),
    (r"(`|approve )[0-9a-f]{8}`", r"\1DIGEST`"),
    (r"(in|after) [0-9.hm ]+s\*\*", r"\1 TIME**"),
    (r"exit ([0-9]+), [0-9.]+s", r"exit \1, TIME"),
    (r"\| sandbox \| .* \|", "| sandbox | what this machine has |"),
    (r"`[^`|]*/python[0-9.]* ", "`python "),
    (r"~[0-9]+ iterations", "~N iterations"),
    (r"\$[0-9]+\.[0-9]{4}", "$COST"),
    (r"(\| `[a-z0-9.-]+` \| [0-9]+ \|) [0-9,]+ \| [0-9,]+ \| [0-9,]+ \|", r"\1 N | N | N |"),
)


def masked(text: str) -> str:
    for pattern, instead in _VOLATILE:
        text = re.sub(pattern, instead, text)
    return text


def same(name: str, text: str) -> None:
    """`text` reads as it did before."""
    path, said = SNAPSHOTS / f"{name}.md", masked(text)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(said, "utf-8")
    assert path.is_file(), f"no snapshot {name}: run again with UPDATE_SNAPSHOTS=1"
    assert said == path.read_text("utf-8"), f"{name} reads otherwise than before; UPDATE_SNAPSHOTS=1 keeps the new text"


def only(found: list[dict[str, Any]]) -> str:
    (comment,) = found
    return str(comment["body"])


def approve(there: Town, number: int) -> None:
    """ada approves the plan that is posted: by the button where there is one."""
    digest = there.digest(number)
    if there.setup == "app":
        there.press(number, f"approve-{digest}")
    else:
        there.say(number, f"/ostler approve {digest}")


# --- the whole story --------------------------------------------------------------------------------------------------


@both
def test_an_issue_becomes_a_proven_pull_request_once_ada_approves_the_plan(tmp_path: Path, setup: Setup) -> None:
    with town(tmp_path, setup, config="approval: always\n") as there:
        number = there.ask()
        there.settle()
        told, digest = there.story(number), there.digest(number)
        assert told.state_labels == ["ostler:awaiting-approval"]
        assert (told.check["status"], told.check["conclusion"]) == ("completed", "action_required")
        assert told.check["output"]["title"] == f"Plan {digest} waits for approval"
        assert there.buttons(number) == ([f"approve-{digest}", "stop"] if setup == "app" else [])
        assert told.pulls == []
        same("plan-waits", only(told.plan))
        same("status-waits", only(told.status))
        asked = len(there.scene.vendors.journal())

        there.say(number, "Looks good to me, go ahead!")
        there.say(number, f"/ostler approve {digest}", by="tess")
        there.say(number, f"I say:\n/ostler approve {digest}")
        with suppress(NotAllowed):  # tess sees no button; were she to press it all the same
            there.press(number, f"approve-{digest}", by="tess")
        there.say(number, "/ostler approve 00000000")
        there.settle()
        told = there.story(number)
        assert told.state_labels == ["ostler:awaiting-approval"]
        assert len(there.scene.vendors.journal()) == asked
        same("reply-another-digest", only(told.replies))

        approve(there, number)
        there.settle()
        told = there.expect_one(number)
        same("plan-approved", only(told.plan))
        same("status-done", only(told.status))
        same("audit", only(told.audit))
        same("pull", f"# {told.pulls[0]['title']}\n\n{told.pulls[0]['body']}")
        observed, _, account = told.pulls[0]["body"].partition("## The model's account")
        assert "add() adds now" not in observed
        assert "add() adds now" in account
        expect_proven(there, number)
        assert len(there.scene.vendors.journal()) == 5


def expect_proven(there: Town, number: int) -> None:
    """What lies on the branch is what was proved: one commit on the first one, green as it is, red without the change of code."""
    told, clone = there.story(number), there.clone(number)
    head, base = told.pulls[0]["head"]["sha"], told.pulls[0]["base"]["sha"]
    assert git(clone, "rev-list", "--count", f"{base}..HEAD") == "2"
    assert git(clone, "rev-parse", "HEAD") == head
    assert git(clone, "rev-parse", f"{base}^{{tree}}") == git(clone, "rev-parse", "HEAD~^{tree}")
    assert git(clone, "diff", "--name-only", base, "HEAD").split() == ["calc.py", "tests/test_calc.py"]
    proofs = [record.item for record in there.records(number) if isinstance(record.item, ProofRepeated)]
    assert [proof.proof.head.tree for proof in proofs] == [git(clone, "rev-parse", "HEAD^{tree}")]
    git(clone, "checkout", "--quiet", base, "--", "calc.py")
    assert not there.tests(clone)
    git(clone, "checkout", "--quiet", "HEAD", "--", "calc.py")


# --- a run that fails, is tried again, and is stopped -----------------------------------------------------------------


@both
def test_a_session_is_tried_again_asked_about_and_stopped(tmp_path: Path, setup: Setup) -> None:
    """Three unusable answers end a run. The next one is of the same session, and what the first has cost stays spent."""
    rules = [rule("# Phase PLAN: draft", text="I would start with the parser.", times=3), drafts(), approves()]
    with town(tmp_path, setup, rules=rules, config="approval: always\n") as there:
        number = there.ask()
        there.settle()
        failed = there.story(number)
        assert failed.state_labels == ["ostler:needs-human"]
        assert failed.check["conclusion"] == "neutral"
        assert failed.plan == []
        same("status-failed", only(failed.status))

        there.say(number, "/ostler retry", by="tess")
        there.settle()
        assert there.story(number).state["runs"] == 1

        if setup == "app":
            assert there.buttons(number) == ["retry"]
            there.press(number, "retry")
        else:
            there.say(number, "/ostler retry")
        there.settle()
        again = there.story(number)
        assert again.state_labels == ["ostler:awaiting-approval"]
        assert (again.branches, again.check["external_id"]) == (failed.branches, failed.check["external_id"])
        assert again.state["runs"] == 2
        assert again.state["earlier"] == failed.state["spent"] > 0
        assert again.state["spent"] > failed.state["spent"]

        there.say(number, "/ostler status", by="zoe")
        there.settle()
        there.say(number, "/ostler help", by="zoe")
        there.settle()
        said = [comment["body"] for comment in there.story(number).replies]
        assert len(said) == 2
        same("reply-status", said[0])
        same("reply-help", said[1])

        there.ada.edit_issue(there.name, number, body="add(2, 3) should be 6")
        approve(there, number)
        there.settle()
        same("reply-edited", there.story(number).replies[-1]["body"])

        there.say(number, "/ostler stop", by="tess")
        there.settle()
        assert there.story(number).state["standing"] == "waiting"
        there.say(number, "/ostler stop", by="bob")
        there.settle()
        told = there.story(number)
        expect_stopped(there, number)
        assert told.check["output"]["title"] == "Stopped: stopped by bob"
        assert told.state["spent"] == again.state["spent"]
        assert len(there.scene.vendors.journal()) == 5


def expect_stopped(there: Town, number: int) -> None:
    """Over, with nothing on the branch but its empty first commit."""
    told = there.story(number)
    assert told.state["standing"] == "over"
    assert told.check["conclusion"] == "neutral"
    assert told.state_labels[-1:] == ["ostler:needs-human"]
    assert told.pulls == []
    assert told.audit == []
    (anchor,) = told.checks
    assert git_tree(there, anchor) == git_tree(there, "main")
    assert there.hub.errors == []


def git_tree(there: Town, ref: str) -> str:
    return str(there.ada.get(f"/repos/{there.name}/commits/{ref}")["commit"]["tree"]["sha"])


@both
def test_the_stop_label_holds_back_what_is_not_published_yet(tmp_path: Path, setup: Setup) -> None:
    """Whoever sets it, and while jobs are at work; then a fixer does the same work without any key."""
    with town(tmp_path, setup, files=IMPORTS) as there:
        there.hub.environment(there.name, "ostler-model", {})
        number = there.ask(FIXER_TITLE, FIXER_BODY)
        there.until(lambda: there.story(number).branches)
        there.person("tess").label(there.name, number, "ostler:stop")
        there.settle()
        assert "ostler:stop" in there.story(number).labels
        expect_stopped(there, number)
        assert "tess" in there.story(number).state["outcome"]

        second = there.ask(FIXER_TITLE, FIXER_BODY)
        there.settle()
        told = there.expect_one(second)
        assert told.state["spent"] == 0
        assert git(there.clone(second), "diff", "--name-only", "origin/main", "HEAD") == "calc.py"
        assert "import os" not in (there.clone(second) / "calc.py").read_text("utf-8")
        assert there.scene.vendors.journal() == []


# --- money ------------------------------------------------------------------------------------------------------------


@both
def test_a_session_that_ran_out_of_money_goes_on_when_there_is_more(tmp_path: Path, setup: Setup) -> None:
    rules = [drafts(), approves()]
    with town(tmp_path, setup, rules=rules, config="approval: always\nbudget: {money: 0.005}\n") as there:
        number = there.ask()
        there.settle()
        told = there.story(number)
        assert told.state["standing"] == "waiting"
        assert told.check["conclusion"] == "action_required"
        assert told.state["spent"] <= told.state["cap"] == 5_000
        same("status-money", only(told.status))

        there.push({".github/ostler.yml": "approval: always\nbudget: {money: 3}\n"})
        there.say(number, "/ostler retry")
        there.settle()
        told = there.story(number)
        assert told.state_labels == ["ostler:awaiting-approval"]
        assert told.state["cap"] == 3_000_000
        assert told.state["runs"] == 1
        assert there.hub.errors == []


@both
def test_a_writer_raises_the_cap_of_a_session_that_ran_out_of_money(tmp_path: Path, setup: Setup) -> None:
    """Who may not write, or names no amount, changes nothing. The reason is kept in the journal."""
    with town(tmp_path, setup, rules=[drafts(), approves()], config="approval: always\nbudget: {money: 0.005}\n") as there:
        number = there.ask()
        there.settle()
        assert there.story(number).state["waits"] == "budget"
        there.say(number, "/ostler budget +2 because", by="tess")
        there.say(number, "/ostler budget 0")
        there.settle()
        told = there.story(number)
        assert (told.state["standing"], told.state["added"], told.state["cap"]) == ("waiting", 0, 5_000)
        same("reply-no-amount", only(told.replies))

        if setup == "app":
            assert there.buttons(number) == ["budget", "retry", "stop"]
            there.press(number, "budget", by="bob")
        else:
            there.say(number, "/ostler budget +2 the tests are\tslow", by="bob")
        there.settle()
        told = there.story(number)
        assert told.state_labels == ["ostler:awaiting-approval"]
        assert (told.state["cap"], told.state["runs"], told.state["added"]) == (2_005_000, 1, 0)
        (raised,) = (record.item for record in there.records(number) if isinstance(record.item, BudgetRaised))
        why = "by the button" if setup == "app" else "the tests are slow"
        assert raised == BudgetRaised(2_005_000, "bob", why)
        assert len(told.replies) == 1


@both
def test_a_session_over_its_stop_loss_waits_until_somebody_has_it_go_on(tmp_path: Path, setup: Setup) -> None:
    config = "approval: never\nbudget:\n  multiplier: 0.005\n  thresholds: {hard_cap_factor: 100}\n"
    with town(tmp_path, setup, config=config) as there:
        number = there.ask()
        there.settle()
        told = there.story(number)
        assert told.state["standing"] == "waiting"
        assert "Stop-loss" in told.state["outcome"]
        assert not told.pulls
        for _ in range(4):
            if there.story(number).state["standing"] != "waiting":
                break
            there.say(number, "/ostler retry")
            there.settle()
        there.expect_one(number)
        expect_proven(there, number)


def test_minutes_of_runners_are_part_of_what_a_session_costs(tmp_path: Path) -> None:
    """Four jobs around the work take a minute each; one that works on the run takes a minute, and two for its set-up."""
    with town(tmp_path, "alone", files=IMPORTS, config="budget: {ci_minute: 0.006}\n") as there:
        number = there.ask(FIXER_TITLE, FIXER_BODY)
        there.settle()
        told = there.expect_one(number)
        jobs = [record.item.job for record in there.records(number) if isinstance(record.item, JobBegan)]
        assert set(jobs) >= {"plan", "build", "prove"}
        assert told.state["spent"] == 6_000 * (4 + 3 * len(jobs))
        assert f"| minutes | BILLED | {1 + len(jobs)} | $0." in only(told.status)


def test_a_cap_that_no_job_can_hold_is_refused_and_not_left_out(tmp_path: Path) -> None:
    with town(tmp_path, "alone", config="budget: {day: 3}\n") as there:
        number = there.ask()
        there.settle()
        told = there.story(number)
        assert told.state["standing"] == "over"
        assert "budget.day is a limit that runs share" in told.state["outcome"]
        assert told.state["spent"] == 0


# --- one job ----------------------------------------------------------------------------------------------------------


def test_one_job_does_it_all(tmp_path: Path) -> None:
    """`docs/workflows/simple.yml`: less kept apart, and the same result, told to be proved on one machine only."""
    with town(tmp_path, "alone", config="approval: always\n", caller="simple.yml") as there:
        number = there.ask()
        there.settle()
        assert there.story(number).state_labels == ["ostler:awaiting-approval"]
        approve(there, number)
        there.settle()
        told = there.expect_one(number)
        ran = [{name for name, how in there.jobs(run["id"]).items() if how != "skipped"} for run in there.runs()]
        assert ran == [{"improve"}] * 2
        expect_proven(there, number)
        assert "| proved on | the machine of the build |" in told.pulls[0]["body"]
