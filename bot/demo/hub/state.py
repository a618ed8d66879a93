"""Everything the stand-in GitHub knows, as plain dataclasses. Git objects are not here: they lie in bare repositories on disk.

Times are aware, UTC, whole seconds, as GitHub shows them. Ids come from one counter, so that a run of a test can be read.
Whoever reads or writes holds `State.lock`; route handlers do already.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from bot.demo.runner.platform import JobRecord

ROLES = ("read", "triage", "write", "maintain", "admin")  # each may do what those before it may
ACTIONS_APP_ID = 15368  # GITHUB_TOKEN acts as this App
ACTIONS_LOGIN = "github-actions[bot]"


def stamp(when: datetime) -> str:
    """As GitHub writes times: 2026-11-21T11:34:31Z."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class User:
    id: int
    login: str
    type: str = "User"  # User Bot Organization


@dataclass(slots=True)
class Label:
    id: int
    name: str
    color: str = "ededed"
    description: str | None = None


@dataclass(slots=True)
class Reaction:
    id: int
    user: User
    content: str
    created_at: datetime


@dataclass(slots=True)
class Comment:
    """A comment on an issue or pull request; `app_id` is the App that wrote it, if one did."""

    id: int
    issue: int
    user: User
    body: str
    created_at: datetime
    updated_at: datetime
    app_id: int | None = None
    reactions: list[Reaction] = field(default_factory=list)


@dataclass(slots=True)
class IssueEvent:
    """labeled unlabeled renamed closed reopened; `label` is (name, colour), `rename` (from, to)."""

    id: int
    event: str
    actor: User
    created_at: datetime
    label: tuple[str, str] | None = None
    rename: tuple[str, str] | None = None
    app_id: int | None = None


@dataclass(slots=True)
class Review:
    id: int
    user: User
    body: str
    state: str  # APPROVED CHANGES_REQUESTED COMMENTED DISMISSED PENDING
    commit_id: str
    submitted_at: datetime
    edited_at: datetime | None = None


@dataclass(slots=True)
class ReviewComment:
    id: int
    user: User
    body: str
    path: str
    line: int
    side: str
    commit_id: str
    diff_hunk: str
    created_at: datetime
    updated_at: datetime
    review: int | None = None
    reply_to: int | None = None
    start_line: int | None = None
    resolved: bool = False  # of the first in a thread


@dataclass(slots=True)
class Pull:
    """What a pull request has besides its issue. `head_sha` and `base_sha` follow the branches while it is open."""

    id: int
    head: str  # branch name
    base: str
    head_sha: str
    base_sha: str
    draft: bool = False
    merged_at: datetime | None = None
    maintainer_can_modify: bool = False
    reviews: dict[int, Review] = field(default_factory=dict)
    review_comments: dict[int, ReviewComment] = field(default_factory=dict)
    requested: list[User] = field(default_factory=list)


@dataclass(slots=True)
class Issue:
    id: int
    number: int
    user: User
    title: str
    body: str | None
    created_at: datetime
    updated_at: datetime
    state: Literal["open", "closed"] = "open"
    state_reason: str | None = None
    closed_at: datetime | None = None
    last_edited_at: datetime | None = None  # of the body, as GraphQL's lastEditedAt; a rename is an event instead
    labels: list[str] = field(default_factory=list)  # names; what they look like is in Repository.labels
    assignees: list[User] = field(default_factory=list)
    locked: bool = False
    comments: dict[int, Comment] = field(default_factory=dict)
    events: list[IssueEvent] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)
    pull: Pull | None = None
    app_id: int | None = None


@dataclass(slots=True)
class CheckRun:
    id: int
    name: str
    head_sha: str
    app_id: int
    suite_id: int
    status: str = "queued"  # queued in_progress completed
    conclusion: str | None = None
    external_id: str = ""
    details_url: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    title: str | None = None
    summary: str | None = None
    text: str | None = None
    annotations: list[dict[str, Any]] = field(default_factory=list)
    actions: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Artifact:
    """A zip that a workflow run left. `digest` is 64 hex digits, sha256 of `data`."""

    id: int
    run_id: int
    attempt: int
    name: str
    data: bytes
    digest: str
    created_at: datetime
    expires_at: datetime
    expired: bool = False


@dataclass(slots=True)
class WorkflowRun:
    """One workflow run; `attempt` is the latest, `records` keeps each attempt's jobs by attempt and job id."""

    id: int
    number: int
    workflow_id: int
    name: str
    path: str  # .github/workflows/ostler.yml
    ref: str  # refs/heads/main
    head_sha: str
    event_name: str
    event: dict[str, Any]
    actor: User
    triggering_actor: User
    created_at: datetime
    updated_at: datetime
    run_started_at: datetime
    inputs: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1
    status: str = "queued"
    conclusion: str | None = None
    message: str = ""
    display_title: str = ""
    records: dict[int, dict[int, JobRecord]] = field(default_factory=dict)


