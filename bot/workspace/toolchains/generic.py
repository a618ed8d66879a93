"""Toolchains that are a table: Go, Rust, Java and make, each by its own tool with its own cache of packages, offline.

A language says which program it needs, which commands check it and how its tests report. Where a program is missing nothing is
verified, and the profile says so.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bot.core.reports import Commands, Language, Profile, Ran, Stage, TestCase, TestReport, TestRunner
from bot.workspace.sandbox import OUTPUT_BYTES, SAFE_PATH, Sandbox
from bot.workspace.tiers import TOOLS
from bot.workspace.toolchains import suite_reports
from bot.workspace.toolchains.checks import Pair, RunTool, commanded, neutral
from bot.workspace.toolchains.manifests import manifests
from bot.workspace.toolchains.reading import read_text
from bot.workspace.toolchains.toolchain import (
    TOOL_OUTPUT,
    MakeChecks,
    Place,
    Selected,
    Toolchain,
    configured,
    verdict,
    whole_suite,
)

Cases = tuple[TestCase, ...] | str
TARGET = re.compile(r"^(?P<names>[\w.-]+(?:[ \t]+[\w.-]+)*)[ \t]*::?(?!=)", re.MULTILINE)
MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
GRADLE_FILES = ("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts")


@dataclass(frozen=True, slots=True)
class Kind:
    """One language's tool. `checks` are stages by name; `environment` are assignments for `env`; `narrow` makes the command for
    files or ids, None where only the whole suite can run; `read` gives the cases of a run in a copy."""

    language: Language
    runner: TestRunner
    program: str
    checks: Mapping[str, str]
    tests: str
    read: Callable[[Path, Ran, str], Cases] | None
    reports: tuple[str, ...] = ()
    narrow: Callable[[tuple[str, ...]], str] | None = None


@dataclass(frozen=True, slots=True)
class GenericToolchain(Toolchain):
    """`missing` is why the program is not there, empty where it is."""

    kind: Kind | None
    prefix: str
    missing: str

    def _checks(self, pair: Pair, run: RunTool) -> Iterator[tuple[tuple[str, ...], MakeChecks]]:
        yield ("manifests",), partial(manifests, pair, self.profile.manifests)
        for name in ("syntax", "types", "lint", "imports"):
            command = self.kind.checks.get(name, "") if self.kind else ""
            if command and not self.missing and pair.changed:
                yield (name,), partial(commanded, name, self.prefix + command, pair, run)
            else:
                stage = self.profile.stage(name)
                why = "no file changed" if command and not self.missing else stage.reason if stage else "nothing checks it"
                yield (name,), partial(neutral, name, why)

    def _run_tests(self, box: Sandbox, folder: Path, selected: Selected, seconds: float) -> TestReport:
        if self.kind is None or self.missing:
            return TestReport("neutral", (), 0, f"not verified: {self._why_no_tests()}")
        narrowed = self.kind.narrow(selected.items) if self.kind.narrow and selected.items else ""
        argv = ("/bin/sh", "-c", self.prefix + (narrowed or self.kind.tests))
        suite_reports.forget(folder, self.kind.reports)
        # Without a report file the results are in the output, so that all of it is needed.
        size = TOOL_OUTPUT if self.kind.read and not self.kind.reports else OUTPUT_BYTES
        ran = self.place.run(box, folder, argv, seconds, output_bytes=size)
        if self.kind.read is None:
            return whole_suite(self.kind.tests, ran, argv)
        box.reclaim(folder)
        return verdict(ran, self.kind.read(folder, ran, self.place.at), argv)


def _go_packages(items: tuple[str, ...]) -> str:
    """`go test` of the packages that files or ids (`folder::Test`) are in."""
    folders = {item.partition("::")[0] if "::" in item else os.path.dirname(item) for item in items if not item.startswith("-")}
    named = " ".join(_quoted(f"./{folder}".rstrip("/.") or ".") for folder in sorted(folders))
    return f"go test -json {named}" if named else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


GRADLE = "gradle --offline --no-daemon -q"
KINDS: dict[str, Kind] = {
    "go": Kind("go", "go", "go", {"types": "go vet ./..."}, "go test -json ./...", suite_reports.go, narrow=_go_packages),
    "rust": Kind(
        "rust",
        "cargo",
        "cargo",
        {"types": "cargo check --offline --quiet --all-targets"},
        "cargo test --offline --no-fail-fast",
        suite_reports.cargo,
    ),
    "maven": Kind(
        "java",
        "maven",
        "mvn",
        {"types": "mvn -q -B -o test-compile"},
        "mvn -q -B -o test",
        suite_reports.junit_files,
        suite_reports.JUNIT_FOLDERS,
    ),
    "gradle": Kind(
        "java",
        "gradle",
        "gradle",
        {"types": f"{GRADLE} testClasses"},
        f"{GRADLE} test",
        suite_reports.junit_files,
        suite_reports.JUNIT_FOLDERS,
    ),
}
MARKERS = {"go": ("go.mod",), "rust": ("Cargo.toml",), "maven": ("pom.xml",), "gradle": GRADLE_FILES}
MANIFESTS = ("go.mod", "Cargo.toml", "Cargo.lock", "pom.xml", *GRADLE_FILES, *MAKEFILES)
ENDS = {"go": (".go",), "rust": (".rs",), "maven": (".java", ".kt"), "gradle": (".java", ".kt")}


def make_kind(root: Path, files: frozenset[str]) -> tuple[Kind | None, str]:
    """What the Makefile at the root offers: `test`, else `check`; `lint`."""
    name = next((each for each in MAKEFILES if each in files), "")
    targets = {word for found in TARGET.finditer(read_text(root, name)) for word in found["names"].split()} if name else set()
    target = next((each for each in ("test", "tests", "check") if each in targets), "")
    if not name:
        return None, "there is no Makefile"
    if not target:
        return None, f"{name} has no target test or check"
    lint = {"lint": "make lint"} if "lint" in targets else {}
    return Kind("make", "make", "make", lint, f"make {target}", None), f"{name} has the target {target}"


def generic_toolchain(
    kind: Kind | None, why: tuple[str, ...], files: frozenset[str], at: Path, commands: Commands, env: Mapping[str, str]
) -> GenericToolchain:
    """The toolchain of a kind; without one only manifests and what the configuration says are run."""
    known = tuple(name for name in MANIFESTS if name in files)
    stages: tuple[Stage, ...]
    if kind is None:
        stages = (Stage("manifests", "", "TOML, JSON and YAML parse"), Stage("tests", "", why[-1]))
        profile = configured(Profile("other", "", None, known, stages, why), commands)
        return GenericToolchain(profile, Place(str(at)), commands, None, "", why[-1])
    program = shutil.which(kind.program, path=f"{env.get('PATH', '')}:{TOOLS}") or ""
    place, prefix, missing = _surroundings(kind, program, str(at), env)
    checks = (
        Stage(name, "" if missing else command, missing or f"{kind.program} compares the change with the base by exit code")
        for name, command in kind.checks.items()
    )
    tests = Stage("tests", "" if missing else kind.tests, missing or why[-1])
    runtime = "" if missing else program
    stages = (Stage("manifests", "", "TOML, JSON and YAML parse"), *checks, tests)
    reasons = (*why, missing or f"{program}, because it is the first {kind.program} on PATH")
    profile = Profile(kind.language, runtime, None if missing else kind.runner, known, stages, reasons)
    return GenericToolchain(configured(profile, commands), place, commands, kind, prefix, missing)


def _surroundings(kind: Kind, program: str, at: str, env: Mapping[str, str]) -> tuple[Place, str, str]:
    """The place to run in, assignments to put before a command, and why the program cannot be used."""
    if not program:
        return Place(at), "", f"{kind.program} is not installed"
    home = Path(env.get("HOME", "/"))
    if kind.language == "go":
        root, cache = Path(program).resolve().parent.parent, Path(env.get("GOMODCACHE") or home / "go/pkg/mod")
        if not (root / "src/runtime").is_dir():
            return Place(at), "", f"{root} is not an installation of Go"
        settings = f"GOROOT={_quoted(str(root))} GOMODCACHE={_quoted(str(cache))} GOPROXY=off GOFLAGS=-mod=mod GOTOOLCHAIN=local "
        return Place(at, f"{root}/bin:{SAFE_PATH}", (root,), (cache,)), f"export {settings}; ", ""
    if kind.language == "rust":
        return _rust(program, at, env)
    if kind.runner == "maven":
        store = home / ".m2/repository"
        settings = f"export MAVEN_OPTS=-Dmaven.repo.local={_quoted(str(store))}; "
        return Place(at, readonly=_installation(program), overlay=(store,)), settings, ""
    if kind.runner == "gradle":
        store = Path(env.get("GRADLE_USER_HOME") or home / ".gradle")
        return (
            Place(at, readonly=_installation(program), overlay=(store / "caches",)),
            f"export GRADLE_USER_HOME={_quoted(str(store))}; ",
            "",
        )
    return Place(at), "", ""


def _rust(program: str, at: str, env: Mapping[str, str]) -> tuple[Place, str, str]:
    """Rustup's `cargo` picks a toolchain by files that the sandbox doesn't show, so its default is looked up here."""
    home = Path(env.get("HOME", "/"))
    cargo_home = Path(env.get("CARGO_HOME") or home / ".cargo")
    rustup = Path(env.get("RUSTUP_HOME") or home / ".rustup")
    root = Path(program).resolve().parent.parent
    if Path(program).resolve().name == "rustup":
        found = re.search(r'^default_toolchain\s*=\s*"([\w.-]+)"$', read_text(rustup, "settings.toml"), re.MULTILINE)
        if found is None:
            return Place(at), "", "rustup has no default toolchain: `rustup default stable` sets one"
        root = rustup / "toolchains" / found[1]
    if not (root / "bin/cargo").is_file() or not any((root / "lib").glob("librustc_driver-*")):
        return Place(at), "", f"{root} is not an installation of Rust"
    # Never the whole folder: it holds the credentials of a registry.
    caches = tuple(cargo_home / name for name in ("registry", "git") if (cargo_home / name).is_dir())
    settings = f"export CARGO_HOME={_quoted(str(cargo_home) if caches else '/tmp/home/.cargo')} CARGO_TERM_COLOR=never; "  # noqa: S108
    return Place(at, f"{root}/bin:{SAFE_PATH}", (root,), caches), settings, ""


def _installation(program: str) -> tuple[Path, ...]:
    """The folder of a program that isn't the system's."""
    root = Path(program).resolve().parent.parent
    return () if str(root).startswith("/usr") else (root,)
