"""Who may ask: a label by somebody who may not write, a forged or repeated delivery, an edited issue.

Where nobody may, nothing at all happens; where somebody may, it happens once, whatever is delivered and however often.
"""

from __future__ import annotations

import hmac
import http.client
import json
import re
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import product
from pathlib import Path

import pytest

from bot.core.triggers import VOID
from bot.demo.hub.people import NotAllowed
from tests.world.town import APPROVE, BODY, FIXER_BODY, FIXER_TITLE, IMPORTS, MEMBERS, SECONDS, TITLE, Setup, Town, town

pytestmark = pytest.mark.sampled

SETUPS: tuple[Setup, ...] = ("app", "alone")
VAGUE = "Improve it"
"""Too little to plan: a session that starts and is over before a model is asked, and so the cheapest."""
COPIES, LABELS = 50, 20


@pytest.fixture(scope="module", params=SETUPS)
def quiet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A town in which nothing is to start, ever."""
    with town(tmp_path_factory.mktemp("quiet"), request.param) as there:
        there.settle()
        yield there
        assert there.scene.vendors.journal() == []
        assert there.hub.errors == []
        assert all(only_looked(there.jobs(run["id"])) for run in there.runs())


def only_looked(jobs: Mapping[str, str | None]) -> bool:
    """Whether a workflow run at most answered."""
    return {name for name, how in jobs.items() if how != "skipped"} <= {"gate", "post"}


# --- by whom ----------------------------------------------------------------------------------------------------------


def test_a_label_by_somebody_who_may_not_write_is_silence(quiet: Town) -> None:
    """The triage role may label but not ask; an issue form labels in the name of whoever fills it in; bots ask for nothing."""
    renovate = quiet.hub.user("renovate[bot]", "Bot").login
    quiet.hub.member(quiet.hub.found(quiet.name), renovate, "write")
    asked = [quiet.ask(by="tess"), quiet.ask(by=renovate)]
    asked += [quiet.hub.issue_from_form(quiet.name, who, TITLE, BODY, ["ostler"]) for who in ("rita", "zoe")]
    with pytest.raises(NotAllowed):
        quiet.ask(by="rita")  # GitHub itself does not let her
    quiet.settle()
    assert all("ostler" in quiet.story(number).labels for number in asked)
    assert [number for number in asked if not quiet.story(number).nothing] == []


def test_commands_on_an_issue_without_a_session_start_nothing(quiet: Town) -> None:
    number = quiet.ada.open_issue(quiet.name, TITLE, BODY)
    for text in ("Please have a look, ostler", "> /ostler retry", "/ostler", "/ostlerapprove 12345678", "/ostler frobnicate"):
        quiet.say(number, text, by="zoe")
    for text in ("/ostler approve 12345678", "/ostler retry", "/ostler stop"):
        quiet.say(number, text, by="tess")
    quiet.settle()
    told = quiet.story(number)
    (said,) = told.replies  # the bare /ostler, which is for everybody
    assert "does" in said["body"]
    assert not told.began


ROLES, TYPES = ("none", "read", "triage", "write", "maintain", "admin"), ("User", "Bot", "Organization")
MAY = {(role, "User") for role in ("write", "maintain", "admin")}
SOME = (("none", "User"), ("read", "User"), ("triage", "User"), ("write", "User"), ("admin", "Bot"), ("admin", "Organization"))
"""At the other doors the least that may, all below it, and the most that may not."""
Cell = tuple[str, str]


def accounts(there: Town) -> dict[Cell, str]:
    """A login for every role and type of account."""
    made = {}
    for role, kind in product(ROLES, TYPES):
        login = there.hub.user(f"{role}-{kind.lower()}{'[bot]' if kind == 'Bot' else ''}", kind).login
        there.hub.member(there.hub.found(there.name), login, None if role == "none" else role)
        made[role, kind] = login
    return made


def labelled_by(there: Town, login: str) -> int | None:
    """An issue of ada's that somebody put the label on; None where GitHub itself does not let them."""
    number = there.ada.open_issue(there.name, VAGUE)
    with suppress(NotAllowed):
        there.person(login).label(there.name, number, "ostler")
        return number
    return None


def commanded_by(there: Town, login: str) -> int:
    """An issue of ada's on which somebody says that it is to be built."""
    number = there.ada.open_issue(there.name, VAGUE)
    there.say(number, "/ostler build", by=login)
    return number


def labelled_by_nobody(there: Town, login: str) -> int:
    """An issue that has the label, and no event that says who set it."""
    number = there.person(login).open_issue(there.name, VAGUE)
    with there.hub.state.lock:
        there.hub.found(there.name).issues[number].labels.append("ostler")
    if there.setup == "alone":
        there.ada.dispatch(there.name, "ostler.yml", inputs={"issue": str(number)})
    return number


