"""What is said on a session's pull request, read by id: the facts that `core.following` decides on; and answers in its threads.

Lines and edits are GraphQL's to tell (objects PullRequest, PullRequestReviewThread, PullRequestReview), the rest is REST's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from bot.core import following
from bot.core.errors import BadInput, SetupError
from bot.core.follow_up import Cause, FollowUp, key_parts
from bot.core.following import FAILED, Discussion, FailedCheck, PullFacts, Remark, ReviewFacts, Said
from bot.core.session import CHECK_NAME, SessionState
from bot.core.ticket import Ticket
from bot.core.triggers import FOLLOWS, Actor, command, may_write
from bot.github import facts
from bot.github.client import Client, Conflict, NotFound, once, repeatable
from bot.github.comments import marker

NOBODY = Actor("", 0, "", "none")
MOST_LOG_BYTES = 20_000_000
_THREADS = """
query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      headRefOid
      reviews(last: 100) { nodes { databaseId lastEditedAt } }
      reviewThreads(first: 50, after: $after) {
        pageInfo { hasNextPage endCursor }
        nodes {
          id isResolved isOutdated path line startLine diffSide
          comments(first: 100) { nodes { databaseId lastEditedAt } }
        }
      }
    }
  }
}"""
_RESOLVE = "mutation($id: ID!) { resolveReviewThread(input: {threadId: $id}) { thread { isResolved } } }"


def pull(client: Client, number: int) -> PullFacts:
    """A pull request as it is now. Raises NotFound where there is none."""
    found = client.get(f"pulls/{number}")
    head = found["head"]
    ours = ((head.get("repo") or {}).get("full_name") or "").lower() == client.repository.lower()
    return PullFacts(number, found["state"] == "open", head["ref"] if ours else "", str(head["sha"]))


def due(client: Client, state: SessionState) -> tuple[Said, PullFacts] | None:
    """What the session's next run is to follow, and the pull request that it was said on; None where there is nothing."""
    if state.standing != "over" or not state.pull:
        return None
    on = pull(client, state.pull)
    since = following.since(state)
    checks = list(_of_others(client, on.head, state.session))
    found = [*_reviews(client, on, since), *_commands(client, on, since), *_unasked(on, state, checks)]
    said = following.due(state, on, found, failed=any(item["conclusion"] in FAILED for item in checks))
    return (said, on) if said else None


def _reviews(client: Client, on: PullFacts, since: str) -> Iterator[Said]:
    for item in client.pages(f"pulls/{on.number}/reviews"):
        if item["state"] == "CHANGES_REQUESTED" and item["submitted_at"] >= since:
            yield Said("review", str(item["id"]), item["submitted_at"], facts.actor(client, item.get("user")))


def _commands(client: Client, on: PullFacts, since: str) -> Iterator[Said]:
    for item in client.pages(f"issues/{on.number}/comments", since=since):
        words = command(item.get("body") or "")
        if words is not None and words[0] in FOLLOWS and item["updated_at"] == item["created_at"] >= since:
            cause: Cause = "fix-ci" if words[0] == "fix-ci" else "fix"
            yield Said(cause, str(item["id"]), item["created_at"], facts.actor(client, item.get("user")))


def _unasked(on: PullFacts, state: SessionState, checks: Sequence[Any]) -> Iterator[Said]:
    """Failed checks of what Ostler delivered, once all ended; those of people's commits they ask about themselves."""
    failed = [item["completed_at"] for item in checks if item["conclusion"] in FAILED]
    ended = all(item["status"] == "completed" for item in checks)
    if failed and ended and on.head == state.head_sha and state.ci_fixes < state.fix_checks:
        yield Said("checks", on.head, max(failed), NOBODY)


def failing(client: Client, on: PullFacts, session: str) -> bool:
    """Whether a check of the pull request's head failed."""
    return any(item["conclusion"] in FAILED for item in _of_others(client, on.head, session))


def _of_others(client: Client, head: str, session: str) -> Iterator[Any]:
    """The check runs of a commit but for the session's own."""
    for item in client.pages(f"commits/{head}/check-runs", "check_runs", filter="latest"):
        if (item["name"], item.get("external_id")) != (CHECK_NAME, session):
            yield item


# --- what exactly is asked for ----------------------------------------------------------------------------------------


def frozen(client: Client, state: SessionState, jobs_app: int) -> tuple[PullFacts, Ticket, FollowUp]:
    """The pull request, the ticket and the follow-up of what `state` follows, read again. `jobs_app` is the App whose check runs
    are Actions jobs.

    Raises:
        BadInput: it is not there as it was, or asks for nothing.
        PolicyError: the text hides something.
    """
    at, cause, name = key_parts(state.follow)
    on = pull(client, state.pull)
    if why := following.why_not(state, on):
        raise BadInput(why)
    if cause == "checks":
        return on, *following.of_checks(Said(cause, name, at, NOBODY), _failed(client, on.head, state, jobs_app), on)
    if cause == "review":
        said, review, on = _review(client, on, int(name))
        return on, *following.of_review(said, review, on)
    asked = facts.asked(client, (on.number,), int(name))
    if asked is None or asked.edited or not may_write(asked.actor):
        raise BadInput("The command is not there any more as it was written, or its author may not ask: write it again.")
    said = Said(cause, name, asked.at, asked.actor)
    if cause == "fix":
        return on, *following.of_text(said, asked.argument, on)
    return on, *following.of_checks(said, _failed(client, on.head, state, jobs_app), on)


