"""Plays the rooms for a run: values to build events from, and an answer to every effect, plausible or hostile, by a seed."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Literal, get_args

from bot.core.budget import PriceTier, Rates, Usage
from bot.core.changeset import Changeset
from bot.core.conversation import Block, Opaque, Text, ToolResult, ToolUse
from bot.core.effects import (
    AskPerson,
    Deliver,
    Effect,
    PrepareWorkspace,
    PriceCall,
    RepeatProof,
    RunAuditChecks,
    RunBaseline,
    RunFixers,
    RunProof,
    SendCall,
    TakeChangeset,
    UseTools,
)
from bot.core.events import (
    Answered,
    AuditChecksRan,
    BaselineRan,
    BaseMoved,
    CallFailed,
    CallPriced,
    ChangesetTaken,
    Delivered,
    Event,
    Excerpt,
    FixersRan,
    ModelReplied,
    ProofRan,
    ProofRepeated,
    RoomFailed,
    RunRequested,
    ToolsUsed,
    WorkspaceReady,
)
from bot.core.phases import Kind
from bot.core.recovery import ErrorClass
from bot.core.reports import (
    NO_BLOB,
    NO_MODE,
    CaseOutcome,
    Check,
    Conflict,
    FileChange,
    FixerReport,
    Op,
    Probe,
    Profile,
    SandboxReport,
    Stage,
    Trial,
)
from bot.core.reports import TestCase as Case
from bot.core.reports import TestOutcome as Suite
from bot.core.reports import TestReport as Report
from bot.core.run import Run
from bot.core.selection import ModelClass, ModelId
from bot.core.strategy import Settings
from bot.core.ticket import freeze
from bot.core.validation import CheckSet, Proof

BASE, HEAD_SHA = "b" * 40, "c" * 40
BASE_TREE = "tree-of-the-base"
MOVES = 0.3
"""The chance that the base moves on before a delivery."""

MODELS = (
    ModelId("anthropic", "claude-haiku", ModelClass.FAST),
    ModelId("anthropic", "claude-sonnet", ModelClass.BALANCED),
    ModelId("anthropic", "claude-opus", ModelClass.ADVANCED),
    ModelId("openai", "gpt-luna", ModelClass.FAST),
    ModelId("openai", "gpt-terra", ModelClass.BALANCED),
    ModelId("openai", "gpt-sol", ModelClass.ADVANCED),
)
ONE_VENDOR = MODELS[:3]

TICKETS = (
    "Add a --verbose flag",
    "Totals are wrong\n\nThe report fails with a ValueError on empty files.",
    "Harden authentication against injection\n\nTouches security and the database.",
    "Fix typos in the README",
    "Make the parser faster\n\nThe performance of the algorithm is bad.",
)
FIXER_TICKET = "Remove unused imports"


def request(text: str = TICKETS[0], settings: Settings | None = None) -> RunRequested:
    settings = settings or Settings(2_000_000, 2_000_000, MODELS)
    return RunRequested("change_20250101_120000", "run-01", freeze(text, "#7"), BASE, settings, "n0nce")


def sandbox(*, full: bool = True) -> SandboxReport:
    return SandboxReport(
        "namespaces" if full else "none", (Probe("network", full, "unreachable"),), "" if full else "install bubblewrap"
    )


def ready(*, full: bool = True) -> WorkspaceReady:
    stages = (Stage("lint", "ruff check", "ruff as pyproject.toml configures it"), Stage("tests", "pytest", "there are tests"))
    profile = Profile(
        "python",
        "/usr/bin/python3",
        "pytest",
        ("pyproject.toml",),
        stages,
        languages=("python, because there is calc.py",),
        mends=("lint",),
    )
    return WorkspaceReady(
        BASE_TREE, profile, sandbox(full=full), "src/\n  a.py\n", Excerpt("AGENTS.md", "Be kind.", "it is the guide"), ()
    )


def suite(cases: dict[str, CaseOutcome], outcome: Suite | None = None, reason: str = "") -> Report:
    """A report of `cases`; its outcome is theirs unless given."""
    bad = any(result in ("failed", "error") for result in cases.values())
    said: Suite = outcome or ("fail" if bad else "pass" if cases else "neutral")
    return Report(said, tuple(Case(name, result) for name, result in cases.items()), len(cases), reason or said)


def checks(tests: Report, tree: str = BASE_TREE, *ran: Check) -> CheckSet:
    return CheckSet(tree, ran or (Check("syntax", "pass", "2 files compile"),), tests)


def change(
    path: str = "src/a.py", after: bytes | None = b"A = 2\n", before: bytes | None = b"A = 1\n", *, mode: str = "100644"
) -> FileChange:
    op: Op = "add" if before is None else "delete" if after is None else "modify"
    old, new = (NO_MODE if before is None else "100644"), (NO_MODE if after is None else mode)
    return FileChange(
        path, op, old, new, NO_BLOB if before is None else "1" * 40, NO_BLOB if after is None else "2" * 40, before, after
    )


def changeset(*files: FileChange, tree: str = "tree-1") -> Changeset:
    return Changeset("change_20250101_120000", BASE, tree, files)


FLAT = Rates("claude-haiku", "2025-01-01", (PriceTier(0, 1_000_000, 5_000_000, 100_000, 1_250_000, 2_000_000),))
CLIFF = Rates(
    "gpt-terra",
    "2025-01-01",
    (
        PriceTier(0, 2_000_000, 8_000_000, 500_000, 2_000_000, 2_000_000),
        PriceTier(20_000, 4_000_000, 12_000_000, 1_000_000, 4_000_000, 4_000_000),
    ),
)
DEAR = Rates("claude-opus", "2025-01-01", (PriceTier(0, 15_000_000, 75_000_000, 1_500_000, 18_750_000, 30_000_000),))
FREE = Rates("local", "2025-01-01", (PriceTier(0, 0, 0, 0, 0, 0),))
DISCOUNT = Rates(
    "bulk",
    "2025-01-01",
    (
        PriceTier(0, 6_000_000, 20_000_000, 600_000, 6_000_000, 6_000_000),
        PriceTier(8_000, 1_000_000, 4_000_000, 100_000, 1_000_000, 1_000_000),
    ),
)
RATES = (FLAT, FLAT, CLIFF, DEAR, FREE, DISCOUNT)

PLAN = {
    "goal": "do it",
    "is_bug": False,
    "tasks": [
        {"id": "T2", "title": "then that", "files": ["tests/test_a.py"], "depends_on": ["T1"]},
        {"id": "T1", "title": "first this", "files": ["src/a.py", "docs", "pyproject.toml"], "depends_on": []},
    ],
    "criteria": [{"id": "C1", "text": "it is done"}, {"id": "C2", "text": "nothing else changed"}],
    "tests": ["tests/test_a.py"],
    "out_of_scope": [],
    "risks": [],
}
GARBAGE = (
    "",
    "I would rather not.",
    "{}",
    "[]",
    "null",
    "[" * 100_000,
    '{"verdict": "approve"}',
    '```json\n{"goal": 1}\n```',
    '{"problem": "\\ud800", "approach": "a", "purpose": "p"}',
    "\x00",
)
GOOD_FILES = (
    change(),
    change("src/b.py", b"def b(c):\n    return c == 1\n", None),
    change("tests/test_a.py", b"def test_a():\n    assert True\n", None),
    change("docs/old.md", None, b"gone\n"),
    change("pyproject.toml", b"[project]\n", b"[build]\n"),
)
BAD_FILES = (
    change(".github/workflows/ci.yml"),
    change("a/../../b"),
    change("link", b"a.py", None, mode="120000"),
    change("logo.png", b"\x89PNG\0", None),
    change("tests/test_b.py", None, b"def test_b():\n    assert True\n"),
)


DECISIONS: tuple[Literal["approved", "declined"], ...] = ("approved", "approved", "declined")


class Rooms:
    """Answers effects. `luck` is the chance that an answer is plausible; the rest is failure, nonsense and malice.

    With `steady`, an answer hangs on the seed and on how far the run is, not on what was asked before: a restarted run hears
    what the first one would have heard.
    """

    def __init__(self, seed: int, luck: float = 0.9, *, steady: bool = False, rates: tuple[Rates, ...] = RATES) -> None:
        self.seed, self.luck, self.steady, self.rates = seed, luck, steady, rates
        self.chance = Random(seed)
        self.priced = CallPriced("", FLAT, 100, "")

    def perform(self, run: Run, effect: Effect) -> Event:
        if self.steady:
            at = (run.phase.id, run.phase.stage, run.phase.turns, run.phase.unusable) if run.attempt or run.call else ()
            self.chance = Random(f"{self.seed} {type(effect).__name__} {run.tree} {at} {run.call.tries if run.call else 0}")
        if not self.lucky and self.chance.random() < 0.1:
            return RoomFailed(type(effect).__name__, self.chance.choice(("environment", "policy")), "the room is on fire")
        return self._answer(run, effect)

    @property
    def lucky(self) -> bool:
        return self.chance.random() < self.luck

    def _answer(self, run: Run, effect: Effect) -> Event:
        match effect:
            case PrepareWorkspace():
                return ready(full=self.lucky or self.lucky)
            case RunBaseline():
                return BaselineRan(checks(self._suite(), effect.tree))
            case RunFixers():
                tree = self.chance.choice((effect.tree, "tree-fixed"))
                return FixersRan(tree, (FixerReport(effect.calls[0].name, ("ruff",), 3, 0, ("src/a.py",), "3 fixed"),))
            case PriceCall():
                self.priced = CallPriced(effect.call, self.chance.choice(self.rates), self.chance.randint(100, 30_000), "digest")
                return self.priced
            case SendCall():
                return self._reply(run, effect)
            case UseTools():
                return self._tools(run, effect)
            case TakeChangeset():
                made = changeset(*self._files(run, effect.tree), tree=effect.tree)
                return ChangesetTaken(replace(made, base_sha=run.base_sha))
            case RunProof() | RepeatProof() | RunAuditChecks():
                return self._proved(run, effect)
            case AskPerson():
                return Answered(effect.digest, self.chance.choice(DECISIONS), "a maintainer")
            case Deliver():
                return self._moved(run) if self.chance.random() < MOVES else Delivered(effect.branch, HEAD_SHA)

    def _reply(self, run: Run, effect: SendCall) -> Event:
        if not self.lucky and self.chance.random() < 0.6:
            errors: list[ErrorClass] = [error for error in get_args(ErrorClass) if not (self.steady and error == "interrupted")]
            wait = self.chance.choice((None, 0.0, 7.5, 1e9))
            return CallFailed(effect.call, self.chance.choice(errors), self.chance.choice(("no", "unknown")), "no answer", wait)
        blocks, stop = self._said(run)
        return self.billed(run, effect, blocks, stop)

    def billed(self, run: Run, effect: SendCall, blocks: tuple[Block, ...], stop: str = "end") -> ModelReplied:
        """A reply with any bill that the price and the bound allow."""
        bound, parts = self.priced.input_bound, [self.chance.random() for _ in range(4)]
        if self.chance.random() < 0.5:
            parts = [float(part == max(parts)) for part in parts]
        filled = self.chance.choice((1.0, 1.0, self.chance.random()))
        shares = [int(bound * filled * part / sum(parts)) for part in parts]
        output = self.chance.choice((0, effect.max_output, self.chance.randint(0, effect.max_output)))
        usage = Usage(shares[0], output, shares[1], shares[2], shares[3])
        return ModelReplied(effect.call, effect.model.model, self.priced.rates, blocks, stop, usage, 1.5)

    def _said(self, run: Run) -> tuple[tuple[Block, ...], str]:
        if not self.lucky:
            stop = self.chance.choice(("end", "max_output", "refusal", "pause", "tool_use"))
            return (Text(self.chance.choice(GARBAGE)),) if self.chance.random() < 0.9 else (), stop
        if run.phase.kind is Kind.IMPLEMENT:
            if self.chance.random() < 0.6:
                return (Opaque("anthropic", "claude-haiku", "{}"), ToolUse("u1", "bash", '{"command": ')), "tool_use"
            return (Text("All done."),), self.chance.choice(("end", "end", "max_output"))
        return (Text(json.dumps(self.document(run))),), "end"

    def document(self, run: Run) -> object:
        """A well-formed answer to what the active phase asks; what it claims is up to chance."""
        match run.phase.kind, run.phase.stage:
            case Kind.STRATEGIZE, _:
                return {"problem": "p", "approach": "a", "purpose": "w"}
            case Kind.SPEC, _:
                return {"criteria": PLAN["criteria"], "definition_of_done": "green"}
            case Kind.THINK, _:
                return {"cases": [{"case": "empty", "handling": "refuse" if self.lucky else ""}]}
            case Kind.PLAN, "draft":
                return {**PLAN, "is_bug": self.chance.random() < 0.5}
            case Kind.PLAN, "review":
                return {
                    "verdict": "approve",
                    "objections": [] if self.chance.random() < 0.5 else [{"id": "O1", "text": "too big"}],
                }
            case Kind.PLAN, _:
                review = run.documents.plan_review
                names = [objection.id for objection in review.objections] if review else []
                return {"plan": PLAN, "answers": [{"objection": name, "answer": "done"} for name in names]}
            case _:
                return self._audit(run)

    def _audit(self, run: Run) -> object:
        verdict = "met" if self.lucky else self.chance.choice(("unmet", "unverifiable"))
        names = [criterion.id for criterion in run.documents.plan.criteria] if run.documents.plan else []
        evidence = self.chance.choice(("src/a.py:1", "tests", "src/a.py:" + "9" * 5000, "nowhere.py:3", ""))
        check = {
            "kind": self.chance.choice(("none", "test", "command")),
            "body": self.chance.choice(("false", "false", "false", "", "\0")),
        }
        finding = {
            "severity": "major",
            "category": self.chance.choice(("security", "regression")),
            "place": evidence,
            "claim": "a hole",
            "evidence": [evidence],
            "check": check,
            "confidence": "high",
        }
        return {
            "criteria": [{"id": name, "verdict": verdict, "evidence": [evidence]} for name in names],
            "findings": [] if self.chance.random() < 0.7 else [finding],
            "not_checked": [],
        }

    def _proved(self, run: Run, effect: RunProof | RepeatProof | RunAuditChecks) -> Event:
        if isinstance(effect, RunAuditChecks):
            return AuditChecksRan(tuple(Trial(self._tried(), self._tried()) for _ in effect.checks))
        proof = self._proof(effect.tree)
        return proof if isinstance(effect, RunProof) else ProofRepeated(checks(self._suite(), run.base_tree), proof.proof)

    def _tried(self) -> Check:
        return Check("audit check", self.chance.choice(("pass", "fail", "neutral")), "exit 1")

    def _tools(self, run: Run, effect: UseTools) -> ToolsUsed:
        tree = effect.tree if self.chance.random() < 0.3 else f"tree-{run.phase.id}-{run.phase.turns}"
        refused = () if self.lucky or self.lucky else ("../../etc/passwd",)
        return ToolsUsed(effect.call, tree, (ToolResult("u1", "ok", is_error=self.chance.random() < 0.2),), refused, 0.1)

    def _moved(self, run: Run) -> BaseMoved:
        """A new base, onto which git puts the change, or not."""
        to = len(run.moves) + 1
        conflict = Conflict("src/a.py", "A = 1\n", "A = 2\n", "A = 3\n")
        files = self.chance.choice(((), (), (conflict,), (conflict,) * 7))
        lost = () if self.lucky or self.lucky else ("logo.png",)
        base_tree = self.chance.choice((f"{BASE_TREE}-{to}", run.base_tree))
        tree = self.chance.choice((f"tree-moved-{to}", f"tree-moved-{to}", base_tree))
        return BaseMoved(f"{to}" * 40, base_tree, tree, ("src/a.py",), files, lost)

    def _files(self, run: Run, tree: str) -> tuple[FileChange, ...]:
        if tree == run.base_tree:
            return ()
        if run.phase.rung == "conflict" and not self.lucky:
            return (change(after=b"<<<<<<< ours\nA = 2\n=======\nA = 3\n>>>>>>> theirs\n"),)
        some = self.chance.sample(GOOD_FILES, self.chance.randint(1, len(GOOD_FILES)))
        return tuple(some) if self.lucky or self.lucky else (*some, self.chance.choice(BAD_FILES))

    def _suite(self) -> Report:
        outcomes: tuple[CaseOutcome, ...] = ("passed", "passed", "passed", "failed", "skipped", "error")
        cases = {f"tests/test_a.py::test_{n}": "passed" if self.lucky else self.chance.choice(outcomes) for n in range(3)}
        if not self.lucky:
            return suite({}, self.chance.choice(("error", "neutral")), "nothing ran")
        return suite(cases)

    def _proof(self, tree: str) -> ProofRan:
        before = suite({"tests/test_a.py::test_0": "failed"}) if self.chance.random() < 0.7 else None
        ran = Check("lint", "pass" if self.lucky else self.chance.choice(("fail", "neutral")), "nothing found")
        return ProofRan(Proof(checks(self._suite(), tree, ran), None if before is None else self._suite(), before))
