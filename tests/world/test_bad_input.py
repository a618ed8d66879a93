"""What goes wrong before or around a run: one clear sentence, the documented exit code, and nothing changed.

And what looks wrong and is not: checkouts of every shape are worked on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bot.core.events import ToolsUsed
from tests.world.watching import listing
from tests.world.world import (
    DONE,
    FIX,
    ISSUE,
    Said,
    World,
    approves,
    audits,
    builds,
    create,
    drafts,
    edit,
    git,
    serve,
    view,
    write,
)

pytestmark = pytest.mark.sampled

USAGE, ENVIRONMENT = 1, 5
UNUSED = "Remove unused imports"
FILES: Mapping[str, str | bytes] = {"calc.py": "import os\n\n\ndef add(left, right):\n    return left - right\n"}
KEYS = {"OSTLER_ANTHROPIC_API_KEY": "scripted", "OSTLER_ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
CONFIG = ".github/ostler.yml"


def one_sentence(said: Said, code: int) -> str:
    """The one line that a person reads. A script finds the same on the last line of standard output."""
    assert "Traceback" not in said.err, said.err
    (line,) = said.err.splitlines()
    assert line.startswith("ostler: "), line
    assert said.code == code, line
    sentence = line.removeprefix("ostler: ")
    assert said.result == {"error": sentence, "exit_code": code}
    assert sentence[-1] in ".`", sentence
    assert len(sentence) < 400, sentence
    return sentence


def nothing(_: World) -> None:
    """The repository as it is."""


@dataclass(frozen=True, slots=True)
class Case:
    """`ostler ARGS --json`, where `{repo}` and `{top}` are the repository and the folder above it."""

    code: int
    says: str
    args: tuple[str, ...] = ("run", "{repo}", "--issue", UNUSED)
    env: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[World], object] = nothing


def run(*more: str, issue: str = UNUSED, path: str = "{repo}") -> tuple[str, ...]:
    return ("run", path, "--issue", issue, *more)


def with_config(text: str | bytes) -> Callable[[World], object]:
    return lambda world: world.commit({CONFIG: text})


def beside(name: str, content: str | bytes) -> Callable[[World], object]:
    """A file outside the repository."""
    return lambda world: write(world.repository.parent, {name: content})


def changed(name: str, *, staged: bool = False) -> Callable[[World], object]:
    def change(world: World) -> None:
        write(world.repository, {name: "x = 1\n"})
        if staged:
            world.git("add", name)

    return change


def emptied(world: World) -> None:
    shutil.rmtree(world.repository)
    world.repository.mkdir()
    world.git("init", "--quiet")


def made_bare(world: World) -> None:
    world.git("clone", "--quiet", "--bare", ".", str(world.repository.parent / "bare"))


def unfinished(world: World) -> None:
    """A session named `mine` that never ended."""
    folder = world.state / "sessions" / "mine_20200101_000000"
    write(folder, {"journal.jsonl": "", "metadata.json": METADATA})


METADATA = (
    '{"name": "mine", "session_id": "mine_20200101_000000", "repository": "/x", "goal": "g", "status": "running", '
    '"started_at": "2020-01-01T00:00:00+00:00"}'
)

CALL: Mapping[str, Case] = {
    "unknown option": Case(USAGE, "No such option: --colour", run("--colour")),
    "unknown command": Case(USAGE, "No such command 'rnu'", ("rnu",)),
    "no issue": Case(USAGE, "--issue", ("run", "{repo}")),
    "no path": Case(USAGE, "Missing argument 'path'", ("run", "--issue", UNUSED)),
    "too many paths": Case(USAGE, "unexpected extra argument", (*run(), "another")),
    "max cost is a word": Case(USAGE, "--max-cost", run("--max-cost", "cheap")),
    "max cost is zero": Case(USAGE, "--max-cost: 0.0 is no amount between 0 and 10,000 dollars", run("--max-cost", "0")),
    "max cost is negative": Case(USAGE, "--max-cost: -1.0 is no amount", run("--max-cost", "-1")),
    "max cost is not a number": Case(USAGE, "--max-cost: NaN is no amount", run("--max-cost", "nan")),
    "max cost is endless": Case(USAGE, "--max-cost: Infinity is no amount", run("--max-cost", "inf")),
    "max cost is huge": Case(USAGE, "--max-cost: 1E+300 is no amount", run("--max-cost", "1e300")),
    "max cost is less than counts": Case(USAGE, "--max-cost: 1E-9 is no amount", run("--max-cost", "1e-9")),
    "session is a path": Case(USAGE, "'../x' is no session name: use lower-case letters", run("--session", "../x")),
    "session is empty": Case(USAGE, "'' is no session name", run("--session", "")),
    "session is shouted": Case(USAGE, "'Fix It' is no session name", run("--session", "Fix It")),
    "session is not finished": Case(
        USAGE, "mine_20200101_000000 is not finished: resume it", run("--session", "mine"), before=unfinished
    ),
    "nothing to resume": Case(USAGE, "There is no session 'mine'", ("resume", "mine")),
    "nothing to show": Case(USAGE, "There is no session '../..'", ("sessions", "show", "../..")),
    "nothing to replay": Case(USAGE, "`ostler sessions list`", ("replay", "nobody")),
}

ISSUES: Mapping[str, Case] = {
    "empty": Case(USAGE, "The issue text is empty: say in a sentence", run(issue="")),
    "only a comment": Case(USAGE, "The issue text is empty", run(issue="<!-- do it -->\u200b")),
    "missing file": Case(USAGE, "There is no file nope.md", run(issue="nope.md")),
    "a folder": Case(USAGE, "is a folder: name a file", run(issue="{top}")),
    "a megabyte": Case(
        USAGE,
        "1,000,000 bytes and 1 lines, more than the 500,000",
        run(issue="{top}/big.md"),
        before=beside("big.md", "x" * 10**6),
    ),
    "many lines": Case(USAGE, "100,001 lines", run(issue="{top}/long.md"), before=beside("long.md", "a\n" * 10**5)),
    "not UTF-8": Case(
        USAGE,
        "latin.md is not UTF-8 text (byte 3): save it as UTF-8",
        run(issue="{top}/latin.md"),
        before=beside("latin.md", b"caf\xe9\n"),
    ),
    "vague": Case(USAGE, "'Improve it' is too vague to plan: say what should be different", run(issue="Improve it"), KEYS),
    "no key": Case(ENVIRONMENT, "no key is set: set ANTHROPIC_API_KEY or OPENAI_API_KEY", run(issue=ISSUE)),
    "an empty key": Case(ENVIRONMENT, "no key is set", run(issue=ISSUE), {"ANTHROPIC_API_KEY": " "}),
    "two wishes and one needs a model": Case(ENVIRONMENT, "no key is set", run(issue=f"{UNUSED} and fix add()")),
}

CHECKOUTS: Mapping[str, Case] = {
    "not there": Case(ENVIRONMENT, "nowhere does not exist", run(path="{top}/nowhere")),
    "a file": Case(USAGE, "calc.py is a file: name the folder of the checkout", run(path="{repo}/calc.py")),
    "no repository": Case(
        ENVIRONMENT, "is not a git repository; run `git init`", run(path="{top}/plain"), before=beside("plain/a.txt", "")
    ),
    "empty": Case(ENVIRONMENT, "has no commits yet", before=emptied),
    "bare": Case(ENVIRONMENT, "is a bare repository without files; clone it", run(path="{top}/bare"), before=made_bare),
    "git folder": Case(ENVIRONMENT, "is inside a .git folder", run(path="{repo}/.git")),
    "modified": Case(
        ENVIRONMENT, "changes that are not committed (calc.py): commit, stash or ignore them", before=changed("calc.py")
    ),
    "untracked": Case(ENVIRONMENT, "not committed (new.py)", before=changed("new.py")),
    "staged": Case(ENVIRONMENT, "not committed (added.py)", before=changed("added.py", staged=True)),
    "damaged head": Case(
        ENVIRONMENT, "not a git repository", before=lambda world: (world.repository / ".git/HEAD").write_text("rubbish\n")
    ),
}

CONFIGS: Mapping[str, Case] = {
    "bad YAML": Case(ENVIRONMENT, f"{CONFIG}, line 3: not YAML (", before=with_config("version: 1\nbudget:\n\tmoney: 1\n")),
    "wrong type": Case(
        ENVIRONMENT, f"{CONFIG}, line 3: budget.money: ", before=with_config("version: 1\nbudget:\n  money: much\n")
    ),
    "too much": Case(ENVIRONMENT, f"{CONFIG}, line 2: budget.money: ", before=with_config("budget:\n  money: .inf\n")),
    "unknown key": Case(
        ENVIRONMENT,
        f"{CONFIG}, line 2: paths.forbid: there is no such setting",
        before=with_config("paths:\n  forbid: [docs/*]\n"),
    ),
    "unknown choice": Case(ENVIRONMENT, f"{CONFIG}, line 1: approval: ", before=with_config("approval: sometimes\n")),
    "a list": Case(ENVIRONMENT, f"{CONFIG}, line 1: the file: settings, as `name: value`", before=with_config("- version: 1\n")),
    "not UTF-8": Case(ENVIRONMENT, f"{CONFIG}, line 2: not UTF-8 text", before=with_config(b"version: 1\n# caf\xe9\n")),
    "no date": Case(ENVIRONMENT, f"{CONFIG}, line 2: '2020-99-99' is no value", before=with_config("# v\nversion: 2020-99-99\n")),
    "endless number": Case(ENVIRONMENT, f"{CONFIG}, line 1: ", before=with_config("version: " + "9" * 5000 + "\n")),
    "endless nesting": Case(ENVIRONMENT, f"{CONFIG}, line 1: the file is nested too deeply", before=with_config("[" * 20_000)),
    "a tag of Python": Case(
        ENVIRONMENT, f"{CONFIG}, line 1: not YAML", before=with_config("version: !!python/object/apply:os.system [id]\n")
    ),
    "the same key twice": Case(
        ENVIRONMENT, f"{CONFIG}, line 2: approval is given twice", before=with_config("approval: always\napproval: never\n")
    ),
}

SURROUNDINGS: Mapping[str, Case] = {
    "a switch is a word": Case(ENVIRONMENT, "OSTLER_STREAMING", env={"OSTLER_STREAMING": "perhaps"}),
    "an address is none": Case(
        ENVIRONMENT, "OSTLER_ANTHROPIC_BASE_URL", run(issue=ISSUE), {**KEYS, "OSTLER_ANTHROPIC_BASE_URL": "http://[::1"}
    ),
    "an address has no scheme": Case(
        ENVIRONMENT, "OSTLER_OPENAI_BASE_URL", run(issue=ISSUE), {**KEYS, "OSTLER_OPENAI_BASE_URL": "localhost:80"}
    ),
    "a key is no key": Case(
        ENVIRONMENT,
        "the anthropic API key is empty or has characters that no key has",
        run(issue=ISSUE),
        {**KEYS, "OSTLER_ANTHROPIC_API_KEY": "ключ"},
    ),
    "state is a file": Case(
        ENVIRONMENT, "cannot be written (Not a directory): set OSTLER_STATE_DIR", env={"OSTLER_STATE_DIR": "{repo}/calc.py"}
    ),
    "state cannot be made": Case(ENVIRONMENT, "set OSTLER_STATE_DIR", env={"OSTLER_STATE_DIR": "/proc/nowhere"}),
}

CASES = {
    f"{group}: {name}": case
    for group, cases in (
        ("call", CALL),
        ("issue", ISSUES),
        ("checkout", CHECKOUTS),
        ("config", CONFIGS),
        ("surroundings", SURROUNDINGS),
    )
    for name, case in cases.items()
}


def said_of(world: World, case: Case) -> Said:
    names = {"repo": str(world.repository), "top": str(world.repository.parent)}
    args = [arg.format(**names) for arg in case.args]
    return world.ostler(*args, "--json", env={name: value.format(**names) for name, value in case.env.items()})


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_nothing_changed(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    world = World.of(tmp_path, FILES)
    case.before(world)
    before = listing(tmp_path)
    sentence = one_sentence(said_of(world, case), case.code)
    assert case.says in sentence
    assert listing(tmp_path) == before


def test_a_machine_without_git(tmp_path: Path) -> None:
    """In a mount namespace of our own, where no git can be run."""
    world = World.of(tmp_path, FILES)
    found = [path for path in ("/usr/bin/git", "/usr/local/bin/git", "/bin/git") if Path(path).is_file()]
    hide = "; ".join(f"mount --bind /dev/null {path}" for path in dict.fromkeys(str(Path(path).resolve()) for path in found))
    if world.process(["unshare", "--mount", "sh", "-c", hide]).code != 0:
        pytest.skip("hiding git needs a mount namespace of root's")
    before = listing(tmp_path)
    command = world.command("run", str(world.repository), "--issue", UNUSED, "--json")
    said = world.process(["unshare", "--mount", "sh", "-c", f'{hide}; exec "$@"', "sh", *command], env={"PATH": "/usr/bin:/bin"})
    assert "git is not installed; install git" in one_sentence(said, ENVIRONMENT)
    assert listing(tmp_path) == before


def test_plain_words_for_people_without_json(tmp_path: Path) -> None:
    world = World.of(tmp_path, FILES)
    said = world.ostler("run", f"{world.repository}\n\x1b[2K\u202e", "--issue", UNUSED)
    assert (said.code, said.out) == (ENVIRONMENT, "")
    assert said.err.startswith("ostler: ")
    assert said.err.count("\n") == 1
    assert "\x1b" not in said.err
    assert "\\x1b[2K\\u202e does not exist" in said.err


# --- what looks wrong and works ---------------------------------------------------------------------------------------


def without_import(world: World, said: Said) -> None:
    """The unused import is gone on the branch, and the checkout is as it was."""
    assert said.code == 0, (said.out, said.err)
    assert "import os" not in world.git("show", f"{said.result['branch']}:calc.py")
    assert said.err == ""


def test_a_checkout_full_of_what_is_not_plain_text(tmp_path: Path) -> None:
    """Spaces and letters in the path, links, a submodule, LFS, binaries, names and texts that are not UTF-8."""
    world = World(tmp_path / "mes dépôts" / "projet à moi", tmp_path / "state")
    world.repository.mkdir(parents=True)
    world.git("init", "--quiet", "--initial-branch=main")
    write(
        world.repository,
        {
            **FILES,
            "latin.py": b"# -*- coding: latin-1 -*-\nNAME = 'caf\xe9'\n",
            "logo.png": b"\x89PNG\r\n\x1a\n\0\0",
            "big.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n",
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
        },
    )
    (world.repository / "link.py").symlink_to("calc.py")
    (world.repository / "outside").symlink_to("/etc/passwd")
    (world.repository / "dangling").symlink_to("nowhere")
    Path(os.fsdecode(os.fsencode(world.repository) + b"/caf\xe9.txt")).write_text("coffee\n")
    world.git("add", "--all")
    world.git("update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,vendored")
    world.git("commit", "--quiet", "-m", "All kinds")
    (world.repository / "vendored").mkdir()
    before = world.untouched()
    said = world.run(UNUSED)
    without_import(world, said)
    assert world.git("diff", "--name-only", "main", str(said.result["branch"])) == "calc.py"
    assert world.untouched() == before


def test_a_linked_worktree_on_a_detached_head(tmp_path: Path) -> None:
    world = World.of(tmp_path, FILES)
    world.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    linked = World(tmp_path / "linked", tmp_path / "state")
    before = (git(linked.repository, "status", "--porcelain=v2", "--branch"), world.untouched())
    said = linked.run(UNUSED)
    without_import(world, said)
    assert git(linked.repository, "merge-base", str(said.result["branch"]), "HEAD") == said.result["base_sha"]
    assert (git(linked.repository, "status", "--porcelain=v2", "--branch"), world.untouched()) == before


def test_a_shallow_clone(tmp_path: Path) -> None:
    origin = World.of(tmp_path / "origin", FILES)
    origin.commit({"more.py": "x = 1\n"})
    world = World(tmp_path / "clone", tmp_path / "state")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{origin.repository}", str(world.repository))
    without_import(world, world.run(UNUSED))
    said = world.run(f"Revert commit {origin.git('rev-parse', 'HEAD')}")
    assert said.code == ENVIRONMENT
    assert "shallow" in said.result["outcome"]


def test_a_repository_without_tests_is_never_said_to_pass(tmp_path: Path) -> None:
    """A model's change where nothing can prove it: delivered, and called what it is on every page."""
    world = World.of(tmp_path, {"calc.py": FILES["calc.py"]})
    fix = edit("calc.py", "import os\n\n\n", "")
    with serve([drafts(), approves(), *builds([fix, FIX], DONE), audits(evidence=("calc.py:2",))]) as vendors:
        said = world.run(ISSUE, vendors=vendors)
    assert said.code == 0, (said.out, said.err)
    checks = said.result["checks"]
    assert [checks[name] for name in ("tests_before", "tests_after", "verdict")] == ["neutral"] * 3
    report = (world.folder(said) / "report.md").read_text("utf-8")
    assert "not verified" in report
    assert "| tests after | pass" not in report


