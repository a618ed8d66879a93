"""IMPLEMENT: a fixer or a model with tools changes the worktree; the runner takes the diff and the policy judges it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from bot.core.builders import next_builder
from bot.core.calling import ask, available, reads
from bot.core.changeset import Changeset
from bot.core.cheats import Lifted, cheats_in, lifted_by
from bot.core.conversation import Message, Text, ToolUse
from bot.core.effects import RunFixers, TakeChangeset, UseTools
from bot.core.errors import BugError
from bot.core.events import ChangesetTaken, FixersRan, ModelReplied, ToolsUsed
from bot.core.findings import Finding, merge
from bot.core.flow import begins, close_tier, fail, go_back, go_on, insert, pass_gate, skip_rest, to_gate
from bot.core.ladder import author, failed_models, most_attempts, refused_edits, rung_of
from bot.core.machines import PhaseState, RunState
from bot.core.moving import unresolved
from bot.core.phases import Kind, Role
from bot.core.policy import PUT_BACK, check, outside, remarks
from bot.core.reports import FixerCall
from bot.core.run import Run, Step

CUT_OFF = "Your answer was cut off at its length limit. Go on with smaller steps: one tool call at a time."


@begins(Kind.IMPLEMENT)
def begin(run: Run) -> Step:
    """Mechanical first; a model gets a fresh conversation with a brief, never a failed one's transcript."""
    if fixers := run.compiled.fixers or run.phase.fixers:
        return run.with_phase(replace(run.phase, rung=run.phase.rung or "mechanical")), (RunFixers(run.tree, fixers),)
    if run.phase.rung == "rebase":
        return run, (TakeChangeset(run.tree),)
    if run.phase.rung == "conflict":
        return ask(run.with_phase(replace(run.phase, choice=available(run, author(run)))))
    default = next(choice for choice in run.compiled.choices if choice.role is Role.BUILDER)
    failed, ledger, attempts = failed_models(run), run.ledger, most_attempts(run) - run.attempt + 1
    share = Fraction(ledger.committed, ledger.run_cap) if ledger.run_cap else Fraction(0)
    settings = run.request.settings
    if run.chosen_class:
        models = tuple(model for model in settings.models if model.model_class is default.model.model_class)
        settings = replace(settings, models=models)
    chosen = next_builder(settings, run.compiled.triage, default, failed, attempts=attempts, share=share)
    if chosen is None:
        why = f"{len(failed)} attempts failed, and another is expected to cost more than it is worth"
        return fail(run, RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, why)
    choice = available(run, replace(chosen, reason=default.reason) if run.chosen_class else chosen)
    return ask(run.with_phase(replace(run.phase, choice=choice, rung=rung_of(run, choice))))


def fixers_ran(run: Run, event: FixersRan) -> Step:
    """Tools that changed nothing leave what is amiss to a model; so do suggestions of a review."""
    run, mended = run.worked(event.seconds), event.tree != run.tree
    if isinstance(run.pending, RunFixers) and run.pending.calls[0].name == PUT_BACK:
        return _was_put_back(run, event.tree)
    if run.phase.fixers and not mended and not run.phase.origin:
        return pass_gate(to_gate(run), "nothing was left to apply")
    if run.phase.fixers and not mended:
        phase, left = run.phase, "; ".join(f"{report.fixer}: {report.after} left" for report in event.reports)
        run = run.phase_moved(PhaseState.FAILED, reason=left).moved(RunState.PHASE_QUEUEING)
        return go_on(insert(run, phase, (Kind.IMPLEMENT,), brief=phase.brief))
    if not run.phase.fixers:
        run = replace(run, fixer_reports=event.reports)
    return replace(run, tree=event.tree), (TakeChangeset(event.tree),)


@reads(Kind.IMPLEMENT)
def build_read(run: Run, event: ModelReplied) -> Step:
    """Tool uses are carried out; words alone ask for the gate, whatever they claim."""
    phase = run.phase
    said = (Message("assistant", event.blocks),) if event.blocks else ()
    run = run.with_phase(replace(phase, conversation=(*phase.conversation, *said)))
    if any(isinstance(block, ToolUse) for block in event.blocks):
        return run, (UseTools(event.call, run.tree),)
    if event.stop == "max_output" and phase.turns < run.request.settings.max_turns and said:
        again = Message("user", (Text(CUT_OFF),))
        return ask(run.with_phase(replace(run.phase, conversation=(*run.phase.conversation, again))))
    return run, (TakeChangeset(run.tree),)


def tools_used(run: Run, event: ToolsUsed) -> Step:
    """A turn cap ends the attempt with what there is: nothing is lost, and the gate decides."""
    if not isinstance(run.pending, UseTools) or run.pending.call != event.call:
        raise BugError(f"no tools are asked for by {event.call}")
    phase = run.phase
    answer = Message("user", event.results)
    run = replace(run, tree=event.tree, refused=(*run.refused, *event.refused))
    run = run.with_phase(replace(phase, conversation=(*phase.conversation, answer))).worked(event.seconds)
    if phase.turns >= run.request.settings.max_turns:
        return run, (TakeChangeset(run.tree),)
    return ask(run)


