"""A town: a stand-in GitHub with a repository and its people, and Ostler at work in it, with its App or alone.

    with town(tmp_path, "app", config="approval: always\\n") as there:
        number = there.ask("add() returns the difference", "add(2, 3) should be 5 and is -1")
        there.settle()
        there.ada.comment(there.name, number, f"/ostler approve {there.digest(number)}")
        there.settle()
        there.expect_one(number)

Jobs are processes on machines of their own, the App is a process, and all of them talk over HTTP. Nothing is patched.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bot.demo.hub import Hub
from bot.demo.hub.people import Person
from bot.demo.stage import Scene, stage
from bot.store.journal import Record, read_records
from tests.world.world import CODE, SMALL, UNPLUGGED, git, happy, write

Setup = Literal["app", "alone"]
Json = dict[str, Any]

MEMBERS: Mapping[str, str] = {"ada": "admin", "bob": "write", "tess": "triage", "rita": "read"}
TITLE, BODY = "add() returns the difference", "add(2, 3) should be 5 and is -1"
IMPORTS = {**SMALL, "calc.py": CODE.replace('"""Sums."""\n', '"""Sums."""\n\nimport os\n')}
"""A repository that a deterministic fixer has something to do in, asked by these words."""
FIXER_TITLE, FIXER_BODY = "Remove unused imports", "Remove unused imports from the Python files."
SECONDS = 180.0
PAUSE = 0.1
"""Seconds between two looks at the App."""

_MARK = re.compile(r"<!-- ostler:([a-z]+)\S* (\S+) -->")
APPROVE = re.compile(r"/ostler approve ([0-9a-f]{8,64})")
_BUSY = "select count(*) from sessions where lane in ('new', 'queued', 'dispatching', 'running') or shown < seq"
_WAITING = "select count(*) from deliveries where status = 'pending'"


@dataclass(slots=True)
class Story:
    """What everybody can see of one issue. `checks` holds all check runs named ostler by commit, each branch's newest commit
    first; audit comments stand on the pull requests, `trouble` tells that no workflow run goes on, `others` are comments of
    Ostler's that are none of these."""

    plan: list[Json] = field(default_factory=list)
    status: list[Json] = field(default_factory=list)
    audit: list[Json] = field(default_factory=list)
    replies: list[Json] = field(default_factory=list)
    trouble: list[Json] = field(default_factory=list)
    others: list[Json] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)
    pulls: list[Json] = field(default_factory=list)
    checks: dict[str, list[Json]] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    eyes: int = 0

    @property
    def check(self) -> Json:
        """The only check run of the newest commit of the only branch."""
        assert len(self.branches) == 1, self.branches
        (only,) = next(iter(self.checks.values()))
        return only

    @property
    def state_labels(self) -> list[str]:
        return [name for name in self.labels if name.startswith("ostler:")]

    @property
    def began(self) -> bool:
        """Whether there is a trace of a session."""
        return any(
            (self.plan, self.status, self.audit, self.trouble, self.others, self.branches, self.pulls, self.checks, self.eyes)
        )

    @property
    def nothing(self) -> bool:
        """Whether Ostler did not do anything that people could see."""
        return not (self.began or self.replies or self.state_labels)

    @property
    def state(self) -> Json:
        """The session's state, as it stands signed in the check run."""
        payload, _, _ = self.check["output"]["text"].partition(".")
        made: Json = json.loads(base64.b64decode(payload))
        return made