def _review(client: Client, on: PullFacts, number: int) -> tuple[Said, ReviewFacts, PullFacts]:
    item = client.get(f"pulls/{on.number}/reviews/{number}")
    who = facts.actor(client, item.get("user"))
    if item["state"] != "CHANGES_REQUESTED" or not may_write(who):
        raise BadInput("The review was dismissed, or its author may not ask.")
    told, threads = _threads(client, on.number)
    edits = {one["databaseId"]: one["lastEditedAt"] for one in told["reviews"]["nodes"]}
    if number not in edits:
        raise BadInput("GitHub does not tell whether the review was edited: submit another.")
    remarks = {int(one["id"]): one for one in client.pages(f"pulls/{on.number}/comments")}
    actors: dict[int, Actor] = {who.id: who}
    discussions = tuple(_discussion(client, thread, remarks, actors) for thread in threads)
    review = ReviewFacts(number, who, item["state"], item.get("body") or "", item["submitted_at"], edits[number], discussions)
    return Said("review", str(number), item["submitted_at"], who), review, replace(on, head=told["headRefOid"])


def _threads(client: Client, number: int) -> tuple[Any, list[Any]]:
    """The pull request as GraphQL tells it, and all its threads."""
    owner, _, name = client.repository.partition("/")
    threads: list[Any] = []
    after: str | None = None
    while True:
        data = client.graphql(_THREADS, owner=owner, name=name, number=number, after=after)
        told = data["repository"]["pullRequest"]
        threads += told["reviewThreads"]["nodes"]
        page = told["reviewThreads"]["pageInfo"]
        if not page["hasNextPage"]:
            return told, threads
        after = page["endCursor"]


def _discussion(client: Client, thread: Any, remarks: dict[int, Any], actors: dict[int, Actor]) -> Discussion:
    edits = {int(one["databaseId"]): one["lastEditedAt"] for one in thread["comments"]["nodes"]}
    return Discussion(
        node=thread["id"],
        path=thread["path"],
        first=thread["startLine"] or 0,
        last=thread["line"] or 0,
        side=thread["diffSide"],
        outdated=thread["isOutdated"],
        resolved=thread["isResolved"],
        remarks=tuple(_remark(client, remarks[id_], edited, actors) for id_, edited in edits.items() if id_ in remarks),
    )


def _remark(client: Client, item: Any, edited: str | None, actors: dict[int, Actor]) -> Remark:
    user = item.get("user") or {}
    if user.get("id") not in actors:
        actors[user.get("id", 0)] = facts.actor(client, item.get("user"))
    who = actors[user.get("id", 0)]
    return Remark(int(item["id"]), who, item["body"], item["created_at"], edited, item.get("pull_request_review_id") or 0)


def _failed(client: Client, head: str, state: SessionState, jobs_app: int) -> list[FailedCheck]:
    return [
        FailedCheck(
            name=item["name"],
            conclusion=item["conclusion"],
            title=item["output"]["title"] or "",
            summary=item["output"]["summary"] or "",
            annotations=tuple(_annotations(client, item)),
            log=_log(client, item, jobs_app),
        )
        for item in _of_others(client, head, state.session)
        if item["conclusion"] in FAILED
    ]


def _annotations(client: Client, item: Any) -> Iterator[str]:
    for one in client.pages(f"check-runs/{item['id']}/annotations") if item["output"]["annotations_count"] else ():
        yield f"{one['path']}:{one['start_line']} {one['message']}"


def _log(client: Client, item: Any, jobs_app: int) -> str:
    """A check run of Actions is a job, with the same id; others have no log here."""
    if (item.get("app") or {}).get("id") != jobs_app:
        return ""
    try:
        return client.raw(f"actions/jobs/{item['id']}/logs", MOST_LOG_BYTES).decode("utf-8", "replace")
    except (NotFound, SetupError):
        return ""  # it is kept for a while only


# --- answers ----------------------------------------------------------------------------------------------------------


def answer(client: Client, number: int, comment: int, session: str, author: str, text: str) -> None:
    """See to it that the thread of `comment` has this answer once."""
    first = marker(f"thread-{comment}", session)

    def find() -> int | None:
        own = (one for one in client.pages(f"pulls/{number}/comments") if (one.get("user") or {}).get("login") == author)
        return next((int(one["id"]) for one in own if one["body"].split("\n", 1)[0].rstrip("\r") == first), None)

    def make() -> int:
        return int(client.post(f"pulls/{number}/comments/{comment}/replies", {"body": f"{first}\n{text}"})["id"])

    once(find, make, clock=client.clock)


def resolve(client: Client, node: str) -> None:
    """Resolve a thread; one that is resolved stays so."""
    repeatable(lambda: client.mutate(_RESOLVE, id=node), clock=client.clock)


def request_review(client: Client, number: int, login: str) -> None:
    """Ask for another review. Somebody who may not review any more is not asked."""
    try:
        repeatable(lambda: client.post(f"pulls/{number}/requested_reviewers", {"reviewers": [login]}), clock=client.clock)
    except Conflict:
        return