def test_a_model_that_edits_what_is_no_text_hears_one_sentence(tmp_path: Path) -> None:
    world = World.of(
        tmp_path,
        {"README.md": "hello\n", "logo.png": b"\x89PNG\r\n\x1a\n\0\0", "latin.txt": b"caf\xe9\n", "long.txt": "a\n" * 900},
    )
    wrong = [
        edit("logo.png", "P", "Q"),
        edit("latin.txt", "caf", "tea"),
        edit("nowhere.txt", "a", "b"),
        edit("README.md", "bye", "hello"),
        create("long.txt", "b\n"),
    ]
    right = edit("README.md", "hello", "good morning")
    plan = [drafts(), approves(), *builds([*wrong, view("logo.png"), view("latin.txt"), right], DONE)]
    with serve([*plan, audits(evidence=("README.md:1",))]) as vendors:
        said = world.run("Say good morning in README.md", vendors=vendors)
    assert said.code == 0, (said.out, said.err)
    (answers,) = [record.item.results for record in world.records(said) if isinstance(record.item, ToolsUsed)]
    texts = [(answer.is_error, answer.text) for answer in answers]
    assert all(is_error and "\n" not in text and text.endswith(".") for is_error, text in texts[:5]), texts
    assert texts[0][1] == "logo.png is not UTF-8 text and can't be edited."
    assert texts[1][1] == "latin.txt is not UTF-8 text and can't be edited."
    assert texts[5] == (False, "logo.png: 10 bytes, PNG image; not shown.")
    assert texts[6] == (False, "latin.txt: 5 bytes, text that isn't UTF-8; not shown.")
