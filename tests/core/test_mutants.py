"""One known defect: in one added line of code, the same for the same tree, and nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.changeset import added_lines
from bot.core.mutants import TURNED, draw, mutant
from tests.core.play import change, changeset

LINES = st.lists(
    st.sampled_from(
        ("if a == b:", "    return a + b", "x = a and b", "# a == b", "say('a == b')", "done = True", "import a", "pass", "")
    ),
    max_size=6,
)
PATHS = st.sampled_from(("a.py", "b.js", "docs/a.md", "tests/test_a.py"))


@given(st.dictionaries(PATHS, st.tuples(LINES, LINES), max_size=3), st.text("abcdef0123456789", min_size=1, max_size=8))
def test_one_operator_of_one_added_line_of_code_is_turned(files: dict[str, tuple[list[str], list[str]]], tree: str) -> None:
    edits = {path: ("\n".join(old).encode(), "\n".join(new).encode()) for path, (old, new) in files.items()}
    made = changeset(*(change(path, new, old) for path, (old, new) in edits.items()), tree=tree)
    bad = mutant(made)
    assert bad == mutant(made)
    if bad is None:
        return
    assert TURNED[bad.was] == bad.now
    differing = [(one, other) for one, other in zip(made.files, bad.changeset.files, strict=True) if one != other]
    ((before, after),) = differing
    assert before.path == after.path == bad.path
    assert bad.path in ("a.py", "b.js")
    old, new = ((one.after or b"").decode().split("\n") for one in (before, after))
    changed = [number for number, (left, right) in enumerate(zip(old, new, strict=True), 1) if left != right]
    assert changed == [bad.line]
    assert bad.line in {number for number, _ in added_lines(before)}
    assert not old[bad.line - 1].lstrip().startswith(("#", "say", "import"))


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        ("return a - b\n", "return a + b\n"),
        ("if a < b:\n", "if a >= b:\n"),
        ("ok = a or f('x == y')\n", "ok = a and f('x == y')\n"),
    ],
)
def test_the_line_reads_as_code(text: str, turned: str) -> None:
    bad = mutant(changeset(change("a.py", text.encode(), b"")))
    assert bad is not None
    assert bad.changeset.files[0].after == turned.encode()


def test_draws_are_spread() -> None:
    drawn = sum(draw(f"tree-{number}", "plant") % 10 == 0 for number in range(10_000))
    assert 900 < drawn < 1_100


def test_what_would_only_undo_the_change_is_no_defect_to_find() -> None:
    assert mutant(changeset(change("a.py", b"return a + b\n", b"return a - b\n"))) is None
