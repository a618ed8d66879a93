"""Lockfiles against manifests: what an install would change is named, what agrees is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.workspace.toolchains.checks import Pair
from bot.workspace.toolchains.lockfiles import disagreements, node_manager
from bot.workspace.toolchains.manifests import manifests
from tests.node_packages.there import FOLDER, needs_packages
from tests.rooms.trees import put

PACKAGE = json.dumps({"name": "pk", "version": "1.0.0", "dependencies": {"a": "^1"}, "devDependencies": {"@b/c": "2"}})
PNPM = "lockfileVersion: '9.0'\nimporters:\n  .:\n    dependencies:\n      a: {specifier: ^1, version: 1.2.0}\n"
YARN = '"@b/c@2":\n  version "2.0.0"\n\na@^1, a@^1.1:\n  version "1.2.0"\n'
BERRY = '"@b/c@npm:2":\n  version: 2.0.0\n\n"a@npm:^1":\n  version: 1.2.0\n'
PYPROJECT = '[project]\nname = "pk"\ndependencies = ["Flask_Login>=1", "httpx[http2]; python_version > \'3\'"]\n'
LOCKED = '[[package]]\nname = "flask-login"\n[[package]]\nname = "httpx"\n'


def told(files: Mapping[str, str]) -> list[str]:
    return list(disagreements(lambda name: files.get(name, "")))


def npm(**root: object) -> str:
    return json.dumps({"lockfileVersion": 3, "packages": {"": {**json.loads(PACKAGE), **root}}})


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"package.json": PACKAGE, "package-lock.json": npm()}, []),
        (
            {"package.json": PACKAGE, "package-lock.json": npm(version="0.9.0", dependencies={"a": "^2", "d": "1"})},
            [
                "package-lock.json: version is '0.9.0' and in package.json '1.0.0'",
                "package-lock.json: a is ^2 and in package.json ^1",
                "package-lock.json: d is 1 and in package.json missing",
            ],
        ),
        ({"package.json": PACKAGE, "pnpm-lock.yaml": PNPM}, ["pnpm-lock.yaml: @b/c is missing and in package.json 2"]),
        ({"package.json": PACKAGE, "yarn.lock": YARN}, []),
        ({"package.json": PACKAGE, "yarn.lock": BERRY}, []),
        ({"package.json": PACKAGE, "yarn.lock": YARN.replace("a@^1, ", "")}, ["yarn.lock: a@^1 of package.json is missing"]),
        (
            {"package.json": PACKAGE, "package-lock.json": npm(), "yarn.lock": YARN},
            ["yarn.lock: the lockfile of another package manager than npm"],
        ),
        ({"package.json": "{", "package-lock.json": npm()}, []),
        ({"pyproject.toml": PYPROJECT, "uv.lock": LOCKED}, []),
        ({"pyproject.toml": PYPROJECT, "uv.lock": LOCKED.replace("httpx", "x")}, ["uv.lock: httpx of pyproject.toml is missing"]),
        (
            {"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3"\nrich = "*"\n', "poetry.lock": LOCKED},
            ["poetry.lock: rich of pyproject.toml is missing"],
        ),
    ],
)
def test_what_a_lockfile_says_otherwise(files: Mapping[str, str], wanted: list[str]) -> None:
    assert told(files) == wanted


RANGES = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "^2"]))
TABLES = st.fixed_dictionaries({"dependencies": RANGES, "devDependencies": RANGES})


@given(said=TABLES, locked=TABLES)
def test_only_what_is_the_same_agrees(said: dict[str, dict[str, str]], locked: dict[str, dict[str, str]]) -> None:
    lock = json.dumps({"packages": {"": locked}})
    assert (told({"package.json": json.dumps(said), "package-lock.json": lock}) == []) == (said == locked)


@needs_packages
def test_a_lockfile_that_npm_wrote_agrees() -> None:
    assert list(disagreements(lambda name: (FOLDER / name).read_text("utf-8") if (FOLDER / name).is_file() else "")) == []


def test_the_package_manager_and_why() -> None:
    assert node_manager({"packageManager": "pnpm@9.1.0"}, frozenset({"yarn.lock"}))[0] == "pnpm"
    both = node_manager({}, frozenset({"yarn.lock", "package-lock.json"}))
    assert both == ("npm", "npm, because there is package-lock.json (there is yarn.lock too)")
    assert node_manager({}, frozenset())[0] == ""


def test_old_disagreements_are_not_blamed(tmp_path: Path) -> None:
    old = {"package.json": PACKAGE, "package-lock.json": npm(dependencies={})}
    base, head = put(tmp_path / "base", old), put(tmp_path / "head", {**old, "requirements.txt": "a==1\n== 2\n"})
    (check,) = manifests(Pair(head, base, ("requirements.txt",)), ("package.json",))
    assert (check.outcome, check.detail) == ("fail", "requirements.txt: '== 2' is no requirement")
    (same,) = manifests(Pair(base, base, ()), ("package.json",))
    assert same.outcome == "pass"


@pytest.mark.parametrize(
    "line",
    ["a", "a==1", "a [x] >= 1 ; python_version < '4'", "a @ https://x.invalid/a.whl", "-r other.txt", "./local", "# words",
     "a~=1 # why", "git+https://x.invalid/a", "a==1 \\\n  --hash=sha256:0"],
)  # fmt: skip
def test_requirements_that_are_some(tmp_path: Path, line: str) -> None:
    head, base = put(tmp_path / "head", {"requirements-dev.txt": f"{line}\n"}), put(tmp_path / "base", {})
    assert manifests(Pair(head, base, ("requirements-dev.txt",)), ())[0].outcome == "pass"
