"""What a Python tree says about itself, read from its files and never by running them."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bot.workspace.toolchains.reading import read_text

MANIFESTS = (
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
    "tox.ini",
    "pytest.ini",
    "package.json",
    "mypy.ini",
    ".mypy.ini",
    "ruff.toml",
    ".ruff.toml",
    "requirements.txt",
    "Pipfile",
    "uv.lock",
    "poetry.lock",
)
PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
TEST_FILE = re.compile(r"(^|/)(test_[^/]*|[^/]*_test|tests?)\.py$")
PLAIN_TEST = re.compile(r"^(async )?def test|^\s*(import|from) pytest|^@pytest", re.MULTILINE)
UNITTEST = re.compile(r"unittest|TestCase")
PythonRunner = Literal["pytest", "unittest"]
MAX_ROOTS = 20
MAX_READ = 200


@dataclass(frozen=True, slots=True)
class Facts:
    """Configuration files as tables; what doesn't parse counts as empty here (the manifests check reports it)."""

    root: Path
    files: tuple[str, ...]
    pyproject: Mapping[str, Any]
    ini: Mapping[str, configparser.RawConfigParser]

    @classmethod
    def read(cls, root: Path, files: Sequence[str]) -> Facts:
        known = frozenset(files)
        names = ("setup.cfg", "tox.ini", "pytest.ini", "mypy.ini", ".mypy.ini")
        ini = {name: _ini(read_text(root, name)) for name in names if name in known}
        pyproject = _toml(read_text(root, "pyproject.toml")) if "pyproject.toml" in known else {}
        return cls(root, tuple(files), pyproject, ini)

    def tool(self, *names: str) -> Mapping[str, Any]:
        """The table [tool.a.b] of pyproject.toml, empty if it isn't there."""
        here: Any = self.pyproject.get("tool", {})
        for name in names:
            here = here.get(name, {}) if isinstance(here, dict) else {}
        return here if isinstance(here, dict) else {}

    def has_tool(self, name: str) -> bool:
        """True if pyproject.toml holds [tool.name] or a table below it, an empty one too."""
        tools = self.pyproject.get("tool", {})
        return isinstance(tools, dict) and name in tools

    def has_python(self, folder: str) -> bool:
        return any(name.startswith(f"{folder}/") and name.endswith(".py") for name in self.files)

    def section(self, file: str, name: str) -> bool:
        return file in self.ini and self.ini[file].has_section(name)


def source_roots(facts: Facts) -> tuple[str, ...]:
    """Folders to put on the path, the most specific first: src layouts, declared ones, then the root itself."""
    projects = sorted({name.rpartition("/")[0] for name in facts.files if name.rpartition("/")[2] in PROJECT_FILES} | {""})
    found: list[str] = []
    for project in projects[:MAX_ROOTS]:
        src = f"{project}/src" if project else "src"
        found += [folder for folder in (src, project) if folder and facts.has_python(folder)]
    return (*dict.fromkeys([*found, *_declared_roots(facts)]), ".")


def _declared_roots(facts: Facts) -> list[str]:
    where = facts.tool("setuptools", "packages", "find").get("where", [])
    mapped = facts.tool("setuptools", "package-dir").get("", "")
    named = [*(where if isinstance(where, list) else []), mapped]
    return [name.strip("./") for name in named if isinstance(name, str) and name.strip("./") and ".." not in name]


def test_files(facts: Facts) -> tuple[str, ...]:
    return tuple(name for name in facts.files if TEST_FILE.search(name))


def test_runner(facts: Facts) -> tuple[PythonRunner | None, str]:
    """Which runner the tests are written for, and why."""
    configured = (
        ("pytest.ini" in facts.ini, "pytest.ini"),
        (facts.has_tool("pytest"), "[tool.pytest] in pyproject.toml"),
        (facts.section("setup.cfg", "tool:pytest"), "[tool:pytest] in setup.cfg"),
        (facts.section("tox.ini", "pytest"), "[pytest] in tox.ini"),
    )
    for there, name in configured:
        if there:
            return "pytest", f"pytest, because there is {name}"
    if conftest := next((name for name in facts.files if name.rpartition("/")[2] == "conftest.py"), None):
        return "pytest", f"pytest, because there is {conftest}"
    tests = test_files(facts)
    if not tests:
        return None, "no test runner, because there are no test files"
    texts = {name: read_text(facts.root, name) for name in tests[:MAX_READ]}
    for name, text in texts.items():
        if PLAIN_TEST.search(text):
            return "pytest", f"pytest, because {name} is written for it"
    for name, text in texts.items():
        if UNITTEST.search(text):
            return "unittest", f"unittest, because {name} uses it and nothing names pytest"
    return "pytest", f"pytest, because of the name of {tests[0]}"


