"""Follow-ups: what is said on Ostler's pull request becomes one more commit on its branch, with the App and alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from githubkit import AppInstallationAuthStrategy

from tests.world.hubs import client
from tests.world.test_conversation import SETUPS, same
from tests.world.town import FIXER_BODY, FIXER_TITLE, IMPORTS, Setup, Town, town
from tests.world.world import happy

pytestmark = pytest.mark.sampled

both = pytest.mark.parametrize("setup", SETUPS)


def delivered(there: Town) -> tuple[int, dict[str, Any]]:
    """An issue whose pull request stands, by a fixer: its number, and the pull request."""
    number = there.ask(FIXER_TITLE, FIXER_BODY)
    there.settle(600)
    (pull,) = there.story(number).pulls
    return number, pull


def now(there: Town, pull: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = there.ada.get(f"/repos/{there.name}/pulls/{pull['number']}")
    return found


def commits(there: Town, pull: dict[str, Any]) -> list[str]:
    """The commits of the pull request, oldest first, without the empty first one."""
    found = there.ada.get(f"/repos/{there.name}/pulls/{pull['number']}/commits?per_page=100")
    return [one["sha"] for one in found][1:]


def text(there: Town, ref: str, path: str = "calc.py") -> str:
    bare = there.hub.bare(there.hub.found(there.name))
    return (bare.file(ref, path) or b"").decode()


def unmarked(comment: dict[str, Any]) -> str:
    """A comment without its first line, which nobody sees and which has an id in it."""
    return str(comment["body"]).partition("\n")[2]


@both
def test_a_fix_that_is_asked_for_is_one_more_commit(tmp_path: Path, setup: Setup) -> None:
    with town(tmp_path, setup, files=IMPORTS, rules=happy()) as there:
        number, pull = delivered(there)
        before = there.story(number)
        there.say(pull["number"], "/ostler fix add() returns the difference\n\nadd(2, 3) should be 5 and is -1", by="tess")
        there.settle(600)
        assert commits(there, pull) == [pull["head"]["sha"]]
        there.say(pull["number"], "/ostler fix add() returns the difference\n\nadd(2, 3) should be 5 and is -1")
        there.settle(600)
        told = there.story(number)
        first, second = commits(there, pull)
        assert (first, second) == (pull["head"]["sha"], now(there, pull)["head"]["sha"])
        assert "return left + right" in text(there, second)
        assert told.check["head_sha"] == second
        assert (told.check["status"], told.check["conclusion"]) == ("completed", "success")
        assert told.state_labels == ["ostler:in-review"]
        assert [len(found) for found in (told.plan, told.audit, told.status)] == [2, 2, 2]
        same("follow-up-result", unmarked(told.others[-1]))
        same("follow-up-status", unmarked(told.status[-1]))
        assert told.plan[0] == before.plan[0]
        assert there.hub.errors == []


SUGGESTION = "Like this:\n\n```suggestion\n{}\n```"


def at(there: Town, pull: dict[str, Any], words: str) -> int:
    """The line of calc.py in the pull request's head that has these words."""
    lines = text(there, now(there, pull)["head"]["sha"]).splitlines()
    return next(number for number, line in enumerate(lines, 1) if words in line)


def threads(there: Town, pull: dict[str, Any]) -> list[tuple[str, bool, list[str]]]:
    """Each thread's first words, whether it is resolved, and the answers in it."""
    query = """query($owner: String!, $name: String!, $number: Int!) { repository(owner: $owner, name: $name) {
        pullRequest(number: $number) { reviewThreads(first: 50) { nodes { isResolved
        comments(first: 50) { nodes { body author { login } } } } } } } }"""
    owner, _, name = there.name.partition("/")
    body = {"query": query, "variables": {"owner": owner, "name": name, "number": pull["number"]}}
    found = there.ada.request("POST", there.hub.graphql_url, body)["data"]["repository"]["pullRequest"]["reviewThreads"]["nodes"]
    told = [(one["isResolved"], [comment["body"] for comment in one["comments"]["nodes"]]) for one in found]
    return [(said[0], done, [body.partition("\n")[2].strip() for body in said[1:]]) for done, said in told]


