"""The risk of a change: what counts, that more of it never counts less, and where the levels lie."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.changeset import Changeset
from bot.core.reports import FileChange
from bot.core.risk import LEVELS, DiffRisk, diff_risk

NONE = "0" * 40


def change(path: str, after: str, before: str | None = None) -> FileChange:
    new = before is None
    old = None if before is None else before.encode()
    return FileChange(
        path, "add" if new else "modify", "000000" if new else "100644", "100644", NONE, "1" * 40, old, after.encode()
    )


def changeset(*files: FileChange) -> Changeset:
    return Changeset("s", "b" * 40, "t" * 40, files)


def lines(count: int) -> str:
    return "".join(f"x{number} = {number}\n" for number in range(count))


@pytest.mark.parametrize(
    ("files", "score", "said"),
    [
        ([change("a.py", lines(3))], 0, []),
        ([change("a.py", lines(51))], 20, ["no test changed (20)"]),
        ([change("a.py", lines(51)), change("tests/test_a.py", lines(2))], 0, []),
        ([change("a.py", lines(201)), change("tests/test_a.py", "")], 10, ["201 lines (10)"]),
        ([change("app/migrations/1.sql", "drop table t;\n")], 20, ["touches app/migrations/1.sql (15)"]),
        ([change(f"auth/{n}.py", "a = 1\n") for n in range(4)], 30, ["touches auth/0.py, auth/1.py, auth/2.py (30)"]),
        ([change("author/a.py", "a = 1\n")], 0, []),
        ([change("a.py", "# TODO: later\n# FIXME\n")], 6, ["2 left for later (TODO and the like) (6)"]),
        ([change("a.py", "a = 1\n", "# TODO: later\n")], 0, []),
    ],
)
def test_what_counts(files: list[FileChange], score: int, said: list[str]) -> None:
    found = diff_risk(changeset(*files))
    assert found.score == score
    assert set(said) <= set(found.reasons)


PATHS = st.sampled_from(
    ["a.py", "auth/b.py", "db/migrations/c.sql", "deployment/d.yml", "config/production.env", "e.md", "infra/f.tf"]
)
FILES = st.builds(change, PATHS, st.integers(0, 1_200).map(lines) | st.just("# HACK\n" * 9))


@given(st.lists(FILES, max_size=5, unique_by=lambda one: one.path), FILES)
def test_more_of_it_counts_no_less(files: list[FileChange], more: FileChange) -> None:
    rest = [one for one in files if one.path != more.path]
    assert 0 <= diff_risk(changeset(*rest)).score <= diff_risk(changeset(*rest, more)).score <= 100


def test_every_score_has_a_level_and_higher_ones_none_that_is_lower() -> None:
    names = [level for _, level in LEVELS][::-1]
    ranks = [names.index(DiffRisk(score, ()).level) for score in range(101)]
    assert all(low <= high for low, high in pairwise(ranks))
    assert [DiffRisk(score, ()).high for score in (49, 50)] == [False, True]
