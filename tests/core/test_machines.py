"""The tables of states: nothing happens that they do not list, and everything they list can be seen in the diagrams."""

from __future__ import annotations

import itertools

import pytest

from bot.core.errors import BugError
from bot.core.machines import PHASE, RUN, TIER, PhaseState, RunState, State, Table, TierState, diagram, move, terminal


def test_only_listed_changes_of_state_are_made() -> None:
    check_moves(RUN)
    check_moves(TIER)
    check_moves(PHASE)


def check_moves(table: Table[State]) -> None:
    for now, to in itertools.product(table, table):
        if to in table[now]:
            assert move(table, now, to) == to
            continue
        with pytest.raises(BugError, match=f"{now} -> {to}"):
            move(table, now, to)


def test_every_state_is_reached_from_the_first() -> None:
    check_reach(RUN)
    check_reach(TIER)
    check_reach(PHASE)


def check_reach(table: Table[State]) -> None:
    start = next(iter(table))
    reached, todo = {start}, [start]
    while todo:
        fresh = [state for state in table[todo.pop()] if state not in reached]
        reached |= set(fresh)
        todo += fresh
    assert reached == set(table)
    assert start not in {target for targets in table.values() for target in targets}, "nothing leads back to the beginning"


def test_the_diagrams_name_every_state_and_every_reason() -> None:
    check_diagram(RUN)
    check_diagram(TIER)
    check_diagram(PHASE)


def check_diagram(table: Table[State]) -> None:
    drawn = diagram(table)
    for state, targets in table.items():
        assert state in drawn
        assert all(f"--> {target}: {why}" in drawn for target, why in targets.items())
    assert drawn.count("--> [*]") == sum(not targets for targets in table.values())


def test_every_state_is_in_its_table() -> None:
    assert (set(RUN), set(TIER), set(PHASE)) == (set(RunState), set(TierState), set(PhaseState))
    assert {state for state in RunState if terminal(state)} == {state for state in RunState if state.startswith("DONE")}
