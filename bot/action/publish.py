"""The job publish: the proven and audited changeset becomes a branch and a draft pull request, over REST alone.

It holds no model key, has no checkout, runs no git and no code of the repository.
"""

from __future__ import annotations

from bot.action.handover import disbelieved, receive
from bot.action.outputs import outputs_of, summarise
from bot.action.settings import ActionSettings
from bot.config import parse_config
from bot.core.building import lifted
from bot.core.effects import Deliver
from bot.core.errors import PolicyError
from bot.core.events import Delivered
from bot.core.follow_up import ADDRESSED, FollowUp, became
from bot.core.following import comment_kind, places, since, stops_since
from bot.core.jobs import Job, job_of
from bot.core.risk import diff_risk
from bot.core.run import Run
from bot.core.session import SessionState
from bot.github import comments, facts, following, labels
from bot.github.client import Client
from bot.github.publish import publish as put_on_branch
from bot.github.publish import pull_request
from bot.github.refs import author_of
from bot.loop.comments import NO_DRAFT, audit_comment, pull_body, pull_title, thread_answer
from bot.loop.driver import Driver
from bot.loop.perform import Rooms
from bot.rooms import alone, pricing, utc_now
from bot.store.journal import Journal


def publish(given: ActionSettings, client: Client) -> dict[str, str]:
    """Deliver, unless somebody said stop.

    Raises:
        PolicyError: what would be published is not what was proved and audited.
    """
    state = given.session_state
    folder = receive(given)
    journal = Journal(folder.journal_path, utc_now)
    try:
        config = parse_config(None)  # no model is asked here
        rooms = Rooms(pricing(config), alone(config), publish=lambda run, effect: _deliver(given, client, state, run, effect))
        driver = Driver(journal, rooms.perform, lambda run, effect: job_of(run, effect) == Job.PUBLISH)
        run = driver.run
        if run.changeset is None or run.changeset.digest != given.expect_changeset:
            raise disbelieved("what would be published is not what was proved and audited, by its digest.")
        if run.shipped_by not in ("", state.shipped_by):
            raise disbelieved("whether a person wants it published as it stands, it tells otherwise than the gate.")
        if not facts.stopped(client, places(state), stops_since(state)):
            driver.drive()
        summarise(given, driver.run, driver.run.outcome)
        return outputs_of(given, driver.run, journal.records[-1].hash)
    finally:
        journal.close()


def _deliver(given: ActionSettings, client: Client, state: SessionState, run: Run, effect: Deliver) -> Delivered:
    """Branch, pull request, audit: each found before it is made, so that doing it twice does it once."""
    if run.changeset is None:
        raise PolicyError("There is nothing to publish.")
    when, settings, follow = since(state), run.request.settings, run.request.follow
    head = put_on_branch(
        client,
        run.changeset,
        tree=effect.tree,
        base_sha=run.request.base_sha,
        branch=effect.branch,
        message=effect.message,
        when=when,
        author=author_of(settings.signed),
        denied=settings.denied_paths,
        allowed=settings.allowed_paths,
        lifted=lifted(run),
    )
    base, text = str(client.get("")["default_branch"]), _body(given, run, state)
    if follow:
        pull = follow.pull
        _put(given, client, state, pull, "result", text)
    else:
        title = pull_title(run)
        pull, draft = pull_request(client, branch=effect.branch, head=head, base=base, title=title, body=text, warning=NO_DRAFT)
        labels.set_risk(client, pull, diff_risk(run.changeset).level)
        if not draft:
            labels.set_no_draft(client, pull)
    if run.shipped_by:
        return Delivered(effect.branch, head, pull)
    _put(given, client, state, pull, "audit", audit_comment(run, state, job_url=given.job_url))
    if follow:
        _answer(given, client, run, follow, head)
    return Delivered(effect.branch, head, pull)


def _put(given: ActionSettings, client: Client, state: SessionState, pull: int, kind: str, text: str) -> None:
    comments.put(client, pull, comment_kind(state, kind), state.session, given.jobs_login, text)


def _answer(given: ActionSettings, client: Client, run: Run, follow: FollowUp, head: str) -> None:
    """Every thread of a review is answered once, those resolved that were addressed; then the reviewer is asked again."""
    objected = {finding.place.partition(":")[0] for finding in run.findings if finding.source == "auditor"}
    for thread in follow.threads:
        outcome = became(thread, follow, run.changeset, objected) if run.changeset else "open"
        text = thread_answer(outcome, thread.refused, head)
        following.answer(client, follow.pull, thread.comment, run.request.session, given.jobs_login, text)
        if outcome in ADDRESSED:
            following.resolve(client, thread.node)
    if follow.cause == "review":
        following.request_review(client, follow.pull, follow.by)


def _body(given: ActionSettings, run: Run, state: SessionState) -> str:
    return pull_body(run, state, job_url=given.job_url, one_machine=given.one_machine)
