"""What a Node tree says about itself, read from package.json, the lockfile and node_modules, never by running them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bot.workspace.toolchains.lockfiles import NODE_LOCKS, inner, node_manager, table
from bot.workspace.toolchains.modules import SOURCES
from bot.workspace.toolchains.reading import read_plain, read_text

MANIFESTS = ("package.json", *NODE_LOCKS, "pnpm-workspace.yaml", "lerna.json", "nx.json", "turbo.json")
INSTALLS = {
    "npm": "npm ci",
    "pnpm": "pnpm install --frozen-lockfile",
    "yarn": "yarn install --immutable",
    "bun": "bun install --frozen-lockfile",
    "": "npm install",
}
NO_TEST = 'echo "Error: no test specified"'
TEST_FILE = re.compile(r"(^|/)(test[^/]*|[^/]*[._-](test|spec))\.[cm]?[jt]sx?$|(^|/)(test|tests|__tests__)/.*\.[cm]?[jt]sx?$")
NODE_TEST = re.compile(r"""['"]node:test['"]""")
MAX_READ = 200
MAX_WORKSPACES = 100

NodeRunner = Literal["vitest", "jest", "node", "command"]
_BEFORE = r"(?P<env>(?:cross-env\s+)?(?:\w+=\S+\s+)*)(?:(?:npx|pnpm exec|pnpm|yarn run|yarn|bunx)\s+)?"
_CALLS: tuple[tuple[NodeRunner, re.Pattern[str]], ...] = (
    ("vitest", re.compile(rf"^{_BEFORE}vitest(?P<rest>(?:\s.*)?)$")),
    ("jest", re.compile(rf"^{_BEFORE}jest(?P<rest>(?:\s.*)?)$")),
    (
        "jest",
        re.compile(
            rf"^{_BEFORE}node(?P<node>(?:\s+--[\w-]+(?:=\S+)?)*)\s+(?:\./)?node_modules/(?:\.bin/jest|jest/bin/jest(?:\.js)?)"
            r"(?P<rest>(?:\s.*)?)$"
        ),
    ),
    ("node", re.compile(rf"^{_BEFORE}node(?P<rest>\s(?:.*\s)?--test(?:\s.*)?)$")),
)
_OTHER_SCRIPT = re.compile(r"^(?:npm|pnpm|yarn|bun)(?:\s+run)?\s+(?P<name>[\w:.-]+)$")
_SHELL = re.compile(r"[;|&<>()$`\n]")
_DROPPED = {
    "vitest": re.compile(r"^(run|watch|dev|--run|--watch\S*|--coverage\S*|--reporters?=\S+|--outputFile\S*|--ui)$"),
    "jest": re.compile(r"^(--watch\S*|--coverage\S*|--reporters=\S+|--json|--outputFile=\S+|--ci)$"),
    "node": re.compile(r"^(--test|--watch|--test-reporter(-destination)?=\S+|--experimental-test-coverage)$"),
}


@dataclass(frozen=True, slots=True)
class Suite:
    """How the tests are run. `before` is shell that has to succeed first, `env` stands before the runner, `node` are options
    of Node's own, `rest` what the repository's script gives the runner, options and files."""

    runner: NodeRunner
    why: str
    before: str = ""
    env: str = ""
    node: str = ""
    rest: str = ""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """`modules` is the checkout's node_modules, None where there is none that can be shown."""

    root: Path
    files: frozenset[str]
    package: Mapping[str, Any]
    manager: str
    manager_why: str
    modules: Path | None
    modules_why: str

    @classmethod
    def read(cls, root: Path, files: Sequence[str], checkout: Path) -> NodeFacts:
        package = table(read_text(root, "package.json"), json.loads)
        known = frozenset(files)
        manager, why = node_manager(package, known)
        modules = checkout / "node_modules"
        missing = "" if modules.is_dir() and not modules.is_symlink() else "there is no node_modules in the checkout"
        if modules.is_symlink():
            missing = "node_modules is a link, and links out of the checkout are not followed"
        if any(name.startswith("node_modules/") for name in known):
            missing = ""  # committed: it is in every copy
        return cls(root, known, package, manager, why, modules if not missing else None, missing)

    @property
    def install(self) -> str:
        lock = next((name for name in NODE_LOCKS if name in self.files and NODE_LOCKS[name] == self.manager), "")
        return INSTALLS[self.manager] if lock else INSTALLS[self.manager].split(" --")[0].replace(" ci", " install")

    @property
    def dependencies(self) -> dict[str, str]:
        kinds = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
        return {str(name): str(spec) for kind in kinds for name, spec in inner(self.package, kind).items()}

    @property
    def scripts(self) -> dict[str, str]:
        return {name: text for name, text in inner(self.package, "scripts").items() if isinstance(text, str)}

    @property
    def tests(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.files if TEST_FILE.search(name) and "node_modules/" not in name))

    def workspaces(self, checkout: Path) -> Iterator[Path]:
        """Every node_modules of the checkout that belongs to a package.json of the tree and is a real folder."""
        folders = sorted(name.rpartition("/")[0] for name in self.files if name.rpartition("/")[2] == "package.json")
        for folder in folders[:MAX_WORKSPACES]:
            path = checkout / folder / "node_modules"
            if path.is_dir() and path.resolve() == checkout.resolve() / folder / "node_modules":
                yield path

    def program(self, package: str, name: str = "") -> str:
        """The path of an installed package's program, relative to the tree; empty where it isn't installed."""
        if self.modules is None:
            return ""
        folder = (self.modules / package).resolve()
        if not folder.is_relative_to(self.modules.resolve()):
            return ""
        said = table(read_text(folder, "package.json"), json.loads).get("bin")
        path = said if isinstance(said, str) else said.get(name or package) if isinstance(said, dict) else None
        return f"node_modules/{package}/{path.removeprefix('./')}" if isinstance(path, str) and ".." not in path else ""

    def configured(self, *names: str, field: str = "") -> str:
        """The file that configures a tool, by the beginnings of its name, or the field of package.json; empty where none does."""
        found = sorted(name for name in self.files if "/" not in name and name.startswith(names))
        return found[0] if found else f"{field} in package.json" if field and field in self.package else ""


