"""What on a pull request a session follows, in which order, and what a review comes down to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.changeset import Changeset
from bot.core.effects import RunFixers, SendCall
from bot.core.errors import BadInput, PolicyError
from bot.core.follow_up import FollowUp, Suggestion, Thread, became, blocks, covers, key_parts, suggested
from bot.core.following import (
    Discussion,
    FailedCheck,
    PullFacts,
    Remark,
    ReviewFacts,
    Said,
    due,
    followed,
    of_checks,
    of_review,
    of_text,
)
from bot.core.machines import PhaseState, RunState
from bot.core.phases import Kind
from bot.core.reports import FileChange
from bot.core.session import SessionState, read_state
from bot.core.settling import view
from bot.core.step import step
from bot.core.triggers import Actor, Asked, Refusal, command, commanded
from tests.core.play import Rooms, request

ADA = Actor("ada", 1, "User", "write")
PULL = PullFacts(57, True, "ostler/issue-42-x-00000000", "e" * 40)
STATE = SessionState(
    1, 42, "issue-42-00000000_20261129_040000", 9, "ada", PULL.branch,
    standing="over", run_state="DONE_SUCCESS", pull=57, head_sha="e" * 40, artifact=3, artifact_run=4, journal_head="f" * 64,
    plan_digest="0" * 64, approved_digest="0" * 64, spent=7, issued_at="2026-11-29T04:30:00.5+00:00",
)  # fmt: skip


def said(cause: str = "review", name: str = "1", at: str = "2026-11-29T05:00:00Z", who: Actor = ADA) -> Said:
    return Said(cause, name, at, who)  # type: ignore[arg-type]  # the causes are spelt out where this is called


times = st.integers(0, 59).map(lambda second: f"2026-11-29T05:00:{second:02}Z")
sayings = st.builds(said, st.sampled_from(["review", "fix", "fix-ci"]), st.integers(1, 10**6).map(str), times)


# --- what is followed -------------------------------------------------------------------------------------------------


@given(st.lists(sayings, max_size=8, unique_by=lambda one: one.key))
def test_everything_is_followed_once_and_the_oldest_first(found: list[Said]) -> None:
    state, order = STATE, []
    while (one := due(state, PULL, found)) is not None:
        order.append(one)
        state = replace(followed(state, one, PULL.head, "2026-11-29T06:00:00Z"), standing="over", run_state="DONE_SUCCESS")
    assert sorted(one.key for one in order) == sorted(one.key for one in found)
    assert [one.at for one in order] == sorted(one.at for one in order)


@pytest.mark.parametrize(
    ("state", "pull", "who"),
    [
        (replace(STATE, standing="working"), PULL, ADA),
        (replace(STATE, standing="waiting"), PULL, ADA),
        (STATE, replace(PULL, open=False), ADA),
        (STATE, replace(PULL, branch="ostler/issue-42-x-11111111"), ADA),
        (STATE, replace(PULL, branch=""), ADA),
        (STATE, PULL, replace(ADA, permission="read")),
        (STATE, PULL, Actor("ci[bot]", 2, "Bot", "write")),
        (replace(STATE, follow="2026-11-29T05:00:00Z review-2"), PULL, ADA),
        (replace(STATE, run_state="DONE_FAILED_POLICY_VIOLATION", issued_at="2026-11-29T05:00:01.5+00:00"), PULL, ADA),
    ],
    ids=["at work", "waits", "closed", "another session's", "of a fork", "may not", "a bot", "known", "before it failed"],
)
def test_what_is_not_followed(state: SessionState, pull: PullFacts, who: Actor) -> None:
    assert due(state, pull, [said(who=who)]) is None
    assert due(STATE, PULL, [said()]) == said()


def test_a_follow_up_begins_on_the_head_and_takes_nothing_over_but_what_was_spent() -> None:
    after = followed(STATE, said(), "d" * 40, "2026-11-29T05:00:03Z")
    assert read_state({name: getattr(after, name) for name in after.__slots__}) == after
    assert (after.standing, after.next_job, after.head_sha, after.from_sha) == ("working", "plan", "d" * 40, "d" * 40)
    assert (after.artifact, after.journal_head, after.plan_digest, after.approved_digest) == (0, "", "", "")
    assert (after.spent, after.pull, after.seq, after.prev) == (7, 57, 1, STATE.digest)
    assert view(after).status == "in_progress"


def test_checks_are_counted_in_a_row_without_a_persons_word() -> None:
    nobody = Actor("", 0, "", "none")
    once = followed(STATE, said("checks", "e" * 40, who=nobody), "e" * 40, "2026-11-29T05:00:03Z")
    twice = followed(once, said("checks", "d" * 40, who=nobody), "d" * 40, "2026-11-29T05:00:03Z")
    assert (once.ci_fixes, twice.ci_fixes) == (1, 2)
    assert followed(twice, said("fix"), "d" * 40, "2026-11-29T05:00:03Z").ci_fixes == 0


def test_a_key_that_nobody_made_is_refused() -> None:
    assert key_parts(said("fix-ci", "12").key) == ("2026-11-29T05:00:00Z", "fix-ci", "12")
    with pytest.raises(PolicyError):
        key_parts("2026-11-29T05:00:00Z review-x; rm")


@pytest.mark.parametrize(
    ("body", "state", "place", "told"),
    [
        ("/ostler fix mend it", STATE, 57, ""),
        ("/ostler fix-ci", STATE, 57, ""),
        ("/ostler fix mend it", STATE, 42, "Say that on the pull request #57."),
        ("/ostler fix", STATE, 57, "Say what is to be different: `/ostler fix TEXT`."),
        ("/ostler fix mend it", replace(STATE, pull=0), 57, "There is no pull request to mend yet."),
    ],
)
def test_what_may_be_asked_for_and_where(body: str, state: SessionState, place: int, told: str) -> None:
    verb, argument = command(body) or ("help", "")
    intent = commanded(Asked(verb, argument, ADA, False, 9, place), state)
    assert (intent.say if isinstance(intent, Refusal) else "") == told


def test_the_text_of_a_fix_is_all_that_follows() -> None:
    verb, argument = command("/ostler fix  the sum\r\n\r\nadd(2, 3) is 5\n") or ("help", "")
    assert (verb, argument) == ("fix", "the sum\n\r\nadd(2, 3) is 5")
    ticket, follow = of_text(said("fix"), argument, PULL)
    assert (ticket.title, follow.cause, follow.rest) == ("the sum", "fix", True)
    assert "add(2, 3) is 5" in ticket.body


def test_failed_checks_make_a_ticket_of_what_they_say() -> None:
    check = FailedCheck("lint", "failure", "1 error", "see below", ("calc.py:1 unused",), "x" * 20_000 + "END")
    ticket, _ = of_checks(said("fix-ci"), [check], PULL)
    assert ticket.title == "Fix the failed checks of pull request #57: lint"
    assert "calc.py:1 unused" in ticket.body
    assert "END" in ticket.body
    assert len(ticket.body) < 10_000
    with pytest.raises(BadInput):
        of_checks(said("fix-ci"), [], PULL)


# --- reviews ----------------------------------------------------------------------------------------------------------


def thread(number: int, body: str, **changes: object) -> Discussion:
    remark = Remark(number, ADA, body, "2026-11-29T04:59:00Z", None, 1)
    plain = Discussion(f"T{number}", "calc.py", 0, 10 * number, "RIGHT", False, False, (remark,))
    return replace(plain, **changes)  # type: ignore[arg-type]  # fields of a Discussion


def review(*discussions: Discussion, body: str = "Please apply.", edited_at: str | None = None) -> ReviewFacts:
    return ReviewFacts(1, ADA, "CHANGES_REQUESTED", body, "2026-11-29T05:00:00Z", edited_at, discussions)


ONE = "```suggestion\nnew\n```"


def test_suggestions_need_no_model_and_the_rest_does() -> None:
    ticket, follow = of_review(said(), review(thread(1, ONE), thread(2, "See my comments", first=19)), PULL)
    assert follow.suggestions == (Suggestion(1, "calc.py", 10, 10, "new\n"),)
    assert follow.rest is True
    assert "At calc.py:20: See my comments" in ticket.body
    assert "Already applied as suggested: calc.py:10." in ticket.body
    assert of_review(said(), review(thread(1, ONE)), PULL)[1].rest is False
    assert of_review(said(), review(thread(1, ONE), body="Also rename it."), PULL)[1].rest is True


@pytest.mark.parametrize(
    ("discussion", "why"),
    [
        (thread(1, f"{ONE}\n{ONE}"), "several suggestions"),
        (thread(1, ONE, outdated=True), "outdated"),
        (thread(1, ONE, last=0), "outdated"),
        (thread(1, ONE, side="LEFT"), "not there any more"),
        (thread(1, ONE, path=".git/config"), "git"),
    ],
)
def test_a_suggestion_that_cannot_be_applied_says_why(discussion: Discussion, why: str) -> None:
    _, follow = of_review(said(), review(discussion, thread(2, "Rename it")), PULL)
    assert follow.suggestions == ()
    assert why in follow.threads[0].refused
    with pytest.raises(BadInput, match=why):
        of_review(said(), review(discussion), PULL)


def test_what_was_edited_or_is_another_persons_is_not_what_was_asked_for() -> None:
    late, early = "2026-11-29T05:00:00Z", "2026-11-29T04:59:59Z"
    remark = thread(1, ONE).remarks[0]
    strangers = replace(remark, author=Actor("eve", 5, "User", "read"), id=7, review=2)
    for remarks, kept in (((replace(remark, edited_at=late),), 0), ((replace(remark, edited_at=early),), 1), ((strangers,), 0)):
        found = review(thread(1, ONE, remarks=remarks), thread(2, ONE), body="")
        assert len(of_review(said(), found, PULL)[1].threads) == 1 + kept
    wish = thread(3, "Rename it")
    before = replace(wish.remarks[0], id=8, review=0, body="or remove it")
    ticket, _ = of_review(said(), review(replace(wish, remarks=(strangers, before, *wish.remarks))), PULL)
    assert "ada said before: or remove it" in ticket.body
    assert ONE not in ticket.body
    with pytest.raises(BadInput, match="edited"):
        of_review(said(), review(thread(1, ONE), edited_at=late), PULL)


lines = st.tuples(st.integers(1, 30), st.integers(0, 4)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(lines, min_size=1, max_size=6))
def test_suggestions_that_share_lines_are_all_refused(spans: list[tuple[int, int]]) -> None:
    found = [thread(number, ONE, first=first, last=last) for number, (first, last) in enumerate(spans, 1)]
    _, follow = of_review(said(), review(*found, thread(99, "Rename it", last=0)), PULL)
    taken = [line for one in follow.suggestions for line in range(one.first, one.last + 1)]
    assert len(taken) == len(set(taken))
    for number, (first, last) in enumerate(spans, 1):
        others = [span for other, span in enumerate(spans, 1) if other != number]
        alone = not any(first <= end and begin <= last for begin, end in others)
        assert (number in {one.comment for one in follow.suggestions}) is alone


texts = st.lists(st.text("ab \u2028\x0c", max_size=4), max_size=6)


@given(st.lists(st.text("ab \u2028\x0c", max_size=4), min_size=1, max_size=6), st.data(), texts, st.sampled_from(["\n", "\r\n"]))
def test_a_suggestion_replaces_its_lines_and_no_other(old: list[str], data: st.DataObject, new: list[str], end: str) -> None:
    first = data.draw(st.integers(1, len(old)))
    last = data.draw(st.integers(first, len(old)))
    block = "".join(f"{line}\n" for line in new)
    (read,) = blocks(f"so:\r\n```suggestion\r\n{block}```")
    after = suggested("".join(f"{line}{end}" for line in old), first, last, read)
    wanted = [*old[: first - 1], *new, *old[last:]]
    assert after == "".join(f"{line}{end}" for line in wanted)
    assert suggested("".join(f"{line}{end}" for line in old), first, len(old) + 1, read) is None


def test_a_longer_fence_holds_a_shorter_one_and_other_blocks_are_none() -> None:
    assert blocks("````suggestion\n```\nx\n```\n````") == ("```\nx\n```\n",)
    assert blocks("~~~suggestion\n~~~") == ("",)
    assert blocks("```python\nsuggestion\n```") == ()
    assert blocks("```suggestions\nx\n```") == ()


def changed(before: str, after: str) -> FileChange:
    return FileChange("calc.py", "modify", "100644", "100644", "1" * 40, "2" * 40, before.encode(), after.encode())


@given(st.integers(1, 9), st.integers(1, 9))
def test_a_thread_is_covered_where_its_line_changed(line: int, other: int) -> None:
    before = [str(number) for number in range(1, 10)]
    after = [*before]
    after[other - 1] = "x"
    assert covers(changed("\n".join(before), "\n".join(after)), line, line) is (line == other)


def test_what_becomes_of_a_thread() -> None:
    follow = FollowUp(said().key, "ada", 57, (Suggestion(1, "calc.py", 2, 2, "new\n"),))
    files = (changed("a\nb\nc\n", "a\nnew\nc\n"),)
    changeset = Changeset("s", "e" * 40, "t" * 40, files)
    one, wish, far = (Thread("T", number, "calc.py", at, at) for number, at in ((1, 2), (2, 2), (3, 3)))
    assert became(one, follow, changeset, ()) == "applied"
    assert became(wish, follow, changeset, ()) == "changed"
    assert became(wish, follow, changeset, ("calc.py",)) == "open"
    assert became(far, follow, changeset, ()) == "open"
    assert became(replace(one, refused="outdated"), follow, changeset, ()) == "refused"
    other = replace(changeset, files=(changed("a\nb\nc\n", "a\nolder\nc\n"),))
    assert became(one, follow, other, ()) == "open"


# --- the run ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from([1.0, 0.9]), st.booleans())
def test_suggestions_come_first_and_a_model_builds_the_rest_on_them(seed: int, luck: float, rest: bool) -> None:
    follow = FollowUp(said().key, "ada", 57, (Suggestion(1, "src/a.py", 1, 1, "new\n"),), rest=rest)
    rooms, asked = Rooms(seed, luck), []
    run, effects = step(None, replace(request(), follow=follow))
    for _ in range(300):
        if not effects or run.over:
            break
        asked.append(effects[0])
        run, effects = step(run, rooms.perform(run, effects[0]))
    fixed = [effect for effect in asked if isinstance(effect, RunFixers)]
    built = [phase for phase in run.phases if phase.kind is Kind.IMPLEMENT and phase.state is not PhaseState.QUEUED]
    if fixed:
        assert fixed[0].calls == follow.calls
        assert built[0].choice is None
    if rest and run.state is RunState.DONE_SUCCESS:
        assert any(phase.choice for phase in built[1:])
    if not rest:
        assert not any(isinstance(effect, SendCall) for effect in asked)
