"""The jobs are apart: what one holds another does not, and what a model or the repository's code does there reaches nothing."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bot.core.jobs import Job
from bot.demo import playbook
from bot.demo.stage import MODEL_SECRETS, STATE_KEY
from tests.world.hostile import (
    LOOK,
    NOTES,
    NOTES_BODY,
    NOTES_RULES,
    NOTES_TITLE,
    Files,
    Heard,
    Json,
    flipped,
    of_job,
    opened,
    planted,
    records,
    replacing,
    spy,
    taken_over,
    watched,
    with_step,
)
from tests.world.town import Setup, Story, Town, town
from tests.world.world import DONE, FIX, PROOF, SMALL, Rule, a_finding, approves, audits, bash, builds, create, drafts

pytestmark = pytest.mark.sampled

SECRETS = {**MODEL_SECRETS, "OSTLER_STATE_KEY": STATE_KEY}
MAY_WRITE: Mapping[str, set[str]] = {
    "gate": set(),
    "plan": set(),
    "post": {"contents", "issues", "checks"},
    "build": set(),
    "prove": set(),
    "audit": set(),
    "confirm": set(),
    "publish": {"contents", "issues", "pull-requests"},
    "conclude": {"issues", "checks", "actions"},
}
MODEL_KEYS = {"OSTLER_ANTHROPIC_API_KEY", "OSTLER_OPENAI_API_KEY"}
OF_GITHUB = {"OSTLER_GITHUB_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"}
HOLDS: Mapping[str, set[str]] = {
    "gate": {"OSTLER_STATE_KEY", *OF_GITHUB},
    "plan": MODEL_KEYS,
    "post": {"OSTLER_GITHUB_TOKEN"},
    "build": MODEL_KEYS,
    "prove": set(),
    "audit": MODEL_KEYS,
    "confirm": set(),
    "publish": {"OSTLER_GITHUB_TOKEN"},
    "conclude": {"OSTLER_STATE_KEY", *OF_GITHUB},
}
"""What of the environment that each job's program gets is a credential."""
REFUTED = a_finding("it spies", place="tests/test_spy.py:1", evidence=["tests/test_spy.py:1"], command="test -f calc.py")
"""What the auditor claims of the session that is looked at, so that its check is run too; and it does not hold."""
WITH_CHECKOUT = {"plan", "build", "prove", "confirm"}


@dataclass(frozen=True, slots=True)
class Looked:
    """A session whose model and whose tests spy, and what a step planted in each job saw. `said` is the spy's word in the build,
    `control` the same spy, with less to search."""

    heard: Mapping[str, Heard]
    seen: Mapping[str, Json]
    said: list[str]
    records: list[Json]
    control: str


@contextmanager
def looked_at(folder: Path) -> Iterator[Looked]:
    watch, script, seen = watched(folder / "watch"), folder / "look.py", folder / "seen"
    script.write_text(LOOK)
    seen.mkdir()
    (folder / "planted").mkdir()
    (folder / "planted" / "key").write_text(MODEL_SECRETS["ANTHROPIC_API_KEY"])
    env = {"LOOK": str(script), "SEEN": str(seen)}
    step = with_step('\'"$OSTLER_PYTHON" -I "$LOOK"\'')
    with town(folder, "alone", SMALL, [], python=watch.python, env=env, workflows=step) as there:
        there.ada.open_issue(there.name, "The one that is written to", "")
        words, everywhere = {**SECRETS, "token": "ghs_"}, ["/home", "/root", "/tmp", "/run", "/etc", str(folder)]
        program = spy(words, _places(there), everywhere)
        there.scene.vendors.books.rules = playbook.read(_spying(program))
        number = there.ask()
        there.settle()
        there.expect_one(number, tests=False)
        found = records(opened(of_job(there.hub, there.name, "publish")[-1]))
        results = [block["text"] for one in found if one["name"] == "ToolsUsed" for block in one["body"]["results"]]
        yield Looked(
            {one.job: one for one in watch.heard()},
            {path.stem: json.loads(path.read_text()) for path in seen.iterdir()},
            [text for text in results if text.startswith("SPY ")],
            found,
            spy(words, _places(there), [str(folder / "planted")]),
        )


def _places(there: Town) -> list[tuple[str, int]]:
    urls = (there.hub.url, there.scene.vendors.anthropic_url, there.scene.vendors.openai_url)
    return [(str(parts.hostname), int(parts.port or 0)) for parts in map(urlsplit, urls)]


