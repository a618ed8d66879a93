"""The stage `manifests`: files that tools read parse, and a lockfile says what its manifest says."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import yaml

from bot.core.reports import Check
from bot.workspace.toolchains.checks import Pair, listed
from bot.workspace.toolchains.lockfiles import disagreements
from bot.workspace.toolchains.reading import read_plain, read_text

JSON_WITH_COMMENTS = re.compile(r"(^|/)(tsconfig[^/]*\.json|\.vscode/|\.devcontainer|\.eslintrc|jsconfig)")
REQUIREMENTS = re.compile(r"(^|/)[\w.-]*requirements[\w.-]*\.txt$")
REQUIREMENT = re.compile(r"""
    (-|\.{0,2}/|[a-z+]+://)                                                          # an option, a path, an address
    | [A-Za-z0-9]([\w.-]*[A-Za-z0-9])?\s*(\[[^]]*\])?\s*($|[;@(<>=!~])               # a name as PEP 508 has it
""", re.VERBOSE)  # fmt: skip

Parser = Callable[[str], object]


def manifests(pair: Pair, known: Iterable[str]) -> tuple[Check, ...]:
    """TOML, JSON, INI, YAML and requirements parse: the ones that changed, and the manifests at the root. Lockfiles agree."""
    broken, looked = [], 0
    for name in sorted({*pair.changed, *known}):
        if (parser := _parser(name)) is None:
            continue
        looked += 1
        error = _parse(pair.head, name, parser)
        if error and not _parse(pair.base, name, parser):
            broken.append(f"{name}: {error}")
    before = set(_apart(pair.base))
    apart = [problem for problem in _apart(pair.head) if problem not in before]
    if not looked and not apart:
        return (Check("manifests", "neutral", "no manifest to parse"),)
    return (Check("manifests", "fail" if broken or apart else "pass", listed([*broken, *apart]) or f"{looked} files parse"),)


def _apart(root: Path) -> Iterator[str]:
    return disagreements(lambda name: read_text(root, name))


def _parser(name: str) -> Parser | None:
    last = name.rpartition("/")[2]
    if last.endswith(".toml") or last in ("uv.lock", "poetry.lock", "Cargo.lock"):
        return tomllib.loads
    if last.endswith(".json") and not JSON_WITH_COMMENTS.search(name):
        return json.loads
    if last in ("setup.cfg", "tox.ini", "pytest.ini", "mypy.ini", ".mypy.ini"):
        return configparser.RawConfigParser().read_string
    if last.endswith((".yml", ".yaml")):
        return lambda text: list(yaml.parse(text))
    if REQUIREMENTS.search(name):
        return _requirements
    return None


def _parse(root: Path, name: str, parser: Parser) -> str:
    """What is wrong with a file, empty when nothing is or it isn't there."""
    data = read_plain(root, name)
    if data is None:
        return ""
    try:
        parser(data.decode())
    except (ValueError, configparser.Error, yaml.YAMLError, RecursionError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__
    return ""


def _requirements(text: str) -> None:
    joined = re.sub(r"\\\n", " ", text)
    for line in joined.splitlines():
        plain = re.sub(r"(^|\s)#.*", "", line).strip()
        if plain and not REQUIREMENT.match(plain):
            raise ValueError(f"{plain[:60]!r} is no requirement")
