"""What to do. A closed union of coarse effects, each answered by one event.

Each names the room that carries it out. Where that room is not in this job the effect waits in the journal, its outbox, until
a job that has the room takes the run up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bot.core.answers import AuditCheck
from bot.core.reports import FixerCall
from bot.core.selection import ModelId


@dataclass(frozen=True, slots=True)
class PrepareWorkspace:
    """Make the worktree, look at the repository, probe the sandbox. Answer: `WorkspaceReady`."""

    room: ClassVar[str] = "workspace"
    base_sha: str


@dataclass(frozen=True, slots=True)
class RunBaseline:
    """Run checks and tests on the base. Answer: `BaselineRan`."""

    room: ClassVar[str] = "workspace"
    tree: str


@dataclass(frozen=True, slots=True)
class RunFixers:
    """Run deterministic fixers on `tree`. Answer: `FixersRan`."""

    room: ClassVar[str] = "workspace"
    tree: str
    calls: tuple[FixerCall, ...]


@dataclass(frozen=True, slots=True)
class PriceCall:
    """Build the request of a call and look up its price, after waiting `wait` seconds. Answer: `CallPriced`."""

    room: ClassVar[str] = "llm"
    call: str
    model: ModelId
    wait: float


@dataclass(frozen=True, slots=True)
class SendCall:
    """Send the request; its worst case, `amount` micro-dollars and `tokens`, is reserved in the run's ledger and is to be
    reserved under the shared caps too. Answer: `ModelReplied` or `CallFailed`."""

    room: ClassVar[str] = "llm"
    call: str
    model: ModelId
    max_output: int
    amount: int
    tokens: int


@dataclass(frozen=True, slots=True)
class UseTools:
    """Carry out the tool uses of the reply to `call`, on the worktree as it is in `tree`. Answer: `ToolsUsed`."""

    room: ClassVar[str] = "workspace"
    call: str
    tree: str


@dataclass(frozen=True, slots=True)
class TakeChangeset:
    """Compare `tree` with the base. Answer: `ChangesetTaken`."""

    room: ClassVar[str] = "workspace"
    tree: str


@dataclass(frozen=True, slots=True)
class RunProof:
    """Run everything that proves `tree`. Answer: `ProofRan`."""

    room: ClassVar[str] = "workspace"
    tree: str


@dataclass(frozen=True, slots=True)
class RepeatProof:
    """Run the base's tests and everything that proves `tree` once more, on a machine that saw neither the model nor its build.
    Answer: `ProofRepeated`."""

    room: ClassVar[str] = "prover"
    tree: str


@dataclass(frozen=True, slots=True)
class RunAuditChecks:
    """Run what the auditors' major findings name, each on the base and on `tree`, where no key is. Answer: `AuditChecksRan`."""

    room: ClassVar[str] = "prover"
    tree: str
    checks: tuple[AuditCheck, ...]


@dataclass(frozen=True, slots=True)
class AskPerson:
    """Ask for approval of the contract with `digest`. Answer: `Answered`."""

    room: ClassVar[str] = "person"
    digest: str
    reason: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """Commit `tree` and put it on the branch. Answer: `Delivered`, or `BaseMoved` where it is not made for what is there now."""

    room: ClassVar[str] = "delivery"
    tree: str
    branch: str
    message: str


Effect = (
    PrepareWorkspace
    | RunBaseline
    | RunFixers
    | PriceCall
    | SendCall
    | UseTools
    | TakeChangeset
    | RunProof
    | RepeatProof
    | RunAuditChecks
    | AskPerson
    | Deliver
)