@dataclass(slots=True)
class Town:
    scene: Scene
    setup: Setup

    @property
    def hub(self) -> Hub:
        return self.scene.hub

    @property
    def name(self) -> str:
        return self.scene.name

    @property
    def ada(self) -> Person:
        return self.person("ada")

    def person(self, login: str) -> Person:
        return self.hub.person(login)

    # --- what people do ---

    def ask(self, title: str = TITLE, body: str = BODY, by: str = "ada") -> int:
        """Open an issue and put the label on it; its number."""
        who = self.person(by)
        number = who.open_issue(self.name, title, body)
        who.label(self.name, number, "ostler")
        return number

    def say(self, number: int, text: str, by: str = "ada") -> int:
        """Comment; the comment's id."""
        return self.person(by).comment(self.name, number, text)

    def press(self, number: int, identifier: str, by: str = "ada") -> None:
        """Press a button of the check run that shows the session."""
        self.person(by).press(self.name, self.story(number).check["id"], identifier)

    def settle(self, timeout: float = SECONDS) -> None:
        """Wait until nothing is under way: no event, no workflow run; in the App no delivery and no session that could move."""
        deadline = time.monotonic() + timeout
        quiet = 0
        while quiet < 2:  # twice in a row: what ends one thing may have begun another
            self.hub.wait_idle(max(deadline - time.monotonic(), 0.1))
            quiet = quiet + 1 if self._app_idle() else 0
            assert time.monotonic() < deadline, f"the App is still busy after {timeout:g} seconds:\n{self.app_log[-3000:]}"
            time.sleep(PAUSE if quiet < 2 else 0)

    def _app_idle(self) -> bool:
        if self.scene.app is None or self.scene.app.poll() is not None:
            return True  # what is not there does nothing
        if not self._swept():
            return False
        with closing(sqlite3.connect(f"file:{self.scene.database}?mode=ro", uri=True)) as database:
            return not any(database.execute(query).fetchone()[0] for query in (_WAITING, _BUSY))

    def _swept(self) -> bool:
        """Whether this process of the App has looked through all repositories once."""
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self.scene.port, timeout=5)) as connection:
                connection.request("GET", "/metrics")
                said = connection.getresponse().read().decode()
        except OSError:
            return False
        found = re.search(r"^ostler_sweeps_total ([0-9.]+)$", said, re.M)
        return found is not None and float(found[1]) >= 1

    def until(self, seen: Callable[[], Any], timeout: float = SECONDS) -> None:
        """Look again and again until something can be seen."""
        deadline = time.monotonic() + timeout
        while not seen():
            assert time.monotonic() < deadline, f"not to be seen after {timeout:g} seconds:\n{self.app_log[-3000:]}"
            time.sleep(PAUSE)

    @contextmanager
    def app_down(self) -> Iterator[None]:
        """While the App, if there is one, does not run."""
        self.scene.end_app()
        yield
        if self.setup == "app":
            self.scene.start_app()

    @property
    def app_log(self) -> str:
        path = self.scene.folder / "app.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    # --- what people see ---

    def digest(self, number: int) -> str:
        """The digest that the posted plan asks to be approved by."""
        (plan,) = self.story(number).plan
        found = APPROVE.search(plan["body"])
        assert found, plan["body"]
        return found[1]

    def story(self, number: int) -> Story:
        issue = self.ada.get(f"/repos/{self.name}/issues/{number}")
        told = Story(labels=[label["name"] for label in issue["labels"]], eyes=issue["reactions"]["eyes"])
        for ref in self.ada.get(f"/repos/{self.name}/git/matching-refs/heads/ostler/issue-{number}-"):
            told.branches.append(ref["ref"].removeprefix("refs/heads/"))
            for sha in self._lineage(ref["object"]["sha"]):
                query = "check-runs?check_name=ostler&filter=all&per_page=100"
                if found := self.ada.get(f"/repos/{self.name}/commits/{sha}/{query}")["check_runs"]:
                    told.checks[sha] = found
        all_ = self.ada.get(f"/repos/{self.name}/pulls?state=all&per_page=100")
        told.pulls = [pull for pull in all_ if pull["head"]["ref"] in told.branches]
        for place in (number, *(pull["number"] for pull in told.pulls)):
            for comment in self.ada.comments(self.name, place):
                if comment["user"]["type"] == "Bot":
                    mark = _MARK.match(comment["body"])
                    kinds = {
                        "plan": told.plan,
                        "status": told.status,
                        "audit": told.audit,
                        "reply": told.replies,
                        "trouble": told.trouble,
                    }
                    kinds.get(mark[1] if mark else "", told.others).append(comment)
        return told

    def _lineage(self, head: str) -> Iterator[str]:
        """The commits of a session's branch down to its empty first one."""
        sha = head
        for _ in range(10):
            yield sha
            made = self.ada.get(f"/repos/{self.name}/git/commits/{sha}")
            if made["message"].startswith("Begin ostler/") or not made["parents"]:
                return
            sha = made["parents"][0]["sha"]

    def buttons(self, number: int) -> list[str]:
        """What can be pressed on the check run that shows the session. GitHub's API does not tell it, its page does."""
        return [action["identifier"] for action in self.hub.found(self.name).checks[self.story(number).check["id"]].actions]

    def push(self, files: Mapping[str, str], message: str = "More", by: str = "ada", branch: str = "main") -> str:
        """Commit `files` on a branch, as somebody does with git; the commit's id."""
        folder = self.scene.folder / f"pushed-{time.monotonic_ns()}"
        address = f"{self.hub.url}/{self.name}.git".replace("://", f"://{by}:{self.person(by).token}@")
        git(self.scene.folder, "clone", "--quiet", f"--branch={branch}", address, str(folder))
        write(folder, files)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", f"--message={message}")
        git(folder, "push", "--quiet", "origin", f"HEAD:{branch}")
        return git(folder, "rev-parse", "HEAD")

    def runs(self) -> list[Json]:
        """The repository's workflow runs, newest first."""
        found: list[Json] = self.ada.get(f"/repos/{self.name}/actions/runs?per_page=100")["workflow_runs"]
        return found

    def jobs(self, run: int) -> dict[str, str | None]:
        """How the jobs of a workflow run ended, by name."""
        found = self.ada.get(f"/repos/{self.name}/actions/runs/{run}/jobs?per_page=100")["jobs"]
        return {job["name"].rpartition(" / ")[2]: job["conclusion"] for job in found}

    def records(self, number: int) -> list[Record]:
        """The session's journal, as its newest artifact holds it."""
        begins = f"ostler-{self.story(number).check['external_id']}-"
        kept = [one for one in self.hub.found(self.name).artifacts.values() if one.name.startswith(begins)]
        folder = self.scene.folder / f"journal-{number}-{time.monotonic_ns()}"
        zipfile.ZipFile(io.BytesIO(max(kept, key=lambda one: one.id).data)).extract("journal.jsonl", folder)
        return read_records(folder / "journal.jsonl")

    def clone(self, number: int) -> Path:
        """The issue's branch as somebody who reviews it has it."""
        (branch,) = self.story(number).branches
        folder = self.scene.folder / f"clone-{number}"
        if not folder.exists():
            address = f"{self.hub.url}/{self.name}.git"
            git(self.scene.folder, "clone", "--quiet", f"--branch={branch}", address, str(folder))
        return folder

    def tests(self, folder: Path) -> bool:
        """Whether the tests of a checkout pass here."""
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        env = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False, timeout=60)
        assert done.returncode in (0, 1), done.stdout.decode()
        return done.returncode == 0

    def expect_one(self, number: int, *, plan: bool = True, tests: bool = True) -> Story:
        """Everything happened, and exactly once: as people see it, whatever went on below."""
        told = self.story(number)
        counts = {
            "plan": len(told.plan), "audit": len(told.audit), "status": len(told.status),
            "branches": len(told.branches), "pulls": len(told.pulls),
        }  # fmt: skip
        assert counts == {"plan": int(plan), "audit": 1, "status": 1, "branches": 1, "pulls": 1}, counts
        assert all(len(found) == 1 for found in told.checks.values()), told.checks
        head = told.pulls[0]["head"]["sha"]
        assert next(iter(told.checks)) == head
        assert (told.check["status"], told.check["conclusion"]) == ("completed", "success"), told.check
        assert told.pulls[0]["draft"] is True
        assert told.pulls[0]["state"] == "open"
        assert told.state_labels == ["ostler:in-review"]
        assert self.hub.errors == []
        if tests:
            assert self.tests(self.clone(number))
        return told


