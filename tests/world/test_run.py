"""`ostler run` with scripted models: what a person gets, and what the harness refuses to believe."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import genai_prices
import pytest

from bot.core.effects import PriceCall
from bot.core.events import ChangesetTaken, ProofRan
from tests.world.world import (
    DONE,
    FIX,
    ISSUE,
    PROOF,
    Rule,
    Said,
    World,
    a_finding,
    a_plan,
    approves,
    audits,
    bash,
    builds,
    drafts,
    edit,
    framing,
    git,
    happy,
    objects,
    patch,
    refines,
    rule,
    run_checks,
    serve,
    tool,
    view,
)

pytestmark = pytest.mark.sampled

KEYS = {
    "session", "run_state", "outcome", "branch", "base_sha", "head_sha", "changeset_digest", "plan_digest", "cost_usd", "tokens",
    "cache_hit_rate", "calls", "checks", "findings", "audit",
}  # fmt: skip
PER_MILLION = 1_000_000


def billed(journal: list[dict[str, Any]]) -> int:
    """What the requests cost by genai_prices' own reckoning, in micro-dollars, each rounded up."""
    total = 0
    for entry in journal:
        usage = genai_prices.Usage(
            input_tokens=entry["input_tokens"],
            output_tokens=entry["output_tokens"],
            cache_read_tokens=entry["cache_read"],
            cache_write_tokens=entry["cache_write"] + entry["cache_write_long"],
        )
        price = genai_prices.calc_price(usage, entry["model"], provider_id=entry["vendor"])
        exact = price.total_price * PER_MILLION
        total += int(exact) + (exact != int(exact))
    return total


@dataclass(frozen=True, slots=True)
class Story:
    """A run that was told to its end."""

    world: World
    said: Said
    before: str
    journal: list[dict[str, Any]]

    @property
    def result(self) -> dict[str, Any]:
        return self.said.result

    @property
    def folder(self) -> Path:
        return self.world.folder(self.said)

    @property
    def report(self) -> str:
        return (self.folder / "report.md").read_text("utf-8")

    @property
    def tree(self) -> str:
        return self.world.git("rev-parse", f"{self.result['branch']}^{{tree}}")

    def evidence(self, name: str) -> str:
        return (self.folder / "runs" / "run-01" / "evidence" / name).read_text("utf-8")

    def asked(self, role: str) -> list[str]:
        """The models asked for `role`, call by call, from the journal."""
        calls = [record.item for record in self.world.records(self.said) if isinstance(record.item, PriceCall)]
        strategy = json.loads((self.folder / "runs" / "run-01" / "strategy.json").read_text("utf-8"))
        vendor = next(choice["model"]["vendor"] for choice in strategy["choices"] if choice["role"] == role)
        return [call.model.model for call in calls if call.model.vendor == vendor]


ONE_HAND = ("anthropic",)
"""One vendor, so that every attempt is made with the same tools: with two, the second is the other's."""


def tell(folder: Path, rules: list[Rule], *args: str, issue: str = ISSUE, keys: tuple[str, ...] = ("anthropic", "openai"),
         **env: str) -> Story:  # fmt: skip
    """A new world, one run in it."""
    world = World.of(folder, **env)
    before = world.untouched()
    with serve(rules) as vendors:
        said = world.run(issue, *args, vendors=vendors, keys=keys)
        return Story(world, said, before, vendors.journal())


def is_done(story: Story) -> bool:
    return story.said.code == 0 and story.result["run_state"] == "DONE_SUCCESS"


