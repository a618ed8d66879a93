"""Toolchains that are a table: Go, Rust, Java and make, each by its own tool with its own cache of packages, offline.

A language says which program it needs, which commands check it and how its tests report. Where a program is missing nothing is
verified, and the profile says so.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bot.core.error_classes import patterns
from bot.core.reports import Commands, Language, Profile, Ran, Stage, TestCase, TestReport, TestRunner
from bot.workspace.sandbox import OUTPUT_BYTES, SAFE_PATH, Sandbox
from bot.workspace.tiers import HOME, OUT, TOOLS
from bot.workspace.toolchains import suite_reports
from bot.workspace.toolchains.checks import Pair, RunTool, neutral
from bot.workspace.toolchains.commands import commanded
from bot.workspace.toolchains.manifests import manifests
from bot.workspace.toolchains.reading import read_text
from bot.workspace.toolchains.toolchain import (
    TOOL_OUTPUT,
    MakeChecks,
    Place,
    Selected,
    Toolchain,
    configured,
    out_folder,
    verdict,
)

WARM_SECONDS = 300.0
Cases = tuple[TestCase, ...] | str
TARGET = re.compile(r"^(?P<names>[\w.-]+(?:[ \t]+[\w.-]+)*)[ \t]*::?(?!=)", re.MULTILINE)
MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
GRADLE_FILES = ("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts")


@dataclass(frozen=True, slots=True)
class Kind:
    """One language's tool.

    `checks` are stages by name. The cases of a run are in the JUnit files of `reports`, or `read` finds them in its output;
    without either the suite is one test. `narrow` makes the command for files or ids, None where only the whole suite can run.
    `warm` fills a cache at /out with what is the tool's own.
    """

    language: Language
    runner: TestRunner
    program: str
    checks: Mapping[str, str]
    tests: str
    warm: str = ""
    read: Callable[[Path, Ran, str], Cases] | None = None
    reports: tuple[str, ...] = ()
    narrow: Callable[[tuple[str, ...]], str] | None = None


@dataclass(frozen=True, slots=True)
class GenericToolchain(Toolchain):
    """`missing` is why the program is not there, empty where it is. `cache` is a folder of the session for what `kind.warm`
    makes, which every run begins with and none changes."""

    kind: Kind | None
    missing: str
    cache: Path

    def _checks(self, pair: Pair, run: RunTool) -> Iterator[tuple[tuple[str, ...], MakeChecks]]:
        yield ("manifests",), partial(manifests, pair, self.profile.manifests)
        for name in ("syntax", "types", "lint", "imports"):
            command = self.kind.checks.get(name, "") if self.kind else ""
            if command and not self.missing and pair.changed:
                yield (name,), partial(commanded, name, command, pair, run, patterns(self.commands.errors))
            else:
                why = "no file changed" if command and not self.missing else self._why_not(name)
                yield (name,), partial(neutral, name, why)

    def _run_tests(self, box: Sandbox, folder: Path, selected: Selected, seconds: float) -> TestReport:
        if self.kind is None or self.missing:
            return TestReport("neutral", (), 0, f"not verified: {self._why_not('tests')}")
        if self.kind.read is None and not self.kind.reports:
            return self._by_command(box, folder, self.kind.tests, self.kind.tests, seconds)
        self._warm(box, self.kind, folder)
        narrowed = self.kind.narrow(selected.items) if self.kind.narrow and selected.items else ""
        argv = ("/bin/sh", "-c", narrowed or self.kind.tests)
        suite_reports.forget(folder, self.kind.reports)
        # Without a report file the results are in the output, so that all of it is needed.
        size = OUTPUT_BYTES if self.kind.reports else TOOL_OUTPUT
        ran = self.place.run(box, folder, argv, seconds, output_bytes=size)
        box.reclaim(folder)
        read = self.kind.read
        return verdict(
            ran, read(folder, ran, self.place.at) if read else suite_reports.junit_files(folder, self.kind.reports), argv
        )

    def _warm(self, box: Sandbox, kind: Kind, folder: Path) -> None:
        """Fill the cache once for a session, with what a copy needs and is not the copy's own."""
        if not kind.warm or any(self.cache.iterdir()):
            return
        with out_folder(box) as made:
            self.place.run(box, folder, ("/bin/sh", "-c", kind.warm), WARM_SECONDS, out=made)
            box.reclaim(made)
            for part in (path for path in made.iterdir() if path.is_dir()):
                part.chmod(0o777)  # a run may write here, and what it wrote goes with it
            with suppress(OSError):  # another thread was quicker
                made.rename(self.cache)


def _go_packages(items: tuple[str, ...]) -> str:
    """`go test` of the packages that files or ids (`folder::Test`) are in."""
    folders = {item.partition("::")[0] if "::" in item else os.path.dirname(item) for item in items if not item.startswith("-")}
    named = " ".join(_quoted(f"./{folder}".rstrip("/.") or ".") for folder in sorted(folders))
    return f"go test -json {named}" if named else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


GRADLE = "gradle --offline --no-daemon -q"
KINDS: dict[str, Kind] = {
    "go": Kind(
        "go",
        "go",
        "go",
        {"types": "go vet ./..."},
        "go test -json ./...",
        f"export GOCACHE={OUT}; go build $(go list -deps -test -f '{{{{if .Standard}}}}{{{{.ImportPath}}}}{{{{end}}}}' ./...)",
        suite_reports.go,
        narrow=_go_packages,
    ),
    "rust": Kind(
        "rust",
        "cargo",
        "cargo",
        {"types": "cargo check --offline --quiet --all-targets"},
        "cargo test --offline --no-fail-fast",
        read=suite_reports.cargo,
    ),
    "maven": Kind(
        "java",
        "maven",
        "mvn",
        {"types": "mvn -q -B -o test-compile"},
        "mvn -q -B -o test",
        reports=suite_reports.JUNIT,
    ),
    "gradle": Kind(
        "java",
        "gradle",
        "gradle",
        {"types": f"{GRADLE} testClasses"},
        f"{GRADLE} test",
        reports=suite_reports.JUNIT,
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
    return Kind("make", "make", "make", lint, f"make {target}"), f"{name} has the target {target}"


def generic_toolchain(
    kind: Kind | None,
    why: tuple[str, ...],
    files: frozenset[str],
    at: Path,
    commands: Commands,
    env: Mapping[str, str],
    cache: Path,
) -> GenericToolchain:
    """The toolchain of a kind, with a folder for its cache; without a kind only manifests and what the configuration says run."""
    known = tuple(name for name in MANIFESTS if name in files)
    stages: tuple[Stage, ...]
    if kind is None:
        stages = (Stage("manifests", "", "TOML, JSON and YAML parse"), Stage("tests", "", why[0]))
        profile = configured(Profile("other", "", None, known, stages, languages=why), commands)
        return GenericToolchain(profile, Place(str(at)), commands, None, why[0], cache)
    program = shutil.which(kind.program, path=f"{env.get('PATH', '')}:{TOOLS}") or ""
    place, missing = _surroundings(kind, program, str(at), env, cache)
    checks = (
        Stage(name, "" if missing else command, missing or f"{kind.program} compares the change with the base by exit code")
        for name, command in kind.checks.items()
    )
    tests = Stage("tests", "" if missing else kind.tests, missing or why[0])
    runtime = "" if missing else program
    stages = (Stage("manifests", "", "TOML, JSON and YAML parse"), *checks, tests)
    reasons = (missing or f"{program}, because it is the first {kind.program} on PATH",)
    profile = Profile(kind.language, runtime, None if missing else kind.runner, known, stages, reasons, why)
    return GenericToolchain(configured(profile, commands), place, commands, kind, missing, cache)


def _surroundings(kind: Kind, program: str, at: str, env: Mapping[str, str], cache: Path) -> tuple[Place, str]:
    """The place to run in, and why the program cannot be used."""
    if not program:
        return Place(at), f"{kind.program} is not installed"
    home = Path(env.get("HOME", "/"))
    if kind.language == "go":
        return _go(program, at, Path(env.get("GOMODCACHE") or home / "go/pkg/mod"), cache)
    if kind.language == "rust":
        return _rust(program, at, env)
    if kind.runner == "maven":
        store = home / ".m2/repository"
        options = {"MAVEN_OPTS": f"-Dmaven.repo.local={store}"}
        return Place(at, readonly=_installation(program), overlay=(store,), assigned=options), ""
    if kind.runner == "gradle":
        store = Path(env.get("GRADLE_USER_HOME") or home / ".gradle")
        options = {"GRADLE_USER_HOME": str(store)}
        return Place(at, readonly=_installation(program), overlay=(store / "caches",), assigned=options), ""
    return Place(at), ""


def _go(program: str, at: str, modules: Path, cache: Path) -> tuple[Place, str]:
    root = Path(program).resolve().parent.parent
    if not (root / "src/runtime").is_dir():
        return Place(at), f"{root} is not an installation of Go"
    options = {"GOROOT": root, "GOMODCACHE": modules, "GOCACHE": cache, "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    cache.mkdir(parents=True, exist_ok=True)
    assigned = {name: str(value) for name, value in options.items()}
    return Place(at, f"{root}/bin:{SAFE_PATH}", (root,), (modules, cache), assigned=assigned), ""


def _rust(program: str, at: str, env: Mapping[str, str]) -> tuple[Place, str]:
    """Rustup's `cargo` picks a toolchain by files that the sandbox doesn't show, so its default is looked up here."""
    home = Path(env.get("HOME", "/"))
    cargo_home = Path(env.get("CARGO_HOME") or home / ".cargo")
    rustup = Path(env.get("RUSTUP_HOME") or home / ".rustup")
    root = Path(program).resolve().parent.parent
    if Path(program).resolve().name == "rustup":
        found = re.search(r'^default_toolchain\s*=\s*"([\w.-]+)"$', read_text(rustup, "settings.toml"), re.MULTILINE)
        if found is None:
            return Place(at), "rustup has no default toolchain: `rustup default stable` sets one"
        root = rustup / "toolchains" / found[1]
    if not (root / "bin/cargo").is_file() or not any((root / "lib").glob("librustc_driver-*")):
        return Place(at), f"{root} is not an installation of Rust"
    # Never the whole folder: it holds the credentials of a registry.
    caches = tuple(cargo_home / name for name in ("registry", "git") if (cargo_home / name).is_dir())
    assigned = {"CARGO_HOME": str(cargo_home) if caches else f"{HOME}/.cargo", "CARGO_TERM_COLOR": "never"}
    return Place(at, f"{root}/bin:{SAFE_PATH}", (root,), caches, assigned=assigned), ""


def _installation(program: str) -> tuple[Path, ...]:
    """The folder of a program that isn't the system's."""
    root = Path(program).resolve().parent.parent
    return () if str(root).startswith("/usr") else (root,)
