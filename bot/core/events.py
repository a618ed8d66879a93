"""What happened. A closed union of frozen dataclasses; nothing else changes a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bot.core.budget import Left, Rates, Usage
from bot.core.changeset import Changeset
from bot.core.conversation import Block, ToolResult
from bot.core.follow_up import FollowUp
from bot.core.phases import Kind
from bot.core.recovery import Billed, ErrorClass
from bot.core.reports import Conflict, FixerReport, Profile, SandboxReport, Trial
from bot.core.selection import ModelClass
from bot.core.strategy import Settings
from bot.core.ticket import Ticket
from bot.core.validation import CheckSet, Proof


@dataclass(frozen=True, slots=True)
class RunRequested:
    """A door accepted a ticket. `nonce` marks outside text in prompts, so that it cannot end its own block. `branch` is the
    branch to deliver to; empty means one named after the ticket. `base_branch` is the one that `base_sha` was the tip of, where
    the run follows it. `follow` is what a follow-up goes by: then `base_sha` is that branch's head. `requester` is who asked on
    GitHub, as a trailer names people: `login <address>`."""

    session: str
    run: str
    ticket: Ticket
    base_sha: str
    settings: Settings
    nonce: str
    branch: str = ""
    base_branch: str = ""
    follow: FollowUp | None = None
    requester: str = ""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A file, or the part of it that fits, and why it was chosen."""

    path: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkspaceReady:
    """The worktree stands, with the files of `base_tree`.

    `listing` names the repository's files, `guide` is its own for contributors, where it has one. `vendors` are those whose
    models can be asked here, None where the request has said it.
    """

    base_tree: str
    profile: Profile
    sandbox: SandboxReport
    listing: str
    guide: Excerpt | None
    excerpts: tuple[Excerpt, ...]
    vendors: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class BaselineRan:
    """Checks and tests of the base. `seconds` here and below is the time the work took, waiting left out."""

    checks: CheckSet
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class FixersRan:
    """The deterministic fixers ran; `tree` is the result."""

    tree: str
    reports: tuple[FixerReport, ...]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CallPriced:
    """A request was built: its digest, the most input tokens it can be billed for and the prices that hold. `shared` is how much
    of the caps that runs share was used at that moment."""

    call: str
    rates: Rates
    input_bound: int
    request_digest: str
    shared: tuple[Left, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelReplied:
    """An answer, and with it the bill: `rates` are those of the model that answered."""

    call: str
    model: str
    rates: Rates
    blocks: tuple[Block, ...]
    stop: str
    usage: Usage
    seconds: float


@dataclass(frozen=True, slots=True)
class CallFailed:
    """No answer. `billed` `unknown` keeps the whole reservation. `chance` in [0, 1] is the draw that spreads the next try."""

    call: str
    error: ErrorClass
    billed: Billed
    message: str
    retry_after: float | None = None
    chance: float = 1.0


@dataclass(frozen=True, slots=True)
class ToolsUsed:
    """The tools a reply asked for ran. `tree` is the worktree after them; `refused` are writes to forbidden places."""

    call: str
    tree: str
    results: tuple[ToolResult, ...]
    refused: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class ChangesetTaken:
    """The runner took the diff."""

    changeset: Changeset


@dataclass(frozen=True, slots=True)
class ProofRan:
    """Checks and tests of the result."""

    proof: Proof
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ProofRepeated:
    """Tests of the base, and checks and tests of the result, as a second machine saw them."""

    baseline: CheckSet
    proof: Proof
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AuditChecksRan:
    """What the checks of major findings showed, in the order in which they were asked for."""

    trials: tuple[Trial, ...]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A person decided over the contract with `digest`."""

    digest: str
    decision: Literal["approved", "declined"]
    by: str


@dataclass(frozen=True, slots=True)
class PlanRevised:
    """A person wants another plan than the one that waits for approval: `said` is what the comment with that id says to it."""

    said: Ticket
    by: str
    comment: int


@dataclass(frozen=True, slots=True)
class BudgetRaised:
    """A person raised the run's cap to `max_cost` micro-dollars."""

    max_cost: int
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OverrunAccepted:
    """A person lets a run go on that used more tokens or time than was planned for it: once more as much is allowed."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """A person asks to look again at what was in the way: a shared cap, a quota."""

    by: str


@dataclass(frozen=True, slots=True)
class ClassChosen:
    """A person chose the class of those models that plan and build."""

    model_class: ModelClass
    by: str


@dataclass(frozen=True, slots=True)
class PhaseSkipped:
    """A person wants to do without the phases of this kind."""

    kind: Kind
    by: str


@dataclass(frozen=True, slots=True)
class AllowanceGiven:
    """The App set `amount` micro-dollars aside for what the run spends in this workflow run, lost jobs left out; `cap` is the
    shared cap that has no more. None: no cap is shared."""

    amount: int | None
    cap: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """The branch stands. `pull` is the number of its pull request, 0 where there is none."""

    branch: str
    head_sha: str
    pull: int = 0


@dataclass(frozen=True, slots=True)
class BaseMoved:
    """Nothing was delivered: the branch that the run began from is at the commit `base_sha` by now, with the tree `base_tree`.

    `tree` is the change put onto it, with conflict markers in the files of `conflicts`. `both` are the files that both changed,
    `unmergeable` those in conflict that markers cannot show.
    """

    base_sha: str
    base_tree: str
    tree: str
    both: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    unmergeable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoomFailed:
    """A room could not do what an effect said."""

    effect: str
    error: Literal["environment", "policy"]
    message: str


@dataclass(frozen=True, slots=True)
class JobBegan:
    """An Actions job takes up the run, where minutes cost money."""

    job: str
    workflow_run: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """It did its part, in so many seconds."""

    job: str
    workflow_run: int
    seconds: float


@dataclass(frozen=True, slots=True)
class JobLost:
    """An Actions job that held model keys ended and left no journal: what it may have spent is spent."""

    job: str
    workflow_run: int


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A person ends the run."""

    by: str


@dataclass(frozen=True, slots=True)
class ShipRequested:
    """A person wants the change as it stands, proved or not."""

    by: str


Event = (
    RunRequested
    | WorkspaceReady
    | BaselineRan
    | FixersRan
    | CallPriced
    | ModelReplied
    | CallFailed
    | ToolsUsed
    | ChangesetTaken
    | ProofRan
    | ProofRepeated
    | AuditChecksRan
    | Answered
    | PlanRevised
    | BudgetRaised
    | OverrunAccepted
    | Resumed
    | ClassChosen
    | PhaseSkipped
    | AllowanceGiven
    | Delivered
    | BaseMoved
    | RoomFailed
    | JobBegan
    | JobEnded
    | JobLost
    | StopRequested
    | ShipRequested
)
