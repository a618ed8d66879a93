"""A feature exists when unplugging it makes a test through a door fail.

Each row takes one feature out of a copy of the code and runs the named world test against that copy, in a process of its own: it
has to fail. A row whose text is no longer in the code fails too, in the sample or not, so the table keeps up with the code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600
FAILED = 1
WORLD = "tests/world"
UNFINISHED = shutil.ignore_patterns("*.pyc.*")
"""Bytecode that another process is just writing."""


@dataclass(frozen=True)
class Feature:
    """`old` becomes `new` in `file`; then `test` has to fail."""

    name: str
    file: str
    old: str
    new: str
    test: str


FEATURES = (
    Feature(
        "the plan is reviewed by a second model",
        "bot/core/framing.py",
        'return _stage(replace(run, documents=replace(run.documents, plan=_with_debts(run, plan))), "review")',
        "return _gate(to_gate(replace(run, documents=replace(run.documents, plan=_with_debts(run, plan)))))",
        "test_run.py::test_the_report_holds_plan_proof_audit_and_cost",
    ),
    Feature(
        "the judges come from the other vendor",
        "bot/core/selection.py",
        'return Choice(role, pick(models, vendor, wanted), f"other vendor than {author.model}")',
        "return Choice(role, author, 'itself')",
        "test_run.py::test_the_report_holds_plan_proof_audit_and_cost",
    ),
    Feature(
        "what an audit claims is run before it counts",
        "bot/core/auditing.py",
        "    if checks := to_run(claims(audits)):",
        "    if checks := ():",
        "test_audit.py::test_a_major_finding_whose_check_fails_sends_the_work_back",
    ),
    Feature(
        "what its check refutes is minor",
        "bot/core/opinions.py",
        '        return "minor", "refuted: its check passes on the result"',
        '        return "major", "refuted: its check passes on the result"',
        "test_audit.py::test_a_major_finding_that_nothing_shows_buys_no_loop[refuted]",
    ),
    Feature(
        "high risk is audited twice",
        "bot/core/auditing.py",
        "    if not high_risk(run):",
        "    if True:",
        "test_audit.py::test_high_risk_is_audited_by_two_vendors_and_their_findings_are_put_together",
    ),
    Feature(
        "what two auditors say is put together",
        "bot/core/opinions.py",
        "            if same is None:",
        "            if True:",
        "test_audit.py::test_high_risk_is_audited_by_two_vendors_and_their_findings_are_put_together",
    ),
    Feature(
        "an auditor is tried with a known defect",
        "bot/loop/asking.py",
        "text = unified(bad.changeset) if bad else diff()",
        "text = diff()",
        "test_audit.py::test_an_auditor_is_tried_with_a_known_defect_and_it_changes_nothing[True]",
    ),
    Feature(
        "the quality gate counts what is left",
        "bot/core/flow.py",
        "    level, why = quality(run)",
        "    level, why = 'ok', ''",
        "test_audit.py::test_more_small_findings_than_are_allowed_are_said_where_the_run_ends",
    ),
    Feature(
        "findings age by runs",
        "bot/core/record.py",
        "    return Experience(outcomes(run), (cost,), (seen,) if seen else ()) if cost else NONE",
        "    return Experience(outcomes(run), (cost,), ()) if cost else NONE",
        "test_audit.py::test_what_three_runs_left_is_debt_that_the_fourth_cleans_up_and_the_fifth_does_not_know",
    ),
    Feature(
        "an audit looks at what goes wrong in work of its category",
        "bot/loop/asking.py",
        "REVIEWERS.get(run.compiled.triage.category, REVIEWER)",
        "REVIEWER",
        "test_audit.py::test_the_auditor_is_told_what_work_of_this_category_gets_wrong"
        "[The security of our tokens depends on it.-what an attacker controls]",
    ),
    Feature(
        "the stop-loss holds a run before its proof",
        "bot/core/proving.py",
        "return stopped_for_tokens(run) or (run, (RunProof(run.tree),))",
        "return run, (RunProof(run.tree),)",
        "test_budgets.py::test_a_stop_at_the_stop_loss_ends_out_of_budget",
    ),
    Feature(
        "minutes of runners are counted",
        "bot/action/work.py",
        "        driver.feed(JobEnded(job, given.run_id, time.monotonic() - began))",
        "        pass",
        "test_conversation.py::test_minutes_of_runners_are_part_of_what_a_session_costs",
    ),
    Feature(
        "runs share caps and quotas",
        "bot/store/shares.py",
        "return tuple(cap for cap in (*money, quota) if cap.limit)",
        "return ()",
        "test_budgets.py::test_a_quota_that_is_nearly_used_up_sends_work_to_the_other_vendor",
    ),
    Feature(
        "sessions of the App share caps",
        "bot/web/allowances.py",
        "    if state.shipped_by or not any(cap.limit for cap in told):",
        "    if True:",
        "test_shared_caps.py::test_a_session_waits_while_another_has_the_days_money_and_goes_on_by_itself",
    ),
    Feature(
        "a run spends no more than its allowance",
        "bot/core/calling.py",
        "        shared=(*event.shared, *allowance_left(run)),",
        "        shared=event.shared,",
        "test_shared_caps.py::test_a_run_that_used_its_allowance_waits_with_its_work_kept_and_is_accounted_for",
    ),
    Feature(
        "jobs tell what they spent on which model",
        "bot/action/conclude.py",
        "spending=spending(run.ledger.charges)",
        "spending=()",
        "test_shared_caps.py::test_a_run_that_used_its_allowance_waits_with_its_work_kept_and_is_accounted_for",
    ),
    Feature(
        "a writer raises the cap of a session",
        "bot/action/gate.py",
        "    cap = now + state.added",
        "    cap = now",
        "test_conversation.py::test_a_writer_raises_the_cap_of_a_session_that_ran_out_of_money[app]",
    ),
    Feature(
        "the App tells jobs what earlier runs cost",
        "bot/web/jobs.py",
        "known = frozen(office.accounts.experience(str(row.repo_id)))",
        "known = frozen(office.accounts.experience(''))",
        "test_shared_caps.py::test_a_plan_quotes_what_earlier_runs_of_the_repository_cost_and_its_run_is_remembered",
    ),
    Feature(
        "another vendor takes over from one that is down",
        "bot/core/recovery.py",
        "return Switch() if other else Stop(RunState.DONE_FAILED_ENVIRONMENT)",
        "return Stop(RunState.DONE_FAILED_ENVIRONMENT)",
        "test_budgets.py::test_the_other_vendor_goes_on_where_one_is_down",
    ),
    Feature(
        "finished runs are remembered",
        "bot/rooms.py",
        '        accounts(settings).learn(repo, f"{run.request.session}/{run.request.run}", found, utc_now()[:10])',
        "        pass",
        "test_budgets.py::test_three_runs_make_a_range_that_the_plan_quotes",
    ),
    Feature(
        "the policy judges the changeset",
        "bot/core/building.py",
        "refusals = (*tried, *landing, *(cheat",
        "refusals = (*tried, *(cheat",
        "test_policy.py::test_what_added_lines_may_not_hold",
    ),
    Feature(
        "a try to write outside refuses the changeset",
        "bot/core/building.py",
        "for path in dict.fromkeys(run.refused)",
        "for path in ()",
        "test_policy.py::test_paths_that_lead_out_or_look_like_git",
    ),
    Feature(
        "the verdict of the harness, not the model's word, is the gate",
        "bot/core/proving.py",
        'if verdict.outcome != "fail":',
        "if True:",
        "test_run.py::test_done_without_a_change_and_with_failing_tests_is_not_believed",
    ),
    Feature(
        "a bug fix needs a test that fails without it",
        "bot/core/proving.py",
        "insist = run.attempt == 1 and run.compiled.attempts > 1",
        "insist = False",
        "test_run.py::test_a_fix_without_a_test_is_sent_back_once",
    ),
    Feature(
        "an unmet criterion sends the work back",
        "bot/core/auditing.py",
        "    if majors:",
        "    if False:",
        "test_run.py::test_an_audit_that_finds_a_criterion_unmet_sends_the_work_back",
    ),
    Feature(
        "evidence has to resolve",
        "bot/core/auditing.py",
        "    audit = _resolved(run, replace(audit,",
        "    audit = (lambda _, given: given)(run, replace(audit,",
        "test_run.py::test_evidence_that_does_not_resolve_does_not_count",
    ),
    Feature(
        "no progress stops the run",
        "bot/core/setback.py",
        "if fingerprint(earlier[-1].problems) == fingerprint(last.problems):",
        "if False:",
        "test_run.py::test_the_same_failure_twice_is_no_progress",
    ),
    Feature(
        "tools mend lint before a model is asked",
        "bot/core/ladder.py",
        'if set(remedies) == {"mechanical"} and not last.fixers and (fixers := _fixers(run, setback)):',
        "if (fixers := ()):",
        "test_ladder.py::test_a_lint_failure_is_mended_without_a_call",
    ),
    Feature(
        "what a machine lacks gets no attempt",
        "bot/core/ladder.py",
        'if set(remedies) == {"stop"}:',
        "if False:",
        "test_ladder.py::test_a_tool_that_is_gone_ends_the_run_without_another_attempt",
    ),
    Feature(
        "a missing package is a question",
        "bot/core/ladder.py",
        'if "ask" in remedies:',
        "if False:",
        "test_ladder.py::test_a_package_that_is_not_there_is_a_question_to_a_person",
    ),
    Feature(
        "the smallest change begins with the base",
        "bot/core/ladder.py",
        "    if len(failures(run)) >= SIMPLIFY_AFTER:\n        why",
        "    if False:\n        why",
        "test_ladder.py::test_another_family_then_a_stronger_class_then_the_smallest_change_then_a_person",
    ),
    Feature(
        "a worse attempt is undone",
        "bot/core/ladder.py",
        "if here and (why := worse(left)):",
        "if here and (why := worse(())):",
        "test_ladder.py::test_an_attempt_that_breaks_more_is_undone_before_the_next",
    ),
    Feature(
        "the next attempt is told kinds, places and what was tried",
        "bot/loop/asking.py",
        '        "brief": brief(run),',
        '        "brief": None,',
        "test_ladder.py::test_the_next_attempt_is_told_kinds_places_and_what_was_tried_and_asked_why",
    ),
    Feature(
        "guidance comes while a model works",
        "bot/workspace/workplace.py",
        'lines += [f"guidance, {line}" for line in self._guidance(checks, report, patterns(request.settings.commands.errors))]',
        "self._guidance(checks, report, patterns(settings.commands.errors))",
        "test_ladder.py::test_guidance_comes_with_the_second_lint_error_and_goes_with_two_successes",
    ),
    Feature(
        "risky work gets the strongest models",
        "bot/core/selection.py",
        'return self.category in HIGH_RISK or self.risk in ("high", "critical")',
        "return False",
        "test_run.py::test_risky_work_gets_the_strongest_models",
    ),
    Feature(
        "medium work is thought about first",
        "bot/core/strategy.py",
        "small = seen.scope in (Scope.TINY, Scope.SMALL) and not seen.high_risk",
        "small = True",
        "test_run.py::test_medium_work_is_thought_about_first",
    ),
    Feature(
        "scripted runs say so",
        "bot/config/environment.py",
        "        if not places:",
        "        if True:",
        "test_run.py::test_every_page_says_that_the_models_were_scripted",
    ),
    Feature(
        "a call without a recorded answer is lost money",
        "bot/loop/driver.py",
        "            if isinstance(effect, SendCall):",
        "            if False:",
        "test_kill.py::test_killed_while_a_call_is_out_the_call_is_lost_money",
    ),
    Feature(
        "a Makefile's tests are run",
        "bot/workspace/toolchains/generic.py",
        'target = next((each for each in ("test", "tests", "check") if each in targets), "")',
        'target = ""',
        "test_misbehaving.py::test_children_go_and_a_check_that_cannot_run_is_no_pass",
    ),
    Feature(
        "what got worse is run again before anybody is blamed",
        "bot/workspace/workplace.py",
        "repeats = repeated(found, partial(run, tree), partial(run, base_tree))",
        "repeats = NOT_REPEATED",
        "test_flaky.py::test_a_test_that_comes_and_goes_is_named_and_not_blamed",
    ),
    Feature(
        "tests in quarantine count for nothing",
        "bot/config/repository.py",
        "quarantine=config.verify.quarantine,",
        "",
        "test_flaky.py::test_the_quarantine_of_the_repository_keeps_a_test_from_counting",
    ),
    Feature(
        "a rollback keeps where the branch was",
        "bot/workspace/rollback.py",
        'gitcall.call(self._git_dir, "update-ref", "-m", "ostler: before a rollback", self._kept(number), commit, NO_BLOB)',
        "pass",
        "test_rollback.py::test_the_branch_goes_back_and_forth_and_nothing_is_lost",
    ),
    Feature(
        "a plan is revised",
        "bot/action/gate.py",
        "        _revise(client, driver, state)",
        "        pass",
        "test_plans.py::test_a_plan_is_asked_for_and_revised_and_only_the_new_one_can_be_approved[alone]",
    ),
    Feature(
        "who asks for a plan approves it",
        "bot/action/gate.py",
        '    if claim.state.began == "plan" and not claim.state.follow:',
        "    if False:",
        "test_plans.py::test_a_plan_is_asked_for_and_revised_and_only_the_new_one_can_be_approved[app]",
    ),
    Feature(
        "a command begins a session",
        "bot/web/asking.py",
        "        starting.enter(office, place, told, said)",
        "        pass",
        "test_plans.py::test_each_command_begins_one_session[app]",
    ),
    Feature(
        "what was stopped goes on",
        "bot/core/following.py",
        "    return max(since(state), state.resumed_at or since(state), key=moment)",
        "    return since(state)",
        "test_plans.py::test_a_session_goes_on_after_it_was_stopped[alone]",
    ),
    Feature(
        "what a session made can be had as a draft",
        "bot/action/gate.py",
        "            driver.feed(ShipRequested(state.shipped_by))",
        "            pass",
        "test_ship.py::test_the_work_of_a_session_that_waits_is_had_as_a_draft_and_gone_on_with[alone]",
    ),
    Feature(
        "the button Ship as draft",
        "bot/web/asking.py",
        '        "ship": ("ship", ""),',
        "",
        "test_ship.py::test_the_work_of_a_session_that_waits_is_had_as_a_draft_and_gone_on_with[app]",
    ),
    Feature(
        "a person chooses the class of the models to come",
        "bot/action/gate.py",
        "            driver.feed(chosen)",
        "            pass",
        "test_steering.py::test_a_cheaper_class_and_fewer_phases_from_the_next_job_on[alone]",
    ),
    Feature(
        "what is done without ends at its gate",
        "bot/core/framing.py",
        "    return _gate(replace(run, waiting=None))",
        "    return as_before(run)",
        "test_steering.py::test_a_cheaper_class_and_fewer_phases_from_the_next_job_on[alone]",
    ),
    Feature(
        "a session is shown by its name",
        "bot/web/starting.py",
        "    issue = named(word)\n",
        "    issue = 0\n",
        "test_sessions_on_github.py::test_sessions_are_shown_compared_and_put_away[app]",
    ),
    Feature(
        "sessions are compared by what they cost",
        "bot/core/comparing.py",
        "    return min(done, key=lambda state: state.spent, default=None)",
        "    return None",
        "test_sessions_on_github.py::test_sessions_are_shown_compared_and_put_away[alone]",
    ),
    Feature(
        "an issue has a session no more that is archived",
        "bot/loop/settling.py",
        "(session or branch or not state.archived_by)",
        "True",
        "test_sessions_on_github.py::test_sessions_are_shown_compared_and_put_away[alone]",
    ),
    Feature(
        "what is shipped says that it was not proved",
        "bot/loop/comments.py",
        '(" (not proved)" if run.shipped_by else "")',
        '""',
        "test_ship.py::test_the_work_of_a_session_that_waits_is_had_as_a_draft_and_gone_on_with[alone]",
    ),
    Feature(
        "suggestions of a review need no model",
        "bot/core/strategy.py",
        "    suggested = follow.calls if follow else ()",
        "    suggested = ()",
        "test_following.py::test_a_review_is_followed_and_its_threads_are_answered[app]",
    ),
    Feature(
        "the threads of a review are answered",
        "bot/action/publish.py",
        "        _answer(given, client, run, follow, head)",
        "        pass",
        "test_following.py::test_a_review_is_followed_and_its_threads_are_answered[alone]",
    ),
    Feature(
        "who may not write is not followed",
        "bot/core/following.py",
        '(one.cause == "checks" or may_write(one.actor))',
        "True",
        "test_following.py::test_a_review_is_followed_and_its_threads_are_answered[app]",
    ),
    Feature(
        "what is said while the session is at work is next",
        "bot/web/worker.py",
        "            following.follow(office, row)",
        "            pass",
        "test_following.py::test_a_review_is_followed_and_its_threads_are_answered[app]",
    ),
    Feature(
        "without an App the last job looks for what is next",
        "bot/action/conclude.py",
        'after.standing == "working" or due(client, after)',
        'after.standing == "working"',
        "test_following.py::test_a_review_is_followed_and_its_threads_are_answered[alone]",
    ),
    Feature(
        "failed checks are mended only so many times in a row",
        "bot/github/following.py",
        "state.ci_fixes < state.fix_checks",
        "True",
        "test_following.py::test_failed_checks_are_mended_as_often_as_the_configuration_says[app]",
    ),
    Feature(
        "a follow-up begins on what people pushed",
        "bot/action/gate.py",
        "            onto, ticket, follow = _asked(given, client, found, state)",
        "            _, ticket, follow = _asked(given, client, found, state)",
        "test_following.py::test_what_a_person_pushed_is_built_on_and_never_overwritten[app]",
    ),
    Feature(
        "a missing toolchain verifies nothing",
        "bot/workspace/toolchains/toolchain.py",
        'return TestReport("neutral", (), 0, f"not verified: {self._why_not(\'tests\')}")',
        'return TestReport("pass", (), 0, f"not verified: {self._why_not(\'tests\')}")',
        "test_misbehaving.py::test_a_missing_toolchain_is_never_a_pass",
    ),
    Feature(
        "one process at a time holds a session",
        "bot/store/journal.py",
        "fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "test_kill.py::test_a_session_that_another_process_holds_is_left_alone",
    ),
    Feature(
        "the journal is chained",
        "bot/store/journal.py",
        "        if not sound:",
        "        if False:",
        "test_kill.py::test_a_journal_that_was_changed_is_refused",
    ),
    Feature(
        "what nobody could see is no part of the ticket",
        "bot/core/ticket.py",
        "shown = visible(text)",
        "shown = text",
        "test_policy.py::test_text_from_outside_stands_in_marked_blocks_and_cannot_leave_them",
    ),
    Feature(
        "a delivery counts only with GitHub's signature",
        "bot/web/intake.py",
        "        verify(office.settings.webhook_secrets, raw, signatures)",
        "        pass",
        "test_who_may_ask.py::test_a_delivery_that_github_did_not_sign_is_refused[app]",
    ),
    Feature(
        "a delivery that failed is asked for again",
        "bot/web/sweep.py",
        """(("waking", allowances.wake), ("redelivery", redeliver))""",
        """(("waking", allowances.wake),)""",
        "test_who_may_ask.py::test_a_command_that_was_given_while_the_app_was_down_is_done_once",
    ),
    Feature(
        "only who may write starts a session",
        "bot/core/triggers.py",
        "    if not may_write(event.actor):",
        "    if False:",
        "test_who_may_ask.py::test_a_label_by_somebody_who_may_not_write_is_silence[alone]",
    ),
    Feature(
        "what was edited after the label is not what was asked for",
        "bot/core/triggers.py",
        "    if facts.edited_at is not None and moment(facts.edited_at) >= moment(event.at):",
        "    if False:",
        "test_who_may_ask.py::test_what_was_changed_after_the_label_is_not_what_was_asked_for[app]",
    ),
    Feature(
        "only tests that ran what changed run while building",
        "bot/workspace/workplace.py",
        "return Chosen(why=found.why) if found.everything else Chosen(found.items, (), True, True, found.why)",
        "return WHOLE",
        "test_selected.py::test_while_building_only_those_run_that_ran_what_changed",
    ),
    Feature(
        "a base that moved on is followed",
        "bot/rooms.py",
        "        if moved := place.follow(run, effect.branch):",
        "        if moved := None:",
        "test_moving.py::test_changes_of_one_file_in_other_places_are_merged_and_a_replay_follows",
    ),
    Feature(
        "what was merged is proved again on the new base",
        "bot/core/moving.py",
        "    kinds = (Kind.IMPLEMENT, Kind.VERIFY, Kind.REVIEW, Kind.PR)",
        "    kinds = (Kind.IMPLEMENT, Kind.PR)\n    run = replace(run, proof=None)",
        "test_moving.py::test_a_merge_that_breaks_tests_is_not_delivered",
    ),
    Feature(
        "conflicts that a model leaves are not delivered",
        "bot/core/building.py",
        '    if rung == "conflict" and (left := unresolved(run, changeset)):',
        '    if rung == "conflict" and (left := None):',
        "test_moving.py::test_what_the_model_leaves_in_conflict_is_a_persons[markers]",
    ),
    Feature(
        "large changes and core files run all tests",
        "bot/workspace/workplace.py",
        "if why := request.settings.full_run.reason(changed, files):",
        'if why := "":',
        "test_selected.py::test_while_building_only_those_run_that_ran_what_changed",
    ),
    Feature(
        "labels say what is urgent",
        "bot/core/queue.py",
        "return min((_WORDS[word] for word in words if word in _WORDS), default=Priority.NORMAL)",
        "return Priority.NORMAL",
        "test_queue.py::test_the_most_urgent_first_then_who_waited_longest",
    ),
    Feature(
        "the queue is fair between repositories",
        "bot/store/queue.py",
        "waited = sa.func.coalesce(turns.c.last_started, 0.0)",
        "waited = sa.literal(0.0)",
        "test_queue.py::test_the_most_urgent_first_then_who_waited_longest",
    ),
    Feature(
        "a repository has so many workflow runs at a time",
        "bot/store/queue.py",
        ".having(sa.or_(_RUNNING >= _MOST, _STARTING > 0))",
        ".having(sa.false())",
        "test_queue.py::test_the_most_urgent_first_then_who_waited_longest",
    ),
    Feature(
        "what was being started when a lease ended is started again",
        "bot/store/queue.py",
        "            _requeue(connection, now)\n            found =",
        "            found =",
        "test_queue.py::test_a_session_whose_starter_died_is_queued_again_and_started_once[kill-before]",
    ),
    Feature(
        "an App is registered by whoever was sent to GitHub, and by nobody else",
        "bot/cli/app.py",
        'if self.made or not hmac.compare_digest(state.encode("utf-8", "replace"), self.state.encode()):',
        "if self.made:",
        "test_app_create.py::test_whoever_does_not_know_the_state_brings_no_app",
    ),
    Feature(
        "the App hears of a label",
        "bot/web/worker.py",
        "            starting.begin(office, place, delivery.issue)",
        "            pass",
        "test_who_may_ask.py::test_a_label_that_is_put_again_is_another_session[app]",
    ),
    Feature(
        "the App hears of a comment",
        "bot/web/worker.py",
        "            asking.comment(office, place, delivery.issue, delivery.comment.id, is_pull=delivery.is_pull)",
        "            pass",
        "test_who_may_ask.py::test_commands_on_an_issue_without_a_session_start_nothing[app]",
    ),
    Feature(
        "the App hears of a button",
        "bot/web/worker.py",
        "            asking.button(office, place, delivery)",
        "            pass",
        "test_events.py::test_a_session_is_stopped_wherever_it_is[wait-button]",
    ),
    Feature(
        "the App hears of the stop label",
        "bot/web/worker.py",
        "            asking.stop_label(office, place, delivery.issue)",
        "            pass",
        "test_events.py::test_a_session_is_stopped_wherever_it_is[wait-label]",
    ),
    Feature(
        "the App hears of the label of dashboards",
        "bot/web/worker.py",
        "            dashboard.look(office, place, delivery.issue)",
        "            pass",
        "test_events.py::test_the_dashboard_shows_what_was_put_first_and_its_pause_ends_with_its_label",
    ),
    Feature(
        "the App hears of a review",
        "bot/web/worker.py",
        "            following.look(office, place, delivery.issue)",
        "            pass",
        "test_events.py::test_what_is_said_of_the_pull_request_has_the_session_go_on[review]",
    ),
    Feature(
        "the App hears of a check that failed",
        "bot/web/worker.py",
        "                following.look(office, place, number)",
        "                pass",
        "test_events.py::test_what_is_said_of_the_pull_request_has_the_session_go_on[check]",
    ),
    Feature(
        "the App hears of the end of a workflow run",
        "bot/web/worker.py",
        "            office.queue.at_once(row.id)",
        "            pass",
        "test_events.py::test_a_workflow_run_that_ends_in_silence_is_run_again_once_then_a_person_is_asked",
    ),
    Feature(
        "sessions wait where the App is not any more",
        "bot/web/worker.py",
        "            self._office.queue.leave(delivery.installation_id, delivery.repositories)",
        "            pass",
        "test_events.py::test_what_waits_where_the_app_is_not_any_more_goes_on_when_it_is_back",
    ),
    Feature(
        "sessions go on where the App is back",
        "bot/web/sweep.py",
        "    office.queue.back(place.id, place.installation)",
        "    pass",
        "test_events.py::test_what_waits_where_the_app_is_not_any_more_goes_on_when_it_is_back",
    ),
    Feature(
        "the App looks around where it is installed",
        "bot/web/worker.py",
        "        else:\n            self._sweep_at = 0.0",
        "        else:\n            pass",
        "test_events.py::test_what_waits_where_the_app_is_not_any_more_goes_on_when_it_is_back",
    ),
    Feature(
        "repositories are swept",
        "bot/web/sweep.py",
        "        yield from _repository(office, place, count)",
        "        yield",
        "test_events.py::test_what_no_webhook_told_of_is_found",
    ),
    Feature(
        "they are swept again and again",
        "bot/web/worker.py",
        "self._sweep_at = now + self._office.settings.sweep_minutes * 60",
        'self._sweep_at = float("inf")',
        "test_events.py::test_what_no_webhook_told_of_is_found",
    ),
    Feature(
        "a session is bound to its workflow run",
        "bot/web/working.py",
        "        return taken(state, workflow_run, office.at) if idle else state",
        "        return state",
        "test_events.py::test_a_workflow_run_that_ends_before_anything_began_is_begun_anew[lost]",
    ),
    Feature(
        "a workflow run that ended at its gate is begun anew",
        "bot/web/working.py",
        "    if first and (_anew(office, client, row) or _again(office, client, row)):",
        "    if first and _again(office, client, row):",
        "test_events.py::test_a_workflow_run_that_ends_before_anything_began_is_begun_anew[cancelled]",
    ),
    Feature(
        "a workflow run that ended in silence is run again",
        "bot/web/working.py",
        "    if first and (_anew(office, client, row) or _again(office, client, row)):",
        "    if first and _anew(office, client, row):",
        "test_events.py::test_a_workflow_run_that_ends_in_silence_is_run_again_once_then_a_person_is_asked",
    ),
    Feature(
        "a person is told that no workflow run goes on",
        "bot/web/working.py",
        "        comments.put(office.access.of(row), place(before), kind, row.id, office.access.bot, text)",
        "        pass",
        "test_events.py::test_a_workflow_run_that_ends_in_silence_is_run_again_once_then_a_person_is_asked",
    ),
    Feature(
        "an issue has one label that says how its session stands",
        "bot/loop/settling.py",
        "    labels.set_state(client, state.issue, state_label(state))",
        "    pass",
        "test_events.py::test_a_workflow_run_that_ends_before_anything_began_is_begun_anew[cancelled]",
    ),
    Feature(
        "a session that only GitHub knows goes on",
        "bot/web/starting.py",
        "    state = office.recover(place, issue)\n",
        "    state = None\n",
        "test_events.py::test_a_session_that_only_github_knows_is_found_when_somebody_asks_for_it",
    ),
    Feature(
        "a dashboard ends with its label, and its pause with it",
        "bot/web/dashboard.py",
        "        office.boards.drop(place.id, issue)",
        "        pass",
        "test_events.py::test_the_dashboard_shows_what_was_put_first_and_its_pause_ends_with_its_label",
    ),
    Feature(
        "the dashboard shows what was put first",
        "bot/store/queue.py",
        "            if repo_id is not None:\n                touch(connection, repo_id, now)\n",
        "",
        "test_events.py::test_the_dashboard_shows_what_was_put_first_and_its_pause_ends_with_its_label",
    ),
    Feature(
        "a tick tries again",
        "bot/web/dashboard.py",
        ', "retry": "retry"}',
        "}",
        "test_dashboard.py::test_a_session_that_ended_is_tried_again_by_a_tick",
    ),
    Feature(
        "a tick gives more money",
        "bot/web/dashboard.py",
        ' "budget": "budget",',
        "",
        "test_dashboard.py::test_a_session_that_waits_for_money_is_given_some_by_a_tick",
    ),
    Feature(
        "the button Stop",
        "bot/web/asking.py",
        '"stop": ("stop", ""), ',
        "",
        "test_events.py::test_a_session_is_stopped_wherever_it_is[wait-button]",
    ),
    Feature(
        "the button Retry",
        "bot/web/asking.py",
        '"retry": ("retry", ""), ',
        "",
        "test_events.py::test_what_was_stopped_is_delivered_when_somebody_has_it_go_on[app]",
    ),
    Feature(
        "the button Add $2",
        "bot/web/asking.py",
        '"budget": ("budget", "+2 by the button"), ',
        "",
        "test_conversation.py::test_a_writer_raises_the_cap_of_a_session_that_ran_out_of_money[app]",
    ),
    Feature(
        "the button Fix CI",
        "bot/web/asking.py",
        '"fix-ci": ("fix-ci", ""),',
        "",
        "test_events.py::test_what_is_said_of_the_pull_request_has_the_session_go_on[button]",
    ),
    Feature(
        "the button that approves",
        "bot/web/asking.py",
        '    if verb == "approve" and argument:',
        "    if False:",
        "test_shared_caps.py::test_a_plan_quotes_what_earlier_runs_of_the_repository_cost_and_its_run_is_remembered",
    ),
    Feature(
        "the command approve",
        "bot/web/asking.py",
        '    if said.verb == "approve":',
        "    if False:",
        "test_events.py::test_a_session_is_stopped_wherever_it_is[build-label]",
    ),
    Feature(
        "the command retry",
        "bot/web/asking.py",
        '    elif said.verb == "retry":',
        "    elif False:",
        "test_events.py::test_a_workflow_run_that_ends_in_silence_is_run_again_once_then_a_person_is_asked",
    ),
    Feature(
        "the command stop",
        "bot/web/asking.py",
        '    if said.verb == "stop":',
        "    if False:",
        "test_events.py::test_a_session_is_stopped_wherever_it_is[build-command]",
    ),
    Feature(
        "the command status",
        "bot/web/asking.py",
        '    if said.verb == "status":',
        "    if False:",
        "test_events.py::test_a_session_that_only_github_knows_is_found_when_somebody_asks_for_it",
    ),
    Feature(
        "the command help",
        "bot/web/asking.py",
        '    if said.verb == "help":',
        "    if False:",
        "test_who_may_ask.py::test_commands_on_an_issue_without_a_session_start_nothing[app]",
    ),
    Feature(
        "the command rollback",
        "bot/web/asking.py",
        '    if said.verb == "rollback" and state is not None:',
        "    if False:",
        "test_rollback_on_github.py::test_what_was_delivered_is_taken_back[app]",
    ),
    Feature(
        "the command fix",
        "bot/web/asking.py",
        "            following.follow(office, row)",
        "            pass",
        "test_following.py::test_a_fix_that_is_asked_for_is_one_more_commit[app]",
    ),
    Feature(
        "the command fix-ci",
        "bot/core/triggers.py",
        'FOLLOWS: tuple[Verb, ...] = ("fix", "fix-ci")',
        'FOLLOWS: tuple[Verb, ...] = ("fix",)',
        "test_following.py::test_failed_checks_are_mended_as_often_as_the_configuration_says[alone]",
    ),
    Feature(
        "approval: never asks nobody",
        "bot/core/strategy.py",
        '    if rule == "never":',
        "    if False:",
        "test_modes.py::test_risky_work_waits_for_a_person_unless_nobody_is_ever_to_be_asked[never]",
    ),
    Feature(
        "approval: always asks for a fixer's work too",
        "bot/core/strategy.py",
        ' if fixers and settings.approval not in ("always", "asked") else',
        " if fixers else",
        "test_modes.py::test_where_everything_is_to_be_approved_a_fixers_work_is_too",
    ),
    Feature(
        "high risk asks for approval",
        "bot/core/strategy.py",
        '    if seen.high_risk:\n        return f"{seen.label} with {seen.risk} risk needs',
        '    if False:\n        return f"{seen.label} with {seen.risk} risk needs',
        "test_modes.py::test_risky_work_waits_for_a_person_unless_nobody_is_ever_to_be_asked[alone]",
    ),
    Feature(
        "a stop that nobody heard is heard before anything is built",
        "bot/action/gate.py",
        '        state = replace(state, stopped_by=facts.stopped(client, places(state), stops_since(state)) or "")',
        "        pass",
        "test_events.py::test_what_was_stopped_is_delivered_when_somebody_has_it_go_on[alone]",
    ),
    Feature(
        "a tick on the dashboard puts a session first",
        "bot/web/dashboard.py",
        "            office.queue.first(box.session, place.id, office.clock())",
        "            pass",
        "test_dashboard.py::test_a_pause_holds_until_it_is_taken_away_and_what_is_put_first_runs_first",
    ),
    Feature(
        "a tick on the dashboard does what a command does",
        "bot/web/dashboard.py",
        "    for box, tick in delivery.ticks:",
        "    for box, tick in ():",
        "test_dashboard.py::test_a_plan_is_approved_by_a_tick",
    ),
    Feature(
        "nothing starts in a repository that is paused",
        "bot/store/queue.py",
        "free = (sessions.c.repo_id.not_in(_full()), sessions.c.repo_id.not_in(_PAUSED))",
        "free = (sessions.c.repo_id.not_in(_full()),)",
        "test_dashboard.py::test_a_pause_holds_until_it_is_taken_away_and_what_is_put_first_runs_first",
    ),
    Feature(
        "only who may write makes a dashboard",
        "bot/web/dashboard.py",
        "if not may_write(told.labelled.actor) or (known",
        "if (known",
        "test_dashboard.py::test_whoever_may_not_write_makes_no_dashboard",
    ),
    Feature(
        "a change that touches what is risky is audited twice",
        "bot/core/risk.py",
        "or (run.changeset is not None and diff_risk(run.changeset).high)",
        "",
        "test_audit.py::test_a_change_that_touches_what_is_risky_is_audited_twice_whatever_the_ticket_says",
    ),
    Feature(
        "important work is checked strictly",
        "bot/core/strategy.py",
        'return ("strict", "work of critical importance") if seen.importance == "critical" else ("normal", "")',
        'return ("normal", "")',
        "test_verification.py::test_commands_of_the_repository_run_those_of_the_strict_profile_for_important_work_only[strict]",
    ),
    Feature(
        "a repository says what its tools' words mean",
        "bot/core/error_classes.py",
        'return (*(Pattern(re.compile(row.regex), row.name, OWN, "any", row.hint) for row in rows), *PATTERNS)',
        "return PATTERNS",
        "test_verification.py::test_what_the_repository_says_of_an_error_reaches_the_brief_and_the_report",
    ),
    Feature(
        "coverage that fell asks for review",
        "bot/core/quality.py",
        "if coverage and coverage.drop > DROP:",
        "if False:",
        "test_verification.py::test_what_tests_no_longer_run_is_told_and_asks_for_review_where_the_gate_is_strict[strict]",
    ),
    Feature(
        "a base that is known is not tested again",
        "bot/workspace/suites.py",
        "suite = self._maps.suite(tree, environment) if environment else None",
        "suite = None",
        "test_verification.py::test_the_suite_of_a_base_that_is_known_does_not_run_again",
    ),
    Feature(
        "checks of the repository's own are made",
        "bot/workspace/workplace.py",
        "own = settings.commands.of(profile)",
        "own = ()",
        "test_verification.py::test_commands_of_the_repository_run_those_of_the_strict_profile_for_important_work_only[normal]",
    ),
    Feature(
        "an owner's defaults lie beneath the repository's configuration",
        "bot/github/contents.py",
        "    return None if raw is None else (f",
        "    return None if raw is None or home else (f",
        "test_defaults.py::test_the_owners_defaults_hold_beneath_the_repositorys_configuration",
    ),
    Feature(
        "an App has defaults for all repositories",
        "bot/web/office.py",
        "*([File(APPS, shared.encode())] if shared else []),",
        "*(),",
        "test_defaults.py::test_the_apps_defaults_lie_undermost_and_it_reads_private_ones_of_owners",
    ),
    Feature(
        "no file widens what one beneath it limits",
        "bot/config/files.py",
        "    if not held:",
        "    if True:",
        "test_defaults.py::test_the_owners_defaults_hold_beneath_the_repositorys_configuration",
    ),
    Feature(
        "the workflow's max_cost stays within an owner's cap",
        "bot/config/files.py",
        "        return str(self.most)",
        "        return max_cost",
        "test_defaults.py::test_the_workflows_max_cost_stays_within_the_owners",
    ),
    Feature(
        "the commit names who asked",
        "bot/core/proving.py",
        'asked = f"Co-authored-by: {run.request.requester}\\n" if run.request.requester else ""',
        'asked = ""',
        "test_commits.py::test_who_asked_is_named_and_anybody_can_make_the_commit_again",
    ),
    Feature(
        "GitHub signs a session's commits where it is asked to",
        "bot/github/refs.py",
        "    return None if signed else OSTLER",
        "    return OSTLER",
        "test_commits.py::test_github_signs_what_names_nobody",
    ),
    Feature(
        "what the plan does not name is not delivered",
        "bot/core/building.py",
        "    if not refusals and (beyond := _unplanned(run, changeset)):",
        "    if beyond := ():",
        "test_policy.py::test_what_the_plan_does_not_name_is_put_back_before_anything_is_proved",
    ),
    Feature(
        "an approval with words behind its digest is refused",
        "bot/core/triggers.py",
        'known in ("approve", "budget", "compare", *IN_WORDS)',
        'known in ("budget", "compare", *IN_WORDS)',
        "test_who_may_ask.py::test_an_approval_is_of_exactly_the_plan_that_is_posted[alone]",
    ),
    Feature(
        "so many sessions may begin in a day",
        "bot/github/facts.py",
        "    if not caps:",
        "    if True:",
        "test_who_may_ask.py::test_a_label_over_a_cap_begins_nothing_and_says_so_in_a_line[alone]",
    ),
    Feature(
        "where there are no drafts the pull request is an ordinary one",
        "bot/github/publish.py",
        "            if NO_DRAFTS not in str(error).lower():",
        "            if True:",
        "test_commits.py::test_where_github_has_no_drafts_the_pull_request_says_so",
    ),
    Feature(
        "a configuration that was changed between jobs is not believed",
        "bot/action/handover.py",
        'if digest and hashlib.sha256(raw or b"").hexdigest() != digest:',
        "if False:",
        "test_jobs_apart.py::test_a_changeset_altered_between_jobs_is_refused",
    ),
)


def unplugged(feature: Feature, folder: Path) -> Path:
    """A copy of the code without `feature`."""
    tree = folder / "tree"
    for name in ("bot", "templates"):
        shutil.copytree(ROOT / name, tree / name, ignore=UNFINISHED)
    path = tree / feature.file
    path.write_text(path.read_text("utf-8").replace(feature.old, feature.new), "utf-8")
    return tree


def _row(feature: Feature) -> Any:
    """The row as pytest takes it: it comes first where its code or its test has changed."""
    files = (feature.file, f"{WORLD}/{feature.test.partition('::')[0]}")
    return pytest.param(feature, id=feature.name.replace(" ", "-"), marks=pytest.mark.sampled(*files))


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name.replace(" ", "-"))
def test_the_line_that_makes_the_feature_is_there_once(feature: Feature) -> None:
    text = (ROOT / feature.file).read_text("utf-8")
    assert text.count(feature.old) == 1, f"{feature.file} no longer holds the line that makes {feature.name!r}: mend the table"


@pytest.mark.parametrize("feature", [_row(feature) for feature in FEATURES])
def test_without_the_feature_a_test_through_a_door_fails(feature: Feature, tmp_path: Path) -> None:
    tree = unplugged(feature, tmp_path)
    # Plugins of the environment take a quarter of the time until the test begins, and it needs none of them.
    command = [sys.executable, "-m", "pytest", "-q", "--disable-plugin-autoload", "-o", f"cache_dir={tmp_path}"]
    environment = {**os.environ, "UNPLUGGED_TREE": str(tree), "TMPDIR": str(tmp_path)}
    command.append(f"{WORLD}/{feature.test}")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == FAILED, (
        f"{feature.test} does not notice that it is gone:\n{done.stdout[-2000:]}{done.stderr[-500:]}"
    )
    assert "1 failed" in done.stdout
