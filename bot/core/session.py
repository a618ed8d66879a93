"""A session on GitHub: its names, which everybody computes alike, and its state, which travels signed in a check run."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from bot.core.changeset import canonical
from bot.core.errors import PolicyError

CHECK_NAME = "ostler"
LABEL = "ostler"
STOP_LABEL = "ostler:stop"

Standing = Literal["working", "waiting", "over"]
"""Whether a job is to go on, a person has to act, or there is nothing left to do."""

STATE_LABELS = (
    "ostler:planning",
    "ostler:awaiting-approval",
    "ostler:building",
    "ostler:in-review",
    "ostler:needs-human",
    "ostler:done",
)
"""Mutually exclusive; set by Ostler, read by people. None of them starts or allows anything."""


@dataclass(frozen=True, slots=True)
class SessionState:
    """What has to outlive every job: who asked, how far it came, what was spent, where the journal lies.

    `seq` counts the states of the session, `prev` is the digest of the one before. Money is micro-dollars. `journal_head` is
    the hash of the journal's last record; `artifact` the id of the artifact that holds the journal, made by `artifact_run`.
    `working_run` is the workflow run that goes on (0: none); `restarts` counts those that ended without progress since a
    person's last word. `runs` counts the session's runs, `earlier` is what those before the present one spent, which `spent`
    includes; `lost` names the jobs whose journal is gone and whose money the next one has to give up. `waits` is what the run
    waits for, as `Waiting` has it; `needs` is what a cap that sessions share has to have left before it goes on. `added` is what
    people raised the cap by since a run took it up: `added_by` whom and why last, in the comment `added_for` (0: by a button).
    `resumed_at` is when a person last had the session go on: what stopped it before counts no more. `began` is the command in
    whose comment `event` it was asked for, empty where `event` is a label's; `revised_for` the comment that asked for another
    plan last. `follow` is what the present or last run follows, as in `follow_up.FollowUp`, said by `follow_by`; empty for what
    began the session. `from_sha` is the head that it was asked for on; checks are mended unasked `fix_checks` times in a row at
    most, and were `ci_fixes` times. `shipped_by` wanted the change as it stands. `model_by` chose the `model_class`
    of planner and builder, of which none is below `floor` (empty: not known yet); `skips_by` named last of the kinds in `skips`,
    which are done without. `iterations` were made in all runs, `earlier_iterations` in those before the present one, by `models`;
    `archived_by` put the session away. Times are UTC, ISO 8601.
    """

    repo_id: int
    issue: int
    session: str
    event: int
    requested_by: str
    branch: str
    base_sha: str = ""
    anchor_sha: str = ""
    seq: int = 0
    prev: str = ""
    standing: Standing = "working"
    next_job: str = "plan"
    run_state: str = ""
    outcome: str = ""
    working_run: int = 0
    restarts: int = 0
    artifact: int = 0
    artifact_run: int = 0
    artifact_digest: str = ""
    journal_head: str = ""
    task_digest: str = ""
    plan_digest: str = ""
    changeset_digest: str = ""
    approved_digest: str = ""
    approved_by: str = ""
    stopped_by: str = ""
    resumed_at: str = ""
    runs: int = 1
    earlier: int = 0
    lost: str = ""
    waits: str = ""
    needs: int = 0
    added: int = 0
    added_by: str = ""
    added_why: str = ""
    added_for: int = 0
    cap: int = 0
    spent: int = 0
    budget_line: str = ""
    head_sha: str = ""
    pull: int = 0
    revised_for: int = 0
    began: str = ""
    follow: str = ""
    follow_by: str = ""
    from_sha: str = ""
    ci_fixes: int = 0
    fix_checks: int = 0
    shipped_by: str = ""
    model_class: str = ""
    model_by: str = ""
    floor: str = ""
    skips: str = ""
    skips_by: str = ""
    iterations: int = 0
    earlier_iterations: int = 0
    models: str = ""
    archived_by: str = ""
    issued_at: str = ""
    v: int = 1

    @property
    def shipped(self) -> bool:
        """Whether a change that was not proved is on the branch."""
        return bool(self.shipped_by) and self.standing == "over" and self.head_sha != self.from_sha

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.payload).hexdigest()

    @property
    def payload(self) -> bytes:
        """Canonical JSON: the same bytes for the same state."""
        return canonical(asdict(self))


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What was done to `branch`: it is at `point`, or `path` in it is as before the session, or it takes the pull request
    `reverts` back and another can be opened at `link`. Going to the point `undo` undoes it. `refused` says why nothing was done.
    """

    branch: str
    point: int = 0
    commit: str = ""
    undo: int = 0
    path: str = ""
    reverts: int = 0
    link: str = ""
    refused: str = ""


def read_state(payload: Any) -> SessionState:
    """The state in decoded JSON.

    Raises:
        PolicyError: not exactly the fields of a state, each of its own type.
    """
    kinds = {field.name: {"int": int, "str": str}.get(str(field.type), str) for field in fields(SessionState)}
    if not isinstance(payload, dict) or payload.keys() != kinds.keys():
        raise PolicyError("The session's state does not have the fields that a state has.")
    for name, kind in kinds.items():
        if type(payload[name]) is not kind:
            raise PolicyError(f"The session's state has a {name} that is no {kind.__name__}.")
    if payload["v"] != 1 or payload["standing"] not in ("working", "waiting", "over"):
        raise PolicyError("The session's state is of a version that this Ostler does not know.")
    return SessionState(**payload)


def session_id(repo_id: int, issue: int, event: int, at: str) -> str:
    """The id of the session that the labelled event or comment `event` starts: webhook, native trigger and sweep all compute
    the same."""
    short = hashlib.sha256(f"{repo_id}/{issue}/{event}".encode()).hexdigest()[:8]
    stamp = re.sub(r"[-:]", "", at[:19]).replace("T", "_")
    return f"issue-{issue}-{short}_{stamp}"


def asked_at(session: str) -> str:
    """When a session was asked for, from its id: UTC, ISO 8601."""
    day, at = session.split("_")[1:3]
    return f"{day[:4]}-{day[4:6]}-{day[6:8]}T{at[:2]}:{at[2:4]}:{at[4:6]}Z"


def session_hash(session: str) -> str:
    """The part of a session's id that tells it from others of the same issue."""
    return session.split("_", 1)[0].rsplit("-", 1)[-1]


def named(word: str) -> int:
    """The issue of the session with this id, or this name, which is the id without its time; 0 where it is neither."""
    match = re.fullmatch(r"issue-([1-9][0-9]{0,8})-[0-9a-f]{8}(?:_[0-9]{8}_[0-9]{6})?", word)
    return int(match[1]) if match else 0


def is_named(session: str, word: str) -> bool:
    return word in (session, session.split("_", 1)[0])


def branch(issue: int, title: str, session: str) -> str:
    """`ostler/issue-<n>-<slug of the title>-<hash of the session>`."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-") or "change"
    return f"ostler/issue-{issue}-{slug}-{session_hash(session)}"


def branch_prefix(issue: int) -> str:
    return f"ostler/issue-{issue}-"


def issue_of(branch: str) -> int:
    """The issue whose session has a branch of this name; 0 where it is none of ours."""
    match = re.match(r"ostler/issue-([0-9]{1,9})-", branch)
    return int(match[1]) if match else 0


def is_branch_of(name: str, issue: int, session: str) -> bool:
    return name.startswith(branch_prefix(issue)) and name.endswith(f"-{session_hash(session)}")
