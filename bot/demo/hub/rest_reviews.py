"""Reviews of pull requests and comments on their lines, over REST."""

from __future__ import annotations

from typing import Any

from bot.demo.hub import issues, pull_shapes, shapes
from bot.demo.hub.hub import Hub
from bot.demo.hub.pull_shapes import span
from bot.demo.hub.refusals import Refusal, invalid, not_found
from bot.demo.hub.rest_pulls import ALL, ONE, pull_of
from bot.demo.hub.routing import PAGED, Answer, Call, Page, Route
from bot.demo.hub.state import Issue, Pull, Review, ReviewComment

_STATES = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
_SIDES = frozenset(("LEFT", "RIGHT"))
_LINE = {"path!": str, "body!": str, "line!": int, "side": _SIDES, "start_line": int, "start_side": _SIDES}
_REVIEW = {"commit_id": str, "body": str, "event!": frozenset(_STATES), "comments": [_LINE]}
_COMMENT = _LINE | {"commit_id!": str}


def _review(call: Call, issue: Issue, one: Review) -> dict[str, Any]:
    return pull_shapes.review(call.hub, call.repository, issue.number, one)


def _comment(call: Call, issue: Issue, one: ReviewComment) -> dict[str, Any]:
    return pull_shapes.review_comment(call.hub, call.repository, issue.number, one)


def reviews(call: Call) -> Page:
    issue, pull = pull_of(call)
    return Page([_review(call, issue, one) for one in pull.reviews.values()])


def get_review(call: Call) -> dict[str, Any]:
    issue, pull = pull_of(call)
    if call.path["id"] not in pull.reviews:
        raise not_found()
    return _review(call, issue, pull.reviews[call.path["id"]])


def create_review(call: Call) -> dict[str, Any]:
    """Submitted at once: pending reviews are not here. Nobody approves what is their own."""
    issue, pull = pull_of(call)
    body, event = call.body, call.body["event"]
    if event != "COMMENT" and issue.user.id == call.user.id:
        verb = "approve" if event == "APPROVE" else "request changes on"
        raise Refusal(422, "Unprocessable Entity", [f"Can not {verb} your own pull request"])
    text = issues.good_body(body.get("body", ""), "PullRequestReview", needed=event == "REQUEST_CHANGES") or ""
    if event == "COMMENT" and not text.strip() and not body.get("comments"):
        raise Refusal(422, "Unprocessable Entity", ["Review cannot be empty"])
    commit = body.get("commit_id", pull.head_sha)
    made = Review(call.hub.state.next_id(), call.user, text, _STATES[event], commit, call.hub.now())
    lines = [_new_comment(call, pull, one, commit, made.id) for one in body.get("comments", [])]
    pull.reviews[made.id] = made
    pull.requested = [user for user in pull.requested if user.id != call.user.id]
    pull.review_comments |= {one.id: one for one in lines}
    pull_shape = pull_shapes.pull(call.hub, call.repository, issue)
    payload = {"review": _review(call, issue, made) | {"state": made.state.lower()}, "pull_request": pull_shape}
    call.hub.emit("pull_request_review", "submitted", call.repository, payload, call.token or call.user)
    for one in lines:
        _told(call, issue, one)
    return _review(call, issue, made)


def update_review(call: Call) -> dict[str, Any]:
    """The body alone, by its author."""
    issue, pull = pull_of(call)
    made = pull.reviews.get(call.path["id"])
    if made is None:
        raise not_found()
    if made.user.id != call.user.id:
        raise Refusal(403, "Not authorized to edit this review")
    made.body = issues.good_body(call.body["body"], "PullRequestReview", needed=True) or ""
    made.edited_at = call.hub.now()
    return _review(call, issue, made)


def update_comment(call: Call) -> dict[str, Any]:
    """By its author, or by somebody who may write."""
    for issue in call.repository.issues.values():
        if issue.pull is not None and (made := issue.pull.review_comments.get(call.path["id"])):
            if made.user.id != call.user.id and not call.may("pull_requests:write"):
                raise Refusal(403, "Must have write access to edit this comment")
            made.body = issues.good_body(call.body["body"], "PullRequestReviewComment", needed=True) or ""
            made.updated_at = call.hub.now()
            return _comment(call, issue, made)
    raise not_found()


