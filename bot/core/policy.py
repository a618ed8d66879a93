"""What may land: paths, modes, sizes, protected files, hidden characters, secrets. One bad entry refuses all.

Deterministic nets, not walls: a determined encoder gets a secret past `redact`. What a change does to tests is for `cheats`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from bot.core.changeset import Changeset, added_lines, decoded
from bot.core.findings import Finding
from bot.core.paths import check_path, visible_problem
from bot.core.reports import FileChange

BYTE_ORDER_MARK = "\ufeff"
MAX_FILES = 100
MAX_CHANGESET_BYTES = 1_000_000

REFUSED_PATHS = (".github", ".github/*", "*/.github/*", "action.yml", "action.yaml", "*/action.yml", "*/action.yaml",
                 "codeowners", "*/codeowners", ".gitmodules", ".gitattributes", "*/.gitattributes", ".ostler*",
                 "sitecustomize.py", "*/sitecustomize.py", "usercustomize.py", "*/usercustomize.py", "*.pth")  # fmt: skip
"""Files that decide over CI, reviewers and git itself, or that every Python runs when it starts, the one that tests included:
never changed. Matched against the case-folded path."""

OWNER_PATHS = ("pyproject.toml", "setup.py", "setup.cfg", "*.lock", "*requirements*.txt", "package.json", "package-lock.json",
               "pnpm-lock.yaml", "go.mod", "go.sum", "cargo.toml", "tox.ini", "noxfile.py", "pytest.ini", "conftest.py",
               "makefile", "dockerfile", "agents.md", "claude.md", ".*")  # fmt: skip
"""Manifests, build and test configuration, agent instructions: allowed, but their owner has to look first. Matched by name."""

STEERING = ("conftest.py", "pytest.ini", "pytest.toml", ".pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml", "package.json",
            "vitest.config.*", "vitest.workspace.*", "vite.config.*", "jest.config.*", "makefile", "gnumakefile")  # fmt: skip

TEST_PATHS = ("test_*.py", "*_test.py", "*_tests.py", "test.py", "tests.py", "*.test.*", "*.spec.*", "*_test.go")

_TEST_CLASS = re.compile(r"(^|/)(Test[A-Z]\w*|\w+Tests?)\.(java|kt)$|(^|/)__tests__/[^/]+\.[cm]?[jt]sx?$|(^|/)tests/\w+\.rs$")

_IS = r"\b[\"']?\s*[:=]\s*"
"""Between a name and its value: `=` or `:`, the name perhaps in quotes."""

SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("private key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]*?(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----|\Z)"),
        ("AWS access key", r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
        ("Anthropic key", r"(?<![A-Za-z0-9])sk-ant-[A-Za-z0-9_-]{16,}"),
        ("OpenAI key", r"(?<![A-Za-z0-9])sk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{20,}"),
        ("GitHub token", r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
        ("Slack token", r"(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{10,}"),
        ("bearer token", r"(?i)\bbearer\s+[a-z0-9._~+/-]{20,}=*"),
        ("basic authorization", r"(?i)\bauthorization:\s*basic\s+[a-z0-9+/]{12,}=*"),
        ("api key assignment", rf"(?i)(?<![a-z0-9])api[_-]?key{_IS}[\"'][A-Za-z0-9_\-]{{16,}}[\"']"),
        ("token assignment", rf"(?i)(?<![a-z0-9])(?:access|auth|secret)[_-]?(?:token|key){_IS}[\"'][A-Za-z0-9_\-/+]{{16,}}[\"']"),
        ("password assignment", rf"(?i)(?<![a-z0-9])pass(?:word|wd){_IS}[\"'][^\"'\s]{{8,}}[\"']"),
    )
)

MARKER = re.compile(r"(?:<{7}|>{7}) |={7}\r?$")
"""Lines that git writes around what it could not merge."""

PUT_BACK = "put back"
"""The fixer that undoes what is outside of the plan."""
PROTECTED = "this file decides over CI, reviewers, git or how Python starts, and only a person may change it"


def redact(text: str) -> str:
    """`text` with every known form of secret replaced by its name; private keys go whole."""
    for name, pattern in SECRETS:
        text = pattern.sub(f"[{name} removed]", text)
    return text


def secrets_in(text: str) -> tuple[str, ...]:
    """The names of the secret forms that `text` holds."""
    return tuple(name for name, pattern in SECRETS if pattern.search(text))


def is_test(path: str) -> bool:
    """Whether `path` is a file of tests by the naming rules of pytest, unittest, jest, vitest, go, Cargo, Maven and Gradle."""
    name = path.rpartition("/")[2]
    return any(fnmatchcase(name.casefold(), pattern) for pattern in TEST_PATHS) or bool(_TEST_CLASS.search(path))


def is_test_support(path: str) -> bool:
    """Whether `path` lies among the tests: fixtures, data, configuration of the runner."""
    return is_test(path) or any(
        part in ("tests", "test", "testing", "__tests__", "spec") for part in path.casefold().split("/")[:-1]
    )


def steers_tests(path: str) -> bool:
    """Whether `path` decides how tests are found and run: fixtures and hooks, the runner's configuration."""
    name = path.rpartition("/")[2].casefold()
    return any(fnmatchcase(name, pattern) for pattern in STEERING)


