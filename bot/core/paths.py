"""Which path names a model may use, and which characters a reader of a diff can't see.

Both questions are answered from the text alone; links and file types are looked at by `bot.workspace.files`. The rules for
names are row 28 of the threat model, those for characters row 32. Sources: Unicode 15.1 DerivedCoreProperties (default
ignorable), git's `is_ntfs_dotgit` and `is_hfs_dotgit` (look-alikes of `.git`), Microsoft's "Naming Files" (device names).
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass

MAX_PATH = 512
"""Characters, not bytes."""

_IGNORABLE = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_IGNORABLE_STARTS = tuple(start for start, _ in _IGNORABLE)

_EMOJI = (
    (0x23, 0x23), (0x2A, 0x2A), (0x30, 0x39), (0xA9, 0xA9), (0xAE, 0xAE), (0x203C, 0x203C), (0x2049, 0x2049),
    (0x2122, 0x2122), (0x2139, 0x2139), (0x2190, 0x21FF), (0x2300, 0x23FF), (0x24C2, 0x24C2), (0x25A0, 0x27BF),
    (0x2934, 0x2935), (0x2B00, 0x2BFF), (0x3030, 0x3030), (0x303D, 0x303D), (0x3297, 0x3297), (0x3299, 0x3299),
    (0x1F000, 0x1FAFF),
)  # fmt: skip
_EMOJI_STARTS = tuple(start for start, _ in _EMOJI)

_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9]|lpt[0-9])")
_GIT_NAME = re.compile(r"(?:\.git|git~[0-9]+|\.gitmodules|gitmod~[0-9]+|gi7eba~[0-9]+)")
_ZWJ, _VS16, _KEYCAP = "\u200d", "\ufe0f", "\u20e3"
_PLAIN_CONTROLS = frozenset("\t\n\r\f")


@dataclass(frozen=True, slots=True)
class PathProblem:
    """Why a path is not taken. `hostile` tells an attempt to leave the worktree or to hide from an ordinary slip."""

    reason: str
    hostile: bool


def check_path(path: str) -> str | None:
    """The reason why `path` is not a name Ostler touches, or None. The path is relative to the repository's root."""
    problem = path_problem(path)
    return problem.reason if problem else None


def path_problem(path: str) -> PathProblem | None:
    """Like `check_path`, with the judgement whether the name looks like an attack. The worst finding wins."""
    found = _whole_problem(path)
    if found is None or not found.hostile:
        for part in path.split("/"):
            in_part = _part_problem(part)
            if in_part and (found is None or in_part.hostile):
                found = in_part
                if in_part.hostile:
                    break
    return found


def visible_problem(text: str) -> str | None:
    """Names the first character of `text` that a reader can't see or that reorders what is seen, with its line, or None.

    `text` is the added lines of a diff. Zero-width joiners and variation selector 16 pass inside an emoji. A byte order
    mark is a finding too: the caller takes off the one that the file had before.
    """
    if text.isascii() and not _ASCII_CONTROL.search(text):
        return None
    for at, char in enumerate(text):
        if _is_hidden(char) and not _inside_emoji(text, at):
            name = unicodedata.name(char, "unnamed control, tag or surrogate")
            return f"U+{ord(char):04X} {name} in line {text.count(chr(10), 0, at) + 1}"
    return None


def printable(text: str) -> str:
    """`text` with every character that a reader can't see, or that moves a terminal's cursor, written as its escape."""
    if text.isascii() and not _TERMINAL_CONTROL.search(text):
        return text
    return "".join(
        char.encode("unicode_escape").decode() if (_is_hidden(char) and not _inside_emoji(text, at)) or char in "\r\f" else char
        for at, char in enumerate(text)
    )


_TERMINAL_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def _whole_problem(path: str) -> PathProblem | None:
    if not path:
        return PathProblem("the path is empty", False)
    hidden = next((char for char in path if _is_hidden(char) or char in _PLAIN_CONTROLS), None)
    if hidden is not None:
        return PathProblem(f"the path contains the invisible or unprintable character U+{ord(hidden):04X}", True)
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return PathProblem("the path is absolute; give it relative to the repository's root", True)
    if _climbs_out(path.replace("\\", "/")):
        return PathProblem("the path leaves the repository", True)
    if "\\" in path:
        return PathProblem("the path contains a backslash; separate folders by /", path.startswith("\\"))
    if len(path) > MAX_PATH:
        return PathProblem(f"the path is longer than {MAX_PATH} characters", False)
    if not unicodedata.is_normalized("NFC", path):
        return PathProblem("the path is not in Unicode normal form C", False)
    return None


def _part_problem(part: str) -> PathProblem | None:
    """Judges one name between slashes, as the strangest file system would read it."""
    folded = unicodedata.normalize("NFKC", part).casefold()
    for piece in re.split(r"[:/\\]", folded):
        bare = piece.rstrip(" .")
        if _GIT_NAME.fullmatch(bare):
            return PathProblem(f"the part {part!r} stands for git's own files on some file system", True)
        if _DEVICE.fullmatch(bare.split(".")[0].rstrip()):
            return PathProblem(f"the part {part!r} is a device name on Windows", True)
    if part in ("", ".", "..") or not folded.split(":")[0].strip(" ."):  # what stands behind a colon is no name on NTFS
        return PathProblem("the path has an empty, . or .. part", False)
    if part != part.rstrip() or part.endswith("."):
        return PathProblem(f"the part {part!r} ends in a dot or a space", False)
    return None


def _climbs_out(path: str) -> bool:
    depth = 0
    for part in path.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            return True
    return False


def _is_hidden(char: str) -> bool:
    if char in _PLAIN_CONTROLS:
        return False
    category = unicodedata.category(char)
    return category in ("Cf", "Cc", "Cs", "Zl", "Zp") or _within(ord(char), _IGNORABLE, _IGNORABLE_STARTS)


def _inside_emoji(text: str, at: int) -> bool:
    """Whether the joiner or selector at `at` holds an emoji together rather than hiding something."""
    if text[at] not in (_ZWJ, _VS16) or at == 0:
        return False
    before = text[at - 1]
    after = text[at + 1] if at + 1 < len(text) else ""
    if text[at] == _VS16:
        return _is_emoji(before) and (not before.isascii() or after == _KEYCAP)
    if before == _VS16:
        before = text[at - 2] if at > 1 else ""
    return _is_pictograph(before) and _is_pictograph(after)


def _is_emoji(char: str) -> bool:
    return bool(char) and _within(ord(char), _EMOJI, _EMOJI_STARTS)


def _is_pictograph(char: str) -> bool:
    return _is_emoji(char) and not char.isascii()


def _within(code: int, ranges: tuple[tuple[int, int], ...], starts: tuple[int, ...]) -> bool:
    at = bisect_right(starts, code) - 1
    return at >= 0 and code <= ranges[at][1]