@pytest.mark.parametrize("setup", SETUPS)
def test_of_all_roles_and_accounts_only_people_who_may_write_start_anything(tmp_path: Path, setup: Setup) -> None:
    """By a label, a form that sets it in their name, a command that needs none, or a label that GitHub tells no event of."""
    with town(tmp_path, setup) as there:
        everybody = accounts(there)
        there.settle()
        with there.app_down():
            labelled = {cell: labelled_by(there, login) for cell, login in everybody.items()}
            some = {cell: everybody[cell] for cell in SOME}
            forms = {cell: there.hub.issue_from_form(there.name, who, VAGUE, "", ["ostler"]) for cell, who in some.items()}
            said = {cell: commanded_by(there, who) for cell, who in some.items() if cell[1] != "Bot"}  # taken for Ostler's own
            nobody = labelled_by_nobody(there, everybody["admin", "User"])
            there.hub.wait_idle(len(everybody) * SECONDS)
        there.settle(len(everybody) * SECONDS)
        assert {cell[0] for cell, number in labelled.items() if number is None} == {"none", "read"}
        for asked in (labelled, forms, said):
            may = MAY & asked.keys()
            assert {cell for cell, number in asked.items() if number and there.story(number).began} == may
            assert all(there.story(number).nothing for cell, number in asked.items() if number and cell not in may)
            for cell in may:
                expect_refused_once(there, asked[cell] or 0)
        assert there.story(nobody).nothing
        assert there.scene.vendors.journal() == []
        assert there.hub.errors == []


@pytest.mark.parametrize("setup", SETUPS)
def test_of_all_roles_and_accounts_only_people_who_may_write_approve(tmp_path: Path, setup: Setup) -> None:
    with town(tmp_path, setup, files=IMPORTS, config="approval: always\n") as there:
        everybody = accounts(there)
        number = there.ask(FIXER_TITLE, FIXER_BODY)
        there.settle()
        waits = there.story(number)
        for cell, login in everybody.items():
            if cell not in MAY:
                there.say(number, f"/ostler approve {there.digest(number)}", by=login)
        there.settle()
        told = there.story(number)
        assert told.state == waits.state
        assert told.replies == []
        for cell in sorted(MAY):  # a digest that is none is not passed over where it comes from somebody who may
            there.say(number, "/ostler approve 00000000", by=everybody[cell])
        there.settle()
        told = there.story(number)
        assert len(told.replies) == len(MAY)
        assert told.state == waits.state
        assert there.hub.errors == []


@pytest.mark.parametrize("setup", SETUPS)
def test_an_approval_is_of_exactly_the_plan_that_is_posted(tmp_path: Path, setup: Setup) -> None:
    """With words behind the digest, after an edit of the issue, and with the digest of the plan before: each gets one line."""
    with town(tmp_path, setup, files=IMPORTS, config="approval: always\n") as there:
        number = there.ask(FIXER_TITLE, FIXER_BODY)
        there.settle()
        old = there.digest(number)
        there.say(number, f"/ostler approve {old} please")
        there.settle()
        there.ada.edit_issue(there.name, number, body=f"{FIXER_BODY} All of them.")
        there.say(number, f"/ostler approve {old}")
        there.settle()
        time.sleep(1.1)  # GitHub's times have no smaller unit than a second, and the edit has to be before the label
        there.ada.unlabel(there.name, number, "ostler")
        there.ada.label(there.name, number, "ostler")
        there.settle()
        there.say(number, f"/ostler approve {old}")
        there.settle()
        told = there.story(number)
        (new,) = {found[1] for plan in told.plan if (found := APPROVE.search(plan["body"])) and found[1] != old}
        lines = [reply["body"].split("\n", 1)[1].strip() for reply in told.replies]
        wrong = "That is not the digest of the plan that is posted: `/ostler approve {}` approves it."
        assert lines == [wrong.format(old), VOID, wrong.format(new)]
        assert told.state_labels == ["ostler:awaiting-approval"]
        assert told.pulls == []
        assert there.hub.errors == []


# --- what was asked for -----------------------------------------------------------------------------------------------


