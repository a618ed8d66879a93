"""How pull requests and their reviews look in answers and webhooks."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from bot.core.errors import BugError
from bot.demo.hub import shapes
from bot.demo.hub.git import Bare
from bot.demo.hub.state import Issue, Pull, Repository, Review, ReviewComment, stamp

if TYPE_CHECKING:
    from bot.demo.hub.hub import Hub


def span(bare: Bare, pull: Pull) -> tuple[str, str]:
    """From where to where the pull request changes: the branches' last common commit, and the head."""
    return bare.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha, pull.head_sha


def now_at(bare: Bare, pull: Pull, one: ReviewComment) -> tuple[int, int] | None:
    """The lines of a comment in the head, as GitHub moves them along; None where one of them was changed."""
    first, last = one.start_line or one.line, one.line
    if one.side == "LEFT" or one.commit_id == pull.head_sha:
        return first, last
    old, new = ((bare.file(sha, one.path) or b"").splitlines() for sha in (one.commit_id, pull.head_sha))
    for tag, begin, end, to, _ in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal" and begin < first and last <= end:
            return first + to - begin, last + to - begin
    return None


def full(hub: Hub, home: Repository, issue: Issue) -> shapes.Shape:
    """The long form, which is the one that webhooks carry too."""
    ends, bare = _ends(issue), Bare(home.git)
    old, new = span(bare, ends)
    files = bare.diff(old, new)
    return pull(hub, home, issue) | {
        "merged": ends.merged_at is not None,
        "mergeable": None if issue.state == "closed" else True,
        "rebaseable": None,
        "mergeable_state": "draft" if ends.draft else "clean",
        "merged_by": None,
        "comments": len(issue.comments),
        "review_comments": len(ends.review_comments),
        "maintainer_can_modify": ends.maintainer_can_modify,
        "commits": bare.count(new, old),
        "additions": sum(file.additions for file in files),
        "deletions": sum(file.deletions for file in files),
        "changed_files": len(files),
    }


def _ends(issue: Issue) -> Pull:
    if issue.pull is None:
        raise BugError(f"issue {issue.number} is no pull request")
    return issue.pull


def _end(hub: Hub, home: Repository, ref: str, sha: str) -> shapes.Shape:
    owner = home.owner
    return {
        "label": f"{owner.login}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": shapes.user(hub, owner),
        "repo": shapes.repository(hub, home),
    }


def pull(hub: Hub, home: Repository, one: Issue) -> shapes.Shape:
    """The short form, as lists and the webhooks of reviews carry it."""
    ends, url = _ends(one), f"{shapes.api(hub, home)}/pulls/{one.number}"
    issue_url, page = f"{shapes.api(hub, home)}/issues/{one.number}", f"{shapes.html(hub, home)}/pull/{one.number}"
    urls = {
        "html_url": page,
        "issue_url": issue_url,
        "commits_url": f"{url}/commits",
        "review_comments_url": f"{url}/comments",
        "review_comment_url": f"{shapes.api(hub, home)}/pulls/comments{{/number}}",
        "comments_url": f"{issue_url}/comments",
        "statuses_url": f"{shapes.api(hub, home)}/statuses/{ends.head_sha}",
    }
    names = ("html", "issue", "commits", "review_comments", "review_comment", "comments", "statuses")
    return {
        **urls,
        "_links": {"self": {"href": url}} | {name: {"href": urls[f"{name}_url"]} for name in names},
        "url": url,
        "id": ends.id,
        "node_id": f"PR_{ends.id}",
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "number": one.number,
        "state": one.state,
        "locked": one.locked,
        "title": one.title,
        "body": one.body,
        "user": shapes.user(hub, one.user),
        "labels": shapes.labels(hub, home, one.labels),
        "milestone": None,
        "active_lock_reason": None,
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
        "closed_at": shapes.when(one.closed_at),
        "merged_at": shapes.when(ends.merged_at),
        "merge_commit_sha": None,
        "assignee": None,
        "assignees": [],
        "requested_reviewers": [shapes.user(hub, user) for user in ends.requested],
        "requested_teams": [],
        "head": _end(hub, home, ends.head, ends.head_sha),
        "base": _end(hub, home, ends.base, ends.base_sha),
        "author_association": shapes.association(home, one.user),
        "auto_merge": None,
        "draft": ends.draft,
    }


def review(hub: Hub, home: Repository, number: int, one: Review) -> shapes.Shape:
    url, page = f"{shapes.api(hub, home)}/pulls/{number}", f"{shapes.html(hub, home)}/pull/{number}#pullrequestreview-{one.id}"
    return {
        "id": one.id,
        "node_id": f"PRR_{one.id}",
        "user": shapes.user(hub, one.user),
        "body": one.body,
        "state": one.state,
        "html_url": page,
        "pull_request_url": url,
        "_links": {"html": {"href": page}, "pull_request": {"href": url}},
        "submitted_at": stamp(one.submitted_at),
        "commit_id": one.commit_id,
        "author_association": shapes.association(home, one.user),
    }


def review_comment(hub: Hub, home: Repository, number: int, one: ReviewComment) -> shapes.Shape:
    pull_url, url = f"{shapes.api(hub, home)}/pulls/{number}", f"{shapes.api(hub, home)}/pulls/comments/{one.id}"
    page = f"{shapes.html(hub, home)}/pull/{number}#discussion_r{one.id}"
    shape = {
        "id": one.id,
        "node_id": f"PRRC_{one.id}",
        "url": url,
        "html_url": page,
        "pull_request_url": pull_url,
        "_links": {"self": {"href": url}, "html": {"href": page}, "pull_request": {"href": pull_url}},
        "pull_request_review_id": one.review,
        "diff_hunk": one.diff_hunk,
        "path": one.path,
        "line": one.line,
        "original_line": one.line,
        "start_line": one.start_line,
        "original_start_line": one.start_line,
        "start_side": one.side if one.start_line else None,
        "side": one.side,
        "position": one.line,
        "original_position": one.line,
        "commit_id": one.commit_id,
        "original_commit_id": one.commit_id,
        "user": shapes.user(hub, one.user),
        "body": one.body,
        "subject_type": "line",
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
        "author_association": shapes.association(home, one.user),
    }
    return shape | ({"in_reply_to_id": one.reply_to} if one.reply_to else {})
