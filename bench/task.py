"""The work that all harnesses do: a real bug of a real package, and one script for its fix.

sqlparse 0.5.5 returns a middle part of names with more than two dots (its issue 332, mended in 0.6.0). The release comes from
the package registry, pinned by hash, with its own suite, so every machine that can install the peers can run this. The words
of the ticket and the fix are ours. Nothing of sqlparse is kept outside build/.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "sqlparse==0.5.5"
SHA256 = "e20d4a9b0b8585fdf63b10d30066c7c94c5d7a7ec47c889a2d83a3caa93ff28e"
SOURCE, TESTS = "sqlparse/sql.py", "tests/test_parse.py"
NEW_TEST = "test_real_name_of_long_names"

TICKET = """get_real_name returns a middle part of names with more than two parts

`get_real_name()` is wrong for fully qualified names:

```python
>>> import sqlparse
>>> sqlparse.parse("db.schema.tbl.col")[0].tokens[0].get_real_name()
'schema'
```

It should return `'col'`, the part after the last dot, however many parts there are. Names of two parts are right today, and
`get_parent_name()` should stay as it is.
"""


@dataclass(frozen=True, slots=True)
class Read:
    """Lines `first` to `last` of a file."""

    path: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace whole lines that occur once."""

    path: str
    old: str
    new: str


READS = (Read(SOURCE, 1, 120), Read(TESTS, 440, 510))
EDITS = (
    Edit(
        SOURCE,
        "        # a.b\n        dot_idx, _ = self.token_next_by(m=(T.Punctuation, '.'))\n"
        "        return self._get_first_name(dot_idx, real_name=True)\n",
        "        dots = [idx for idx, token in enumerate(self.tokens)\n                if token.match(T.Punctuation, '.')]\n"
        "        return self._get_first_name(dots[-1] if dots else None, real_name=True)\n",
    ),
    Edit(
        SOURCE,
        '    """Implements get_real_name and get_alias."""\n\n    def get_real_name(self):\n'
        '        """Returns the real name (object name) of this identifier."""\n',
        '    """Implements get_real_name and get_alias."""\n\n    def get_real_name(self):\n'
        '        """Returns the real name (object name) of this identifier.\n\n'
        "        That is the part after the last dot: ``d`` of ``a.b.c.d``.\n"
        '        """\n',
    ),
    Edit(
        TESTS,
        "def test_from_subquery():\n",
        f"def {NEW_TEST}():\n    name = sqlparse.parse('db.schema.tbl.col')[0].tokens[0]\n"
        "    assert name.get_real_name() == 'col'\n    assert name.get_parent_name() == 'db'\n\n\ndef test_from_subquery():\n",
    ),
)
TEST_COMMAND = f"python -m pytest -q {TESTS}"


@dataclass(frozen=True, slots=True)
class Task:
    """The repository as it was, to be copied, and what its edited files have to be afterwards."""

    repository: Path
    after: dict[str, str]

    def copy(self, into: Path) -> Path:
        """A fresh checkout."""
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(self.repository, into, symlinks=True)
        return into

    def problems(self, tree: Path) -> list[str]:
        """What of the fix is not in `tree`."""
        wrong = [path for path, text in self.after.items() if (tree / path).read_text("utf-8") != text]
        return [f"{path} is not as the script leaves it" for path in wrong]


def sed(edit: Edit, before: str) -> str:
    """`edit` as the cheapest command a shell has for it; `before` is the file's text."""
    first = before[: before.index(edit.old)].count("\n") + 1
    last = first + edit.old.count("\n") - 1
    return f"sed -i -e '{last}r /dev/stdin' -e '{first},{last}d' {edit.path} <<'EOF'\n{edit.new}EOF"


def prepare(folder: Path) -> Task:
    """The repository, made once: fetched, committed, and shown to be red with the new test and green with the fix."""
    repository, done = folder / "sqlparse", folder / f"done-{SHA256[:12]}"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _unpack(_fetch(folder / "sdist"), repository)
        _commit(repository)
    after = {path: (repository / path).read_text("utf-8") for path in dict.fromkeys(edit.path for edit in EDITS)}
    for edit in EDITS:
        if after[edit.path].count(edit.old) != 1:
            raise RuntimeError(f"{edit.path} of {PACKAGE} is not what the script was written for")
        after[edit.path] = after[edit.path].replace(edit.old, edit.new)
    task = Task(repository, after)
    if not done.exists():
        _show(task, folder / "shown")
        done.touch()
    return task


def steps(task: Task) -> tuple[str, ...]:
    """The shell commands of the script for a harness that only has a shell: two reads, three edits, one test run."""
    texts = {path: (task.repository / path).read_text("utf-8") for path in task.after}
    reads = [f"nl -ba {read.path} | sed -n '{read.first},{read.last}p'" for read in READS]
    edits = []
    for edit in EDITS:
        edits.append(sed(edit, texts[edit.path]))
        texts[edit.path] = texts[edit.path].replace(edit.old, edit.new)
    return (*reads, *edits, TEST_COMMAND)


def _fetch(folder: Path) -> Path:
    folder.mkdir(parents=True)
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    pip = [sys.executable, "-I", "-m", "pip", "--quiet", "download", "--no-deps", "--no-binary=:all:", "--no-build-isolation"]
    subprocess.run([*pip, "--require-hashes", "--dest", str(folder), "-r", str(pinned)], check=True, stdin=subprocess.DEVNULL)
    return next(folder.glob("*.tar.gz"))


def _unpack(archive: Path, repository: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(repository.parent / "unpacked", filter="data")
    next((repository.parent / "unpacked").iterdir()).rename(repository)


def _commit(repository: Path) -> None:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for arguments in (
        ("init", "--quiet", "--initial-branch=main"),
        ("config", "user.name", "Bench"),
        ("config", "user.email", "bench@example.invalid"),
        ("add", "--all", "--force"),
        ("commit", "--quiet", f"--message={PACKAGE}"),
    ):
        subprocess.run(["git", "-C", str(repository), *arguments], check=True, env=env)


def _show(task: Task, scratch: Path) -> None:
    """The new test fails on the old source and passes with the fix, or there is no bug to mend."""
    tree = task.copy(scratch)
    (tree / TESTS).write_text(task.after[TESTS])
    red = _tests(tree)
    (tree / SOURCE).write_text(task.after[SOURCE])
    green = _tests(tree)
    shutil.rmtree(scratch)
    if (red, green) != (1, 0):
        raise RuntimeError(f"{PACKAGE} should go from red to green with the fix, and pytest exits with {red} and {green}")


def _tests(tree: Path) -> int:
    command = [sys.executable, "-m", "pytest", "-q", TESTS]
    return subprocess.run(command, cwd=tree, check=False, capture_output=True).returncode