def changeset_taken(run: Run, event: ChangesetTaken) -> Step:
    """One bad entry, or one try to write where nobody may, refuses the whole changeset."""
    if event.changeset.tree != run.tree:
        raise BugError("the changeset is another tree's")
    settings, changeset, rung = run.request.settings, event.changeset, run.phase.rung
    if rung == "conflict" and (left := unresolved(run, changeset)):
        return left
    tried = tuple(
        Finding("policy", "major", "path", path, "a write outside the repository's files was tried")
        for path in dict.fromkeys(run.refused)
    )
    landing = check(changeset, denied=settings.denied_paths, allowed=settings.allowed_paths)
    cheats = cheats_in(changeset, lifted(run), [case.message for case in run.baseline.tests.failing] if run.baseline else ())
    refusals = (*tried, *landing, *(cheat for cheat in cheats if cheat.severity == "major"))
    audited = tuple(finding for finding in run.findings if finding.source == "auditor") if rung == "rebase" else ()
    if not refusals and (beyond := _unplanned(run, changeset)):
        return _put_back(run, beyond)
    found = merge(refusals, cheats, remarks(changeset), _undone(run), audited)
    run = to_gate(replace(run, changeset=changeset, findings=found))
    if refusals:
        told = "; ".join(f"{finding.place}: {finding.claim}" for finding in refusals[:5])
        return fail(run, RunState.DONE_FAILED_POLICY_VIOLATION, f"the whole changeset is refused: {told}")
    if not changeset.files:
        return _nothing_changed(run)
    return pass_gate(run)


def lifted(run: Run) -> Lifted:
    """What the contract of `run` allows of the rules about cheats. What a review suggests word by word is a person's."""
    plan, strategy, follow = run.documents.plan, run.compiled, run.request.follow
    suggested = [one.path for one in follow.suggestions] if follow else []
    return lifted_by(plan, suggested, mechanical=bool(strategy.fixers), reverts=strategy.takes_tests_along)


def _unplanned(run: Run, changeset: Changeset) -> tuple[Finding, ...]:
    """What `changeset` does that nobody planned. A fixer plans no files: what it changes is what was asked for."""
    plan, follow = run.documents.plan, run.request.follow
    if plan is None or run.compiled.fixers:
        return ()
    suggested = [one.path for one in follow.suggestions] if follow else []
    return outside(changeset, [*suggested, *(name for task in plan.tasks for name in task.files)], plan.out_of_scope)


def _put_back(run: Run, beyond: tuple[Finding, ...]) -> Step:
    """What nobody planned is undone by code, as a model may not know how the files were. What is left has to hold by itself."""
    told = tuple(replace(finding, severity="minor", claim=f"{finding.claim}: it was put back") for finding in beyond)
    paths = (finding.place for finding in beyond)
    call = FixerCall(PUT_BACK, (run.base_tree, *paths), beyond[0].claim)
    return replace(run, findings=merge(run.findings, told)), (RunFixers(run.tree, (call,)),)


def _was_put_back(run: Run, tree: str) -> Step:
    if tree == run.tree:
        why = "the whole changeset is refused: files that no task of the plan names could not be put back"
        return fail(run, RunState.DONE_FAILED_POLICY_VIOLATION, why)
    return replace(run, tree=tree), (TakeChangeset(tree),)


def _undone(run: Run) -> tuple[Finding, ...]:
    return tuple(finding for finding in run.findings if (finding.rule, finding.severity) == ("scope", "minor"))


def _nothing_changed(run: Run) -> Step:
    if run.phase.rung == "rebase" and not run.compiled.fixers:
        return _nothing_left(run, "the new base has the change already")
    if undone := _undone(run):
        why = f"nothing is left of the change: {', '.join(finding.place for finding in undone)}: {undone[0].claim}"
        return go_back(run, (Kind.IMPLEMENT,), (why,))
    if not run.compiled.fixers:
        refused = refused_edits(run.phase)
        why = (
            f"nothing was changed: every edit was refused, the last one with: {refused[:300]}"
            if refused
            else "nothing was changed"
        )
        return go_back(run, (Kind.IMPLEMENT,), (why,))
    if left := [f"{report.fixer}: {report.detail}" for report in run.fixer_reports if report.after]:
        why = f"the fixer changed nothing, and what it found is still there ({'; '.join(left)})"
        return fail(run, RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, why)
    return _nothing_left(run, "the fixer found nothing to change")


def _nothing_left(run: Run, why: str) -> Step:
    tier = run.phase.tier
    run = run.phase_moved(PhaseState.COMPLETE, reason=why)
    run = skip_rest(run.moved(RunState.SNAPSHOT_CREATED).moved(RunState.PHASE_QUEUEING), "nothing was changed")
    return go_on(close_tier(replace(run, outcome="nothing to change"), tier))
