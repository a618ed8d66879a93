"""Pull requests over REST. Heads are branches of the same repository; forks are not here, and merging makes a merge commit."""

from __future__ import annotations

from typing import Any

from bot.demo.hub import issues, pull_shapes, shapes
from bot.demo.hub.git import Bare, CommitData, FileDiff, Signature
from bot.demo.hub.hub import Hub
from bot.demo.hub.pull_shapes import full, span
from bot.demo.hub.refusals import Refusal, invalid, not_found
from bot.demo.hub.rest_git import refs_changed
from bot.demo.hub.routing import PAGED, Answer, Call, Page, Route
from bot.demo.hub.state import Issue, Pull, stamp

_STATES = frozenset(("open", "closed"))
_NEW = {
    "title!": str,
    "head!": str,
    "base!": str,
    "body?": str,
    "draft": bool,
    "maintainer_can_modify": bool,
}
_SEARCH = PAGED | {
    "state": _STATES | {"all"},
    "head": str,
    "base": str,
    "sort": frozenset(("created", "updated")),
    "direction": frozenset(("asc", "desc")),
}
ALL = "/repos/{owner}/{repo}/pulls"
ONE = f"{ALL}/{{number:int}}"


def pull_of(call: Call) -> tuple[Issue, Pull]:
    """The pull request that the path names."""
    found = call.repository.issues.get(call.path["number"])
    if found is None or found.pull is None:
        raise not_found()
    return found, found.pull


def create(call: Call) -> Answer:
    hub, home, body = call.hub, call.repository, call.body
    bare = hub.bare(home)
    owner, _, branch = body["head"].rpartition(":")
    head = bare.ref(f"refs/heads/{branch}") if owner.lower() in ("", home.owner.login.lower()) else None
    base = bare.ref(f"refs/heads/{body['base']}")
    for name, sha in (("head", head), ("base", base)):
        if sha is None:
            raise invalid("PullRequest", name)
    if body.get("draft", False) and not home.drafts:
        raise Refusal(422, "Draft pull requests are not supported in this repository.")
    title = issues.good_title(body["title"], "PullRequest")
    text = issues.good_body(body.get("body"), "PullRequest")
    _judge_new(call, bare, branch, head or "", base or "")
    issue = issues.make(hub, home, call.token or call.user, title, text)
    modify = body.get("maintainer_can_modify", False)
    issue.pull = Pull(
        hub.state.next_id(), branch, body["base"], head or "", base or "", body.get("draft", False), maintainer_can_modify=modify
    )
    issues.tell(hub, "opened", home, issue, call.token or call.user)
    return Answer(full(call.hub, call.repository, issue), 201)


def _judge_new(call: Call, bare: Bare, branch: str, head: str, base: str) -> None:
    """422 when there is one already, or nothing between the branches."""
    for other in call.repository.issues.values():
        if other.pull and other.state == "open" and (other.pull.head, other.pull.base) == (branch, call.body["base"]):
            name = f"{call.repository.owner.login}:{branch}"
            raise _custom(f"A pull request already exists for {name}.")
    if bare.is_ancestor(head, base):
        raise _custom(f"No commits between {call.body['base']} and {branch}")


def _custom(message: str) -> Refusal:
    return Refusal(422, "Validation Failed", [{"resource": "PullRequest", "code": "custom", "message": message}])


DIFF = ("application/vnd.github.diff", "application/vnd.github.v3.diff")


def get(call: Call) -> dict[str, Any] | Answer:
    """The pull request, or its diff where that media type is asked for."""
    issue, pull = pull_of(call)
    if not any(accepted.partition(";")[0].strip() in DIFF for accepted in call.request.headers.get("accept", "").split(",")):
        return full(call.hub, call.repository, issue)
    bare = call.hub.bare(call.repository)
    return Answer(bare.patch(*span(bare, pull)), 200, {"content-type": f"{DIFF[0]}; charset=utf-8"})


def listed(call: Call) -> Page:
    """`head` is owner:branch; GitHub ignores one without an owner, here it is refused so that nobody counts on it."""
    query = call.query
    owner, colon, branch = query.get("head", "").rpartition(":")
    if "head" in query and not colon:
        raise Refusal(422, "Invalid head: it has to be owner:branch")
    state = query.get("state", "open")
    found = [
        issue
        for issue in call.repository.issues.values()
        if issue.pull is not None
        and state in ("all", issue.state)
        and query.get("base") in (None, issue.pull.base)
        and ("head" not in query or (owner.lower(), branch) == (call.repository.owner.login.lower(), issue.pull.head))
    ]
    by_update = query.get("sort") == "updated"
    found.sort(key=lambda one: (one.updated_at if by_update else one.created_at, one.number))
    if query.get("direction", "asc" if by_update else "desc") == "desc":
        found.reverse()
    return Page([pull_shapes.pull(call.hub, call.repository, issue) for issue in found])


def update(call: Call) -> dict[str, Any]:
    issue, pull = pull_of(call)
    if "base" in call.body:
        sha = call.hub.bare(call.repository).ref(f"refs/heads/{call.body['base']}")
        if sha is None:
            raise invalid("PullRequest", "base")
        pull.base, pull.base_sha = call.body["base"], sha
    if call.body.get("state") == "open" and issue.state == "closed":
        _judge_reopened(call, pull)
    pull.maintainer_can_modify = call.body.get("maintainer_can_modify", pull.maintainer_can_modify)
    issues.edit(call.hub, call.repository, issue, call.token or call.user, call.body)
    return full(call.hub, call.repository, issue)


