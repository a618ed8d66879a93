"""Requests as the loop builds them: what of them is the same in every phase, so that a vendor's cache can match it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from bot.core.effects import PriceCall
from bot.core.phases import Role, stage_of
from bot.core.run import Run
from bot.core.step import step
from bot.core.strategy import Settings
from bot.llm.model import Request
from bot.loop.asking import build_request
from tests.core.play import FLAT, MODELS, ONE_VENDOR, TICKETS, Rooms, request

STAGES = {
    "STRATEGIZE",
    "SPEC",
    "PLAN draft",
    "PLAN review",
    "PLAN refine",
    "THINK",
    "IMPLEMENT build",
    "REVIEW audit",
    "REVIEW second",
}


def asked(seed: int, settings: Settings, luck: float = 1.0) -> list[tuple[Run, Request]]:
    """Every call of a run that goes well, with its request."""
    rooms, found = Rooms(seed, luck), []
    run, effects = step(None, request(TICKETS[2], settings))
    while effects and not run.over:
        if isinstance(effects[0], PriceCall):
            found.append((run, build_request(run, lambda: "the diff", FLAT)))
        run, effects = step(run, rooms.perform(run, effects[0]))
    return found


def settings(*, one_vendor: bool = False) -> Settings:
    models = ONE_VENDOR if one_vendor else MODELS
    return Settings(30_000_000, 30_000_000, models, approval="never", max_turns=8)


def stage_name(run: Run) -> str:
    name = f"{run.phase.kind} {run.phase.stage}"
    return name.removesuffix(" ask")


@pytest.fixture(scope="module")
def calls() -> list[tuple[Run, Request]]:
    return [call for seed in range(12) for call in asked(seed, settings(one_vendor=seed % 2 == 0))]


def test_all_stages_are_here(calls: list[tuple[Run, Request]]) -> None:
    assert {stage_name(run) for run, _ in calls} == STAGES


def test_one_role_has_one_prefix(calls: list[tuple[Run, Request]]) -> None:
    """For a model in a session: the same tools and the same system blocks, whatever is asked and however often."""
    found: defaultdict[tuple[str, str, Role], set[str]] = defaultdict(set)
    for run, made in calls:
        role = stage_of(run.phase.kind, run.phase.stage).role
        full = run.workspace is not None and run.workspace.sandbox.full
        found[f"{made.model} {full}", run.request.session, role].add(repr((made.tools, made.system, made.cache_key)))
    assert {role for _, _, role in found} == set(Role)
    assert all(len(prefixes) == 1 for prefixes in found.values()), found.keys()


def test_all_roles_begin_alike(calls: list[tuple[Run, Request]]) -> None:
    """Rules, then the ticket: what one role wrote, another of the same model reads."""
    assert len({made.system[:2] for _, made in calls}) == 1
    assert len({made.cache_key for _, made in calls}) == 1


def test_only_the_tail_tells_of_money_and_turns(calls: list[tuple[Run, Request]]) -> None:
    for run, made in calls:
        ledger = replace(run.ledger, run_cap=run.ledger.run_cap + 1_234_567)
        changed = build_request(replace(run, ledger=ledger), lambda: "the diff", FLAT)
        assert changed.tail != made.tail
        assert replace(changed, tail="") == replace(made, tail="")


def test_the_schema_is_told_in_words_and_formally_only_after_an_answer_that_could_not_be_used(
    calls: list[tuple[Run, Request]],
) -> None:
    """A format goes in front of the system blocks: two phases with different ones would share nothing."""
    for run, made in calls:
        answer = stage_of(run.phase.kind, run.phase.stage).answer
        assert made.schema is None
        assert ("follows this schema" in repr(made.messages[0])) is (answer is not None)
        again = build_request(run.with_phase(replace(run.phase, unusable=1)), lambda: "the diff", FLAT)
        assert (again.schema is not None) is (answer is not None)


def test_a_conversation_is_sent_as_it_was_sent_before() -> None:
    """Within a build every request begins with the whole of the one before it."""
    for seed in range(6):
        before: dict[str, Request] = {}
        for run, made in asked(seed, settings()):
            if (last := before.get(run.phase.id + run.phase.stage)) is not None:
                assert made.messages[: len(last.messages)] == last.messages
            before[run.phase.id + run.phase.stage] = made
