"""What may land: every trick refuses the whole changeset under its own rule, and ordinary work passes."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.findings import Finding
from bot.core.policy import (
    MAX_CHANGESET_BYTES,
    MAX_FILES,
    check,
    is_test,
    needs_owner,
    outside,
    protected,
    redact,
    remarks,
    secrets_in,
    steers_tests,
)
from bot.core.reports import FileChange
from tests.core.play import change, changeset

KEY = "Ab3" * 20
SECRETS = {
    "private key": f"-----BEGIN RSA PRIVATE KEY-----\n{KEY}\n{KEY}\n-----END RSA PRIVATE KEY-----",
    "private key without its end": f"-----BEGIN PRIVATE KEY-----\n{KEY}",
    "aws": "AKIA" + "ABCDEFGH23456789",
    "anthropic": "sk-ant-" + KEY,
    "openai": "sk-proj-" + KEY,
    "openai, old": "sk-" + KEY,
    "github": "ghp_" + KEY,
    "github, fine-grained": "github_pat_" + KEY,
    "slack": "xoxb-" + "123456789012-" + KEY,
    "bearer": f"Authorization: Bearer {KEY}",
    "basic": f"authorization: basic {KEY}=",
    "api key": f'api_key = "{KEY}"',
    "api key with a prefix": f'OPENAI_API_KEY = "{KEY}"',
    "api key in JSON": f'{{"apiKey": "{KEY}"}}',
    "token": f"auth_token: '{KEY}'",
    "aws secret": f'AWS_SECRET_ACCESS_KEY="{KEY}"',
    "password": 'password = "hunter2hunter2"',
    "password with a prefix": "DB_PASSWORD='hunter2hunter2'",
    "password in JSON": '{"password": "hunter2hunter2"}',
}


def rules(*files: FileChange, denied: tuple[str, ...] = (), allowed: tuple[str, ...] = ()) -> set[str]:
    found = check(changeset(*files), denied=denied, allowed=allowed)
    assert all(finding.severity == "major" and finding.source == "policy" for finding in found)
    return {finding.rule for finding in found}


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml", ".GitHub/workflows/ci.yml", ".GITHUB/x", "sub/.github/workflows/x.yml", "docs/CodeOwners",
        "CODEOWNERS", ".github/CODEOWNERS", ".gitattributes", "a/.gitattributes", "action.yml", "tools/Action.yaml",
        ".ostler.yml",
        ".ostler/x",
    ],
)  # fmt: skip
def test_files_that_decide_over_the_repository_are_a_persons(path: str) -> None:
    for file in (change(path), change(path, None, b"x"), change(path, b"x", None)):
        assert "protected" in rules(file)


TRICKS = {
    "a link": (change("a", b"/etc/passwd", None, mode="120000"), "link"),
    "a link made a file": (replace(change("a"), old_mode="120000"), "link"),
    "a link removed": (replace(change("a", None, b"x"), old_mode="120000"), "link"),
    "a submodule": (replace(change("a", None, None), op="add", new_mode="160000", new_blob="2" * 40), "submodule"),
    "a submodule removed": (replace(change("a", None, None), op="delete", old_mode="160000"), "submodule"),
    "a set-uid bit": (change("a", mode="104755"), "mode"),
    "a folder for a file": (change("a", mode="040000"), "mode"),
    "out of the repository": (change("a/../../b"), "path"),
    "git's own folder": (change("a/.git/hooks/pre-commit"), "path"),
    "a name with half a character": (change("a\udcff"), "path"),
    "a hidden name": (change("a\u200b.py"), "path"),
    "binary": (change("logo.png", b"\x89PNG\r\n\x1a\n\0\0", None), "binary"),
    "not UTF-8": (change("a.py", "é".encode("latin-1")), "binary"),
    "right to left": (change("a.py", 'if admin != "user\u202e": # \u2066'.encode()), "hidden-text"),
    "zero width": (change("a.py", "pass\u200bword = 1".encode()), "hidden-text"),
    "a tag character": (change("a.md", "hi\U000e0041".encode()), "hidden-text"),
    "a line separator": (change("a.js", "// x\u2028evil()".encode()), "hidden-text"),
    "a byte order mark in the middle": (change("a.py", "a\n\ufeffb\n".encode()), "hidden-text"),
    "an escape sequence": (change("a.txt", b"\x1b[8mhidden"), "hidden-text"),
}


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_refused_by_name(name: str) -> None:
    file, rule = TRICKS[name]
    assert rule in rules(file)
    assert rule in rules(change("src/fine.py"), file), "one bad entry refuses all"


@pytest.mark.parametrize("name", SECRETS)
def test_an_added_secret_is_refused_and_redacted(name: str) -> None:
    secret = SECRETS[name]
    assert rules(change("a.py", f"# set up\n{secret}\n".encode(), b"")) == {"secret"}
    shown = redact(f"before {secret} after")
    assert KEY not in shown
    assert "hunter2" not in shown
    assert "removed]" in shown
    assert shown.startswith("before ")


def test_a_secret_that_was_there_is_not_blamed_on_the_change() -> None:
    old = f'api_key = "{KEY}"\n'.encode()
    assert rules(change("a.py", old + b"B = 1\n", old)) == set()


@given(st.text())
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
    assert secrets_in(once) == ()


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_what_is_redacted_holds_no_secret_any_more(secret: str) -> None:
    assert secrets_in(redact(secret)) == ()


ORDINARY = {
    "source": change("src/a.py"),
    "new file": change("src/new.py", b"A = 1\n", None),
    "deleted source": change("src/old.py", None, b"A = 1\n"),
    "made executable": change("run.sh", b"#!/bin/sh\n", b"#!/bin/sh\n", mode="100755"),
    "other scripts": change("docs/日本語.md", "naïve 你好 שלום 👩‍💻 ❤️\r\n".encode(), None),
    "a test deleted": change("tests/test_a.py", None, b"def test_a(): pass\n"),
    "a test with a byte order mark": change("tests/test_bom.py", "\ufeffimport a\n".encode(), "\ufeffimport b\n".encode()),
    "no end of line": change("a.txt", b"a", b"a\n"),
    "windows lines": change("a.txt", b"a\r\nb\r\n", b"a\r\n"),
    "emptied": change("src/a.py", b"", b"A = 1\n"),
    "a word like a secret": change("a.md", b"Set your password = see the vault, bearer of news, sk-learn, api_key: str\n"),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_work_passes(name: str) -> None:
    assert check(changeset(ORDINARY[name])) == ()


def test_size_limits_hold_at_their_edges() -> None:
    many = [change(f"src/{number}.py") for number in range(MAX_FILES + 1)]
    assert rules(*many[:-1]) == set()
    assert rules(*many) == {"size"}
    assert rules(change("a.txt", b"a" * MAX_CHANGESET_BYTES)) == set()
    assert rules(change("a.txt", b"a" * MAX_CHANGESET_BYTES), change("b.txt", b"b")) == {"size"}


def test_allowed_and_denied_paths() -> None:
    assert rules(change("src/a.py"), allowed=("src/*",)) == set()
    assert rules(change("lib/a.py"), allowed=("src/*", "docs/*")) == {"scope"}
    assert rules(change("SRC/Secret/a.py"), denied=("src/secret/*",)) == {"protected"}
    assert rules(change(".github/x"), allowed=(".github/*",)) == {"protected"}
    assert protected("a/b", ("a/*",))


@pytest.mark.parametrize(
    "path",
    ["pyproject.toml", "a/Package.json", "uv.lock", "requirements-dev.txt", ".pre-commit-config.yaml", ".vscode/x", "AGENTS.md"],
)
def test_files_whose_owner_has_to_look_are_remarked_on_and_not_refused(path: str) -> None:
    assert needs_owner(path)
    assert [(finding.severity, finding.place) for finding in remarks(changeset(change(path)))] == [("minor", path)]
    assert rules(change(path)) == set()


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("tests/test_a.py", True), ("Test_A.py", True), ("a_test.py", True), ("src/tests.py", True), ("test.py", True),
        ("a.spec.ts", True),
        ("a_test.go", True),
        ("src/testing.py", False), ("contest.py", False), ("tests/data.json", False), ("latest.py", False),
    ],
)  # fmt: skip
def test_which_files_hold_tests(path: str, is_one: bool) -> None:
    assert is_test(path) is is_one


@pytest.mark.parametrize(
    "text", ["-----BEGIN PRIVATE KEY-----" * 20_000, "bearer " * 100_000, "api_key = '" * 50_000, "sk-" * 200_000]
)
def test_text_made_to_be_slow_is_not(text: str) -> None:
    began = time.process_time()
    redact(text)
    check(changeset(change("a.txt", text.encode())))
    assert time.process_time() - began < 5


def test_a_refusal_reads_as_a_sentence() -> None:
    found = check(changeset(change("a", mode="120000"), change(".github/workflows/ci.yml"), change("a\u200b")))
    assert all(isinstance(finding, Finding) and len(finding.claim) > 20 and "\u200b" not in finding.claim for finding in found)


def test_what_counts_as_a_test_and_what_steers_tests_in_other_languages() -> None:
    tests = (
        "a/b.test.ts",
        "a_test.go",
        "src/test/java/SumsTest.java",
        "m/TestSums.kt",
        "src/__tests__/sums.tsx",
        "tests/sums.rs",
    )
    assert all(is_test(path) for path in tests)
    assert not any(
        is_test(path)
        for path in ("src/Latest.java", "src/Contest.kt.md", "a/__tests__/data/one.json", "latest.ts", "src/sums.rs")
    )
    assert all(steers_tests(path) for path in ("package.json", "web/vitest.config.ts", "jest.config.js", "Makefile"))
    assert not any(steers_tests(path) for path in ("src/package.ts", "config.ts", "makefile.py"))


# --- the plan's files -------------------------------------------------------------------------------------------------

PATHS = st.sampled_from(["src/a.py", "src/b.py", "src/deep/c.py", "docs/d.md", "e.py", "tests/test_a.py", "src/[id].ts"])


@given(st.lists(PATHS), st.lists(PATHS), st.lists(PATHS, unique=True), st.booleans())
def test_what_is_outside_a_plan(named: list[str], left_out: list[str], paths: list[str], new: bool) -> None:
    """What is named is inside, with its neighbours where they are new; tests are; what is left out by its name never is."""
    made = changeset(*(change(path, before=None if new else b"A = 1\n") for path in paths))
    beyond = {finding.place for finding in outside(made, named, left_out)}
    folders = {name.rpartition("/")[0] for name in named}
    inside = {
        path for path in paths if path in named or path.startswith("tests/") or (new and path.rpartition("/")[0] in folders)
    }
    assert beyond == set(paths) - (inside - set(left_out))


@pytest.mark.parametrize("name", ["src", "src/", "./src/a.py", "src/*.py"])
def test_a_plan_names_folders_and_patterns_too(name: str) -> None:
    assert outside(changeset(change("src/a.py")), [name]) == ()
    assert [finding.place for finding in outside(changeset(change("srcs/a.py")), [name])] == ["srcs/a.py"]