def _judge_reopened(call: Call, pull: Pull) -> None:
    if pull.merged_at is not None or call.hub.bare(call.repository).ref(f"refs/heads/{pull.head}") is None:
        raise _custom("state cannot be changed. The branch was deleted or merged.")


def ready(call: Call) -> Answer:
    """The button "Ready for review": no part of the REST API."""
    issue, pull = pull_of(call)
    pull.draft = False
    issues.tell(call.hub, "ready_for_review", call.repository, issue, call.user)
    return Answer(status=204)


def merge(call: Call) -> dict[str, Any]:
    """A merge commit on the base; 405 for a draft, for what is closed and for what conflicts."""
    hub, home, (issue, pull) = call.hub, call.repository, pull_of(call)
    bare = hub.bare(home)
    onto = bare.ref(f"refs/heads/{pull.base}")
    if issue.state != "open" or pull.draft or onto is None:
        raise Refusal(405, "Pull Request is still a draft" if pull.draft else "Pull Request is not mergeable")
    if call.body.get("sha", pull.head_sha) != pull.head_sha:
        raise Refusal(409, "Head branch was modified. Review and try the merge again.")
    tree = bare.merged_tree(onto, pull.head_sha)
    if tree is None:
        raise Refusal(405, "Pull Request is not mergeable")
    who = Signature(call.user.login, f"{call.user.login}@users.noreply.github.com", hub.now())
    message = f"Merge pull request #{issue.number} from {home.owner.login}/{pull.head}\n\n{issue.title}\n"
    sha = bare.write_commit(tree, [onto, pull.head_sha], who, who, message)
    pull.merged_at = hub.now()
    issues.set_state(hub, home, issue, call.token or call.user, "closed", None)
    bare.set_ref(f"refs/heads/{pull.base}", sha, onto)
    refs_changed(hub, home, call.token or call.user)
    return {"sha": sha, "merged": True, "message": "Pull Request successfully merged"}


def files(call: Call) -> Page:
    _, pull = pull_of(call)
    bare = call.hub.bare(call.repository)
    return Page([file_shape(call, file, pull.head_sha) for file in bare.diff(*span(bare, pull))])


def file_shape(call: Call, file: FileDiff, sha: str) -> dict[str, Any]:
    """One file of a pull request or comparison; `sha` is the commit that it is shown at."""
    page, api = shapes.html(call.hub, call.repository), shapes.api(call.hub, call.repository)
    shape = {
        "sha": file.sha,
        "filename": file.filename,
        "status": file.status,
        "additions": file.additions,
        "deletions": file.deletions,
        "changes": file.additions + file.deletions,
        "blob_url": f"{page}/blob/{sha}/{file.filename}",
        "raw_url": f"{page}/raw/{sha}/{file.filename}",
        "contents_url": f"{api}/contents/{file.filename}?ref={sha}",
    }
    if file.patch:
        shape["patch"] = file.patch
    return shape | ({"previous_filename": file.previous} if file.previous else {})


def commits(call: Call) -> Page:
    _, pull = pull_of(call)
    bare = call.hub.bare(call.repository)
    found = bare.log(pull.head_sha, most=250, without=pull.base_sha)
    return Page([commit_shape(call, one) for one in reversed(found)])


def commit_shape(call: Call, one: CommitData) -> dict[str, Any]:
    """A commit as lists show it. Authors are found by name: accounts here have no addresses."""
    url, page = f"{shapes.api(call.hub, call.repository)}/commits/{one.sha}", shapes.html(call.hub, call.repository)
    git = f"{shapes.api(call.hub, call.repository)}/git"
    known = [call.hub.state.user(who.name) for who in (one.author, one.committer)]
    author, committer = (shapes.user(call.hub, user) if user else None for user in known)
    return {
        "url": url,
        "sha": one.sha,
        "node_id": f"C_{one.sha}",
        "html_url": f"{page}/commit/{one.sha}",
        "comments_url": f"{url}/comments",
        "commit": {
            "url": f"{git}/commits/{one.sha}",
            "author": _signature(one.author),
            "committer": _signature(one.committer),
            "message": one.message,
            "comment_count": 0,
            "tree": {"sha": one.tree, "url": f"{git}/trees/{one.tree}"},
        },
        "author": author,
        "committer": committer,
        "parents": [{"sha": sha, "url": f"{git}/commits/{sha}", "html_url": f"{page}/commit/{sha}"} for sha in one.parents],
    }


def _signature(one: Signature) -> dict[str, str]:
    return {"name": one.name, "email": one.email, "date": stamp(one.when)}


def routes(_: Hub) -> list[Route]:
    changes = {"title": str, "body?": str, "state": _STATES, "base": str, "maintainer_can_modify": bool}
    read, write = "pull_requests:read", "pull_requests:write"
    return [
        Route("GET", ALL, listed, read, query=_SEARCH),
        Route("POST", ALL, create, write, body=_NEW),
        Route("GET", ONE, get, read),
        Route("PATCH", ONE, update, write, body=changes),
        Route("PUT", f"{ONE}/merge", merge, "contents:write", body={"sha": str, "merge_method": frozenset(("merge",))}),
        Route("POST", "/{owner}/{repo}/pull/{number:int}/ready", ready, "contents:write", body={}, door="person", base=""),
        Route("GET", f"{ONE}/files", files, read, query=PAGED),
        Route("GET", f"{ONE}/commits", commits, read, query=PAGED),
    ]
