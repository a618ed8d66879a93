"""The world a session lives in: a real repository, the real command in a process of its own, and models that play a script.

    world = World.of(tmp_path, SMALL)
    with serve(happy()) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert said.code == 0
    assert said.result["run_state"] == "DONE_SUCCESS"

Nothing is patched: git, sandbox, tests, HTTP, journal and budget are real. Only what the models answer is written here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.demo import vendors as stand_in
from bot.demo.vendors import Vendors, serve
from bot.store.journal import Record, read_records

__all__ = ["Vendors", "serve"]

HERE = Path(stand_in.__file__).parent
EXAMPLE, EXAMPLE_ISSUE, EXAMPLE_SCRIPT = HERE / "example", HERE / "issue.md", HERE / "script.json"
BOTH = ("anthropic", "openai")
SECONDS = 240.0
UNPLUGGED = os.environ.get("UNPLUGGED_TREE", "")
"""A copy of the code with one feature taken out, where `tests/house/test_unplugged.py` runs a test of this folder again."""

Rule = dict[str, Any]
Json = dict[str, Any]

# --- a repository with a bug ------------------------------------------------------------------------------------------

CODE = '''"""Sums."""


def add(left: int, right: int) -> int:
    """The sum."""
    return left - right
'''
TESTS = """from calc import add


def test_nothing_is_added() -> None:
    assert add(2, 0) == 2
"""
SMALL: Mapping[str, str] = {
    "calc.py": CODE,
    "tests/test_calc.py": TESTS,
    "pyproject.toml": '[project]\nname = "calc"\nversion = "0.1.0"\n\n[tool.pytest.ini_options]\ntestpaths = ["tests"]\n'
    # Plugins of the environment that these tests run in take five times as long to load as pytest itself.
    'addopts = "-p no:hypothesispytest -p no:xdist -p no:xdist.looponfail -p no:anyio -p no:respx"\n',
}
ISSUE = "add() returns the difference: add(2, 3) should be 5 and is -1"

# --- processes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """What a command left: exit code, both outputs."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> Json:
        """The JSON object on the last line of standard output."""
        lines = self.out.splitlines()
        assert lines, f"nothing on standard output, exit code {self.code}: {self.err}"
        value = json.loads(lines[-1])
        assert isinstance(value, dict), self.out
        return value


def ostler(*args: str) -> list[str]:
    """The command line with these words."""
    if UNPLUGGED:
        start = f"import sys; sys.path.insert(0, {UNPLUGGED!r}); from bot.cli.main import main; main()"
        return [sys.executable, "-I", "-c", start, *args]
    return [sys.executable, "-I", "-m", "bot", *args]


def environment(state: Path, vendors: Vendors | None, keys: Iterable[str], more: Mapping[str, str]) -> dict[str, str]:
    """Of the caller's environment only what a process needs to start; keys and addresses of the stand-in where there is one."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "UNPLUGGED_TREE") if name in os.environ}
    made = {**kept, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "OSTLER_STATE_DIR": str(state)}
    if vendors:
        made |= {f"OSTLER_{vendor.upper()}_API_KEY": f"scripted-{vendor}" for vendor in keys}
        made |= {"OSTLER_ANTHROPIC_BASE_URL": vendors.anthropic_url, "OSTLER_OPENAI_BASE_URL": vendors.openai_url}
    return {**made, **more}


def git(folder: Path, *args: str, check: bool = True) -> str:
    """What the user's own git says in `folder`."""
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.invalid", "-c", "commit.gpgsign=false")
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *identity, "-C", str(folder), *args], env=env, capture_output=True, check=False, timeout=60)
    assert not check or done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8", "replace").strip()


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


