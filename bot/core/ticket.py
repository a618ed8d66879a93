"""The text that asks for work, frozen: what people could see of it, and its digest."""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from dataclasses import dataclass, replace
from html.entities import html5

from bot.core.errors import BadInput, PolicyError

MAX_BYTES = 500_000
MAX_LINES = 65_000

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_TAG = re.compile(r"""<(?P<tag>[a-zA-Z][a-zA-Z0-9-]*+)(?:(?:[^<>"']++|"[^"]*+"|'[^']*+')*+>|[^<>]*+>)""")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_HTML_BLOCK = re.compile(r"^ {0,3}<(?:/?[a-zA-Z][a-zA-Z0-9-]*(?:[\s/>]|$)|[!?])", re.MULTILINE)
_MARKUP = re.compile(
    rf"(?P<kept>{_FENCE.pattern.replace(chr(92) + '1', '(?P=fence)').replace('(`{3,}|~{3,})', '(?P<fence>`{3,}|~{3,})')}"
    r"|(?<!`)(?P<ticks>`+)(?!`)[^\n]*?(?<!`)(?P=ticks)(?!`)"
    r"|<[a-zA-Z][a-zA-Z0-9+.-]{1,31}:[^\s<>]*>|<[\w.+-]+@[\w.-]+>)"
    rf"|{_COMMENT.pattern}|{_TAG.pattern}",
    re.DOTALL | re.MULTILINE,
)
"""What a page shows as it stands, or else a comment or a tag, whichever begins first."""
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_MOST_LAYERS = 20
_TAG_CHARACTERS = re.compile("[\U000e0000-\U000e007f]")
_SELECTOR_RUN = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}")
_KEPT_CONTROLS = "\n\t"
_JOINER, _EMOJI_SELECTOR = "\u200d", "\ufe0f"
_OTHER_IGNORABLE = frozenset(
    [
        *(0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x3164, 0xFFA0),
        *(*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)),
    ]
)


@dataclass(frozen=True, slots=True)
class Ticket:
    """What was asked. `reference` is where it came from (`#42`, a file's name, `the command line`); `hidden` counts the
    characters that were dropped because nobody could have seen them. `said` are the comments on its plans that it holds."""

    title: str
    body: str
    reference: str
    digest: str
    hidden: int = 0
    said: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        return f"{self.title}\n\n{self.body}".strip()


def freeze(text: str, reference: str) -> Ticket:
    """The ticket of `text`: first line is the title, the rest the body.

    Raises:
        BadInput: nothing in it, or more than 500,000 bytes or 65,000 lines.
        PolicyError: it holds characters whose only use is to hide text (Unicode tags, runs of variation selectors).
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES or text.count("\n") > MAX_LINES:
        raise BadInput(
            f"The issue text has {size:,} bytes and {text.count(chr(10)) + 1:,} lines, more than the {MAX_BYTES:,} bytes or "
            f"{MAX_LINES:,} lines allowed: shorten it, or link to the long part."
        )
    if _TAG_CHARACTERS.search(text) or _SELECTOR_RUN.search(text):
        raise PolicyError(
            "The issue text holds invisible tag or selector characters, which only serve to hide text: remove them and ask again."
        )
    shown = visible(text)
    title, _, body = shown.strip().lstrip("# \n\t").partition("\n")
    if not title:
        raise BadInput("The issue text is empty: say in a sentence what should change.")
    digest = hashlib.sha256(shown.encode()).hexdigest()
    return Ticket(title.strip(), body.strip(), reference, digest, hidden=max(0, len(_decoded(text)) - len(shown)))


def revised(ticket: Ticket, said: Ticket, by: str, comment: int) -> Ticket:
    """`ticket`, and behind it what a person said to its plan in that comment: `said`, frozen by itself, as its page shows it."""
    return replace(
        ticket,
        body=f"{ticket.body}\n\n{by} said to the plan:\n\n{said.text}".strip(),
        digest=hashlib.sha256(f"{ticket.digest} {said.digest}".encode()).hexdigest(),
        hidden=ticket.hidden + said.hidden,
        said=(*ticket.said, comment),
    )


def visible(text: str) -> str:
    """`text` without what a reader of the rendered page cannot see, to a fixed point: `visible(visible(t)) == visible(t)`.

    Drops HTML comments (closed or not), attributes of tags, default-ignorable and control characters; decodes entities.
    Tag characters are refused by `freeze` before this is called.

    Raises:
        PolicyError: there is still something under twenty layers of markup.
    """
    for _ in range(_MOST_LAYERS):
        after = _visible_once(text)
        if after == text:
            return text
        text = after
    raise PolicyError("The issue text hides text under many layers of comments or entities: write it plainly and ask again.")


def _visible_once(text: str) -> str:
    text = _decoded(_without_markup(text))  # markup is read before entities
    return "".join(char for at, char in enumerate(text) if _seen(text, at, char))


def _without_markup(text: str) -> str:
    """`text` without comments and attributes. Code and links in angle brackets are shown as they stand and so stay, unless
    the text holds a block of HTML: inside one, what looks like code is markup too."""
    orders = (_FENCE.sub("", text), _FENCE.sub("", _COMMENT.sub("", text)))
    if any(_HTML_BLOCK.search(plain) for plain in orders):
        return _TAG.sub(lambda match: f"<{match['tag']}>", _COMMENT.sub("", text))
    return _MARKUP.sub(lambda match: match["kept"] or (f"<{match['tag']}>" if match["tag"] else ""), text)


def _decoded(text: str) -> str:
    """`text` with the line ends, entities and composed characters that a page shows. `&param=` in a link is no entity."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", _ENTITY.sub(lambda match: _character(match[0]), text))


def _character(entity: str) -> str:
    return html.unescape(entity) if entity[1] == "#" or entity[1:] in html5 else entity


def _seen(text: str, at: int, char: str) -> bool:
    if char in _KEPT_CONTROLS or (char.isascii() and char.isprintable()):
        return True
    if char in (_JOINER, _EMOJI_SELECTOR):
        return at > 0 and (text[at - 1] == _EMOJI_SELECTOR or unicodedata.category(text[at - 1]) in ("So", "Sk"))
    return unicodedata.category(char) not in ("Cf", "Cc", "Cs") and ord(char) not in _OTHER_IGNORABLE
