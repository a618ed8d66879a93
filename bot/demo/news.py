"""What happens on the stand-in GitHub, as lines that somebody who waits wants to read."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from bot.demo.hub import Hub, run_shapes
from bot.demo.hub.state import Comment, Issue, Repository, WorkflowRun
from bot.demo.runner.platform import JobRecord

Tone = Literal["", "good", "bad"]

_MARK = re.compile(r"<!-- ostler:([a-z]+)")


@dataclass(frozen=True, slots=True)
class Line:
    """What a line is about, and what it says."""

    about: str
    text: str
    tone: Tone = ""


@dataclass(slots=True)
class News:
    """Each look gives what was not told before. Deliveries that bots caused and jobs that were skipped are no news."""

    hub: Hub
    name: str
    _told: set[tuple[object, ...]] = field(default_factory=set)
    _began: dict[int, float] = field(default_factory=dict)

    def look(self) -> list[Line]:
        with self.hub.state.lock:
            home = self.hub.found(self.name)
            return [line for key, line in self._all(home) if self._new(key)]

    def doing(self) -> str:
        """What is at work now, for a line that is written over again and again."""
        with self.hub.state.lock:
            runs = self.hub.found(self.name).runs.values()
            jobs = [job for run in runs for job in run_shapes.jobs(run) if job.status == "in_progress"]
            steps = [f"{short_name(job)}: {step.name}" for job in jobs for step in job.steps if step.status == "in_progress"]
        return steps[-1] if steps else "the App decides what is next"

    def _new(self, key: tuple[object, ...]) -> bool:
        known = key in self._told
        self._told.add(key)
        return not known

    def _all(self, home: Repository) -> Iterator[tuple[tuple[object, ...], Line]]:
        yield from self._deliveries()
        for run in home.runs.values():
            yield from self._run(run)
        for issue in home.issues.values():
            yield from self._issue(issue)
        for check in home.checks.values():
            text = f"{check.name}: {check.title} ({(check.conclusion or check.status).replace('_', ' ')})"
            yield ("check", text), Line("check run", text)

    def _deliveries(self) -> Iterator[tuple[tuple[object, ...], Line]]:
        for one in self.hub.state.deliveries.values():
            asked = (one.event, one.action) in (("issues", "labeled"), ("issue_comment", "created"))
            if asked and one.status != "pending" and one.payload["sender"]["type"] != "Bot":
                good = 200 <= one.status_code < 300
                word = "accepted" if good else "not accepted"
                text = f"{one.event}.{one.action} {word} by the App ({one.status_code or one.status})"
                yield ("delivery", one.id), Line("webhook", text, "" if good else "bad")

    def _run(self, run: WorkflowRun) -> Iterator[tuple[tuple[object, ...], Line]]:
        if run.status != "queued":
            text = f"run {run.number} began: {run.event_name} by {run.actor.login}"
            yield ("run", run.id, run.attempt, "began"), Line("workflow", text)
        for job in run_shapes.jobs(run):
            yield from self._job(job)
        if run.status == "completed":
            good = run.conclusion == "success"
            text = f"run {run.number} ended: {run.conclusion}{f' ({run.message})' if run.message else ''}"
            yield ("run", run.id, run.attempt, "ended"), Line("workflow", text, "" if good else "bad")

    def _job(self, job: JobRecord) -> Iterator[tuple[tuple[object, ...], Line]]:
        if job.status == "in_progress":
            self._began.setdefault(job.id, time.monotonic())
        elif job.status == "completed" and job.conclusion != "skipped":
            seconds = time.monotonic() - self._began.get(job.id, time.monotonic())
            text = f"{short_name(job):<8} {job.conclusion} in {seconds:.1f} s"
            yield ("job", job.id), Line("job", text, "" if job.conclusion == "success" else "bad")

    def _issue(self, issue: Issue) -> Iterator[tuple[tuple[object, ...], Line]]:
        for given in issue.reactions:
            yield ("reaction", given.id), Line("reaction", f"{given.content} on #{issue.number} by {given.user.login}")
        if issue.pull:
            draft = "draft " if issue.pull.draft else ""
            text = f"{draft}#{issue.number} opened by {issue.user.login}: {issue.title}"
            yield ("pull", issue.number), Line("pull request", text, "good")
        for comment in issue.comments.values():
            if comment.user.type == "Bot":
                said = headline(comment)
                yield ("comment", comment.id, said), Line("comment", f"on #{issue.number}: {said}")


def short_name(job: JobRecord) -> str:
    """`gate` of `improve / gate`."""
    return job.name.rpartition(" / ")[2]


def mark(body: str) -> str:
    """What kind of comment of Ostler's this is: plan, status, audit, reply; empty for anybody else's."""
    found = _MARK.match(body)
    return found[1] if found else ""


def headline(comment: Comment) -> str:
    """A comment's first line that people see, without its Markdown and the links at its end."""
    lines = [line for line in comment.body.splitlines() if line.strip() and not line.startswith("<!--")]
    return re.sub(r"[*`]", "", lines[0].split(" · ")[0]).lstrip("# ") if lines else ""