def test_paths(facts: Facts) -> tuple[tuple[str, ...], str]:
    """Where the configuration says the tests are, else the folders that hold test files, and why."""
    said = facts.tool("pytest", "ini_options").get("testpaths") or facts.tool("pytest").get("testpaths")
    if said is None:
        for file, section in (("pytest.ini", "pytest"), ("setup.cfg", "tool:pytest"), ("tox.ini", "pytest")):
            if facts.section(file, section):
                said = facts.ini[file].get(section, "testpaths", fallback=None)
    words = said.split() if isinstance(said, str) else [str(word) for word in said] if isinstance(said, list) else []
    if words:
        return tuple(words), f"tests in {', '.join(words)}, because the configuration says so"
    tops = sorted({name.split("/")[0] if "/" in name else "." for name in test_files(facts)})
    return tuple(tops), f"tests in {', '.join(tops)}, because test files are there" if tops else "no test files"


def lint(facts: Facts) -> tuple[bool, str]:
    """True if the repository configures ruff; without it only what is certainly an error is looked for."""
    for name in facts.files:
        if name.rpartition("/")[2] in ("ruff.toml", ".ruff.toml"):
            return True, f"ruff as {name} configures it"
    if facts.has_tool("ruff"):
        return True, "ruff as pyproject.toml configures it"
    return False, "no ruff configuration, so only E9, F63, F7 and F82 (syntax and undefined names) count"


def types(facts: Facts) -> tuple[bool, str]:
    """True if the repository configures mypy."""
    places = (
        (facts.section("mypy.ini", "mypy"), "mypy.ini"),
        (facts.section(".mypy.ini", "mypy"), ".mypy.ini"),
        (facts.has_tool("mypy"), "pyproject.toml"),
        (facts.section("setup.cfg", "mypy"), "setup.cfg"),
    )
    for there, name in places:
        if there:
            return True, f"mypy as {name} configures it"
    return False, "the repository does not configure mypy"


def pyright(facts: Facts) -> tuple[bool, str]:
    """True if the repository configures pyright."""
    if "pyrightconfig.json" in facts.files:
        return True, "pyright as pyrightconfig.json configures it"
    return facts.has_tool("pyright") or facts.has_tool("basedpyright"), "pyright as pyproject.toml configures it"


def install(facts: Facts) -> str:
    """The command that would make the repository's environment."""
    for lock, command in (("uv.lock", "uv sync"), ("poetry.lock", "poetry install"), ("pdm.lock", "pdm install")):
        if lock in facts.files:
            return command
    venv = "python3 -m venv .venv && .venv/bin/pip install"
    if any(name in facts.files for name in PROJECT_FILES):
        return f"{venv} -e ."
    return f"{venv} -r requirements.txt" if "requirements.txt" in facts.files else ""


def types_named(facts: Facts) -> bool:
    """True if the mypy configuration says what to check, so that it is called without file names."""
    keys = ("files", "packages", "modules")
    ini = (facts.ini[file].has_option("mypy", key) for file in facts.ini for key in keys if facts.section(file, "mypy"))
    return any(key in facts.tool("mypy") for key in keys) or any(ini)


def requires_python(facts: Facts) -> tuple[int, int] | None:
    """The lowest Python that the project says it runs on."""
    project = facts.pyproject.get("project", {})
    said = project.get("requires-python", "") if isinstance(project, dict) else ""
    lowest = re.search(r">=\s*(\d+)\.(\d+)", said) if isinstance(said, str) else None
    return (int(lowest[1]), int(lowest[2])) if lowest else None


def _toml(text: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _ini(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return configparser.RawConfigParser()
    return parser
