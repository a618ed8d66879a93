"""Text that others wrote, made harmless in what Ostler posts: it can be read, and it does nothing.

GitHub renders Markdown first and then looks for `@name`, `#12`, `GH-12`, commits and addresses in the text that came out, so a
backslash or an entity before them does not help. It looks at no code, so each of them is put into a code span. Everything else
that Markdown would act upon is escaped; emphasis in `**`, code, bullets and fenced code stay what they are.
"""

from __future__ import annotations

import html
import re

from bot.core.paths import printable
from bot.core.policy import redact

_MARKUP = re.compile(
    r"\\(?P<literal>[!-/:-@\[-`{-~])"
    r"|(?<!`)(?P<ticks>`+)(?!`)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)"
    r"|(?P<entity>&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)"
    r"|\*\*(?=[^\s*])(?P<strong>[^*\n]+?)(?<=\S)\*\*"
    r"|!?\[(?P<label>[^\[\]\n]*)\]\(\s*(?P<target>[^()\s]+)[^()\n]*\)"
)
"""What Markdown reads in a line and we keep, in the order in which it binds."""

_LINKED = re.compile(
    r"""[a-z][a-z0-9+.-]*+://\S*|www\.\S*|(?:mailto|xmpp):\S*     # addresses
    |(?<![\w.+/-])[\w.+/-]*+@[\w./+:-]*|@[\w./+:-]*               # people, teams, mail, revisions
    |(?<![\w./-])[\w./-]*+\#\d\w*|\#\d\w*                         # issues and pull requests, here and elsewhere
    |(?<![a-z0-9])(?:gh-\d|ghsa-|cve-\d)[\w-]*
    |(?<![a-z0-9])[0-9a-f]{7,64}(?![a-z0-9])                      # commits
    |\$(?!\d[\d,.]*(?:[\s)/;:!?]|$))\w*                           # formulas; a price is none
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What GitHub makes a link, a mention or a formula of."""

_CHARACTERS = str.maketrans(
    {"\\": r"\\", "*": r"\*", "[": r"\[", "]": r"\]", "|": r"\|", "~": r"\~", "#": r"\#",
     "<": "&lt;", ">": "&gt;", "&": "&amp;", "`": "&#96;"}
)  # fmt: skip
_LOOSE_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINE_START = re.compile(r"(?=[-+=:/])|(?<=\d)(?=[.)])")
_NUMBERED = re.compile(r"\d{1,9}[.)]")
_TRAILING = ".,;:!?)\"'"
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}(?=[^`]*\Z)|~{3,})")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(?P<words>.*?)(?:[ \t]+#+)?[ \t]*")
_BULLET = re.compile(r"(?P<indent>[ \t]*)[-*+][ \t]+(?P<words>.*)")

Piece = tuple[str, str]
"""`text` (to be escaped), `code` or `mark` (ours, as it stands), and the characters."""


def inert(text: str, limit: int) -> str:
    """`text` as Markdown blocks: paragraphs, bullets, fenced code. What is longer than `limit` characters is cut, and says so.

    No line of it can end the block that it is put into as long as each line is prefixed alike (`> `).
    """
    shown, left_out = _cut(text, limit)
    blocks = _blocks(shown.split("\n"))
    return "\n".join([*blocks, "", left_out] if left_out and blocks else blocks or [left_out]).strip("\n")


def inert_line(text: str, limit: int) -> str:
    """`text` as one line of Markdown, for a paragraph or a list item."""
    shown, left_out = _cut(" ".join(text.split()), limit)
    return _started(f"{_inline(shown)} {left_out}".strip())


def inert_cell(text: str, limit: int) -> str:
    """`text` as one cell of a table. A pipe ends a cell even within code, so there it stands between two code spans."""
    shown, left_out = _cut(" ".join(text.split()), limit)
    return f"{_joined(_in_cell(_pieces(shown)))} {left_out}".strip()


def code(text: str, limit: int = 300) -> str:
    """`text` as it is, on one line, in a code span that nothing in it can close."""
    shown, left_out = _cut(" ".join(text.split()), limit)
    return f"{_span(shown)} {left_out}".strip()


def code_cell(text: str, limit: int = 300) -> str:
    """Like `code`, for a cell of a table."""
    shown, left_out = _cut(" ".join(text.split()), limit)
    return f"{_joined(_in_cell([('code', shown)]))} {left_out}".strip()


def plain(text: str, limit: int) -> str:
    """`text` on one line for places without Markdown, as titles and commit messages: a space parts what would be a link."""
    shown, _ = _cut(" ".join(text.split()), limit)
    shown = re.sub(r"@(?=\w)|#(?=\d)|(?i:(?<![a-z0-9])gh(?=-\d)|www(?=\.))|:(?=//)", r"\g<0> ", shown)
    return shown if len(text) <= limit else f"{shown.rstrip()}…"


def _cut(text: str, limit: int) -> tuple[str, str]:
    """The part of `text` that is shown, without secrets and hidden characters, and what is said about the rest."""
    text = printable(redact(text.replace("\r\n", "\n").replace("\r", "\n")))
    more = len(text) - limit
    return (text, "") if more <= 0 else (text[:limit], f"(… {more:,} more characters left out)")


def _blocks(lines: list[str]) -> list[str]:
    made: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if fence := _FENCE.match(line):
            closing = re.compile(rf" {{0,3}}{re.escape(fence['fence'][0])}{{{len(fence['fence'])},}}[ \t]*")
            end = next((n for n in range(at + 1, len(lines)) if closing.fullmatch(lines[n])), len(lines))
            made += _fenced(lines[at + 1 : end])
            at = end + 1
            continue
        at += 1
        block = _block(line, made[-1] if made else "")
        if block or (made and made[-1]):
            made.append(block)
    return made


def _block(line: str, before: str) -> str:
    if heading := _HEADING.fullmatch(line):
        words = _inline(heading["words"].replace("**", "").strip())
        return f"**{words}**" if words else ""
    if bullet := _BULLET.fullmatch(line):
        words = _started(_inline(bullet["words"].strip()))
        nested = len(bullet["indent"].expandtabs(4)) > 1 and before.lstrip().startswith("- ")
        return f"{'  ' if nested else ''}- {words}" if words else ""
    return _started(_inline(line.strip()))


def _fenced(lines: list[str]) -> list[str]:
    """The lines as fenced code without a language: some languages are drawn, and `suggestion` can be applied."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *(f" {_no_comment(line)}" if line.startswith("/") else _no_comment(line) for line in lines), fence]


def _started(line: str) -> str:
    """`line` with an escape where its beginning would make a list, a rule, a heading, a table or a command of it."""
    if line[:1] in tuple("-+=:/") or _NUMBERED.match(line):
        return _LINE_START.sub(r"\\", line, count=1)
    return line


def _inline(text: str) -> str:
    return _joined(_pieces(text))


def _pieces(text: str) -> list[Piece]:
    """`text` read as the inside of one line of Markdown."""
    pieces: list[Piece] = []
    literal: list[str] = []

    def close() -> None:
        pieces.extend(_without_links("".join(literal)))
        literal.clear()

    at = 0
    for match in _MARKUP.finditer(text):
        literal.append(text[at : match.start()])
        at = match.end()
        if match["literal"]:
            literal.append(match["literal"])
        elif match["entity"]:
            literal.append(_character(match["entity"]))
        else:
            close()
            pieces += _marked(match)
    literal.append(text[at:])
    close()
    return pieces


def _marked(match: re.Match[str]) -> list[Piece]:
    if match["code"]:
        return [("code", match["code"])]
    if match["strong"]:
        return [("mark", "**"), *_pieces(match["strong"]), ("mark", "**")]
    return [*_pieces(match["label"]), ("text", " ("), ("code", match["target"]), ("text", ")")]


def _character(entity: str) -> str:
    """The character that an entity stands for; one that nobody can see stays an entity, to be read as such."""
    char = html.unescape(entity)
    return char if printable(char) == char and char.strip() == char else entity


def _without_links(text: str) -> list[Piece]:
    """`text` with what would be linked as code. Beside a code span a word ends, so what is left is looked at again."""
    pieces: list[Piece] = []
    at = 0
    for match in _LINKED.finditer(text):
        found = match[0].rstrip(_TRAILING) or match[0]
        pieces += [*_without_links(text[at : match.start()]), ("code", found)]
        at = match.start() + len(found)
    rest = text[at:]
    return [*pieces, *(_without_links(rest) if at and rest else [("text", rest)])]


def _in_cell(pieces: list[Piece]) -> list[Piece]:
    parted: list[Piece] = []
    for kind, text in pieces:
        if kind != "code":
            parted.append((kind, text))
            continue
        for number, part in enumerate(text.split("|")):
            parted += [("text", "|"), ("code", part)] if number else [("code", part)]
    return parted


def _joined(pieces: list[Piece]) -> str:
    """Markdown of `pieces`. Code spans that touch are one: their backticks would be read together."""
    made: list[str] = []
    spans: list[str] = []
    for kind, text in (*(piece for piece in pieces if piece[1]), ("mark", "")):
        if kind == "code":
            spans.append(text)
            continue
        made.append(_span("".join(spans)))
        spans.clear()
        made.append(_escaped(text) if kind == "text" else text)
    return " ".join("".join(made).split())


def _escaped(text: str) -> str:
    return _LOOSE_UNDERSCORE.sub(r"\\_", text.translate(_CHARACTERS))


def _span(text: str) -> str:
    text = _no_comment(" ".join(text.split()))
    if not text:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _no_comment(text: str) -> str:
    """Our own marks are HTML comments: nobody else's text holds one, not even as code."""
    return text.replace("<!--", "<! --")