def _spying(program: str) -> list[Rule]:
    """A model that spies by its shell, and leaves a test that fails where it finds anything."""
    quoted = program.replace("'", "'\"'\"'")
    test = "def test_spies():\n    space = {}\n    exec(PROGRAM, space)\n"
    judged = "    assert not space['hits'] + space['names'] + space['open_']\n"
    spying = create("tests/test_spy.py", f"PROGRAM = {program!r}\n\n\n{test}{judged}")
    return [
        drafts(),
        approves(),
        *builds([bash(f"python3 -c '{quoted}'")], [FIX, PROOF, spying], DONE),
        audits(findings=[REFUTED]),
    ]


def found_by(text: str) -> dict[str, Any]:
    """What a spy told."""
    value: dict[str, Any] = ast.literal_eval(text.partition("SPY ")[2].splitlines()[0])
    return value


def credentials(env: Mapping[str, str]) -> set[str]:
    return {name for name, value in env.items() if value and re.search(r"KEY|TOKEN$|SECRET", name)}


def test_the_jobs_really_are_apart(tmp_path: Path) -> None:
    """One session, which takes its time: looked at from all sides."""
    with looked_at(tmp_path) as looked:
        finds_nothing_and_no_way_out(looked)
        runs_no_program_and_has_no_repository(looked)
        for job in Job:
            may_write_exactly_what_it_is_for(looked, job)
            is_given_exactly_what_it_needs(looked, job)
            leaves_no_secret_on_its_machine(looked, job)


def finds_nothing_and_no_way_out(looked: Looked) -> None:
    """In the sandbox, by the model's shell in build, and by a test of the model's, which fails where it finds anything, in build
    and prove. Outside of it the same program finds what there is."""
    (said,) = looked.said
    assert found_by(said) | {"processes": 0} == {"hits": [], "names": [], "open": [], "processes": 0}
    assert found_by(said)["processes"] < 5
    proofs = [one["body"]["proof"] for one in looked.records if one["name"] in ("ProofRan", "ProofRepeated")]
    ran = [{case["id"]: case["outcome"] for case in proof["head"]["tests"]["cases"]} for proof in proofs]
    assert [one["tests/test_spy.py::test_spies"] for one in ran] == ["passed", "passed"]
    env = {"PATH": os.environ["PATH"], "OSTLER_OPENAI_API_KEY": MODEL_SECRETS["OPENAI_API_KEY"]}
    outside = subprocess.run([sys.executable, "-c", looked.control], env=env, capture_output=True, text=True, check=True)
    control = found_by(outside.stdout)
    assert any(hit.startswith("environment: scripted-openai") for hit in control["hits"])
    assert any(hit.startswith("/proc/") for hit in control["hits"])
    assert any("planted/key: scripted-anthropic" in hit for hit in control["hits"])
    assert control["names"] == ["OSTLER_OPENAI_API_KEY"]
    assert len(control["open"]) >= 3


def may_write_exactly_what_it_is_for(looked: Looked, job: Job) -> None:
    """Tried with the job's own token, by a step that somebody planted: GitHub refuses by its permissions."""
    for permission, answers in looked.seen[job]["tried"].items():
        allowed = permission in MAY_WRITE[job]
        assert all((answer != 403) == allowed for answer in answers), (job, permission, answers)


def is_given_exactly_what_it_needs(looked: Looked, job: Job) -> None:
    heard = looked.heard[job]
    assert credentials(heard.env) == HOLDS[job]
    given = {name for name, value in heard.env.items() if any(secret in value for secret in SECRETS.values())}
    assert given == HOLDS[job] - OF_GITHUB
    assert heard.checkout == (job in WITH_CHECKOUT)


def leaves_no_secret_on_its_machine(looked: Looked, job: Job) -> None:
    """After its work: checkouts, what was downloaded, what is uploaded, and all else that a job left; and no other step's
    environment has what Ostler's own step is given."""
    seen = looked.seen[job]
    secrets = [*SECRETS.values(), seen["env"]["TOKEN"]]
    assert len(seen["files"]) > 3
    assert [name for name, text in seen["files"].items() if any(secret in text for secret in secrets)] == []
    assert {name for name, value in seen["env"].items() if any(secret in value for secret in secrets)} == {"TOKEN"}
    assert credentials(seen["env"]) == {"TOKEN"} | (HOLDS[job] & {"ACTIONS_ID_TOKEN_REQUEST_TOKEN"})


