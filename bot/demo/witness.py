"""Does not believe what the demo shows: looks at everything again from outside, as who reviews the pull request would."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bot.core.errors import OstlerError
from bot.core.run import Run
from bot.core.session import SessionState
from bot.demo.hub.webhooks import plain
from bot.demo.news import mark
from bot.demo.stage import STATE_KEY, Scene
from bot.loop.driver import fold
from bot.store.envelope import Key, open_
from bot.store.journal import read

SECONDS = 60.0
CHECK = "ostler"
_DIGEST = re.compile(r"^### Contract `([0-9a-f]{8,64})`$", re.M)
_BUDGET = re.compile(r"Budget: \d+% used \(\$[\d.,]+/\$[\d.,]+\)")

_SIGNED = re.compile(r"not signed in: .*? to the address")
_UNREADABLE = (OstlerError, OSError, LookupError, ValueError, subprocess.SubprocessError, zipfile.BadZipFile)

Json = dict[str, Any]


@dataclass(slots=True)
class Seen:
    """What was found, and what is wrong with it. Addresses are empty where there is nothing."""

    addresses: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    tests: int = 0
    calls: int = 0

    def need(self, condition: object, problem: str) -> None:
        if not condition:
            self.problems.append(problem)


class Witness:
    """Looks at one issue of a scene, over HTTP as `login`; clones into `folder`."""

    def __init__(self, scene: Scene, number: int, login: str, sources: str, folder: Path) -> None:
        self._scene, self._number, self._sources, self._folder = scene, number, sources, folder
        self._who = scene.hub.person(login)
        self.seen = Seen()

    def addresses(self) -> dict[str, str]:
        """The pages of what is there so far, by name."""
        site = f"{self._scene.hub.url}/{self._scene.name}"
        found = {"issue": f"{site}/issues/{self._number}"}
        pulls = self._pulls()
        if pulls:
            found["pull request"] = str(pulls[0]["html_url"])
        checks = self._checks(pulls)
        if checks:
            found["check run"] = str(checks[0]["html_url"])
        for run in sorted(self._get("actions/runs?per_page=100")["workflow_runs"], key=lambda one: int(one["run_number"])):
            found[f"workflow run {run['run_number']}"] = str(run["html_url"])
        if checks and checks[0]["details_url"]:
            found["the App's page"] = str(checks[0]["details_url"])
        return found

    def look(self) -> Seen:
        """Everything, each thing that is amiss as one sentence."""
        self.seen.addresses = self.addresses()
        self._plan()
        pulls = self._pulls()
        self.seen.need(len(pulls) == 1, f"there are {len(pulls)} pull requests where one was expected")
        if len(pulls) == 1:
            self._pull(pulls[0])
            self._audit(int(pulls[0]["number"]))
            with self._trying("the branch"):
                self._branch(str(pulls[0]["head"]["ref"]))
            with self._trying("the journal"):
                self._ledger(self._check(pulls))
        refused = self._scene.hub.errors
        self.seen.need(not refused, f"the stand-in refused {len(refused)} requests: {'; '.join(refused[:2])}")
        return self.seen

    @contextmanager
    def _trying(self, what: str) -> Iterator[None]:
        """What cannot be looked at is a problem like any other."""
        try:
            yield
        except _UNREADABLE as error:
            self.seen.problems.append(f"{what} cannot be looked at: {type(error).__name__}: {error}")

    # --- what people read ---

    def _get(self, path: str) -> Any:
        return self._who.get(f"/repos/{self._scene.name}/{path}")

    def _pulls(self) -> list[Json]:
        found: list[Json] = self._get("pulls?state=all&per_page=100")
        return found

    def _said(self, number: int, kind: str) -> list[str]:
        said = self._who.comments(self._scene.name, number)
        return [str(one["body"]) for one in said if one["user"]["type"] == "Bot" and mark(one["body"]) == kind]

    def _plan(self) -> None:
        plans = self._said(self._number, "plan")
        self.seen.need(len(plans) == 1, f"there are {len(plans)} plan comments where one was expected")
        self.seen.need(all(_DIGEST.search(plan) for plan in plans), "the plan comment names no digest of its contract")
        labels = [label["name"] for label in self._get(f"issues/{self._number}")["labels"]]
        states = [name for name in labels if name.startswith("ostler:")]
        self.seen.need(states == ["ostler:in-review"], f"the issue's state label is {', '.join(states) or 'missing'}")

    def _pull(self, pull: Json) -> None:
        body = str(pull["body"])
        observed, account = body.find("\n## Observed\n"), body.find("\n## The model's account\n")
        self.seen.need(pull["draft"] and pull["state"] == "open", "the pull request is no open draft")
        self.seen.need(f"Fixes #{self._number}" in body, "the pull request does not say which issue it fixes")
        self.seen.need(0 <= observed < account, "the pull request does not tell what was observed from what the model says")

    def _audit(self, number: int) -> None:
        audits = self._said(number, "audit")
        self.seen.need(len(audits) == 1, f"there are {len(audits)} audit comments where one was expected")
        self.seen.need(all("**Not checked**" in audit for audit in audits), "the audit does not say what it did not check")

    def _checks(self, pulls: list[Json]) -> list[Json]:
        """The check run of the pull request's head, or, without one, of the newest commit of the session's branch."""
        heads = [str(pull["head"]["sha"]) for pull in pulls]
        heads += [
            str(ref["object"]["sha"]) for ref in self._get(f"git/matching-refs/heads/ostler/issue-{self._number}-") if not heads
        ]
        return [check for sha in heads for check in self._who.checks(self._scene.name, sha, CHECK)]

    def _check(self, pulls: list[Json]) -> SessionState | None:
        """The signed state in the check run; None where it is missing or wrong."""
        checks = self._checks(pulls)
        self.seen.need(len(checks) == 1, f"the pull request has {len(checks)} check runs named {CHECK} where one was expected")
        if len(checks) != 1:
            return None
        (check,) = checks
        outcome = (check["status"], check["conclusion"])
        self.seen.need(outcome == ("completed", "success"), f"the check run is {outcome[0]}, {outcome[1]}")
        self.seen.need(_BUDGET.search(check["output"]["summary"] or ""), "the check run shows no budget")
        home = self._scene.hub.found(self._scene.name)
        try:
            state = open_(str(check["output"]["text"]), [Key.from_secret(STATE_KEY)], repo_id=home.id, issue=self._number)
        except OstlerError as error:
            self.seen.problems.append(f"the check run's signed state cannot be read: {error}")
            return None
        settled = (state.standing, state.run_state, state.pull) == ("over", "DONE_SUCCESS", int(pulls[0]["number"]))
        self.seen.need(settled, f"the signed state is not settled: {state.standing}, {state.run_state}")
        return state

    # --- what it did ---

    def _branch(self, branch: str) -> None:
        """The new tests need the fix: they pass on the branch and fail when its sources are as they were."""
        clone = self._folder / "clone"
        address = f"{self._scene.hub.url}/{self._scene.name}.git"
        _git("clone", "--quiet", f"--branch={branch}", address, str(clone))
        code, passed = _tests(clone)
        self.seen.tests = passed
        self.seen.need(code == 0, "the example's tests do not pass on the pull request's branch")
        _git("-C", str(clone), "checkout", "--quiet", "origin/HEAD", "--", self._sources)
        self.seen.need(_tests(clone)[0] == 1, "the pull request's tests do not fail without its fix")

    def _ledger(self, state: SessionState | None) -> None:
        """Each model's calls and tokens, as billed by the scripted vendors and as the journal of the session has them."""
        run = self._journal(state) if state else None
        if state is None or run is None:
            return
        kept: dict[str, Counter[str]] = {}
        for charge in run.ledger.charges:
            usage = charge.usage
            kept.setdefault(charge.model, Counter()).update(
                requests=1, input=usage.input, output=usage.output, cache_read=usage.cache_read,
                cache_write=usage.cache_write, cache_write_long=usage.cache_write_long,
            )  # fmt: skip
        billed: Mapping[str, Mapping[str, int]] = self._scene.vendors.totals()
        self.seen.calls = sum(total["requests"] for total in billed.values())
        for model in sorted(billed.keys() | kept.keys()):
            if dict(billed.get(model, {})) != dict(kept.get(model, {})):
                self.seen.problems.append(f"what {model} was billed for is not what the ledger holds")
        spent = sum(charge.amount for charge in run.ledger.charges)
        self.seen.need(spent == state.spent, f"the ledger holds {spent} micro-dollars and the signed state {state.spent}")

    def _journal(self, state: SessionState) -> Run | None:
        home = self._scene.hub.found(self._scene.name)
        artifact = home.artifacts.get(state.artifact)
        if artifact is None:
            self.seen.problems.append("the artifact that the signed state names is not there")
            return None
        with zipfile.ZipFile(io.BytesIO(artifact.data)) as kept:
            records = list(read(kept.read("journal.jsonl"), Path("journal.jsonl")))
        self.seen.need(records[-1].hash == state.journal_head, "the artifact's journal does not end as the signed state says")
        return fold(records)[0]


