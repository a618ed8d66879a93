"""Ostler on the bench: everything up to the build once, then the build alone as often as it is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers import DONE, SAID, use, words
from bench.standin import Block, Script, StandIn, opening, turn
from bench.task import EDITS, NEW_TEST, READS, SOURCE, TESTS, TICKET

EDITOR = "str_replace_based_edit_tool"
TURNS = 7

PLAN = {
    "goal": "get_real_name returns the part after the last dot",
    "is_bug": True,
    "tasks": [
        {"id": "T1", "title": "look for the last dot in get_real_name", "files": [SOURCE], "depends_on": []},
        {"id": "T2", "title": "test a name of four parts", "files": [TESTS], "depends_on": ["T1"]},
    ],
    "criteria": [
        {"id": "C1", "text": "get_real_name of db.schema.tbl.col is col"},
        {"id": "C2", "text": "get_parent_name of the same name stays db"},
    ],
    "tests": [NEW_TEST],
    "out_of_scope": ["get_parent_name"],
    "risks": ["names without a dot have to stay as they are"],
}
REVIEW = {"verdict": "suggest_improvements", "objections": [{"id": "O1", "text": "Say what happens to names of two parts."}]}
REFINED = {"plan": PLAN, "answers": [{"objection": "O1", "answer": "They have one dot, which is the first and the last."}]}


@dataclass(frozen=True, slots=True)
class Ready:
    """A session that has been planned and stands before its build. `journal` is what it held then."""

    session: Path
    journal: bytes

    @property
    def tree(self) -> Path:
        return self.session / "tree"

    def rewind(self) -> None:
        """Back to before the build: the journal is the truth, and `resume` puts the files back to what it says."""
        (self.session / "journal.jsonl").write_bytes(self.journal)


def script() -> Script:
    """The answers of the scripted model to Ostler: plan, its review, its refinement, and the build turn by turn."""
    framing = {"draft": PLAN, "review": REVIEW, "refine": REFINED}
    build = _build()

    def answer(body: Mapping[str, Any]) -> Sequence[Block]:
        asked = opening(body)
        for stage, document in framing.items():
            if f"# Phase PLAN: {stage}" in asked:
                return [words(json.dumps(document))]
        if "# Phase IMPLEMENT" in asked:
            return build[turn(body)]
        raise LookupError(f"the script has no answer to {asked[:80]!r}")

    return answer


def _build() -> list[list[Block]]:
    """The same two reads, three edits and one test run as everyone's, each in a turn of its own, and a last word."""
    reads = [use(EDITOR, command="view", path=read.path, view_range=[read.first, read.last]) for read in READS]
    edits = [use(EDITOR, command="str_replace", path=edit.path, old_str=edit.old, new_str=edit.new) for edit in EDITS]
    uses = [*reads, *edits, use("run_checks", tests=[TESTS])]
    return [*([words(said), step] for said, step in zip(SAID, uses, strict=True)), [words(DONE)]]


def environment(base: Mapping[str, str], state: Path, stand_in: StandIn) -> dict[str, str]:
    return {
        **base,
        "OSTLER_STATE_DIR": str(state),
        "OSTLER_ANTHROPIC_BASE_URL": stand_in.url,
        "OSTLER_ANTHROPIC_API_KEY": "scripted",
    }


def plan(repository: Path, state: Path, env: Mapping[str, str], root: Path) -> Ready:
    """A run of Ostler up to its build, which is not measured."""
    issue = state.parent / "issue.md"
    issue.write_text(TICKET)
    arguments = ["run", str(repository), "--issue", str(issue), "--approve", "--json"]
    ran = subprocess.run(until("IMPLEMENT", *arguments), cwd=root, env=dict(env), check=False, capture_output=True, text=True)
    sessions = sorted((state / "sessions").glob("*/journal.jsonl")) if state.is_dir() else []
    if ran.returncode or len(sessions) != 1:
        raise RuntimeError(f"Ostler did not come as far as the build: {(ran.stderr or ran.stdout).strip()[-1000:]}")
    return Ready(sessions[0].parent, sessions[0].read_bytes())


def until(kind: str, *arguments: str) -> list[str]:
    """The command that ends where a phase of `kind` begins."""
    return [sys.executable, "-m", "bench.until", kind, *arguments]
