"""The exception tree, split by who must act.

OstlerError
├── UserError            someone can mend it: one sentence says what is wrong and what to do
│   ├── BadInput         the words of the call are wrong                                exit 1
│   ├── SetupError       the machine, a key, the checkout or the configuration is wrong exit 5
│   └── PolicyError      what was asked for is forbidden                                exit 4
│   └── BudgetError      a cap leaves no room                                           exit 3
├── TransientError       trying again later may help; rooms retry, nobody above them does
└── BugError             Ostler broke its own rules; the only kind that prints a traceback
"""

from __future__ import annotations


class OstlerError(Exception):
    """Root of everything Ostler raises on purpose."""

    exit_code = 1


class UserError(OstlerError):
    """A person can mend this; `str(error)` is the sentence to show."""


class BadInput(UserError):
    """The words of the call are wrong."""


class SetupError(UserError):
    """The machine, a key, the checkout or the configuration has to be mended first."""

    exit_code = 5


class PolicyError(UserError):
    """What was asked for is forbidden."""

    exit_code = 4


class TransientError(OstlerError):
    """The outside party may answer later.

    `billed` says whether the other side may have charged for the try: None means unknown, and unknown is treated as paid.
    """

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None, billed: bool | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.billed = billed


class BugError(OstlerError):
    """Ostler broke its own rules."""
