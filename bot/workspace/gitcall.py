"""One way to call git: explicit environment, no hooks, no fsmonitor, no pager, no transport but local files.

Nothing a repository's own configuration names is ever executed. Every call names its git dir, so
git never goes looking for a repository by itself.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.core.errors import BugError, SetupError

SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 900.0
USAGE_EXIT = 129

# Commands given on the command line win over the git dir's configuration. `true` and `false` are harmless programs.
OVERRIDES = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.alternateRefsCommand=true",
    "core.pager=cat",
    "core.askPass=true",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "diff.ignoreSubmodules=all",
    "submodule.recurse=false",
    "core.quotePath=false",
)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment git sees: nothing is inherited."""
    plain = {
        "PATH": SEARCH,
        "HOME": "/nonexistent",
        "XDG_CONFIG_HOME": "/nonexistent",
        "LC_ALL": "C",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "file",
        "GIT_EDITOR": "true",
        "GIT_PAGER": "cat",
    }
    return {**plain, **(extra or {})}


def command(git_dir: Path, args: Sequence[str], work_tree: Path | None = None) -> list[str]:
    """The argv of one git call. Raises SetupError when git isn't installed."""
    program = shutil.which("git", path=SEARCH) or shutil.which("git")
    if program is None:
        raise SetupError("git is not installed; install git 2.38 or newer")
    overrides = [word for pair in OVERRIDES for word in ("-c", pair)]
    tree = [f"--work-tree={work_tree}"] if work_tree else []
    return [program, "--no-pager", *overrides, f"--git-dir={git_dir}", *tree, *args]


def call(
    git_dir: Path,
    *args: str,
    work_tree: Path | None = None,
    index: Path | None = None,
    data: bytes | None = None,
    ok: tuple[int, ...] = (0,),
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run git and return what it did. Exit codes outside `ok` raise SetupError with git's last line (BugError: usage)."""
    extra = dict(env or {})
    if index is not None:
        extra["GIT_INDEX_FILE"] = str(index)
    try:
        done = subprocess.run(
            command(git_dir, args, work_tree),
            env=environment(extra),
            cwd=work_tree or git_dir,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            umask=0o022,
        )
    except subprocess.TimeoutExpired:
        raise SetupError(
            f"git {args[0]} did not end within {SECONDS:.0f} s; is the disk busy or the repository damaged?"
        ) from None
    if done.returncode not in ok:
        raise failure(args[0], done)
    return done


def failure(name: str, done: subprocess.CompletedProcess[bytes]) -> SetupError | BugError:
    """The error for a git call that went wrong, with git's own last line."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"exit {done.returncode}"
    kind = BugError if done.returncode == USAGE_EXIT else SetupError
    return kind(f"git {name} failed: {last}")


def word(git_dir: Path, *args: str, ok: tuple[int, ...] = (0,)) -> str:
    """The stripped output of a git call that answers one word; empty when it ended with another exit code in `ok`."""
    done = call(git_dir, *args, ok=ok)
    return done.stdout.decode().strip() if done.returncode == 0 else ""


def names(raw: bytes) -> tuple[str, ...]:
    """NUL-separated paths as text; bytes that aren't UTF-8 become lone surrogates, as in os.fsdecode."""
    return tuple(item.decode(errors="surrogateescape") for item in raw.split(b"\0") if item)


def raw_name(path: str) -> bytes:
    """The bytes git knows a path by."""
    return path.encode(errors="surrogateescape")
