"""The dashboard: an issue that somebody labelled, whose boxes do what commands do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world.town import FIXER_BODY, FIXER_TITLE, Town, town
from tests.world.world import approves, drafts

pytestmark = pytest.mark.sampled

FILES = {"a.py": "import os\n\nA = 1\n", "pyproject.toml": "[tool.ruff]\n"}


def begin(there: Town, by: str = "ada") -> int:
    """An empty issue with the label; its number."""
    who = there.person(by)
    number = who.open_issue(there.name, "What Ostler does here")
    who.label(there.name, number, "ostler:dashboard")
    return number


def text(there: Town, number: int) -> str:
    return str(there.ada.get(f"/repos/{there.name}/issues/{number}")["body"] or "")


def shows(there: Town, number: int, *words: str) -> str:
    """The dashboard's text, once it says all of this."""
    there.until(lambda: all(word in text(there, number) for word in words))
    return text(there, number)


def tick(there: Town, number: int, words: str, by: str = "ada") -> None:
    """Tick the box of the line that holds `words`, or take its tick away."""
    lines = text(there, number).split("\n")
    (at,) = (place for place, line in enumerate(lines) if words in line)
    old, new = ("[ ]", "[x]") if "- [ ]" in lines[at] else ("[x]", "[ ]")
    lines[at] = lines[at].replace(old, new, 1)
    there.person(by).edit_issue(there.name, number, body="\n".join(lines))


def test_a_plan_is_approved_by_a_tick(tmp_path: Path) -> None:
    with town(tmp_path, "app", FILES, config="approval: always\n") as there:
        board = begin(there)
        assert "No session yet" in shows(there, board, "Pause: start nothing new here")
        issue = there.ask(FIXER_TITLE, FIXER_BODY)
        said = shows(
            there, board, "## Waiting for a person", f"Approve plan `{there.digest(issue) if there.story(issue).plan else ''}"
        )
        assert f"[#{issue}](../issues/{issue}) {FIXER_TITLE}" in said
        tick(there, board, "Approve plan", by="tess")
        there.settle()
        assert there.story(issue).pulls == []
        shows(there, board, "- [ ] <!-- ostler:do approve")  # the tick is taken away again
        tick(there, board, "Approve plan", by="bob")
        there.settle()
        (pull,) = (one["number"] for one in there.story(issue).pulls)
        said = shows(there, board, "## Ended lately", f"pull request [#{pull}](../pull/{pull})")
        assert "Waiting for a person" not in said


def test_a_pause_holds_until_it_is_taken_away_and_what_is_put_first_runs_first(tmp_path: Path) -> None:
    with town(tmp_path, "app", FILES) as there:
        board = begin(there)
        shows(there, board, "Pause: start nothing new here")
        tick(there, board, "Pause: start nothing new here")
        shows(there, board, "**Paused** by `ada`")
        first, second = (there.ask(f"{FIXER_TITLE} ({place})", FIXER_BODY) for place in "ab")
        shows(there, board, f"Run next: [#{first}]", f"Run next: [#{second}]")
        tick(there, board, f"Run next: [#{second}]")
        there.until(lambda: text(there, board).index(f"[#{second}]") < text(there, board).index(f"[#{first}]"))
        with there.app_down():
            there.scene.database.unlink()
        shows(there, board, "**Paused** by", f"Run next: [#{first}]", f"Run next: [#{second}]")
        assert there.runs() == []
        tick(there, board, f"Run next: [#{second}]")
        there.until(lambda: text(there, board).index(f"[#{second}]") < text(there, board).index(f"[#{first}]"))
        tick(there, board, "**Paused** by")
        said = shows(there, board, "Pause: start nothing new here", "## At work", "## Queue")
        places = [said.index(words) for words in ("## At work", f"[#{second}]", "## Queue", f"[#{first}]")]
        assert places == sorted(places), said


@pytest.mark.parametrize("by", ["tess", "rita"])
def test_whoever_may_not_write_makes_no_dashboard(tmp_path: Path, by: str) -> None:
    with town(tmp_path, "app", FILES) as there:
        number = there.person(by).open_issue(there.name, "Mine")
        there.hub.issue_from_form(there.name, by, "By a form", "", ["ostler:dashboard"])
        if by == "tess":
            there.person(by).label(there.name, number, "ostler:dashboard")
        there.settle()
        assert text(there, number) == ""


def test_an_issue_that_says_something_is_left_alone(tmp_path: Path) -> None:
    with town(tmp_path, "app", FILES) as there:
        number = there.ada.open_issue(there.name, "Totals are wrong", "They are.")
        there.ada.label(there.name, number, "ostler:dashboard")
        there.settle()
        assert text(there, number) == "They are."
        (answer,) = there.story(number).others
        assert "A dashboard needs an issue without a text" in answer["body"]


def test_a_session_that_waits_for_money_is_given_some_by_a_tick(tmp_path: Path) -> None:
    config = "approval: always\nbudget: {money: 0.0001}\n"
    with town(tmp_path, "app", rules=[drafts(), approves()], config=config) as there:
        board, number = begin(there), there.ask()
        shows(there, board, "Add $2: [#")
        assert there.scene.vendors.journal() == []
        tick(there, board, "Add $2: [#", by="tess")
        there.settle()
        assert there.story(number).state["waits"] == "budget"
        shows(there, board, "- [ ] <!-- ostler:do budget")
        tick(there, board, "Add $2: [#")
        there.settle()
        told = there.story(number)
        assert (told.state["cap"], told.state_labels) == (2_000_100, ["ostler:awaiting-approval"])


def test_a_session_that_ended_is_tried_again_by_a_tick(tmp_path: Path) -> None:
    with town(tmp_path, "app", FILES) as there:
        board, number = begin(there), there.ask("Improve it", "")
        shows(there, board, "## Ended lately", "Retry: [#")
        tick(there, board, "Retry: [#")
        there.until(lambda: there.story(number).state["runs"] == 2)
        there.settle()
        assert len(there.runs()) == 2
        assert there.story(number).state["standing"] == "over"