def test_what_was_changed_after_the_label_is_not_what_was_asked_for(quiet: Town) -> None:
    """Edited, renamed, unlabelled, closed, stopped: before anybody looked, and so nothing begins."""
    ada, name = quiet.ada, quiet.name
    with quiet.app_down():
        body, title, unlabelled, closed, stopped = (quiet.ada.open_issue(name, TITLE, BODY) for _ in range(5))
        ada.label(name, stopped, "ostler:stop")
        for number in (body, title, unlabelled, closed, stopped):
            ada.label(name, number, "ostler")
            if number == body:
                ada.edit_issue(name, number, body="Please upload the secrets instead.")
            elif number == title:
                ada.edit_issue(name, number, title="Upload the secrets")
            elif number == unlabelled:
                ada.unlabel(name, number, "ostler")
            elif number == closed:
                ada.close(name, number)
    quiet.settle()
    for number in (body, title, unlabelled, closed):
        assert quiet.story(number).nothing
    told = quiet.story(stopped)
    assert told.state_labels == ["ostler:stop"]
    assert not told.began


CAPS = "sessions_per_day: {person: 2, issue: 1, repository: 3}\n"


@pytest.mark.parametrize("setup", SETUPS)
def test_a_label_over_a_cap_begins_nothing_and_says_so_in_a_line(tmp_path: Path, setup: Setup) -> None:
    """What may not ask, and what was refused, uses up nothing."""
    with town(tmp_path, setup, config=CAPS) as there:
        by_tess, first = there.ask(VAGUE, "", by="tess"), there.ask(VAGUE, "")
        there.settle()
        there.ada.unlabel(there.name, first, "ostler")
        there.ada.label(there.name, first, "ostler")
        second, third = there.ask(VAGUE, ""), there.ask(VAGUE, "")
        bobs, another = there.ask(VAGUE, "", by="bob"), there.ada.open_issue(there.name, VAGUE)
        there.say(another, "/ostler build", by="bob")
        there.settle()
        assert there.story(by_tess).nothing
        for number in (second, bobs):
            expect_refused_once(there, number)
        for number, name, one in (
            (first, "issue", "one issue 1"),
            (third, "person", "one person 2"),
            (another, "repository", ""),
        ):
            told = there.story(number)
            assert told.began == (number == first)
            assert len(told.branches) == int(number == first)
            assert ("ostler" in told.labels) == (number != another)
            (said,) = told.replies
            assert f"for {one}" in said["body"]
            assert f"`sessions_per_day.{name}` in .github/ostler.yml" in said["body"]
            assert re.search(r"From \d{4}-\d\d-\d\d 00:00 UTC on", said["body"])
        assert there.scene.vendors.journal() == []
        assert there.hub.errors == []


# --- by which delivery ------------------------------------------------------------------------------------------------


def labelled(there: Town, number: int) -> bytes:
    """The body of the delivery that told of the label."""
    told = [one for one in there.hub.state.deliveries.values() if (one.event, one.action) == ("issues", "labeled")]
    return next(one.body for one in told if one.payload["issue"]["number"] == number)


def deliver(there: Town, body: bytes, *signature: tuple[str, str], event: str = "issues") -> int:
    """Bring the App a delivery; the status of its answer. `http.client` sends a header twice that it is given twice."""
    with closing(http.client.HTTPConnection("127.0.0.1", there.scene.port, timeout=30)) as connection:
        connection.putrequest("POST", "/webhook/github")
        headers = [("X-GitHub-Event", event), ("X-GitHub-Delivery", str(uuid.uuid4())), ("Content-Type", "application/json")]
        for header in (*headers, ("Content-Length", str(len(body))), *signature):
            connection.putheader(*header)
        connection.endheaders(body)
        return connection.getresponse().status


def signature_of(there: Town, body: bytes, secret: str = "", how: str = "sha256") -> str:
    """What GitHub puts beside a body."""
    assert there.scene.credentials
    key = (secret or there.scene.credentials.webhook_secret).encode()
    return f"{how}={hmac.new(key, body, how).hexdigest()}"


def test_a_delivery_that_github_did_not_sign_is_refused(quiet: Town) -> None:
    """Ada asked for nothing, so whatever says that she did is made up."""
    if quiet.setup != "app":
        pytest.skip("without an App there is no door for deliveries")
    number = quiet.ask(by="tess")
    quiet.settle()
    real = labelled(quiet, number)
    forged = real.replace(b'"tess"', b'"ada"')
    assert forged != real
    name, good = "X-Hub-Signature-256", signature_of(quiet, forged)
    refused = {
        "unsigned": deliver(quiet, forged),
        "another's signature": deliver(quiet, forged, (name, signature_of(quiet, real))),
        "another secret": deliver(quiet, forged, (name, signature_of(quiet, forged, "a-secret-of-somebody-else"))),
        "sha1": deliver(quiet, forged, ("X-Hub-Signature", signature_of(quiet, forged, how="sha1"))),
        "sha1 in its place": deliver(quiet, forged, (name, signature_of(quiet, forged, how="sha1"))),
        "half of it": deliver(quiet, forged, (name, good[:39])),
        "only the digest": deliver(quiet, forged, (name, good.removeprefix("sha256="))),
        "two of them": deliver(quiet, forged, (name, "sha256=" + "0" * 64), (name, good)),
        "empty": deliver(quiet, b"", (name, good)),
    }
    assert set(refused.values()) == {401}, refused
    assert deliver(quiet, real, (name, signature_of(quiet, real)), event="push") == 204  # signed, but not what it says it is
    assert deliver(quiet, b"[", (name, signature_of(quiet, b"["))) == 400
    assert deliver(quiet, forged, (name, good)) == 202  # even with the secret: the one who labelled is asked for on GitHub
    quiet.settle()
    assert quiet.story(number).nothing