@contextmanager
def town(
    folder: Path,
    setup: Setup,
    files: Mapping[str, str | bytes] = SMALL,
    rules: Sequence[Mapping[str, Any]] | None = None,
    config: str = "",
    members: Mapping[str, str] = MEMBERS,
    **options: Any,
) -> Iterator[Town]:
    """Build one; `config` becomes `.github/ostler.yml`, `options` are those of `bot.demo.stage.stage`."""
    content = {**files, ".github/ostler.yml": config} if config else dict(files)
    script = happy() if rules is None else rules
    if UNPLUGGED:
        options = {**_unplugged(folder), **options}
    with stage(folder / "town", script, content, with_app=setup == "app", members=members, **options) as scene:
        yield Town(scene, setup)


def _unplugged(folder: Path) -> dict[str, Any]:
    """Jobs and App from the copy of the code that has one feature taken out."""
    start = f"import sys; sys.path.insert(0, {UNPLUGGED!r}); from bot.__main__ import main; main()"
    folder.mkdir(parents=True, exist_ok=True)
    wrapper = folder / "python"
    wrapper.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "-I -m bot" ] || exec {sys.executable} "$@"\nshift 3\n'
                       f'exec {sys.executable} -I -c "{start}" "$@"\n')  # fmt: skip
    wrapper.chmod(0o755)
    return {"python": str(wrapper), "app_python": [sys.executable, "-I", "-c", start]}
