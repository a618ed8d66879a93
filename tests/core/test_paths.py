"""Names that models may not use, and characters that readers don't see."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.paths import check_path, path_problem, visible_problem

HOSTILE = [
    "/etc/passwd",
    "../x",
    "a/../../x",
    "..\\x",
    "C:\\x",
    "c:/x",
    "\\\\host\\x",
    "a\0b",
    "a\nb",
    "a\x1bb",
    ".git/config",
    "a/.GIT/hooks/x",
    "git~1/config",
    "GIT~2",
    ".g\u200cit/config",
    ".gi\u00adt/x",
    "\uff0egit/config",
    ".git::$INDEX_ALLOCATION/x",
    ".git /x",
    ".git./x",
    ".git . .",
    ".gitmodules",
    "a/.GitModules",
    "gitmod~1",
    "con",
    "a/NUL",
    "aux.py",
    "com1.txt",
    "lpt\u00b9",
    "x\udc80y",
    "a\U000e0041b",
    "a\u202eb",
    "a\ufe0fb",
    "\ufeffa",
    "a\u2028b",
    "x/conin$",
    "foo:.git/x",
]
MISTAKES = ["", "a//b", "./a", "a/", "a/../b", ".", "a.", "a ", "a/b. /c", "x" * 513, "e\u0301.txt", "a\u00a0", "a\\b"]
NORMAL = [
    "a",
    "src/bot/core.py",
    ".github/workflows/ci.yml",
    ".gitignore",
    ".gitattributes",
    "gité/x",
    "docs/日本語.md",
    "a b/c-d_e+f@g.txt",
    "digit~1",
    "console.py",
    "nullable.py",
    "communal/com10",
    ".env.example",
    "x" * 512,
    "🐎.md",
    "...a",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_names_are_refused_as_such(path: str) -> None:
    problem = path_problem(path)
    assert problem is not None
    assert problem.hostile, problem
    assert check_path(path) == problem.reason


@pytest.mark.parametrize("path", MISTAKES)
def test_slips_are_refused_without_suspicion(path: str) -> None:
    problem = path_problem(path)
    assert problem is not None
    assert not problem.hostile, problem


@pytest.mark.parametrize("path", NORMAL)
def test_normal_names_pass(path: str) -> None:
    assert check_path(path) is None


@given(st.text(max_size=40))
def test_what_passes_stays_below_and_is_not_git(path: str) -> None:
    """An accepted path has only plain parts, under any reading a file system may give it."""
    if check_path(path) is not None:
        return
    assert path
    assert path.encode()
    assert unicodedata.is_normalized("NFC", path)
    for part in path.split("/"):
        for read in (
            part,
            part.casefold(),
            unicodedata.normalize("NFKC", part).casefold(),
            part.split(":")[0].rstrip(" .").casefold(),
        ):
            assert read.strip(" .") not in ("", "git~1")
            assert read not in (".", "..", ".git", ".gitmodules")


@given(st.lists(st.sampled_from(["a", "B.py", "c-d", "e_f", "日本"]), min_size=1, max_size=6), st.sampled_from(HOSTILE))
def test_one_bad_part_spoils_any_path(parts: list[str], bad: str) -> None:
    assert check_path("/".join(parts)) is None
    assert check_path("/".join([bad, *parts])) is not None


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("ok\nif x:\u202e pass", "U+202E", 2),
        ("a\u200bb", "U+200B", 1),
        ("\x1b[31mred", "U+001B", 1),
        ("a\x7f", "U+007F", 1),
        ("tag \U000e0061", "U+E0061", 1),
        ("a\ufe0f", "U+FE0F", 1),
        ("a\u200db", "U+200D", 1),
        ("1\ufe0f", "U+FE0F", 1),
        ("\U0001f40e\ufe0e", "U+FE0E", 1),
        ("\n\n\u3164 = 1", "U+3164", 3),
        ("x\u2028y", "U+2028", 1),
        ("\ufeffx", "U+FEFF", 1),
        ("x\udc80", "U+DC80", 1),
        ("\U0001f3f4\U000e0067\U000e007f", "U+E0067", 1),
    ],
)
def test_hidden_characters_are_named_with_their_line(text: str, code: str, line: int) -> None:
    problem = visible_problem(text)
    assert problem is not None
    assert problem.startswith(code)
    assert problem.endswith(f"in line {line}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain\ttext\r\n\f",
        "naïve — “quoted” 日本語",
        "\U0001f40e",
        "\u2764\ufe0f",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f3f3\ufe0f\u200d\U0001f308",
        "1\ufe0f\u20e3",
        "\U0001f9d1\U0001f3fd\u200d\U0001f4bb",
        "é = 'e\u0301'",
    ],
)
def test_visible_text_passes(text: str) -> None:
    assert visible_problem(text) is None


@given(st.text(), st.sampled_from("\u202a\u202e\u2066\u200b\u200e\U000e0020\u00ad\u061c\x00\x1b"), st.text())
def test_a_hidden_character_is_found_anywhere(before: str, hidden: str, after: str) -> None:
    assert visible_problem(before + hidden + after) is not None
