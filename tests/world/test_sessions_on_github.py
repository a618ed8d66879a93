"""`/ostler session`, `compare` and `archive`: sessions of a repository by their names, with the App and alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.world.test_conversation import SETUPS
from tests.world.town import FIXER_BODY, FIXER_TITLE, IMPORTS, Setup, Town, town
from tests.world.world import happy

pytestmark = pytest.mark.sampled


def answers(there: Town, number: int) -> list[str]:
    return [comment["body"].partition("\n")[2].strip() for comment in there.story(number).replies]


@pytest.mark.parametrize("setup", SETUPS)
def test_sessions_are_shown_compared_and_put_away(tmp_path: Path, setup: Setup) -> None:
    with town(tmp_path, setup, files=IMPORTS, rules=happy()) as there:
        dear, cheap = there.ask(), there.ask(FIXER_TITLE, FIXER_BODY)
        there.settle(600)
        ids = [str(there.story(number).check["external_id"]) for number in (dear, cheap)]
        names = [id_.partition("_")[0] for id_ in ids]
        there.say(cheap, f"/ostler session {names[0]}", by="tess")
        there.say(cheap, f"/ostler compare {names[0]} {ids[1]}")
        there.say(cheap, f"/ostler session {ids[0]}")
        there.say(cheap, "/ostler session issue-1-00000000")
        there.say(cheap, "/ostler session ../../etc/passwd")
        there.say(cheap, f"/ostler archive {names[0]}")  # another issue's
        there.say(dear, f"/ostler archive {names[0]}")
        there.settle(600)

        compared, shown, unknown, wrong, elsewhere = answers(there, cheap)
        rows = re.findall(
            r"^\| `(\S+)`, #(\d+) \| (\w+) \| (\d+) \| (\d+) \| \$(\S+) \| ([0-9.hms ]+) \| (.*) \| (.*) \|$", compared, re.M
        )
        assert [row[0] for row in rows] == ids
        assert [row[2:5] for row in rows] == [("completed", "1", "1"), ("completed", "1", "0")]
        assert float(rows[0][5]) > float(rows[1][5]) == 0
        assert (rows[0][8], rows[1][8]) == ("`claude-haiku-5-5, gpt-6-luna, gpt-6.1-terra`", "")
        assert compared.endswith(f"`{ids[1]}` is the cheapest that was done.")
        assert f"session `{ids[0]}`" in shown
        assert "asked for by `ada`" in shown
        assert unknown == "There is no session `issue-1-00000000` here."
        assert wrong.startswith("A session is called like")
        assert elsewhere == f"There is no session `{names[0]}` on this issue."

        (archived,) = answers(there, dear)
        assert archived == f"`{names[0]}` is archived: this issue has it no more."
        told = there.story(dear)
        assert told.state["archived_by"] == "ada"
        assert told.check["output"]["title"] == f"Archived: Pull request #{told.pulls[0]['number']}"
        assert (told.check["conclusion"], told.state_labels) == ("success", ["ostler:in-review"])
        there.say(dear, "/ostler status")
        there.say(dear, "/ostler rollback")
        there.settle(600)
        _, status, refused = answers(there, dear)
        assert status.startswith("There is no session on this issue.")
        assert refused.startswith("There is no session on this issue")
        assert there.hub.errors == []
