"""From the state of a run to the request of its next call: which blocks, in which order, so that vendors' caches can match.

Caches match exact prefixes: tools, what is said about the answer's format, system blocks, messages. So stable first: rules,
ticket, repository, excerpts (`system`), the same bytes in every phase; then the phase's prompt, the conversation, and last what
changes with every call. Nothing before the last part holds a date, an id of a call or an amount of money, and nothing is
ordered by chance: all parts are built from constants and the journal, each in one fixed order, so a replay gives the same bytes.

- *Rules and ticket come first* because all roles have them: where one model serves two roles, they share that much.
- *The answer's schema stands in the phase's prompt.* Sent as the vendors' own format it goes in front of the system blocks
  (OpenAI's guide says so of its own; Claude on Bedrock was seen to do the same), and no two phases would share a prefix. Only
  after an answer that could not be used is it sent as a format too: that costs one cached prefix, and the shape is certain.
- *Builders alone have tools, and do without repository and excerpts.* With a planner's prefix of 8,800 tokens (bench B9, of
  which a builder needs 800) 30 turns would read $0.024 more on Sonnet 5.5; on Haiku 5.5, which would have to write it first,
  it is $0.0034 beside a build of $0.017. Tools in every phase (about 1,500 tokens with the vendors' hidden descriptions) save
  $0.002 a run where planner and builder are both Sonnet 5.5, a tenth of a thousandth where both are Haiku 5.5, cost $0.004 where
  they are not the same, and would offer a planner tools that it may not use. All derived from the prices of November 2026.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from bot.core.answers import schema_of
from bot.core.budget import Rates
from bot.core.caching import gaps, long_pays, masked
from bot.core.changeset import unified
from bot.core.conversation import Message, Text
from bot.core.errors import BugError
from bot.core.ladder import brief
from bot.core.mutants import mutant
from bot.core.phases import Kind, Role, Stage, stage_of
from bot.core.run import Run
from bot.core.strategy import REVIEWER, REVIEWERS
from bot.llm import wire
from bot.llm.model import Request
from bot.llm.tools import tools_for
from bot.render import say

BLOCKS: dict[Role, tuple[str, ...]] = {
    Role.PLANNER: ("rules", "ticket", "repository", "excerpts"),
    Role.PLAN_REVIEWER: ("rules", "ticket", "repository", "excerpts"),
    Role.BUILDER: ("rules", "ticket"),
    Role.AUDITOR: ("rules", "ticket"),
}
"""The system blocks of each role, stable first. Who plans gets the repository at a glance; who builds looks for itself, with
tools and the plan, and does not pay for the glance with every turn; who audits judges the diff."""
MAX_DIFF = 60_000
TOOLS_CHARACTERS = 6_000
"""What the tools take up in a prompt, the vendors' hidden descriptions of their own ones included."""

Diff = Callable[[], str]


def build_request(run: Run, diff: Diff, rates: Rates) -> Request:
    """The request for the call under way, with the most output its stage may want, for a model of these prices.

    `diff` is only asked for by the audit.
    """
    call, phase = run.call, run.phase
    if call is None or run.workspace is None:
        raise BugError("no call is under way")
    stage = stage_of(phase.kind, phase.stage)
    values = _values(run, stage, diff)
    system = tuple(text for name in BLOCKS[stage.role] if (text := say(f"prompts/{name}.md.j2", **values).strip()))
    prompt = say(f"prompts/{stage.template}", **values)
    tools = tools_for(call.choice.model.vendor, shell=run.workspace.sandbox.full) if stage.tools else ()
    expected = _gaps(run, call.choice.model.vendor) if stage.tools else 0
    long = long_pays(expected, rates.tiers[0])
    before = sum(map(len, (*system, prompt))) + TOOLS_CHARACTERS * bool(tools)
    return Request(
        model=call.choice.model.model,
        system=system,
        messages=(
            Message("user", (Text(prompt),)),
            *masked(
                phase.conversation,
                rates,
                before=before,
                max_turns=run.request.settings.max_turns,
                expiring=0 if long else expected,
                suite_known=run.baseline is not None and run.baseline.tests.outcome == "pass",
            ),
        ),
        max_output=stage.output,
        tools=tools,
        tail=say("prompts/tail.md.j2", **values).strip(),
        schema=schema_of(stage.answer) if stage.answer and phase.unusable else None,
        schema_name=stage.answer.__name__ if stage.answer else "answer",
        thinking=stage.thinking,
        cache_key=hashlib.sha256(run.request.session.encode()).hexdigest()[:32],
        long_cache=long,
    )


def _gaps(run: Run, vendor: str) -> int:
    """The gaps that a build has to expect. What the whole suite takes was measured on the base."""
    return gaps(vendor, run.baseline.tests.seconds, run.request.settings.quick_seconds) if run.baseline else 0


def _values(run: Run, stage: Stage, diff: Diff) -> dict[str, Any]:
    text = ""
    if run.phase.kind is Kind.REVIEW:
        bad = mutant(run.changeset) if stage.name == "planted" and run.changeset else None
        text = unified(bad.changeset) if bad else diff()
        if len(text) > MAX_DIFF:
            text = f"{text[:MAX_DIFF]}\n[the diff is cut here: {len(text) - MAX_DIFF} characters more]"
    return {
        "nonce": run.request.nonce,
        "ticket": run.request.ticket,
        "follow": run.request.follow,
        "settings": run.request.settings,
        "workspace": run.workspace,
        "documents": run.documents,
        "baseline": run.baseline,
        "proof": run.proof,
        "verdict": run.verdict,
        "findings": tuple(finding for finding in run.findings if finding.source != "auditor"),
        "phase": run.phase,
        "brief": brief(run),
        "conflicts": run.moves[-1].conflicts if run.phase.rung == "conflict" else (),
        "base_branch": run.request.base_branch,
        "stage": stage,
        "schema": wire.compact(schema_of(stage.answer)) if stage.answer else "",
        "reviewer": REVIEWERS.get(run.compiled.triage.category, REVIEWER),
        "left": run.ledger.run_cap - run.ledger.committed,
        "diff": text,
    }
