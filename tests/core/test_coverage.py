"""Which functions count as those of the sources, and which of them as run."""

from __future__ import annotations

from bot.core.coverage import Coverage, compared, counted
from bot.core.coverage_map import read_map

FILES = {
    "a.py": "def f(): ...\n\n\nclass C:\n    def m(self): ...\n\n    async def n(self): ...\n",
    "child.py": "def ran(): ...\n\n\ndef left(): ...\n",
    "never.py": "def g():\n    def inner(): ...\n",
    "broken.py": "def (",
    "hidden.py": "def h(): ...\n",
    "tests/test_a.py": "def test(): ...\n\n\ndef helper(): ...\n",
}
FUNCTIONS = [
    *(("a.py", name) for name in ("f", "f:1", "C.m", "C.n")),
    *(("tests/test_a.py", name) for name in ("test", "helper")),
    *(("child.py", name) for name in ("", "ran")),
    ("gone.py", "k"),
]
NOTES = {
    "tests": [["tests/test_a.py::test", 0.1]],
    "functions": FUNCTIONS,
    "ran": [[0, 0], [1, 0], [4, 0], [6, 0], [7, 0], [8, 0]],
    "sets": ["1"],
    "everyone": [],
    "imported": [["a.py", [2]]],
    "kept": [],
    "opened": [],
    "opaque": "0",
    "files": ["a.py", "tests/test_a.py"],
    "unseen": ["hidden.py"],
    "left": [],
}


def test_functions_of_the_sources_count_once_whoever_ran_them() -> None:
    """f by a test, C.m by an import, ran by a process of a test; not C.n, left, g and inner."""
    assert counted(read_map(NOTES), FILES) == (3, 7)


def test_what_is_not_measured_did_not_fall() -> None:
    assert compared((1, 2), (1, 4)).drop == 25
    assert compared((1, 4), (1, 2)).drop == 0
    assert compared((1, 2), (0, 0)) == Coverage(why="the sources have no functions")
    assert compared((1, 2), (0, 0)).drop == 0