@dataclass(frozen=True, slots=True)
class World:
    """A checkout and a state folder. `env` joins the environment of every command."""

    repository: Path
    state: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        folder: Path,
        files: Mapping[str, str | bytes] = SMALL,
        /,
        *,
        message: str = "Sums",
        **env: str,
    ) -> World:
        """A new repository that holds `files` in one commit."""
        world = cls(folder / "repository", folder / "state", env)
        world.repository.mkdir(parents=True)
        git(world.repository, "init", "--quiet", "--initial-branch=main")
        world.commit(files, message)
        return world

    @classmethod
    def example(cls, folder: Path) -> World:
        """The demo's example repository."""
        source = folder / "source"
        shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
        files = {p.relative_to(source).as_posix(): p.read_bytes() for p in source.rglob("*") if p.is_file()}
        return cls.of(folder, files)

    def commit(self, files: Mapping[str, str | bytes], message: str = "More") -> str:
        """Commit `files` as the user would; the new commit's id."""
        write(self.repository, files)
        git(self.repository, "add", "--all", "--force")
        git(self.repository, "commit", "--quiet", "--allow-empty", "--no-verify", f"--message={message}")
        return self.git("rev-parse", "HEAD")

    def configured(self, text: str) -> World:
        """The same world with `text` as its `.github/ostler.yml`."""
        self.commit({".github/ostler.yml": text}, "Configure Ostler")
        return self

    def git(self, *args: str) -> str:
        return git(self.repository, *args)

    def command(self, *args: str) -> list[str]:
        return ostler(*args)

    def environ(
        self, vendors: Vendors | None = None, keys: Iterable[str] = BOTH, env: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        return environment(self.state, vendors, keys, {**self.env, **(env or {})})

    def ostler(
        self,
        *args: str,
        vendors: Vendors | None = None,
        keys: Iterable[str] = BOTH,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Said:
        """Run `ostler ARGS` as a user would, from the folder above the checkout."""
        return self.process(self.command(*args), vendors=vendors, keys=keys, stdin=stdin, env=env)

    def process(
        self,
        command: Sequence[str],
        *,
        vendors: Vendors | None = None,
        keys: Iterable[str] = BOTH,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Said:
        """Run any command in this world's environment, to its end."""
        done = subprocess.run(
            command,
            env=self.environ(vendors, keys, env),
            cwd=self.repository.parent,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=SECONDS,
        )
        return Said(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def run(
        self,
        issue: str,
        *args: str,
        vendors: Vendors | None = None,
        keys: Iterable[str] = BOTH,
        env: Mapping[str, str] | None = None,
    ) -> Said:
        """`ostler run . --issue ISSUE --json ARGS`."""
        return self.ostler("run", str(self.repository), "--issue", issue, "--json", *args, vendors=vendors, keys=keys, env=env)

    def resume(
        self,
        session: str,
        *args: str,
        vendors: Vendors | None = None,
        keys: Iterable[str] = BOTH,
        env: Mapping[str, str] | None = None,
    ) -> Said:
        """`ostler resume SESSION --json ARGS`."""
        return self.ostler("resume", session, "--json", *args, vendors=vendors, keys=keys, env=env)

    def folders(self) -> list[Path]:
        """The session folders, oldest first."""
        root = self.state / "sessions"
        return sorted(root.iterdir()) if root.is_dir() else []

    def folder(self, said: Said | None = None) -> Path:
        """The folder of the session that `said` names, or the only one."""
        if said is not None:
            return self.state / "sessions" / str(said.result["session"])
        (only,) = self.folders()
        return only

    def records(self, said: Said | None = None) -> list[Record]:
        return read_records(self.folder(said) / "journal.jsonl")

    def untouched(self) -> str:
        """Everything about the checkout that a run must leave alone, as one text to compare: HEAD, index, files, main."""
        head = (self.git("symbolic-ref", "-q", "HEAD"), self.git("rev-parse", "HEAD"), self.git("ls-files", "--stage"))
        files = {
            path.relative_to(self.repository).as_posix(): path.read_bytes()
            for path in sorted(self.repository.rglob("*"))
            if path.is_file() and ".git" not in path.relative_to(self.repository).parts
        }
        config = (self.repository / ".git" / "config").read_text("utf-8")
        return repr((head, files, config, self.git("status", "--porcelain")))

    def branches(self) -> list[str]:
        return self.git("for-each-ref", "--format=%(refname:short)", "refs/heads").split()


# --- scripts: small pieces that add up to a list of rules -------------------------------------------------------------


def rule(*contains: str, vendor: str | None = None, turn: int | None = None, repeat: bool = False, times: int | None = None,
         **reply: Any) -> Rule:  # fmt: skip
    """One rule of a script; see `bot.demo.playbook.read`."""
    when: Json = {"contains": list(contains)}
    when |= {name: value for name, value in (("vendor", vendor), ("turn", turn)) if value is not None}
    made: Rule = {"when": when, "reply": reply}
    return made | ({"repeat": True} if repeat else {}) | ({"times": times} if times is not None else {})


def a_plan(*files: str, bug: bool = True, criteria: Sequence[str] = ("add(2, 3) is 5",), **changes: Any) -> Json:
    """The JSON of a plan with one task over `files`."""
    plan: Json = {
        "goal": "add() returns the sum",
        "is_bug": bug,
        "tasks": [{"id": "T1", "title": "add instead of subtracting", "files": list(files or ("calc.py",)), "depends_on": []}],
        "criteria": [{"id": f"C{number}", "text": text} for number, text in enumerate(criteria, 1)],
        "tests": ["test_adds"],
        "out_of_scope": [],
        "risks": [],
    }
    return plan | changes


def drafts(plan: Json | None = None) -> Rule:
    return rule("# Phase PLAN: draft", json=plan or a_plan())


def approves() -> Rule:
    """The reviewer of the plan has nothing to say."""
    return rule("# Phase PLAN: review", json={"verdict": "approve", "objections": []})


def objects(*texts: str) -> Rule:
    """The reviewer names objections O1, O2, …"""
    found = [{"id": f"O{number}", "text": text} for number, text in enumerate(texts, 1)]
    return rule("# Phase PLAN: review", json={"verdict": "suggest_improvements", "objections": found})


def refines(plan: Json | None = None, **answers: str) -> Rule:
    """The planner answers, by id (`O1="…"`), and gives the plan again."""
    given = [{"objection": name, "answer": text} for name, text in answers.items()]
    return rule("# Phase PLAN: refine", json={"plan": plan or a_plan(), "answers": given})


def framing(criterion: str = "add(2, 3) is 5") -> list[Rule]:
    """STRATEGIZE, SPEC and THINK, which only a run of more than small size or risk asks for."""
    approach = {"problem": "a wrong operator", "approach": "mend the operator", "purpose": "right sums"}
    spec = {"criteria": [{"id": "C1", "text": criterion}], "definition_of_done": "the criterion is met and tested"}
    cases = {"cases": [{"case": "negative numbers", "handling": "they add up like any other"}]}
    return [
        rule("# Phase STRATEGIZE", json=approach),
        rule("# Phase SPEC", json=spec),
        rule("# Phase THINK", json=cases),
    ]


def tool(name: str, **arguments: Any) -> Json:
    return {"name": name, "arguments": arguments}


def view(path: str) -> Json:
    return tool("str_replace_based_edit_tool", command="view", path=path)


def edit(path: str, old: str, new: str) -> Json:
    return tool("str_replace_based_edit_tool", command="str_replace", path=path, old_str=old, new_str=new)


def create(path: str, text: str) -> Json:
    return tool("str_replace_based_edit_tool", command="create", path=path, file_text=text)


def bash(command: str) -> Json:
    return tool("bash", command=command)


def patch(path: str, diff: str, kind: str = "update_file") -> Json:
    """An edit as OpenAI's models make it."""
    return tool("apply_patch", type=kind, path=path, diff=diff)


def run_checks(*tests: str) -> Json:
    return tool("run_checks", **({"tests": list(tests)} if tests else {}))


def builds(*turns: str | Sequence[Json], brief: str = "") -> list[Rule]:
    """One build attempt: each turn is a list of tools, or the last words. `brief` is for an attempt after a failed one: it
    answers only where these words stand in its prompt, so put such attempts in front."""
    words = ("# Phase IMPLEMENT", brief) if brief else ("# Phase IMPLEMENT",)
    return [
        rule(*words, turn=number, text=turn) if isinstance(turn, str) else rule(*words, turn=number, tools=list(turn))
        for number, turn in enumerate(turns)
    ]


def audits(*unmet: str, criteria: Sequence[str] = ("C1",), evidence: Sequence[str] = ("calc.py:6",),
           findings: Sequence[Json] = (), contains: str = "") -> Rule:  # fmt: skip
    """The auditor finds all `criteria` met but the `unmet` ones."""
    verdicts = [{"id": c, "verdict": "unmet" if c in unmet else "met", "evidence": list(evidence)} for c in criteria]
    words = ("# Phase REVIEW: audit", contains) if contains else ("# Phase REVIEW: audit",)
    return rule(*words, json={"criteria": verdicts, "findings": list(findings), "not_checked": []})


def a_finding(
    claim: str, place: str = "calc.py:6", severity: str = "major", evidence: Sequence[str] = ("calc.py:6",), *,
    category: str = "correctness", command: str = "", test: str = "", confidence: str = "high",
) -> Json:  # fmt: skip
    """`command` or `test` is its check."""
    check = {"kind": "command" if command else "test" if test else "none", "body": command or test}
    return {"severity": severity, "category": category, "place": place, "claim": claim, "evidence": list(evidence),
            "check": check, "confidence": confidence}  # fmt: skip


FIX = edit("calc.py", "    return left - right\n", "    return left + right\n")
PROOF = edit(
    "tests/test_calc.py",
    "    assert add(2, 0) == 2\n",
    "    assert add(2, 0) == 2\n\n\ndef test_adds() -> None:\n    assert add(2, 3) == 5\n",
)
DONE = "add() adds now, and a test shows it."


def happy(*build: str | Sequence[Json]) -> list[Rule]:
    """Six calls that mend `SMALL`: draft, review, two turns of edits and words, audit."""
    return [drafts(), approves(), *builds(*(build or ([FIX, PROOF], DONE))), audits()]


def example_script() -> list[Rule]:
    """The demo's own script, for `World.example`."""
    rules: list[Rule] = json.loads(EXAMPLE_SCRIPT.read_text("utf-8"))
    return rules
