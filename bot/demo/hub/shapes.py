"""How things look in answers and webhooks: GitHub's field names, checked against its published description by the tests.

Every function takes the hub for its addresses. What GitHub gives and nobody here uses is present and empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.demo.hub.state import (
    App,
    CheckRun,
    Comment,
    Installation,
    Issue,
    IssueEvent,
    Label,
    Reaction,
    Repository,
    User,
    stamp,
)

if TYPE_CHECKING:
    from datetime import datetime

    from bot.demo.hub.hub import Hub

Shape = dict[str, Any]
REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
_USER_URLS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
_REPOSITORY_URLS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
    "hooks_url": "/hooks",
}


def when(moment: datetime | None) -> str | None:
    return stamp(moment) if moment else None


def user(hub: Hub, one: User) -> Shape:
    url = f"{hub.api_url}/users/{one.login}"
    return {
        "login": one.login,
        "id": one.id,
        "node_id": f"U_{one.id}",
        "avatar_url": f"{hub.url}/avatars/{one.id}",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{hub.url}/{one.login.removesuffix('[bot]')}",
        **{name: url + end for name, end in _USER_URLS.items()},
        "type": one.type,
        "site_admin": False,
    }


def full_user(hub: Hub, one: User) -> Shape:
    since = stamp(hub.now())
    nothing = dict.fromkeys(("name", "company", "blog", "location", "email", "hireable", "bio"))
    counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    return user(hub, one) | nothing | counts | {"created_at": since, "updated_at": since}


def slim_repository(one: Repository) -> Shape:
    """As the `installation` event lists them."""
    return {"id": one.id, "node_id": f"R_{one.id}", "name": one.name, "full_name": one.full_name, "private": one.private}


def api(hub: Hub, one: Repository) -> str:
    return f"{hub.api_url}/repos/{one.full_name}"


def html(hub: Hub, one: Repository) -> str:
    return f"{hub.url}/{one.full_name}"


def repository(hub: Hub, one: Repository) -> Shape:
    """The full form, which is the one that webhooks carry too."""
    url, page, since = api(hub, one), html(hub, one), stamp(one.created_at)
    opened = sum(issue.state == "open" for issue in one.issues.values())
    counts = dict.fromkeys(("forks_count", "stargazers_count", "watchers_count", "size", "forks", "watchers", "network_count"), 0)
    features = {"has_issues": True} | dict.fromkeys(("has_projects", "has_wiki", "has_pages", "has_discussions"), False)
    nothing = dict.fromkeys(("description", "mirror_url", "homepage", "language", "license"))
    return {
        **slim_repository(one),
        "owner": user(hub, one.owner),
        "html_url": page,
        "url": url,
        **{name: url + end for name, end in _REPOSITORY_URLS.items()},
        "git_url": f"git://{page.partition('://')[2]}.git",
        "ssh_url": f"git@{page.partition('://')[2]}.git",
        "clone_url": f"{page}.git",
        "svn_url": page,
        **counts,
        **features,
        **nothing,
        "fork": False,
        "archived": False,
        "disabled": False,
        "default_branch": one.default_branch,
        "visibility": "private" if one.private else "public",
        "open_issues": opened,
        "open_issues_count": opened,
        "subscribers_count": 0,
        "topics": [],
        "created_at": since,
        "updated_at": since,
        "pushed_at": since,
    }


def label(hub: Hub, home: Repository, one: Label) -> Shape:
    return {
        "id": one.id,
        "node_id": f"LA_{one.id}",
        "url": f"{api(hub, home)}/labels/{one.name}",
        "name": one.name,
        "color": one.color,
        "description": one.description,
        "default": False,
        "archived_at": None,
        "archived_by": None,
    }


def labels(hub: Hub, home: Repository, names: list[str]) -> list[Shape]:
    return [label(hub, home, home.labels[name.lower()]) for name in names]


def association(home: Repository, one: User) -> str:
    """Only a hint, as on GitHub: everybody with a role is a collaborator."""
    if one.id == home.owner.id:
        return "OWNER"
    return "COLLABORATOR" if home.role(one) else "NONE"


def reactions(url: str, given: list[Reaction]) -> Shape:
    counts = {word: sum(one.content == word for one in given) for word in REACTIONS}
    return {"url": f"{url}/reactions", "total_count": len(given), **counts}


def reaction(hub: Hub, one: Reaction) -> Shape:
    return {
        "id": one.id,
        "node_id": f"REA_{one.id}",
        "user": user(hub, one.user),
        "content": one.content,
        "created_at": stamp(one.created_at),
    }


def by_app(hub: Hub, app_id: int | None) -> Shape | None:
    """`performed_via_github_app`."""
    return app(hub, hub.state.apps[app_id]) if app_id is not None else None


def issue(hub: Hub, home: Repository, one: Issue) -> Shape:
    url, page = f"{api(hub, home)}/issues/{one.number}", f"{html(hub, home)}/issues/{one.number}"
    shape = {
        "id": one.id,
        "node_id": f"I_{one.id}",
        "url": url,
        "repository_url": api(hub, home),
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": page,
        "number": one.number,
        "state": one.state,
        "state_reason": one.state_reason,
        "title": one.title,
        "body": one.body,
        "user": user(hub, one.user),
        "labels": labels(hub, home, one.labels),
        "assignee": user(hub, one.assignees[0]) if one.assignees else None,
        "assignees": [user(hub, other) for other in one.assignees],
        "milestone": None,
        "locked": one.locked,
        "active_lock_reason": None,
        "comments": len(one.comments),
        "closed_at": when(one.closed_at),
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
        "author_association": association(home, one.user),
        "reactions": reactions(url, one.reactions),
        "performed_via_github_app": by_app(hub, one.app_id),
    }
    if one.pull is not None:
        pull, pull_page = f"{api(hub, home)}/pulls/{one.number}", f"{html(hub, home)}/pull/{one.number}"
        links = {"url": pull, "html_url": pull_page, "diff_url": f"{pull_page}.diff", "patch_url": f"{pull_page}.patch"}
        shape |= {"html_url": pull_page, "draft": one.pull.draft, "pull_request": links | {"merged_at": when(one.pull.merged_at)}}
    return shape


def comment(hub: Hub, home: Repository, one: Comment) -> Shape:
    url = f"{api(hub, home)}/issues/comments/{one.id}"
    kind = "pull" if home.issues[one.issue].pull else "issues"
    return {
        "id": one.id,
        "node_id": f"IC_{one.id}",
        "url": url,
        "html_url": f"{html(hub, home)}/{kind}/{one.issue}#issuecomment-{one.id}",
        "issue_url": f"{api(hub, home)}/issues/{one.issue}",
        "user": user(hub, one.user),
        "body": one.body,
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
        "author_association": association(home, one.user),
        "reactions": reactions(url, one.reactions),
        "performed_via_github_app": by_app(hub, one.app_id),
    }


def event(hub: Hub, home: Repository, one: IssueEvent) -> Shape:
    shape = {
        "id": one.id,
        "node_id": f"EV_{one.id}",
        "url": f"{api(hub, home)}/issues/events/{one.id}",
        "actor": user(hub, one.actor),
        "event": one.event,
        "commit_id": None,
        "commit_url": None,
        "created_at": stamp(one.created_at),
        "performed_via_github_app": by_app(hub, one.app_id),
    }
    if one.label:
        shape["label"] = {"name": one.label[0], "color": one.label[1]}
    if one.rename:
        shape["rename"] = {"from": one.rename[0], "to": one.rename[1]}
    if one.event in ("closed", "reopened"):
        shape["state_reason"] = None
    return shape


def check_run(hub: Hub, home: Repository, one: CheckRun) -> Shape:
    url = f"{api(hub, home)}/check-runs/{one.id}"
    page = f"{html(hub, home)}/runs/{one.id}"
    return {
        "id": one.id,
        "node_id": f"CR_{one.id}",
        "name": one.name,
        "head_sha": one.head_sha,
        "external_id": one.external_id,
        "url": url,
        "html_url": page,
        "details_url": one.details_url or page,
        "status": one.status,
        "conclusion": one.conclusion,
        "started_at": when(one.started_at),
        "completed_at": when(one.completed_at),
        "output": {
            "title": one.title,
            "summary": one.summary,
            "text": one.text,
            "annotations_count": len(one.annotations),
            "annotations_url": f"{url}/annotations",
        },
        "check_suite": {"id": one.suite_id},
        "app": app(hub, hub.state.apps[one.app_id]),
        "pull_requests": pulls_at(hub, home, one.head_sha),
    }


def pulls_at(hub: Hub, home: Repository, sha: str) -> list[Shape]:
    """The open pull requests whose head is `sha`, as check runs and workflow runs list them."""
    repo = {"id": home.id, "url": api(hub, home), "name": home.name}
    return [
        {
            "id": issue.pull.id,
            "number": issue.number,
            "url": f"{api(hub, home)}/pulls/{issue.number}",
            "head": {"ref": issue.pull.head, "sha": sha, "repo": repo},
            "base": {"ref": issue.pull.base, "sha": issue.pull.base_sha, "repo": repo},
        }
        for issue in home.issues.values()
        if issue.pull is not None and issue.state == "open" and issue.pull.head_sha == sha
    ]


def app(hub: Hub, one: App) -> Shape:
    since = stamp(one.created_at)
    return {
        "id": one.id,
        "slug": one.slug,
        "node_id": f"A_{one.id}",
        "client_id": f"Iv1.{one.id:016x}",
        "owner": user(hub, one.owner),
        "name": one.slug,
        "description": None,
        "external_url": f"{hub.url}/apps/{one.slug}",
        "html_url": f"{hub.url}/apps/{one.slug}",
        "created_at": since,
        "updated_at": since,
        "permissions": dict(one.permissions),
        "events": list(one.events),
    }


def installation(hub: Hub, one: Installation) -> Shape:
    since, owner = stamp(one.created_at), hub.state.apps[one.app_id]
    return {
        "id": one.id,
        "account": user(hub, one.account),
        "repository_selection": "selected",
        "access_tokens_url": f"{hub.api_url}/app/installations/{one.id}/access_tokens",
        "repositories_url": f"{hub.api_url}/installation/repositories",
        "html_url": f"{hub.url}/settings/installations/{one.id}",
        "app_id": one.app_id,
        "client_id": f"Iv1.{one.app_id:016x}",
        "app_slug": owner.slug,
        "target_id": one.account.id,
        "target_type": one.account.type,
        "permissions": dict(one.permissions),
        "events": list(owner.events),
        "created_at": since,
        "updated_at": since,
        "single_file_name": None,
        "suspended_at": stamp(one.suspended_at) if one.suspended_at else None,
        "suspended_by": user(hub, one.account) if one.suspended_at else None,
    }
