"""What people read of a run, made anew from its state whenever it stops. Any of it may be lost: the journal is the truth."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from bot.core.ageing import backlog
from bot.core.budget_report import enforcement
from bot.core.cheats import yielding
from bot.core.incident import remedy, went_wrong
from bot.core.ladder import tried
from bot.core.phases import KINDS, Kind, Role
from bot.core.risk import diff_risk
from bot.core.run import Run, contract_digest
from bot.core.summary import (
    account,
    budget_line,
    budget_of,
    by_model,
    cache_line,
    changed_files,
    ci_line,
    line,
    phase_rows,
    planted_line,
    quote,
    second_opinion,
    status,
    way_on,
)
from bot.render import duration, say
from bot.store.session import SessionFolder


def project(session: SessionFolder, run: Run, *, patch: bytes, at: str, seconds: float) -> tuple[str, ...]:
    """Write metadata, state, strategy, evidence, patch, `report.md` and `page.html` of `run`.

    Whatever cannot be written stops nothing: the journal holds it. What that was and why is returned, a sentence for each.
    """
    failed = []
    for name, content in _pages(run, patch=patch, seconds=seconds).items():
        try:
            session.write(name, content)
        except OSError as error:
            failed.append(f"{session.path / name} cannot be written ({error.strerror}): the journal holds what it says.")
    done = at if run.over else None
    money = {"cost": run.ledger.spent, "calls": run.ledger.calls}
    session.update(status=status(run), run_state=str(run.state), outcome=run.outcome, completed_at=done, **money)
    return tuple(failed)


def _pages(run: Run, *, patch: bytes, seconds: float) -> dict[str, str | bytes]:
    """The files by name."""
    folder = f"runs/{run.request.run}"
    pages: dict[str, str | bytes] = {"state.json": json.dumps(line(run), indent=2) + "\n"}
    if run.strategy:
        pages[f"{folder}/strategy.json"] = (
            json.dumps({"digest": run.strategy.digest, **asdict(run.strategy)}, indent=2, default=str) + "\n"
        )
    values = _values(run, seconds)
    if run.changeset and run.changeset.files:
        pages["changes.patch"] = patch
    pages |= {f"{folder}/evidence/{name}": text for name, text in _evidence(run, values).items()}
    if went_wrong(run):
        pages[f"{folder}/incident.md"] = say("reports/incident.md.j2", **values, remedy=remedy(run))
    pages["report.md"] = say("reports/report.md.j2", **values)
    shown = _plan_values(run) if run.documents.plan else {"reviewer": None, "digest": ""}
    pages["page.html"] = say(
        "pages/run.html.j2",
        diff=patch.decode("utf-8", "replace"),
        contract=shown["digest"],
        reviewer=shown["reviewer"],
        **values,
    )
    return pages


def progress(run: Run) -> str:
    """The state of a run in a dozen lines of plain text."""
    return say("reports/progress.md.j2", run=run, rows=phase_rows(run), budget=budget_line(run))


def plan_text(run: Run) -> str:
    """The plan as the contract a person approves, in Markdown."""
    return say("reports/plan.md.j2", **_plan_values(run)) if run.documents.plan else ""


def _plan_values(run: Run) -> dict[str, Any]:
    choices = {choice.role: choice for choice in run.compiled.choices}
    return {
        "run": run,
        "ci": ci_line(run),
        "digest": run.contract or contract_digest(run),
        "reviewer": choices.get(Role.PLAN_REVIEWER),
        "quote": quote(run),
        "yielding": yielding(run.documents.plan) if run.documents.plan else (),
    }


def _values(run: Run, seconds: float) -> dict[str, Any]:
    """Everything the report and the page show."""
    built = [phase.choice for phase in run.phases if phase.kind is Kind.IMPLEMENT and phase.choice]
    values: dict[str, Any] = {
        "run": run,
        "note": run.request.settings.note,
        "ci": ci_line(run) if run.strategy else "",
        "headline": headline(run, seconds),
        "budget": budget_line(run),
        "way_on": way_on(run),
        "account": account(run),
        "builder": built[-1].model.model if built else "",
        "auditors": [opinion.choice for opinion in run.documents.opinions],
        "second": second_opinion(run),
        "planted": planted_line(run),
        "backlog": backlog(run.request.settings.experience.audits),
        "models": by_model(run),
        "cache": cache_line(run),
        "rows": phase_rows(run),
        "tried": tried(run) if run.strategy else (),
        "ordered_files": changed_files(run),
        "risk": diff_risk(run.changeset) if run.changeset else None,
        "plan_text": plan_text(run),
    }
    return values | {"audit_text": say("reports/audit.md.j2", **values) if run.documents.audit else ""}


def headline(run: Run, seconds: float) -> str:
    """How it stands, in one line: `Finished in 3m 12s`, or what stopped it."""
    if run.waiting:
        return f"Waits for a person after {duration(seconds)}: {run.waiting.text}"
    if not run.over:
        return "Not finished"
    if run.state == "DONE_SUCCESS":
        return f"Finished in {duration(seconds)}" + (f": {run.outcome}" if run.outcome not in ("", "done") else "")
    return f"Stopped after {duration(seconds)}: {run.outcome}"


def _evidence(run: Run, values: dict[str, Any]) -> dict[str, str]:
    """The evidence files of the phases that produced something, by name."""
    documents, found = run.documents, {}
    for kind, document in (
        (Kind.STRATEGIZE, documents.approach),
        (Kind.SPEC, documents.spec),
        (Kind.THINK, documents.edge_cases),
    ):
        if document:
            found[KINDS[kind].evidence] = say(f"reports/{kind.lower()}.md.j2", document=document)
    if documents.plan:
        found["plan.md"] = values["plan_text"]
        found["plan.json"] = json.dumps(asdict(documents.plan), indent=2) + "\n"
    if run.baseline:
        results = {"baseline": run.baseline, "proof": run.proof, "verdict": run.verdict}
        found["test_results.json"] = (
            json.dumps({name: asdict(value) if value else None for name, value in results.items()}, indent=2) + "\n"
        )
    if documents.audit:
        found["review.md"] = values["audit_text"]
    if run.strategy and run.phases:
        budget = budget_of(run)
        found["budget_report.md"] = say("reports/budget_report.md.j2", report=budget)
        found["budget_enforcement.json"] = json.dumps(enforcement(budget), indent=2) + "\n"
    return found