def suite(facts: NodeFacts) -> tuple[Suite | None, str]:
    """How the repository runs its tests: as its script says, else with the runner that it depends on, else with Node's own."""
    text = facts.scripts.get("test", "")
    if text and NO_TEST not in text:
        return _scripted(facts, "test", text), ""
    for name in ("vitest", "jest"):
        if name in facts.dependencies:
            runner: NodeRunner = "vitest" if name == "vitest" else "jest"
            return Suite(runner, f"{name}, because package.json depends on it and has no script named test"), ""
    for file in facts.tests[:MAX_READ]:
        if NODE_TEST.search(read_text(facts.root, file)):
            return Suite("node", f"node --test, because {file} imports node:test"), ""
    return None, "no test runner: package.json has no script named test and depends on neither vitest nor jest"


def _scripted(facts: NodeFacts, name: str, text: str, depth: int = 0) -> Suite:
    """The script as a call of a runner that is known, or as a command that gives no results by test."""
    *before, last = [part.strip() for part in text.split("&&")]
    before = [*([facts.scripts[f"pre{name}"]] if f"pre{name}" in facts.scripts else []), *before]
    why = f"because the script {name} in package.json is `{text}`"
    other = _OTHER_SCRIPT.fullmatch(last)
    if other and not before and depth < 3 and other["name"] in facts.scripts:
        return _scripted(facts, other["name"], facts.scripts[other["name"]], depth + 1)
    if not _SHELL.search(last):
        for runner, pattern in _CALLS:
            if found := pattern.fullmatch(last):
                part = found.groupdict()
                joined = " && ".join(before)
                return Suite(
                    runner, f"{runner}, {why}", joined, part["env"], (part.get("node") or "").strip(), part["rest"].strip()
                )
    whole = [*before, last, *([facts.scripts[f"post{name}"]] if f"post{name}" in facts.scripts else [])]
    return Suite("command", f"the repository's own script, {why}, which gives no results by test", rest=" && ".join(whole))


def arguments(suite: Suite, *, files: bool) -> str:
    """What the script gives its runner, without what stands in the way of a report; without its files unless `files`.

    The text stays as it is, so that the shell expands what it did before. A word behind an option that has no `=` may be its
    value and stays.
    """
    try:
        words = shlex.split(suite.rest, posix=False)
    except ValueError:
        return suite.rest
    kept: list[str] = []
    value = False
    for word in words:
        if _DROPPED[suite.runner].match(word):
            value = False
        elif word.startswith("-"):
            kept.append(word)
            value = "=" not in word
        elif files or value:
            kept.append(word)
            value = False
    return " ".join(kept)


def type_targets(facts: NodeFacts) -> tuple[str, ...]:
    """The tsconfig files to check: the one at the root, or those that it only refers to."""
    if "tsconfig.json" not in facts.files:
        return ()
    text = (read_plain(facts.root, "tsconfig.json") or b"").decode(errors="replace")
    plain = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
    if re.search(r'"files"\s*:\s*\[\s*\]', plain) and '"references"' in plain:
        paths = (path.removeprefix("./").rstrip("/") for path in re.findall(r'"path"\s*:\s*"([^"]+)"', plain))
        return tuple(path if path.endswith(".json") else f"{path}/tsconfig.json" for path in paths) or ("tsconfig.json",)
    return ("tsconfig.json",)


def sources(files: Sequence[str] | frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in files if name.endswith(SOURCES) and "node_modules/" not in name))