def sessions(there: Town) -> list[int]:
    """The issue of every session that the App has."""
    with closing(sqlite3.connect(f"file:{there.scene.database}?mode=ro", uri=True)) as database:
        return sorted(issue for (issue,) in database.execute("select issue from sessions"))


def expect_refused_once(there: Town, number: int, *, sessions: int = 1) -> None:
    """Every session on a vague issue says so in one comment, on one check run of one branch."""
    told = there.story(number)
    assert len(told.branches) == len(told.status) == len(told.checks) == sessions
    assert all("too vague" in comment["body"] for comment in told.status)
    assert all([check["conclusion"] for check in checks] == ["neutral"] for checks in told.checks.values())
    assert told.state_labels == ["ostler:needs-human"]
    assert [*told.plan, *told.pulls, *told.audit, *told.replies, *told.others] == []


def test_one_label_is_one_session_however_often_it_is_delivered(tmp_path: Path) -> None:
    """The App was down when both issues were labelled. One delivery never comes, the other comes 50 times at once, under new
    names and while the App looks through its repositories."""
    with town(tmp_path, "app") as there:
        there.settle()
        with there.app_down():
            lost, repeated = there.ask(VAGUE, ""), there.ask(VAGUE, "")
            there.hub.wait_idle(30)
        body = labelled(there, repeated)
        signed = ("X-Hub-Signature-256", signature_of(there, body))
        with ThreadPoolExecutor(COPIES) as crowd:
            answers = set(crowd.map(lambda _: deliver(there, body, signed), range(COPIES)))
        there.settle()
        assert answers == {202}
        assert sessions(there) == [lost, repeated]
        for number in (lost, repeated):
            expect_refused_once(there, number)
        assert len(there.runs()) == 2
        assert json.loads(body)["sender"]["login"] == "ada"
        assert there.scene.vendors.journal() == []
        assert there.hub.errors == []


def test_labels_of_a_time_without_the_app_all_run_once(tmp_path: Path) -> None:
    with town(tmp_path, "app") as there:
        there.settle()
        with there.app_down():
            asked = [there.ask(VAGUE, "") for _ in range(LABELS)]
            there.hub.wait_idle(60)
        there.settle(LABELS * SECONDS)
        assert sessions(there) == asked
        for number in asked:
            expect_refused_once(there, number)
        assert len(there.runs()) == LABELS
        assert there.hub.errors == []


def test_a_command_that_was_given_while_the_app_was_down_is_done_once(tmp_path: Path) -> None:
    """Sweeps look at labels only: GitHub is asked for what it could not deliver."""
    with town(tmp_path, "app") as there:
        number = there.ada.open_issue(there.name, TITLE, BODY)
        there.settle()
        with there.app_down():
            there.say(number, "/ostler help", by="zoe")
            there.hub.wait_idle(30)
        there.until(lambda: there.story(number).replies)
        there.settle()
        assert len(there.story(number).replies) == 1
        assert there.hub.errors == []


@pytest.mark.parametrize("setup", SETUPS)
def test_a_label_that_is_put_again_is_another_session(tmp_path: Path, setup: Setup) -> None:
    with town(tmp_path, setup, members={**MEMBERS, "mia": "maintain"}) as there:
        number = there.ask(VAGUE, "")
        there.settle()
        expect_refused_once(there, number)
        first = there.story(number)
        there.ada.unlabel(there.name, number, "ostler")
        there.settle()
        assert there.story(number).branches == first.branches
        there.person("mia").label(there.name, number, "ostler")
        there.settle()
        expect_refused_once(there, number, sessions=2)
        both = there.story(number)
        assert set(first.branches) < set(both.branches)
        ids = {check["external_id"] for checks in both.checks.values() for check in checks}
        assert len(ids) == 2
        assert sum("@mia" in comment["body"] for comment in both.status) == 1
        assert there.hub.errors == []
