"""A build of 30 turns on sqlparse: the script of B9, in Ostler's tools and in the words of a shell.

Each turn thinks, says a sentence and does one thing: look a word up, read a file or a part of it, edit, run tests. The first
edit is a mistake that people make (the last of an empty list), so that one test run has something to tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.ours import EDITOR
from bench.task import EDITS, SOURCE, TESTS, Edit, Read, Task, sed

SUITE_SECONDS = 420.0
"""What a run of the whole suite takes on the stand-in's clock: longer than a short-lived prefix is kept."""
TURN_SECONDS = 20.0
"""What a turn takes beside that."""
THOUGHT = "What is shown here decides where the dot that counts is looked for, and which callers rely on the first one. " * 11
"""300 tokens of reasoning in every turn, as the stand-in counts."""
DONE = "get_real_name returns the part after the last dot; a test with four parts holds it."

MISTAKE = Edit(
    SOURCE,
    EDITS[0].old,
    "        dots = [idx for idx, token in enumerate(self.tokens)\n                if token.match(T.Punctuation, '.')]\n"
    "        return self._get_first_name(dots[-1], real_name=True)\n",
)
MENDED = Edit(
    SOURCE,
    "        return self._get_first_name(dots[-1], real_name=True)\n",
    "        return self._get_first_name(dots[-1] if dots else None, real_name=True)\n",
)
NEWS = Edit(
    "CHANGELOG",
    "* Fix splitting of BEGIN TRANSACTION statements (issue826).\n",
    "* Fix splitting of BEGIN TRANSACTION statements (issue826).\n* get_real_name returns the part after the last dot.\n",
)


@dataclass(frozen=True, slots=True)
class Look:
    """Find lines that match an extended regular expression."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Whole:
    """Read a whole file."""

    path: str


@dataclass(frozen=True, slots=True)
class Check:
    """Run test files; none means the whole suite."""

    tests: tuple[str, ...] = ()


Step = Look | Whole | Read | Edit | Check
GROUPING = "tests/test_grouping.py"

STEPS: tuple[Step, ...] = (
    Look("get_real_name"),
    Whole(SOURCE),
    Look("token_next_by"),
    Whole("sqlparse/engine/grouping.py"),
    Whole(TESTS),
    Look("get_parent_name|get_alias|get_name"),
    Whole("sqlparse/tokens.py"),
    Whole(GROUPING),
    Check(),
    Look("_get_first_name"),
    Read(SOURCE, 360, 420),
    MISTAKE,
    Check((GROUPING, TESTS)),
    Read(SOURCE, 360, 420),
    Whole("sqlparse/utils.py"),
    MENDED,
    Check((GROUPING, TESTS)),
    EDITS[1],
    Read(TESTS, 440, 510),
    EDITS[2],
    Check((TESTS,)),
    Whole("sqlparse/filters/others.py"),
    Look("Identifier"),
    Read("CHANGELOG", 1, 40),
    NEWS,
    Whole("sqlparse/filters/aligned_indent.py"),
    Read(SOURCE, 1, 60),
    Read(GROUPING, 625, 679),
    Check(),
)
TURNS = len(STEPS) + 1


def texts(task: Task, steps: Sequence[Step]) -> dict[str, str]:
    """The files of the task's repository that `steps` read or edit."""
    paths = dict.fromkeys(step.path for step in steps if not isinstance(step, Look | Check))
    return {path: (task.repository / path).read_text("utf-8") for path in paths}


def in_ostlers_tools(task: Task, steps: Sequence[Step] = STEPS) -> list[dict[str, Any]]:
    """The rules of a build for `bot.demo.vendors`, by turn. `bench.slow` adds the suite's own time where it is run."""
    files = texts(task, steps)
    rules = []
    for turn, step in enumerate(steps):
        rules.append(rule(("# Phase IMPLEMENT",), turn, step, _tools(step), TURN_SECONDS))
        _carry_out(step, files)
    return [*rules, {"when": {"contains": ["# Phase IMPLEMENT"], "turn": len(steps)}, "reply": {"text": DONE}}]


def in_shell(task: Task, mark: str) -> list[dict[str, Any]]:
    """The same steps for a model that has nothing but `bash`, answering prompts that hold `mark`."""
    files = texts(task, STEPS)
    rules = []
    for turn, step in enumerate(STEPS):
        tools = [{"name": "bash", "arguments": {"command": _command(step, files)}}]
        rules.append(rule((mark,), turn, step, tools, TURN_SECONDS + SUITE_SECONDS * (step == Check())))
        _carry_out(step, files)
    return [*rules, {"when": {"contains": [mark], "turn": len(STEPS)}, "reply": {"text": DONE}}]


def rule(words: Sequence[str], turn: int, step: Step, tools: Sequence[Mapping[str, Any]], passing: float) -> dict[str, Any]:
    reply = {"thinking": THOUGHT, "text": _said(step), "tools": list(tools), "after": passing}
    return {"when": {"contains": list(words), "turn": turn}, "reply": reply}


def _said(step: Step) -> str:
    match step:
        case Look(pattern):
            return f"I look for {pattern}."
        case Whole(path) | Read(path):
            return f"I read {path}."
        case Edit(path):
            return f"I change {path}."
        case Check(tests):
            return f"I run {', '.join(tests) or 'all tests'}."


def _tools(step: Step) -> list[dict[str, Any]]:
    match step:
        case Look(pattern):
            return [_tool("search", pattern=pattern)]
        case Whole(path):
            return [_tool(EDITOR, command="view", path=path)]
        case Read(path, first, last):
            return [_view(path, first, last)]
        case Edit(path, old, new):
            return [_tool(EDITOR, command="str_replace", path=path, old_str=old, new_str=new)]
        case Check(tests):
            return [_tool("run_checks", **({"tests": list(tests)} if tests else {}))]


def _view(path: str, first: int, last: int) -> dict[str, Any]:
    return _tool(EDITOR, command="view", path=path, view_range=[first, last])


def _tool(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def _command(step: Step, files: Mapping[str, str]) -> str:
    match step:
        case Look(pattern):
            return f"grep -rnIE --exclude-dir=.git --exclude-dir=.pytest_cache --exclude-dir=__pycache__ '{pattern}' ."
        case Whole(path):
            return f"cat -n {path}"
        case Read(path, first, last):
            return f"nl -ba {path} | sed -n '{first},{last}p'"
        case Edit(path):
            return sed(step, files[path])
        case Check(tests):
            return f"python -m pytest {' '.join(tests)}".strip()


def _carry_out(step: Step, files: dict[str, str]) -> None:
    if isinstance(step, Edit):
        if files[step.path].count(step.old) != 1:
            raise RuntimeError(f"{step.path} is not what the script of B9 was written for")
        files[step.path] = files[step.path].replace(step.old, step.new)


def after(task: Task, steps: Sequence[Step] = STEPS) -> dict[str, str]:
    """The edited files as the script leaves them."""
    files = texts(task, steps)
    for step in steps:
        _carry_out(step, files)
    return {step.path: files[step.path] for step in steps if isinstance(step, Edit)}


def problems(tree: Path, wanted: Mapping[str, str]) -> list[str]:
    """What of the edits is not in `tree`."""
    return [f"{path} is not as the script leaves it" for path, text in wanted.items() if (tree / path).read_text("utf-8") != text]