@both
def test_a_review_is_followed_and_its_threads_are_answered(tmp_path: Path, setup: Setup) -> None:
    """bob suggests, and ada asks for more while that is at work; tess may not ask."""
    with town(tmp_path, setup, files=IMPORTS, rules=happy()) as there:
        number, pull = delivered(there)
        number_of, says = pull["number"], at(there, pull, "The sum.")
        mended = {"path": "calc.py", "line": says, "body": SUGGESTION.format('    """Both together."""')}
        clash = [{"path": "calc.py", "line": 1, "body": SUGGESTION.format(f'"""{word}"""')} for word in ("One.", "Two.")]
        wish = {"path": "calc.py", "line": at(there, pull, "return"), "body": "add(2, 3) should be 5 and is -1"}
        there.person("tess").suggest(there.name, number_of, [mended | {"body": SUGGESTION.format("tess")}])
        there.settle(600)  # else her workflow run would find bob's review, and the one that it starts ada's
        there.person("bob").suggest(there.name, number_of, [mended, *clash])
        there.push({"calc.py": "# another\n"})  # a conflict: no event of the pull request starts a workflow from now on
        there.until(lambda: len(there.story(number).plan) > 1)
        there.ada.suggest(there.name, number_of, [wish], "add() returns the difference.")
        there.settle(600)

        first, second, third = commits(there, pull)
        suggested = text(there, first).replace('"""The sum."""', '"""Both together."""')
        assert (first, text(there, second)) == (pull["head"]["sha"], suggested)
        assert text(there, third) == suggested.replace("left - right", "left + right")
        refused = (False, ["Not applied: it overlaps another suggestion."])
        assert [told[1:] for told in threads(there, pull)] == [
            (False, []),
            (True, [f"Applied as suggested in {second[:12]}."]),
            refused,
            refused,
            (True, [f"Changed in {third[:12]}."]),
        ]
        assert [user["login"] for user in now(there, pull)["requested_reviewers"]] == ["bob", "ada"]
        told = there.story(number)
        assert [len(found) for found in (told.plan, told.audit, told.status)] == [3, 3, 3]
        same("follow-up-suggestions", unmarked(told.plan[1]))
        assert {head for head, checks in told.checks.items() if checks[0]["conclusion"] == "success"} == {third}
        assert there.hub.errors == []


def ci(there: Town) -> Callable[[str, str], None]:
    """Somebody else's CI: says how the check `lint` of a commit ended."""
    other = there.hub.app("ci", None)
    there.hub.install(other, there.name, {"checks": "write", "metadata": "read"})
    api = client(there.hub, AppInstallationAuthStrategy(other.app_id, other.private_key_pem, other.installations[there.name]))

    def check(sha: str, conclusion: str) -> None:
        place = {"path": "calc.py", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "it subtracts"}
        output = {"title": "add() returns the difference", "summary": "add(2, 3) is -1", "annotations": [place]}
        owner, _, name = there.name.partition("/")
        api.rest.checks.create(owner, name, name="lint", head_sha=sha, status="completed", conclusion=conclusion, output=output)

    return check


@both
def test_failed_checks_are_mended_as_often_as_the_configuration_says(tmp_path: Path, setup: Setup) -> None:
    """The App sees them by itself, without it somebody asks; once more only if somebody asks."""
    with town(tmp_path, setup, files=IMPORTS, rules=happy(), config="fix_checks: 1\n") as there:
        _, pull = delivered(there)
        check = ci(there)
        check(pull["head"]["sha"], "failure")
        if setup == "alone":
            there.say(pull["number"], "/ostler fix-ci")
        there.settle(600)
        _, second = commits(there, pull)
        assert "left + right" in text(there, second)
        check(second, "failure")
        there.settle(600)
        asked = [body for body in there.scene.vendors.bodies() if "# Phase PLAN: draft" in str(body)]
        assert len(commits(there, pull)) == 2
        assert len(asked) == 1
        assert "calc.py:1 it subtracts" in str(asked[0])
        assert there.hub.errors == []


@both
def test_what_a_person_pushed_is_built_on_and_never_overwritten(tmp_path: Path, setup: Setup) -> None:
    with town(tmp_path, setup, files=IMPORTS, rules=happy()) as there:
        number, pull = delivered(there)
        there.say(pull["number"], "/ostler fix add() returns the difference")
        there.until(lambda: len(there.story(number).plan) > 1)
        theirs = {"notes.md": "By hand.\n", ".github/ostler.yml": "paths: {deny: ['*']}\n"}  # which would let nothing change
        pushed = there.push(theirs, branch=pull["head"]["ref"])
        there.settle(600)
        assert commits(there, pull) == [pull["head"]["sha"], pushed]
        told = there.story(number)
        assert "was moved by somebody else; nothing is published" in told.status[-1]["body"]
        assert told.state_labels == ["ostler:needs-human"]

        there.say(pull["number"], "/ostler retry")
        there.settle(600)
        _, second, third = commits(there, pull)
        assert second == pushed
        assert "left + right" in text(there, third)
        assert text(there, third, "notes.md") == "By hand.\n"
        assert there.story(number).state_labels == ["ostler:in-review"]
        assert there.hub.errors == []