def _environment() -> dict[str, str]:
    """Nothing of the caller's that could change what is shown: no keys, no addresses, no git settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return {**kept, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _git(*args: str) -> None:
    subprocess.run(["git", *args], check=True, env=_environment(), capture_output=True, timeout=SECONDS)


def _tests(folder: Path) -> tuple[int, int]:
    """pytest's exit code, and how many tests passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, env=_environment(), check=False, capture_output=True, timeout=SECONDS)
    found = re.search(rb"(\d+) passed", done.stdout)
    return done.returncode, int(found[1]) if found else 0


def saved(addresses: Mapping[str, str], folder: Path, site: str) -> Iterator[tuple[str, Path]]:
    """A copy in `folder` of each page that answers, by name. Links lead to copies; to anything else of `site` they are cut."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {address: re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".html" for name, address in addresses.items()}

    def link(found: re.Match[str]) -> str:
        address = found[1] if found[1].startswith("http") else site + found[1]
        page, hash_, part = address.replace("&amp;", "&").partition("#")
        page = page.replace("/issues/", "/pull/") if page not in files else page
        if page in files:
            return f'href="{files[page]}{hash_}{part}"'
        return "" if address.startswith(site) else found[0]

    for name, address in addresses.items():
        try:
            text = httpx.get(address, trust_env=False, verify=plain(), timeout=SECONDS).raise_for_status().text
        except httpx.HTTPError:
            continue  # the App may be what failed
        path = folder / files[address]
        path.write_text(_SIGNED.sub("a copy that the demo left", re.sub(r'href="((?:/|https?://)[^"]*)"', link, text)), "utf-8")
        yield name, path
