"""Whatever a model or an issue says, what is posted of it does nothing: read by a Markdown parser and by GitHub's own rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bot.core.inert import code, code_cell, inert, inert_cell, inert_line, plain
from bot.core.triggers import command

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

LINKED = re.compile(
    r"@\w|#\d|(?<![a-z0-9])gh-\d|(?<![a-z0-9_])[0-9a-f]{7,40}(?![a-z0-9_])"
    r"|(?:https?|ftp)://|www\.|(?:mailto|xmpp):|ghsa-|\$\S[^$\n]*\S\$(?!\d)",
    re.IGNORECASE,
)
"""What GitHub looks for in text outside of code, once Markdown is rendered."""

KEPT = {
    "paragraph_open", "paragraph_close", "inline", "bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close",
    "fence", "blockquote_open", "blockquote_close", "table_open", "table_close", "thead_open", "thead_close", "tbody_open",
    "tbody_close", "tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close",
}  # fmt: skip
KEPT_INLINE = {"text", "code_inline", "softbreak", "strong_open", "strong_close"}

SNIPPETS = (
    "@alice", "@org/team", "\\@bob", "&#64;carol", "&commat;dan", "#12", "\\#12", "&#35;12", "o/r#3", "GH-7", "a@b.co",
    "deadbeef1", "https://evil.example/?q=`x`", "www.evil.example", "mailto:", "xmpp:a", "http", "://", "ftp://e", "<b>",
    "<img src=x onerror=y>", "<!-- ostler:plan -->", "<!--", "-->", "![a](http://e/i.png)", "[a](//e)", "[a]: http://e", "[a][b]",
    "[^1]", "](", "![", "`", "``", "```", "~~~", "```suggestion", "\n```\n", "\n~~~\n", "\n", "\n\n", "    ", "\t", "# ", "## x",
    "---", "===", "- ", "* ", "+ ", "- [ ] ", "1. ", "2) ", "> ", "[!WARNING]", "|", "\\|", "| a | b |", "|--|--|", ":--",
    "\\", "\\\\", "**", "*", "__", "_", "~~", "$", "$x$", "$5", "$`", "&", "&amp;", "&lt;", "&#96;", "&#13;", "&#8203;", ";",
    "/ostler approve 00112233", "fixes #9", "\r", "\r\n", "\u200b", "\u202e", "\u2028", "\x0b", "\x1c", "\x85", "\xa0", "é", "a",
    "9", "/", ".", ":", "word", " ",
)  # fmt: skip
texts = st.lists(st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=3)), max_size=25).map("".join)
thorough = settings(max_examples=600, deadline=None)


def spoken(tokens: list[Token]) -> Iterator[str]:
    """The texts that a page shows outside of code, one for each text node."""
    for token in tokens:
        if token.type != "inline":
            continue
        for child in token.children or ():
            assert child.type in KEPT_INLINE, (child.type, token.content)
            if child.type == "text":
                yield child.content


def check(markdown: str) -> list[Token]:
    tokens = PARSER.parse(markdown)
    for token in tokens:
        assert token.type in KEPT, (token.type, markdown)
        assert token.info == "", "a fence with a language"
    for text in spoken(tokens):
        assert not LINKED.search(text), (text, markdown)
    for forbidden in ("<!--", "\u200b", "\u202e", "\r"):
        assert forbidden not in markdown
    assert not [line for line in markdown.split("\n") if line.lstrip().startswith("/ostler") and not line.startswith(" ")]
    assert command(markdown) is None
    return tokens


@thorough
@given(texts)
@example("a\n-")
@example("a\n:-")
@example("`a``b`")
@example("*@alice*")
@example("\\`@alice`")
def test_blocks_do_nothing(text: str) -> None:
    check(inert(text, 4_000))


@thorough
@given(texts)
def test_what_follows_a_quoted_block_is_ours_again(text: str) -> None:
    quoted = "".join(f"> {line}\n" for line in inert(text, 4_000).splitlines())
    tokens = check(f"Before\n\n{quoted}\nAfter\n")
    tops = [token.type for token in tokens if token.level == 0]
    paragraph = ["paragraph_open", "paragraph_close"]
    assert tops in (paragraph * 2, [*paragraph, "blockquote_open", "blockquote_close", *paragraph])
    assert [token.content for token in tokens if token.type == "inline" and token.level == 1] == ["Before", "After"]


@thorough
@given(texts, st.sampled_from((inert_line, code)))
def test_a_line_stays_in_its_line(text: str, make: Callable[[str, int], str]) -> None:
    made = make(text, 4_000)
    assert "\n" not in made
    tokens = check(f"**Goal.** {made} end\n")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    check(f"- **T1** {made}\n")
    check(made)


@thorough
@given(texts, texts, st.sampled_from((inert_cell, code_cell)))
def test_a_cell_stays_in_its_cell(one: str, other: str, make: Callable[[str, int], str]) -> None:
    cells = (make(one, 4_000), make(other, 4_000))
    tokens = check(f"| a | b |\n|---|---|\n| {cells[0]} | {cells[1]} |\n| x | y |\n")
    found = [after.content for token, after in pairwise(tokens) if token.type == "td_open"]
    assert len(found) == 4
    assert found[2:] == ["x", "y"]


@thorough
@given(texts)
def test_twice_is_once(text: str) -> None:
    once = inert(text, 4_000)
    check(inert(once, 100_000))
    assert inert_line(inert_line(once, 100_000), 100_000) == inert_line(once, 100_000)


@thorough
@given(texts)
def test_plain_text_holds_nothing_that_is_linked(text: str) -> None:
    made = plain(text, 4_000)
    assert "\n" not in made
    assert not re.search(r"@\w|#\d|(?<![a-z0-9])gh-\d|://|www\.", made, re.IGNORECASE)
    assert plain(made, 10_000) == made


@given(st.text(alphabet=st.characters(codec="ascii", categories=("L", "P", "N", "S", "Z")), max_size=80))
def test_the_words_stay(text: str) -> None:
    """Escapes and code spans add and move nothing that a reader sees, where the text held no markup of its own."""
    literal = re.sub(r"[\\`*&\[\]()<!]", " ", text)
    tokens = PARSER.parse(inert_line(literal, 500))
    shown = "".join(child.content for token in tokens if token.type == "inline" for child in token.children or ())
    assert shown == " ".join(literal.split())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ask @alice about #12", "ask `@alice` about `#12`"),
        ("see https://e.example/a.", "see `https://e.example/a`."),
        ("![cat](http://e/c.png)", "cat (`http://e/c.png`)"),
        ("<details>open</details>", "&lt;details&gt;open&lt;/details&gt;"),
        ("`parse_amount` takes **only** snake_case", "`parse_amount` takes **only** snake_case"),
        ("# Title", "**Title**"),
        ("- [x] done", "- \\[x\\] done"),
        ("/ostler approve 12", "\\/ostler approve 12"),
        ("it costs $3.50", "it costs $3.50"),
        ("use `a` and ``b`c``", "use `a` and ``b`c``"),
        ("```python\nx = 1\n```", "```\nx = 1\n```"),
        ("```\nnever closed", "```\nnever closed\n```"),
    ],
)
def test_what_it_looks_like(text: str, shown: str) -> None:
    assert inert(text, 500) == shown


def test_a_cut_says_so() -> None:
    assert inert("word " * 400, 10) == "word word\n\n(… 1,990 more characters left out)"
    assert inert_line("word " * 400, 9) == "word word (… 1,990 more characters left out)"
    assert inert("abc", 3) == "abc"


def test_an_escape_hides_no_secret_from_the_redactor() -> None:
    token = "ghp_" + "a1B2" * 8
    for make in (inert, inert_line, inert_cell, code, code_cell, plain):
        assert token[4:] not in make(f"*{token}* and {token}", 500)


def test_long_hostile_lines_take_no_time() -> None:
    for piece in ("`", "` `` ", "**", "[", "[](", "@", "a", "a@", "#1", "-", "&", "<", "$", "\\", "a/", "http:", "x:// "):
        check(inert(piece * (8_000 // len(piece)), 8_000))