def needs_owner(path: str) -> bool:
    """Whether the owner of `path` has to look before anything else."""
    folded = path.casefold()
    parts = folded.split("/")
    return any(fnmatchcase(parts[-1], pattern) for pattern in OWNER_PATHS) or any(part.startswith(".") for part in parts[:-1])


def protected(path: str, denied: tuple[str, ...] = ()) -> bool:
    """Whether nobody but a person may change `path`; `denied` adds the repository's own patterns."""
    folded = path.casefold()
    return any(fnmatchcase(folded, pattern) for pattern in (*REFUSED_PATHS, *(d.casefold() for d in denied)))


def check(changeset: Changeset, *, denied: tuple[str, ...] = (), allowed: tuple[str, ...] = ()) -> tuple[Finding, ...]:
    """Why `changeset` may not land; empty where it may. `allowed`, where given, are the only patterns that may change."""
    found: list[Finding] = []
    if len(changeset.files) > MAX_FILES or changeset.bytes > MAX_CHANGESET_BYTES:
        claim = f"{len(changeset.files)} files and {changeset.bytes:,} bytes"
        found.append(_refusal("size", "changeset", f"{claim}, more than {MAX_FILES} files or {MAX_CHANGESET_BYTES:,} bytes"))
    for change in changeset.files:
        found += _path_findings(change, denied, allowed)
        if not any(finding.place == change.path for finding in found):
            found += _content_findings(change)
    return tuple(found)


def outside(changeset: Changeset, named: Iterable[str], left_out: Iterable[str] = ()) -> tuple[Finding, ...]:
    """The files of `changeset` that a plan does not cover. It covers what it has `named`, by path, folder or pattern; tests, and
    what lies among them; new files in the folder of a named one. What it has `left_out` by its path it never covers."""
    names, out = [name.removeprefix("./") for name in named], [name.strip("`") for name in left_out]
    folders = {name.rpartition("/")[0] for name in names}

    def covered(path: str, *, new: bool) -> bool:
        if any(_fits(path, name) for name in out):
            return False
        beside = new and path.rpartition("/")[0] in folders
        return beside or is_test_support(path) or any(_fits(path, name) for name in names)

    beyond = (change.path for change in changeset.files if not covered(change.path, new=change.before is None))
    return tuple(_refusal("scope", path, "no task of the plan names this file") for path in beyond)


def _fits(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name.rstrip('/')}/") or fnmatchcase(path, name)


def marked(changeset: Changeset, before: Changeset) -> tuple[str, ...]:
    """The files of `changeset` with conflict markers that neither their base nor the state `before` has."""
    ours = {change.path: frozenset((decoded(change.after) or "").split("\n")) for change in before.files}
    return tuple(
        change.path
        for change in changeset.files
        if any(MARKER.match(line) and line not in ours.get(change.path, ()) for _, line in added_lines(change))
    )


def remarks(changeset: Changeset) -> tuple[Finding, ...]:
    """What a reviewer should look at first; nothing here refuses."""
    return tuple(
        Finding("policy", "minor", "owner-review", change.path, "its owner should look at this file first")
        for change in changeset.files
        if needs_owner(change.path)
    )


def _refusal(rule: str, place: str, claim: str) -> Finding:
    return Finding("policy", "major", rule, place, claim)


def _path_findings(change: FileChange, denied: tuple[str, ...], allowed: tuple[str, ...]) -> Iterator[Finding]:
    if reason := check_path(change.path):
        yield _refusal("path", change.path, reason)
    if change.new_mode == "120000" or change.old_mode == "120000":
        yield _refusal("link", change.path, "symbolic links are not made, changed or removed")
    elif change.new_mode == "160000" or change.old_mode == "160000":
        yield _refusal("submodule", change.path, "submodules are not made, changed or removed")
    elif change.new_mode not in ("100644", "100755", "000000", ""):
        yield _refusal("mode", change.path, f"file mode {change.new_mode} is not allowed")
    if protected(change.path, denied):
        yield _refusal("protected", change.path, PROTECTED)
    elif allowed and not any(fnmatchcase(change.path, pattern) for pattern in allowed):
        yield _refusal("scope", change.path, f"outside the allowed paths {', '.join(allowed)}")


def _content_findings(change: FileChange) -> Iterator[Finding]:
    if change.after is None:
        return
    text = decoded(change.after)
    if text is None:
        yield _refusal("binary", change.path, "binary or non-UTF-8 content is not written by a model")
        return
    added = added_lines(change)
    marked = (change.before or b"").startswith(BYTE_ORDER_MARK.encode())
    for number, line in added:
        if problem := visible_problem(line.removeprefix(BYTE_ORDER_MARK) if marked and number == 1 else line):
            yield _refusal("hidden-text", change.path, f"line {number} holds {problem.rpartition(' in line ')[0]}")
            break
    if names := secrets_in("\n".join(line for _, line in added)):
        yield _refusal("secret", change.path, f"an added line looks like a secret ({', '.join(names)})")
