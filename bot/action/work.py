"""The jobs plan, build, prove, audit and confirm: drive the run as far as this job's part of it goes."""

from __future__ import annotations

import time
from dataclasses import replace

from bot.action.handover import COVERAGE, disbelieved, kept_config, receive, run_of, work_folder
from bot.action.outputs import Outputs, outputs_of, summarise
from bot.action.settings import ActionSettings
from bot.config import RepoConfig, Settings
from bot.core.effects import Effect, PrepareWorkspace
from bot.core.errors import BugError, SetupError
from bot.core.events import Event, FixersRan, JobBegan, JobEnded, ToolsUsed, WorkspaceReady
from bot.core.jobs import MODEL_JOBS, Job, job_of, next_job
from bot.core.reports import FileChange
from bot.core.run import Run
from bot.loop.driver import Driver, Moment
from bot.loop.perform import Rooms
from bot.rooms import alone, models, pricing, utc_now
from bot.store import trees
from bot.store.journal import Journal
from bot.store.session import SessionFolder
from bot.workspace.checkout import Checkout
from bot.workspace.workplace import Workplace

WITH_FILES = (Job.PLAN, Job.BUILD, Job.PROVE, Job.CONFIRM)


def work(given: ActionSettings, environment: Settings) -> Outputs:
    """Do this job's part of the run.

    Raises:
        SetupError: the job is a re-run that would forget what it spent, or has no checkout.
        PolicyError: the session is not the one that was handed over.
    """
    job = Job(given.job)
    if job in MODEL_JOBS and given.run_attempt > 1:
        raise SetupError(
            f"The job {job} is not run again, because what it spent before would be forgotten: comment `/ostler retry` instead."
        )
    folder = receive(given)
    run, _ = run_of(folder)
    _expect(given, run)
    rooms = _rooms(given, environment, job, kept_config(given, run))
    journal = Journal(folder.journal_path, utc_now)
    try:
        return _driven(given, rooms, job, folder, journal)
    finally:
        journal.close()


def _expect(given: ActionSettings, run: Run) -> None:
    """
    Raises:
        PolicyError: the changeset is not the one that was made, or was audited by somebody else.
    """
    if not given.expect_changeset:
        return
    if run.changeset is None or run.changeset.digest != given.expect_changeset:
        raise disbelieved("the changeset is not the one that was made, by its digest.")
    if given.job == Job.AUDIT and next_job(run) is not Job.AUDIT and not run.compiled.fixers:
        raise disbelieved("the journal tells of an audit that this job did not make.")


def _driven(given: ActionSettings, rooms: Rooms, job: Job, folder: SessionFolder, journal: Journal) -> Outputs:
    began = time.monotonic()

    def perform(run: Run, effect: Effect) -> Event | None:
        event = rooms.perform(run, effect)
        if isinstance(event, WorkspaceReady):
            return replace(event, vendors=tuple(rooms.models))
        if isinstance(event, ToolsUsed | FixersRan) and event.tree != run.base_tree:
            trees.save(folder.path, event.tree, rooms.place.worktree.changes(run.base_tree, event.tree))
        return event

    driver = Driver(journal, perform, lambda run, effect: job_of(run, effect) == job, [_tell])
    priced = bool(driver.run.request.settings.ci_minute) and not driver.run.over
    if priced:
        driver.feed(JobBegan(job, given.run_id))
    _take_up(rooms, folder, driver.run)
    driver.recover()
    run = driver.drive()
    if priced:
        driver.feed(JobEnded(job, given.run_id, time.monotonic() - began))
        run = driver.run
    summarise(given, run, run.outcome or (run.waiting.text if run.waiting else ""))
    return outputs_of(given, run, journal.records[-1].hash)


def _rooms(given: ActionSettings, environment: Settings, job: Job, config: RepoConfig) -> Rooms:
    """The rooms of this job: files where it works on them, models where it asks them."""
    place = None
    if job in WITH_FILES:
        if given.checkout is None:
            raise SetupError(f"The job {job} needs a checkout of the repository: OSTLER_CHECKOUT names its folder.")
        checkout = Checkout.open(given.checkout)
        place = Workplace(work_folder(given), checkout, maps=given.out / COVERAGE, deliver_to_checkout=False)
    return Rooms(pricing(config), alone(config), place, models(environment) if job in MODEL_JOBS else {})


def _take_up(rooms: Rooms, folder: SessionFolder, run: Run) -> None:
    """Make the worktree as the journal has it, on this machine; before the run has one there is nothing to make."""
    if rooms.workplace is None or run.workspace is None or isinstance(run.pending, PrepareWorkspace):
        return
    changes: tuple[FileChange, ...] = ()
    if run.changeset is not None and run.changeset.tree == run.tree:
        changes = run.changeset.files
    elif run.tree != run.base_tree:
        changes = trees.load(folder.path, run.tree)
    rooms.workplace.rebuild(run, changes)


def _tell(moment: Moment) -> None:
    """One line for the log. Text of models, tests or the repository never stands in it."""
    if moment.effect is not None:
        print(f"{moment.at[11:19]}  {type(moment.effect).__name__}", flush=True)
    elif moment.event is None:
        raise BugError("a moment without effect or event")
