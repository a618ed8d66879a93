"""Markdown as the stand-in's pages show it: tables, task lists, `#12`, addresses; nothing that runs, nothing that loads.

Of HTML only a few bare tags live, without their attributes. HTML comments are hidden, as on GitHub; the rest is shown as text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markupsafe import Markup

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_TAG = re.compile(r"<(/?)(details|summary|sub|sup|kbd|br|hr|b|i|em|strong|code|p|ins|del)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_BOX = re.compile(r"\[([ xX])\] ")
_REFERENCE = re.compile(r"(?<![\w/&#])#(\d{1,9})\b|https?://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]]")


def markdown(text: str, base: str) -> Markup:
    """`text` as safe HTML; `#12` leads to `base`/issues/12."""
    return Markup(_parser().render(text, {"base": base}))  # noqa: S704 what makes it safe is this module


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "breaks": True}).enable(["table", "strikethrough"])
    parser.core.ruler.push("task_lists", _task_lists)
    parser.core.ruler.push("references", _references)
    parser.add_render_rule("html_block", _raw)
    parser.add_render_rule("html_inline", _raw)
    parser.add_render_rule("image", _image)
    parser.add_render_rule("task_box", _task_box)
    return parser


def _task_lists(state: StateCore) -> None:
    for before, token in zip(state.tokens, state.tokens[2:], strict=False):
        first = token.children[0] if token.type == "inline" and token.children else None
        if before.type != "list_item_open" or first is None or first.type != "text":
            continue
        if box := _BOX.match(first.content):
            before.attrSet("class", "task")
            first.content = first.content[box.end() :]
            token.children = [Token("task_box", "", 0, content=box[1]), *(token.children or ())]


def _references(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline" and token.children:
            token.children = list(_linked(token.children, state.env.get("base", "")))


def _linked(children: Sequence[Token], base: str) -> Iterator[Token]:
    depth = 0
    for child in children:
        depth += {"link_open": 1, "link_close": -1}.get(child.type, 0)
        if child.type != "text" or depth:
            yield child
            continue
        end = 0
        for match in _REFERENCE.finditer(child.content):
            yield Token("text", "", 0, content=child.content[end : match.start()])
            address = f"{base}/issues/{match[1]}" if match[1] else match[0]
            yield Token("link_open", "a", 1, attrs={"href": address})
            yield Token("text", "", 0, content=match[0])
            yield Token("link_close", "a", -1)
            end = match.end()
        yield Token("text", "", 0, content=child.content[end:])


def _task_box(_: RendererHTML, tokens: Sequence[Token], at: int, *__: Any) -> str:
    done = tokens[at].content != " "
    return f'<input type="checkbox" disabled{" checked" if done else ""} aria-label="{"done" if done else "to do"}"> '


def _raw(_: RendererHTML, tokens: Sequence[Token], at: int, *__: Any) -> str:
    text = _COMMENT.sub("", tokens[at].content)
    pieces, end = [], 0
    for tag in _TAG.finditer(text):
        pieces += [_text(text[end : tag.start()]), f"<{tag[1]}{tag[2].lower()}>"]
        end = tag.end()
    return "".join([*pieces, _text(text[end:])])


def _text(text: str) -> str:
    return html.escape(html.unescape(text))


def _image(_: RendererHTML, tokens: Sequence[Token], at: int, *__: Any) -> str:
    """A link instead: a page that loads pictures tells their host who reads it."""
    address = html.escape(str(tokens[at].attrGet("src") or ""))
    return f'<a href="{address}" rel="noreferrer nofollow">{html.escape(tokens[at].content or "image")}</a>'
