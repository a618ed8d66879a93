"""What a maintainer is left with when a run stops short: an account of it, and what to do next."""

from __future__ import annotations

from bot.core.machines import RUN_FAILURES, RunState
from bot.core.run import Run

_REMEDIES = {
    RunState.DONE_FAILED_BUDGET_EXHAUSTED: "Raise the budget, or split the ticket, and start a new session.",
    RunState.DONE_FAILED_POLICY_VIOLATION: (
        "Look at what was tried below. If it is wanted, a person has to make that change, or the paths in the configuration have "
        "to allow it."
    ),
    RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW: (
        "Read what the last attempt left and why it did not hold; say in the ticket what was missing, and start a new session."
    ),
    RunState.DONE_FAILED_ENVIRONMENT: "Mend the machine, the key or the network, see `ostler doctor`, and start again.",
}
_WAITING = {
    "budget": "Raise the cap to go on, or stop the run. All work so far is kept.",
    "shared": "Go on when the shared cap has room again, or raise it in the configuration. All work so far is kept.",
    "overrun": (
        "FIX-BUDGET-BREACH: see in the budget report which phase used more than planned and why. Accept the overrun with a "
        "reason to go on, or stop the run. All work so far is kept."
    ),
}


def went_wrong(run: Run) -> bool:
    """Whether a person has something to mend: the run failed, or waits for money or tokens."""
    return run.state in RUN_FAILURES or (run.waiting is not None and run.waiting.what != "approval")


def remedy(run: Run) -> str:
    """What to do about it, in one or two sentences."""
    return _WAITING[run.waiting.what] if run.waiting and run.waiting.what in _WAITING else _REMEDIES[run.state]