def request_reviewers(call: Call) -> Answer:
    """422 for the author, and for whoever has no part in the repository."""
    issue, pull = pull_of(call)
    found = [call.hub.state.user(login) for login in call.body.get("reviewers", [])]
    for user in found:
        if user is None or call.repository.role(user) is None:
            raise Refusal(422, "Reviews may only be requested from collaborators.")
        if user.id == issue.user.id:
            raise Refusal(422, "Review cannot be requested from pull request author.")
    for user in found:
        if user is not None and user.id not in {one.id for one in pull.requested}:
            pull.requested.append(user)
            whole = pull_shapes.full(call.hub, call.repository, issue)
            payload = {"number": issue.number, "pull_request": whole, "requested_reviewer": shapes.user(call.hub, user)}
            call.hub.emit("pull_request", "review_requested", call.repository, payload, call.token or call.user)
    return Answer(pull_shapes.pull(call.hub, call.repository, issue), 201)


def _new_comment(call: Call, pull: Pull, given: dict[str, Any], commit: str, review: int | None) -> ReviewComment:
    """422 for a file that the pull request doesn't change."""
    bare = call.hub.bare(call.repository)
    changed = {file.filename: file for file in bare.diff(*span(bare, pull))}
    if given["path"] not in changed:
        raise invalid("PullRequestReviewComment", "pull_request_review_thread.path")
    text = issues.good_body(given["body"], "PullRequestReviewComment", needed=True) or ""
    side = given.get("side", "RIGHT")
    if given.get("start_line", 0) >= given["line"] or given.get("start_side", side) != side:
        raise invalid("PullRequestReviewComment", "pull_request_review_thread.start_line")
    now, hunk = call.hub.now(), changed[given["path"]].patch.partition("\n@@")[0]
    return ReviewComment(
        call.hub.state.next_id(), call.user, text, given["path"], given["line"], given.get("side", "RIGHT"),
        commit, hunk, now, now, review, start_line=given.get("start_line"),
    )  # fmt: skip


def _told(call: Call, issue: Issue, one: ReviewComment) -> None:
    payload = {"comment": _comment(call, issue, one), "pull_request": pull_shapes.pull(call.hub, call.repository, issue)}
    call.hub.emit("pull_request_review_comment", "created", call.repository, payload, call.token or call.user)


def comments(call: Call) -> Page:
    issue, pull = pull_of(call)
    return Page([_comment(call, issue, one) for one in pull.review_comments.values()])


def review_comments(call: Call) -> Page:
    issue, pull = pull_of(call)
    if call.path["id"] not in pull.reviews:
        raise not_found()
    return Page([_comment(call, issue, one) for one in pull.review_comments.values() if one.review == call.path["id"]])


def create_comment(call: Call) -> Answer:
    issue, pull = pull_of(call)
    if not call.hub.bare(call.repository).is_ancestor(call.body["commit_id"], pull.head_sha):
        raise invalid("PullRequestReviewComment", "commit_id")
    made = _new_comment(call, pull, call.body, call.body["commit_id"], None)
    pull.review_comments[made.id] = made
    _told(call, issue, made)
    return Answer(_comment(call, issue, made), 201)


def reply(call: Call) -> Answer:
    issue, pull = pull_of(call)
    first = pull.review_comments.get(call.path["id"])
    if first is None:
        raise not_found()
    made = _new_comment(
        call, pull, {"path": first.path, "line": first.line, "body": call.body["body"]}, first.commit_id, first.review
    )
    made.reply_to = first.reply_to or first.id
    pull.review_comments[made.id] = made
    _told(call, issue, made)
    return Answer(_comment(call, issue, made), 201)


def routes(_: Hub) -> list[Route]:
    read, write = "pull_requests:read", "pull_requests:write"
    one = f"{ONE}/reviews/{{id:int}}"
    return [
        Route("GET", f"{ONE}/reviews", reviews, read, query=PAGED),
        Route("POST", f"{ONE}/reviews", create_review, write, body=_REVIEW, anyone=True),
        Route("GET", one, get_review, read),
        Route("PUT", one, update_review, write, body={"body!": str}, anyone=True),
        Route("GET", f"{one}/comments", review_comments, read, query=PAGED),
        Route("GET", f"{ONE}/comments", comments, read, query=PAGED),
        Route("POST", f"{ONE}/comments", create_comment, write, body=_COMMENT, anyone=True),
        Route("PATCH", f"{ALL}/comments/{{id:int}}", update_comment, write, body={"body!": str}, anyone=True),
        Route("POST", f"{ONE}/requested_reviewers", request_reviewers, write, body={"reviewers": [str], "team_reviewers": [str]}),
        Route("POST", f"{ONE}/comments/{{id:int}}/replies", reply, write, body={"body!": str}, anyone=True),
    ]
