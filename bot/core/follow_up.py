"""A follow-up as a value: what a further run of a session goes by, the suggestions it applies, the threads it answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, get_args

from bot.core.changeset import Changeset, decoded
from bot.core.errors import PolicyError
from bot.core.reports import FileChange, FixerCall

Cause = Literal["review", "fix", "fix-ci", "checks"]
"""What a follow-up goes by; `checks` that failed without anybody asking."""
SUGGESTION = "suggestion"
"""The fixer that applies one suggestion of a review."""
_KEY = re.compile(rf"(?P<at>\S+) (?P<cause>{'|'.join(get_args(Cause))})-(?P<name>[0-9a-f]+)")
_BLOCK = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[ \t]*suggestion[ \t]*\n(?P<text>.*?)^ {0,3}(?P=fence)[`~]*[ \t]*$", re.M | re.S
)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Lines `first` to `last` of `path`, in the head that the run begins on, are to read `text`, as `comment` says."""

    comment: int
    path: str
    first: int
    last: int
    text: str

    @property
    def lines(self) -> str:
        """`6`, or `6-8`."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread that a review began or went on with: GitHub's id of it, the review's comment in it, and where it stands in the
    head that the run begins on (`last` 0: nowhere). `refused` is why the suggestion in it is not applied."""

    node: str
    comment: int
    path: str
    first: int
    last: int
    refused: str = ""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What a run follows: `key` as in the session's state, `by` whom, on which pull request. `rest` says whether there is
    something to do besides the suggestions, for a model. `changed` are the files that the branch changed so far: no instruction
    is taken from them."""

    key: str
    by: str
    pull: int
    suggestions: tuple[Suggestion, ...] = ()
    threads: tuple[Thread, ...] = ()
    rest: bool = True
    changed: tuple[str, ...] = ()

    @property
    def cause(self) -> Cause:
        return cause_of(self.key)

    @property
    def calls(self) -> tuple[FixerCall, ...]:
        """The suggestions as a fixer takes them: the last lines first, so that none moves another."""
        ordered = sorted(self.suggestions, key=lambda one: (one.path, -one.first))
        why = f"{self.by} suggests exactly this"
        return tuple(FixerCall(SUGGESTION, (one.path, one.lines, one.text), why) for one in ordered)


def key_parts(key: str) -> tuple[str, Cause, str]:
    """When it was said, what it is, and its id.

    Raises:
        PolicyError: it is no key.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise PolicyError("The session's state follows something that nobody can say.")
    cause: Cause = next(known for known in get_args(Cause) if known == match["cause"])
    return match["at"], cause, match["name"]


def cause_of(key: str) -> Cause:
    return key_parts(key)[1]


def short_of(key: str) -> str:
    """What tells the comments of one follow-up from those of another: `review-123`."""
    _, cause, name = key_parts(key)
    return f"{cause}-{name[:12]}"


# --- suggestions ------------------------------------------------------------------------------------------------------


def blocks(body: str) -> tuple[str, ...]:
    """The lines of each suggestion block of a comment, each with its line feed; none where the block takes lines out."""
    text = body.replace("\r\n", "\n")
    return tuple(match["text"] for match in _BLOCK.finditer(f"{text}\n"))


def suggested(text: str, first: int, last: int, instead: str) -> str | None:
    """`text` with lines `first` to `last` replaced, in its own line ends; None where it has no such lines."""
    lines = _lines(text)
    if not 1 <= first <= last <= len(lines):
        return None
    old = lines[first - 1 : last]
    end = "\r\n" if old[0].endswith("\r\n") else "\n"
    new = instead.replace("\n", end)
    if not old[-1].endswith("\n"):
        new = new.removesuffix(end)
    return "".join(lines[: first - 1]) + new + "".join(lines[last:])


def _lines(text: str) -> list[str]:
    """With their ends. Only a line feed ends one, as git and GitHub count."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


# --- what became of the threads ---------------------------------------------------------------------------------------

Became = Literal["applied", "changed", "refused", "open"]
ADDRESSED: tuple[Became, ...] = ("applied", "changed")
"""What a thread is resolved for."""


def became(thread: Thread, follow: FollowUp, changeset: Changeset, objected: Iterable[str]) -> Became:
    """What the delivered changes did about a thread; `objected` are files that an auditor found something in."""
    change = next((one for one in changeset.files if one.path == thread.path), None)
    suggestion = next((one for one in follow.suggestions if one.comment == thread.comment), None)
    if thread.refused:
        return "refused"
    if change is None or not thread.last or not covers(change, thread.first, thread.last):
        return "open"
    if suggestion is not None:
        return "applied" if _holds(change, suggestion.text) else "open"
    return "open" if thread.path in set(objected) else "changed"


def covers(change: FileChange, first: int, last: int) -> bool:
    """Whether one of these lines of the old file was changed, or lines were put beside them."""
    old, new = (decoded(one) for one in (change.before, change.after))
    if old is None or new is None:
        return True
    moves = SequenceMatcher(None, _lines(old), _lines(new), autojunk=False).get_opcodes()
    return any(tag != "equal" and begin < last + (begin == end) and end >= first for tag, begin, end, _, _ in moves)


def _holds(change: FileChange, text: str) -> bool:
    """Whether the new file has these lines in a row."""
    wanted = [line.removesuffix("\n") for line in _lines(text)]
    lines = [line.rstrip("\r\n") for line in _lines(decoded(change.after) or "")]
    return any(lines[at : at + len(wanted)] == wanted for at in range(len(lines) - len(wanted) + 1))
