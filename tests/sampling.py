"""Which of the dearest tests run where all are asked for: a sample, another one after every commit.

Tests that tell a whole session cost seconds of processor time each, and together most of an hour. They are marked
`sampled(*FILES, of=OF)`: of the tests of a file with the same `of`, one in `of` runs, and the others are skipped with the reason.
They are ranked by the digest of their name and of the tree of `HEAD`, so a commit has one sample on all machines, and each test
has its turn. Those whose `FILES` differ from the commit before come first. MATRIX=1 runs all, as does naming their file.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OF = 10
"""For less than 15 minutes on two cores, gates included."""
MATRIX = bool(os.environ.get("MATRIX"))
whole = pytest.mark.skipif(not MATRIX, reason="takes an hour: MATRIX=1 runs it")


def chosen(names: Sequence[str], of: int, tree: str, first: Collection[str] = ()) -> set[str]:
    """One in `of` of these names, for this tree. A remainder counts by chance: of three names, one in four, there is one for
    three trees of four. Names in `first` come first, and with them it counts as a whole one."""
    spare = of - 1 if first else _rank(tree, min(names)) % of
    ranked = sorted(names, key=lambda name: (name not in first, _rank(tree, name)))
    return set(ranked[: (len(names) + spare) // of])


def _rank(tree: str, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{tree}\0{name}".encode()).digest()[:8])


def _git(*args: str) -> str:
    """What git says of this tree; nothing where it is no checkout, or has no commit before."""
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout if done.returncode == 0 else ""


def leave_out(items: Sequence[pytest.Item], named: Collection[Path]) -> None:
    """Mark as skipped what is not in the sample and in no file that is `named`."""
    if MATRIX:
        return
    groups: defaultdict[tuple[Path, int], dict[str, tuple[pytest.Item, set[str]]]] = defaultdict(dict)
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark and item.path not in named and whole.mark not in item.own_markers:
            groups[item.path, mark.kwargs.get("of", OF)][item.nodeid] = item, set(mark.args)
    if groups:
        tree, changed = _git("rev-parse", "HEAD^{tree}").strip(), set(_git("diff", "--name-only", "HEAD^").splitlines())
    for (_, of), group in groups.items():
        first = {name for name, (_, files) in group.items() if files & changed}
        kept = chosen(list(group), of, tree, first)
        reason = f"not in the sample of one in {of} of the tree {tree[:8] or 'unknown'}: MATRIX=1 or its file's name runs it"
        for name in group.keys() - kept:
            group[name][0].add_marker(pytest.mark.skip(reason=reason))