@dataclass(slots=True)
class Workflow:
    id: int
    path: str
    name: str
    created_at: datetime
    state: str = "active"


@dataclass(slots=True)
class Environment:
    name: str
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Repository:
    """`members` gives roles by login (the owner has admin without being in it); `git` is the bare repository's folder."""

    id: int
    owner: User
    name: str
    git: Path
    created_at: datetime
    private: bool = False
    default_branch: str = "main"
    members: dict[str, str] = field(default_factory=dict)
    role_names: dict[str, str] = field(default_factory=dict)  # by login, where the role is a custom one that builds on `members`'
    labels: dict[str, Label] = field(default_factory=dict)  # by lower-case name
    issues: dict[int, Issue] = field(default_factory=dict)  # pull requests among them
    checks: dict[int, CheckRun] = field(default_factory=dict)
    suites: dict[tuple[str, int], int] = field(default_factory=dict)  # (commit, App) -> id
    workflows: dict[int, Workflow] = field(default_factory=dict)
    runs: dict[int, WorkflowRun] = field(default_factory=dict)
    artifacts: dict[int, Artifact] = field(default_factory=dict)
    environments: dict[str, Environment] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    drafts: bool = True  # GitHub's plans without a price have none in private repositories
    signed: dict[str, datetime] = field(default_factory=dict)  # commits that GitHub signed, and when

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"

    def role(self, user: User) -> str | None:
        """read triage write maintain admin; None for somebody who has no part in it."""
        return "admin" if user.id == self.owner.id else self.members.get(user.login)

    def next_number(self) -> int:
        return max(self.issues, default=0) + 1

    def comment(self, id: int) -> Comment | None:
        return next((issue.comments[id] for issue in self.issues.values() if id in issue.comments), None)


@dataclass(slots=True)
class App:
    id: int
    slug: str
    owner: User
    bot: User
    public_key: str  # PEM
    webhook_url: str | None
    webhook_secret: str
    created_at: datetime
    permissions: dict[str, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)  # empty: all
    pid: int | None = None  # the App's own process, for kill faults


@dataclass(slots=True)
class Installation:
    id: int
    app_id: int
    account: User
    repositories: set[int]
    permissions: dict[str, str]
    created_at: datetime
    suspended_at: datetime | None = None


@dataclass(slots=True)
class Token:
    """What an Authorization header opens. `permissions` is None for a person: then the role in the repository decides."""

    value: str
    kind: Literal["person", "installation", "job"]
    user: User
    who: str  # for the log and for faults: login, App slug or job name
    permissions: dict[str, str] | None = None
    repositories: frozenset[int] | None = None  # None: all
    app_id: int | None = None
    installation_id: int | None = None
    expires_at: datetime | None = None
    run_id: int | None = None
    job_id: int | None = None
    pids: set[int] = field(default_factory=set)  # leaders of process groups that work with it
    revoked: bool = False


@dataclass(slots=True)
class Delivery:
    """One attempt to bring an event to an App. A redelivery has an id of its own and the same guid."""

    id: int
    guid: str
    app_id: int
    event: str
    action: str | None
    installation_id: int
    repository_id: int | None
    payload: dict[str, Any]
    body: bytes
    delivered_at: datetime
    redelivery: bool = False
    duration: float = 0.0
    status: str = "pending"  # OK, or the reason it failed
    status_code: int = 0  # 0: no answer
    request_headers: dict[str, str] = field(default_factory=dict)
    response_headers: dict[str, str] = field(default_factory=dict)
    response: str = ""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One request as it was answered; status 0: the connection was closed without an answer."""

    method: str
    path: str
    query: str
    status: int
    who: str
    permissions: dict[str, str] | None
    at: datetime
    fault: str | None = None


@dataclass(slots=True)
class State:
    lock: threading.RLock = field(default_factory=threading.RLock)
    users: dict[str, User] = field(default_factory=dict)  # by lower-case login
    repositories: dict[int, Repository] = field(default_factory=dict)
    apps: dict[int, App] = field(default_factory=dict)
    installations: dict[int, Installation] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    deliveries: dict[int, Delivery] = field(default_factory=dict)
    manifest_codes: dict[str, int] = field(default_factory=dict)  # what a registered App is fetched with, once
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1001))

    def next_id(self) -> int:
        with self.lock:
            return next(self.ids)

    def repository(self, full_name: str) -> Repository | None:
        wanted = full_name.lower()
        return next((one for one in self.repositories.values() if one.full_name.lower() == wanted), None)

    def user(self, login: str) -> User | None:
        return self.users.get(login.lower())
