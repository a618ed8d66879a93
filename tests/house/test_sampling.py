"""The sample of the dearest tests: as many as it says, all of them in their turn, and what has changed first."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.sampling import chosen

NAMES = st.lists(st.text(min_size=1), min_size=1, max_size=30, unique=True)
OF = st.integers(2, 8)


@given(NAMES, OF, st.text())
def test_it_is_one_in_so_many_whatever_their_order(names: list[str], of: int, tree: str) -> None:
    sample = chosen(names, of, tree)
    assert sample <= set(names)
    assert len(names) // of <= len(sample) <= math.ceil(len(names) / of)
    assert sample == chosen(names[::-1], of, tree)


@given(NAMES, OF)
def test_every_test_has_its_turn(names: list[str], of: int) -> None:
    assert set().union(*(chosen(names, of, f"tree {number}") for number in range(40 * of))) == set(names)


@given(st.data(), NAMES, OF, st.text())
def test_what_changed_comes_first(data: st.DataObject, names: list[str], of: int, tree: str) -> None:
    first = set(data.draw(st.lists(st.sampled_from(names), min_size=1)))
    sample = chosen(names, of, tree, first)
    assert len(sample) == math.ceil(len(names) / of)
    assert sample <= first or first <= sample


FILE = """import pytest

@pytest.mark.sampled(of=4)
@pytest.mark.parametrize("number", range(8))
def test_dear(number): pass

def test_cheap(): pass
"""


def test_of_a_folder_a_sample_runs_and_of_a_file_everything(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FILE)
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_collection_modifyitems\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = sampled\n")
    file = str(tmp_path / "test_it.py")
    assert "3 passed, 6 skipped" in said(tmp_path)
    assert "9 passed" in said(tmp_path, file)
    assert "1 passed" in said(tmp_path, f"{file}::test_dear[3]")
    assert "9 passed" in said(tmp_path, matrix="1")


def said(folder: Path, *names: str, matrix: str = "") -> str:
    start = f"import os, sys; sys.path.insert(0, {str(Path.cwd())!r}); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", start, "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", *(names or [str(folder)])]
    done = subprocess.run(command, cwd=folder, env={"MATRIX": matrix}, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout
