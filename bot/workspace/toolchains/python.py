"""The Python toolchain: which interpreter runs the tree, its checks, and its tests with pytest or unittest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from bot.core.reports import Commands, Profile, Ran, Stage, TestCase, TestReport
from bot.workspace.sandbox import Sandbox, own_interpreter
from bot.workspace.tiers import OUT
from bot.workspace.toolchains import inside, interpreters, junit, profile, python_checks, recorder
from bot.workspace.toolchains.checks import Mender, Pair, RunTool, neutral
from bot.workspace.toolchains.interpreters import Interpreter, Wanted
from bot.workspace.toolchains.manifests import manifests
from bot.workspace.toolchains.reading import read_plain
from bot.workspace.toolchains.toolchain import (
    TEST_SECONDS,
    MakeChecks,
    Place,
    Selected,
    Toolchain,
    configured,
    out_folder,
    report,
    verdict,
)

PYTEST_NO_TESTS = 5
SLOWER = 1.5
"""How much longer the recorder may make a suite take."""
NOTES_BYTES = 256 * 1024 * 1024
EXITS = {
    "pytest": {
        2: "collecting the tests failed",
        3: "pytest broke",
        4: "pytest was called wrongly or its configuration is broken",
    },
    "unittest": {2: "a test file cannot be imported"},
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of the machine is looked at: the configured interpreter, some variables, and the runtime known from before."""

    setting: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    known: str = ""


@dataclass(frozen=True, slots=True)
class PythonToolchain(Toolchain):
    """`typed` is the type checker that runs, empty where none does; `typed_named` says its configuration names files."""

    interpreter: Interpreter
    test_paths: tuple[str, ...]
    source_roots: tuple[str, ...]
    linted: bool
    typed: str
    typed_named: bool

    def _checks(self, pair: Pair, run: RunTool) -> Iterator[tuple[tuple[str, ...], MakeChecks]]:
        python = str(self.interpreter.python)
        yield ("manifests",), partial(manifests, pair, self.profile.manifests)
        yield (
            ("syntax", "imports"),
            partial(python_checks.syntax_and_imports, pair, run, python, inside.INSPECT, self.source_roots),
        )
        yield ("lint",), partial(python_checks.lint, pair, run, self.linted)
        if self.typed:
            yield ("types",), partial(python_checks.types, pair, run, python, self.typed, self.typed_named)
        else:
            yield ("types",), partial(neutral, "types", self._why_not("types"))

    def menders(self) -> Mapping[str, Mender]:
        return {"lint": python_checks.mender(self.linted)}

    def _run_tests(self, box: Sandbox, folder: Path, selected: Selected, seconds: float) -> TestReport:
        items = tuple(item for item in selected.items if not item.startswith("-"))
        if not selected.coverage or self.profile.test_runner != "pytest":
            return self._with(box, folder, lambda _: self._test_command(items), seconds)[0]
        return self._with(box, folder, lambda out: self._test_command(recorder.only(out, OUT, items)), seconds)[0]

    def record(
        self, box: Sandbox, folder: Path, *, selection: tuple[str, ...] = (), seconds: float = TEST_SECONDS
    ) -> tuple[TestReport, bytes | None] | None:
        if self.commands.tests or self.profile.test_runner != "pytest":
            return None
        chosen = tuple(item for item in selection if not item.startswith("-"))
        return self._with(
            box, folder, lambda out: self._test_command((*recorder.recording(out, OUT, seconds), *chosen)), seconds * SLOWER
        )

    def environment(self) -> str:
        """The interpreter, what is installed for it, and how the sandbox shows it."""
        return repr(
            (self.place, self.commands, self.profile.test_runner, self.test_paths, interpreters.installed(self.interpreter))
        )

    def _with(
        self, box: Sandbox, folder: Path, command: Callable[[Path], tuple[str, ...]], seconds: float
    ) -> tuple[TestReport, bytes | None]:
        """Run the tests by the command made for /out, and give the recorder's notes where there are any."""
        with out_folder(box) as out:
            argv = command(out)
            path = self.place.env["PYTHONPATH"]
            ran = replace(self.place, env={"PYTHONPATH": f"{path}:{OUT}"}).run(box, folder, argv, seconds, out=out)
            cases, notes = junit.read(out), read_plain(out, recorder.NOTES, NOTES_BYTES)
        return self._judged(ran, cases, argv), notes

    def _judged(self, ran: Ran, cases: tuple[TestCase, ...] | str, argv: tuple[str, ...]) -> TestReport:
        runner = str(self.profile.test_runner)
        words = tuple("(Ostler's unittest runner)" if word == inside.UNITTEST else word for word in argv)
        if ran.ended and ran.exit == PYTEST_NO_TESTS:
            return report(ran, "neutral", "not verified: no tests ran", (), words)
        if ran.ended and ran.exit not in (0, 1, *EXITS[runner]):
            return report(ran, "error", f"{runner} ended in an unknown way (exit {ran.exit})", (), words)
        return verdict(ran, cases, words, EXITS[runner])

    def _test_command(self, chosen: tuple[str, ...]) -> tuple[str, ...]:
        python = str(self.interpreter.python)
        if self.profile.test_runner == "unittest":
            return (python, "-c", inside.UNITTEST, f"{OUT}/junit.xml", *(chosen or self.test_paths))
        options = ("-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={OUT}/junit.xml")
        return (python, "-m", "pytest", *options, *chosen)


def python_toolchain(
    box: Sandbox, facts: profile.Facts, at: Path, commands: Commands, why: tuple[str, ...], around: Surroundings
) -> PythonToolchain:
    """Choose how to check a Python tree that is the checkout's at `at`. Raises SetupError: no interpreter can run the tests."""
    runner, runner_why = profile.test_runner(facts)
    runner = None if commands.tests else runner
    wanted = Wanted(("pytest",) if runner == "pytest" else (), profile.requires_python(facts))
    chosen, said = interpreters.choose(
        box,
        at,
        wanted,
        setting=around.setting,
        virtual_env=around.env.get("VIRTUAL_ENV", ""),
        path=around.env.get("PATH", ""),
        known=around.known,
    )
    test_paths, paths_why = profile.test_paths(facts)
    roots = profile.source_roots(facts)
    linted, lint_why = profile.lint(facts)
    typed, types_why = _type_checker(box, chosen, facts)
    tests = {"pytest": f"{chosen.python} -m pytest", "unittest": f"{chosen.python} -m unittest", None: ""}
    stages = (
        Stage(
            "manifests",
            "",
            "TOML, JSON, YAML, INI and requirements parse; uv.lock and poetry.lock hold what pyproject.toml names",
        ),
        Stage("syntax", f"{chosen.python} (compile)", "changed files compile"),
        Stage("types", f"{chosen.python} -m {typed}" if typed else "", types_why),
        Stage("lint", "ruff check", lint_why),
        Stage("imports", f"{chosen.python} (find_spec)", "what changed files import is there"),
        Stage("tests", tests[runner], f"{runner_why}; {paths_why}" if runner else runner_why),
    )
    install = commands.install or profile.install(facts)
    missing = chosen.python.parent.parent.parent != at and install
    reasons = (*said, *((f"no environment in the checkout: `{install}` would make one",) if missing else ()))
    known = tuple(name for name in profile.MANIFESTS if name in facts.files)
    found = configured(Profile("python", str(chosen.python), runner, known, stages, reasons, why, ("lint",)), commands)
    place = Place(
        str(at),
        chosen.path,
        (*chosen.readonly, *own_interpreter()),
        env={"PYTHONPATH": ":".join(str(at) if root == "." else f"{at}/{root}" for root in roots)},
    )
    return PythonToolchain(
        found, place, commands, chosen, test_paths, roots, linted, typed, typed == "mypy" and profile.types_named(facts)
    )


def _type_checker(box: Sandbox, chosen: Interpreter, facts: profile.Facts) -> tuple[str, str]:
    """The type checker that the repository configures and its environment has, and why."""
    mypy, mypy_why = profile.types(facts)
    pyright, pyright_why = profile.pyright(facts)
    candidates = (["mypy"] if mypy else []) + (["basedpyright", "pyright"] if pyright else [])
    for name in candidates:
        if interpreters.has_module(box, chosen, name):
            return name, mypy_why if name == "mypy" else f"{pyright_why}, by {name}"
    if candidates:
        return "", f"{mypy_why if mypy else pyright_why}, but {chosen.python} has no {' or '.join(candidates)}"
    return "", "the repository configures neither mypy nor pyright"
