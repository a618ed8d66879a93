"""From the state of a run to the request of its next call: which blocks, in which order, so that vendors' caches can match.

Stable first: rules, repository, ticket (`system`), then the phase's prompt, the conversation, and last what changes with
every call. Nothing before the last part holds a date, an id of a call or an amount of money.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bot.core.answers import schema_of
from bot.core.conversation import Conversation, Message, Text, ToolResult
from bot.core.errors import BugError
from bot.core.phases import Kind, Role, Stage, stage_of
from bot.core.run import Run
from bot.llm.model import Request
from bot.llm.tools import tools_for
from bot.render import say

MASK_ABOVE = 240_000
"""Characters of tool results after which all but the newest are masked, in one go, because masking rewrites a cached prefix."""
KEPT_RESULTS = 6
BLOCKS: dict[Role, tuple[str, ...]] = {
    Role.PLANNER: ("rules", "repository", "ticket", "excerpts"),
    Role.PLAN_REVIEWER: ("rules", "repository", "ticket", "excerpts"),
    Role.BUILDER: ("rules", "ticket"),
    Role.AUDITOR: ("rules", "ticket"),
}
"""The system blocks of each role, stable first. Who plans gets the repository at a glance; who builds looks for itself, with
tools and the plan, and does not pay for the glance with every turn; who audits judges the diff."""
MAX_DIFF = 60_000

Diff = Callable[[], str]


def build_request(run: Run, diff: Diff) -> Request:
    """The request for the call under way, with the most output its stage may want. `diff` is only asked for by the audit."""
    call, phase = run.call, run.phase
    if call is None or run.workspace is None:
        raise BugError("no call is under way")
    stage = stage_of(phase.kind, phase.stage)
    values = _values(run, stage, diff)
    prompt = Message("user", (Text(say(f"prompts/{stage.template}", **values)),))
    return Request(
        model=call.choice.model.model,
        system=tuple(text for name in BLOCKS[stage.role] if (text := say(f"prompts/{name}.md.j2", **values).strip())),
        messages=(prompt, *masked(phase.conversation)),
        max_output=stage.output,
        tools=tools_for(call.choice.model.vendor, shell=run.workspace.sandbox.full) if stage.tools else (),
        tail=say("prompts/tail.md.j2", **values).strip(),
        schema=schema_of(stage.answer) if stage.answer else None,
        schema_name=stage.answer.__name__ if stage.answer else "answer",
        thinking=stage.thinking,
        cache_key=hashlib.sha256(f"{run.request.session}{call.choice.role}".encode()).hexdigest()[:32],
    )


def _values(run: Run, stage: Stage, diff: Diff) -> dict[str, Any]:
    text = ""
    if run.phase.kind is Kind.REVIEW:
        text = diff()
        if len(text) > MAX_DIFF:
            text = f"{text[:MAX_DIFF]}\n[the diff is cut here: {len(text) - MAX_DIFF} characters more]"
    return {
        "nonce": run.request.nonce,
        "ticket": run.request.ticket,
        "settings": run.request.settings,
        "workspace": run.workspace,
        "documents": run.documents,
        "baseline": run.baseline,
        "proof": run.proof,
        "verdict": run.verdict,
        "findings": tuple(finding for finding in run.findings if finding.source != "auditor"),
        "phase": run.phase,
        "stage": stage,
        "left": run.ledger.run_cap - run.ledger.committed,
        "diff": text,
    }


def masked(conversation: Conversation) -> Conversation:
    """`conversation` with old tool results left out once they are many: rarely, and in big bites."""
    boundary, size = 0, 0
    last: list[int] = []
    for at, message in enumerate(conversation):
        results = sum(len(block.text) for block in message.blocks if isinstance(block, ToolResult))
        if results:
            size += results
            last = [*last, at][-KEPT_RESULTS:]
        if size > MASK_ABOVE and len(last) == KEPT_RESULTS:
            boundary = last[0]
            size = sum(len(b.text) for i in last for b in conversation[i].blocks if isinstance(b, ToolResult))
    return (*(_mask(message) for message in conversation[:boundary]), *conversation[boundary:])


def _mask(message: Message) -> Message:
    blocks = tuple(
        replace(block, text=f"[{len(block.text)} characters, left out to save space]") if isinstance(block, ToolResult) else block
        for block in message.blocks
    )
    return replace(message, blocks=blocks)