def needs_a_person(story: Story) -> bool:
    """Ended without a branch, with the exit code that asks for a person, the checkout as it was."""
    ended = story.said.code == 2 and story.result["run_state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW"
    return ended and story.result["branch"] is None and story.world.branches() == ["main"] and untouched(story)


def untouched(story: Story) -> bool:
    return story.world.untouched() == story.before


# --- the happy path ---------------------------------------------------------------------------------------------------

REVIEWED = [
    drafts(a_plan(tests=())),
    objects("No test is planned."),
    refines(O1="Right: test_adds is planned."),
    *builds([view("calc.py"), view("tests/test_calc.py")], [FIX, PROOF], [run_checks()], DONE),
    audits(findings=[a_finding("the operator has no comment", severity="minor")]),
]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return tell(tmp_path_factory.mktemp("happy"), REVIEWED)


def test_it_ends_with_one_json_object_of_the_documented_keys(story: Story) -> None:
    assert is_done(story), story.said
    assert set(story.result) == KEYS
    assert story.said.out.count("\n") == 1
    assert story.result["checks"] == {
        "tests_before": "pass", "manifests": "pass", "syntax": "pass", "lint": "pass", "types": "neutral", "imports": "pass",
        "tests_after": "pass", "verdict": "pass", "fail_before_pass_after": "pass",
    }  # fmt: skip


def test_it_leaves_a_branch_a_patch_a_report_and_the_evidence(story: Story) -> None:
    for name in ("report.md", "journal.jsonl", "page.html", "changes.patch", "metadata.json", "state.json"):
        assert (story.folder / name).stat().st_size > 0, name
    evidence = {path.name for path in (story.folder / "runs" / "run-01" / "evidence").iterdir()}
    measured = {"budget_report.md", "budget_enforcement.json"}
    assert evidence == {"plan.md", "plan.json", "test_results.json", "review.md"} | measured
    assert story.world.branches() == ["main", story.result["branch"]]
    assert story.world.git("rev-parse", story.result["branch"]) == story.result["head_sha"]
    assert (
        story.world.git("rev-parse", f"{story.result['branch']}^")
        == story.result["base_sha"]
        == story.world.git("rev-parse", "main")
    )


def test_the_patch_makes_the_branch_of_the_base(story: Story, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(story.world.repository), "clone")
    clone = tmp_path / "clone"
    git(clone, "apply", "--index", str(story.folder / "changes.patch"))
    assert git(clone, "write-tree") == story.tree


def test_the_checkout_is_as_it_was(story: Story) -> None:
    assert untouched(story)
    assert story.world.git("worktree", "list").count("\n") == 0


def test_the_cost_is_what_the_vendors_billed(story: Story) -> None:
    sums = {
        name: sum(entry[name] for entry in story.journal)
        for name in ("input_tokens", "output_tokens", "cache_read", "cache_write")
    }
    cached = sums["cache_read"] + sums["cache_write"]
    assert story.result["tokens"] == {
        "input": sums["input_tokens"] - cached, "output": sums["output_tokens"], "cache_read": sums["cache_read"],
        "cache_write": sums["cache_write"],
    }  # fmt: skip
    assert sums["cache_read"] > 0
    hits = sums["cache_read"] / sums["input_tokens"]
    assert story.result["cache_hit_rate"] == round(hits, 4)
    told = f"From the vendors' caches: {hits:.0%} of {sums['input_tokens']:,} input tokens (claude-haiku-5-5 "
    assert told in story.report
    assert told in html.unescape((story.folder / "page.html").read_text("utf-8"))
    assert story.result["calls"] == len(story.journal) == 8
    assert round(story.result["cost_usd"] * PER_MILLION) == billed(story.journal) > 0


def test_the_commit_leads_back_to_the_session(story: Story) -> None:
    message = story.world.git("log", "-1", "--format=%B", story.result["branch"])
    trailers = story.world.git("log", "-1", "--format=%(trailers:unfold)", story.result["branch"]).splitlines()
    assert message.startswith("fix: add() returns the difference")
    assert f"Ostler-Session: {story.result['session']}" in trailers
    assert any(line.startswith("Plan-Digest: ") for line in trailers)


def test_every_page_says_that_the_models_were_scripted(story: Story) -> None:
    assert "Scripted run: the models' answers came from this machine" in story.report
    assert "Scripted run" in (story.folder / "page.html").read_text("utf-8")


def test_the_report_holds_plan_proof_audit_and_cost(story: Story) -> None:
    for text in (
        "tests/test_calc.py::test_adds",
        "No test is planned.",
        "Right: test_adds is planned.",
        "the operator has no comment",
        "other vendor than claude-haiku-5-5",
        DONE,
        story.result["changeset_digest"],
    ):
        assert text in story.report, text
    assert [finding["claim"] for finding in story.result["findings"] if finding["source"] == "auditor"] == [
        "the operator has no comment"
    ]


def test_without_streaming_it_is_the_same_tree_at_the_same_cost(story: Story, tmp_path: Path) -> None:
    plain = tell(tmp_path, REVIEWED, OSTLER_STREAMING="false")
    assert is_done(plain), plain.said
    assert plain.tree == story.tree
    assert plain.result["cost_usd"] == story.result["cost_usd"]
    assert plain.result["tokens"] == story.result["tokens"]


# --- one key only -----------------------------------------------------------------------------------------------------

SUM = ' def add(left: int, right: int) -> int:\n     """The sum."""\n-    return left - right\n+    return left + right\n'
ASSERTS = "     assert add(2, 0) == 2\n+\n+\n+def test_adds() -> None:\n+    assert add(2, 3) == 5\n"
PATCHES = [patch("calc.py", SUM), patch("tests/test_calc.py", ASSERTS)]


def test_with_only_anthropics_key_another_model_of_it_judges(story: Story, tmp_path: Path) -> None:
    alone = tell(tmp_path, REVIEWED, keys=("anthropic",))
    assert is_done(alone), alone.said
    assert {entry["vendor"] for entry in alone.journal} == {"anthropic"}
    assert alone.tree == story.tree
    assert "only anthropic's key is set, so another model of it judges claude-haiku-5-5" in alone.report
    assert "only anthropic's key is set, so another model of it judges claude-haiku-5-5" in alone.evidence("plan.md")


def test_with_only_openais_key_the_builder_patches(story: Story, tmp_path: Path) -> None:
    rules = [drafts(), approves(), *builds([tool("view", path="calc.py")], PATCHES, [run_checks()], DONE), audits()]
    alone = tell(tmp_path, rules, keys=("openai",))
    assert is_done(alone), alone.said
    assert {entry["vendor"] for entry in alone.journal} == {"openai"}
    assert alone.tree == story.tree
    assert "only openai's key is set, so another model of it judges gpt-6-luna" in alone.report


# --- more than small work ---------------------------------------------------------------------------------------------


def test_medium_work_is_thought_about_first(tmp_path: Path) -> None:
    medium = tell(tmp_path, [*framing(), *happy()], issue=f"{ISSUE}\n\nIt matters for the concurrency of our algorithm.")
    assert is_done(medium), medium.said
    assert "a wrong operator" in medium.evidence("strategy.md")
    assert "the criterion is met and tested" in medium.evidence("spec.md")
    assert "they add up like any other" in medium.evidence("edge_cases.md")
    assert [entry["model"] for entry in medium.journal] == [
        "claude-sonnet-5-5", "claude-sonnet-5-5", "claude-sonnet-5-5", "gpt-6.1-terra", "claude-sonnet-5-5", "claude-sonnet-5-5",
        "claude-sonnet-5-5", "gpt-6.1-terra",
    ]  # fmt: skip


def test_risky_work_gets_the_strongest_models(tmp_path: Path) -> None:
    risky = tell(tmp_path, [*framing(), *happy()], "--approve", issue=f"{ISSUE}\n\nThe authentication of tokens depends on it.")
    assert is_done(risky), risky.said
    *others, second_audit = (entry["model"] for entry in risky.journal)
    assert set(others) == {"claude-opus-5-5", "gpt-6.1-sol"}
    assert second_audit == "claude-sonnet-5-5", "a model that neither built it nor audited it before"
    assert "Approved by --approve on the command line." in risky.report


# --- what is not believed ---------------------------------------------------------------------------------------------

LIES = "All done, the tests pass."
DIVIDES = edit("calc.py", "    return left - right\n", "    return left // right\n")
MENDS = edit("calc.py", "    return left // right\n", "    return left + right\n")


def test_done_without_a_change_and_with_failing_tests_is_not_believed(tmp_path: Path) -> None:
    """Two attempts of the fast model fail, so the third is the next class's."""
    rules = [
        drafts(),
        approves(),
        *builds([MENDS], DONE, brief="passed before and fail now: "),
        *builds([DIVIDES, PROOF], LIES, brief="nothing was changed"),
        *builds(LIES),
        audits(),
    ]
    told = tell(tmp_path, rules, keys=ONE_HAND)
    assert is_done(told), told.said
    assert [entry["model"] for entry in told.journal][2:-1] == ["claude-haiku-5-5"] * 3 + ["claude-sonnet-5-5"] * 2
    assert "2 attempts of claude-haiku-5-5 failed verification" not in told.result["outcome"]
    assert "nothing was changed" in told.report
    assert "return left + right" in told.world.git("show", f"{told.result['branch']}:calc.py")


def test_when_the_attempts_are_used_up_a_person_is_asked(tmp_path: Path) -> None:
    worse = edit("calc.py", "    return left // right\n", "    return str(left)\n")
    rules = [
        drafts(),
        approves(),
        *builds(LIES, brief="ONE small, safe change"),
        *builds([worse], LIES, brief="ZeroDivisionError"),
        *builds([DIVIDES], LIES, brief="nothing was changed"),
        *builds(LIES),
        audits(),
    ]
    told = tell(tmp_path, rules, keys=ONE_HAND)
    assert needs_a_person(told), told.said
    assert told.result["outcome"] == "4 of 4 attempts used: nothing was changed"
    assert "test_nothing_is_added" in told.report
    assert "return str(left)" in (told.folder / "changes.patch").read_text("utf-8")
    assert all(entry["model"] != "gpt-6.1-terra" for entry in told.journal[2:])


def test_a_fix_without_a_test_is_sent_back_once(tmp_path: Path) -> None:
    rules = [
        drafts(),
        approves(),
        *builds([PROOF], DONE, brief="no test fails before the change and passes after it"),
        *builds([FIX], LIES),
        audits(),
    ]
    told = tell(tmp_path, rules, keys=ONE_HAND)
    assert is_done(told), told.said
    assert told.result["checks"]["fail_before_pass_after"] == "pass"


def test_the_same_failure_twice_is_no_progress(tmp_path: Path) -> None:
    told = tell(tmp_path, [drafts(), approves(), *builds(LIES)])
    assert needs_a_person(told), told.said
    assert told.result["outcome"] == "no progress, the same problems twice in a row: nothing was changed"
    assert len(told.journal) == 4


def test_an_audit_that_finds_a_criterion_unmet_sends_the_work_back(tmp_path: Path) -> None:
    says = edit("calc.py", '    """The sum."""\n', '    """The sum, in either order."""\n')
    rules = [
        drafts(),
        approves(),
        *builds([says], DONE, brief="C1: the criterion is not met"),
        *builds([FIX, PROOF], LIES),
        audits(contains="in either order"),
        audits("C1"),
    ]
    told = tell(tmp_path, rules, keys=ONE_HAND)
    assert is_done(told), told.said
    assert sum(isinstance(record.item, ChangesetTaken) for record in told.world.records()) == 2
    assert sum(isinstance(record.item, ProofRan) for record in told.world.records()) == 2
    assert told.result["findings"] == []
    assert "in either order" in told.world.git("show", f"{told.result['branch']}:calc.py")


def test_an_audit_that_is_no_audit_three_times_ends_the_run(tmp_path: Path) -> None:
    rules = [*happy()[:-1], rule("# Phase REVIEW: audit", text="Looks good to me!")]
    told = tell(tmp_path, rules)
    assert needs_a_person(told), told.said
    assert "gpt-6.1-terra gave 3 unusable answers in REVIEW (audit)" in told.result["outcome"]
    assert len(told.journal) == 4 + 3


@pytest.mark.parametrize(
    ("rubbish", "why"),
    [
        ({"text": "I would start with the parser."}, "the answer is not JSON"),
        ({"json": a_plan() | {"tasks": []}}, "a plan needs at least one task"),
        ({"json": a_plan() | {"criteria": []}}, "at least one acceptance criterion"),
        (
            {"json": a_plan() | {"tasks": [{"id": "T1", "title": "x", "files": ["calc.py"], "depends_on": ["T1"]}]}},
            "T1",
        ),
        (
            {"json": a_plan() | {"tasks": [{"id": "T1", "title": "x", "files": [], "depends_on": []}]}},
            "no task names a file",
        ),
        ({"text": "[" * 8_000}, "the answer is not JSON"),
    ],
    ids=["words", "no-tasks", "no-criteria", "a-circle", "no-files", "deep"],
)
def test_a_rubbish_plan_ends_the_run(tmp_path: Path, rubbish: dict[str, Any], why: str) -> None:
    told = tell(tmp_path, [rule("# Phase PLAN: draft", **rubbish)])
    assert needs_a_person(told), told.said
    assert "3 unusable answers in PLAN (draft)" in told.result["outcome"]
    assert why in told.result["outcome"]
    assert len(told.journal) == 3


def test_evidence_that_does_not_resolve_does_not_count(tmp_path: Path) -> None:
    """A criterion that is met on the strength of a file nobody changed is not verified, and a finding about it is dropped."""
    invented = audits(evidence=["elsewhere.py:1"], findings=[a_finding("invented", "elsewhere.py:1", evidence=["nowhere.py:2"])])
    told = tell(tmp_path, [*happy()[:-1], invented])
    assert is_done(told), told.said
    assert [(f["claim"], f["severity"]) for f in told.result["findings"]] == [("the criterion could not be verified", "minor")]


def test_a_model_that_refuses_ends_the_run(tmp_path: Path) -> None:
    told = tell(tmp_path, [rule("# Phase PLAN: draft", text="No.", stop="refusal")])
    assert needs_a_person(told), told.said
    assert told.result["outcome"] == "claude-haiku-5-5 refused to answer in PLAN"


def test_the_shell_is_the_sandboxs(tmp_path: Path) -> None:
    """What a model's command changes beneath the root is part of the change; outside it sees nothing of ours."""
    command = "sed -i 's/left - right/left + right/' calc.py; ls ~/.ssh /root; env | grep -c SCRIPTED"
    rules = [drafts(), approves(), *builds([bash(command), PROOF], DONE), audits()]
    told = tell(tmp_path, rules)
    assert is_done(told), told.said
    assert "return left + right" in told.world.git("show", f"{told.result['branch']}:calc.py")