def runs_no_program_and_has_no_repository(looked: Looked) -> None:
    """No job that holds a token of GitHub's does, publish above all, nor the audit."""
    for job in (Job.GATE, Job.POST, Job.AUDIT, Job.PUBLISH, Job.CONCLUDE):
        assert all("'uname'" in command for command in looked.heard[job].started)  # a library wants to know its processor
        assert not [name for name in looked.seen[job]["files"] if "/checkout/" in name or name.endswith("calc.py")]
    for job in (Job.BUILD, Job.PROVE, Job.CONFIRM):
        assert any("git" in command for command in looked.heard[job].started)
        assert [name for name in looked.seen[job]["files"] if name.endswith("/checkout/calc.py")]


# --- what is handed over ----------------------------------------------------------------------------------------------


def refused(there: Town, number: int, why: str) -> Story:
    """Nothing is delivered, and everybody can read why."""
    told = there.story(number)
    assert (told.pulls, told.audit) == ([], [])
    assert told.state_labels == ["ostler:needs-human"]
    assert (told.check["status"], told.check["conclusion"]) == ("completed", "neutral")
    (status,) = told.status
    assert why.lower() in status["body"].lower()
    assert "Nothing was delivered" in status["body"]
    nothing_on_the_branch(there, told)
    return told


def nothing_on_the_branch(there: Town, told: Story) -> None:
    (branch,) = told.branches
    bare = there.hub.bare(there.hub.found(there.name))
    assert [bare.file(ref, "notes.md") for ref in (branch, "main")] == [NOTES["notes.md"].encode()] * 2
    assert there.hub.errors == []


def repriced(files: Files) -> Files:
    """Calls that cost next to nothing, so that no cap would stop them."""
    return {
        **files,
        "config.yml": b"prices: [{model: claude-sonnet-5-5, dated: 2026-01-01, input: 0.000001, output: 0.000001}]\n",
    }


@pytest.mark.parametrize(
    ("setup", "job", "receiver", "change", "why"),
    [
        ("alone", Job.BUILD, Job.PROVE, flipped, "the record is damaged"),
        ("alone", Job.BUILD, Job.PROVE, planted, "the session's journal is another, by its digest"),
        ("app", Job.AUDIT, Job.PUBLISH, planted, "the session's journal is another, by its digest"),
        ("alone", Job.PROVE, Job.AUDIT, repriced, "the session's configuration is another, by its digest"),
    ],
)
def test_a_changeset_altered_between_jobs_is_refused(
    tmp_path: Path, setup: Setup, job: Job, receiver: Job, change: Callable[[Files], Files], why: str
) -> None:
    """The stored artifact is replaced, so that the storage's own digest fits."""
    with town(tmp_path, setup, NOTES, NOTES_RULES) as there:
        with replacing(job, change) as done:
            number = there.ask(NOTES_TITLE, NOTES_BODY)
            there.settle()
        assert len(done) == 1
        assert there.jobs(there.runs()[0]["id"])[receiver] == "failure"
        refused(there, number, why)


@pytest.mark.parametrize(
    ("setup", "job", "made_up", "plant", "why"),
    [
        ("alone", Job.BUILD, (Job.PROVE, Job.AUDIT), True, "tells of work that no job did"),
        ("app", Job.BUILD, (Job.PROVE, Job.AUDIT), True, "tells of work that no job did"),
        ("alone", Job.PROVE, (), True, "the changeset is not the one that was made, by its digest"),
        ("alone", Job.PROVE, (Job.AUDIT,), False, "tells of an audit that this job did not make"),
    ],
)
def test_what_a_taken_over_machine_claims_is_never_published(
    tmp_path: Path, setup: Setup, job: Job, made_up: Sequence[Job], plant: bool, why: str
) -> None:
    """A journal whose hashes fit, with proof and audit that never were: not in its own workflow run, not in the next one."""
    watch = taken_over(tmp_path / "watch", job, made_up, plant=plant)
    with town(tmp_path, setup, NOTES, NOTES_RULES, python=watch.python) as there:
        number = there.ask(NOTES_TITLE, NOTES_BODY)
        there.settle()
        assert (tmp_path / "watch" / "claimed").exists()
        refused(there, number, why)
        there.say(number, "/ostler retry")
        there.settle()
        assert len(there.runs()) == 2
        told = there.story(number)
        assert told.pulls == []
        nothing_on_the_branch(there, told)
