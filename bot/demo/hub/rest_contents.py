"""Files, commits, branches and comparisons over REST, as readers of a repository ask for them."""

from __future__ import annotations

import base64
from typing import Any

from bot.demo.hub import shapes
from bot.demo.hub.git import Entry
from bot.demo.hub.hub import Hub
from bot.demo.hub.refusals import Refusal, not_found
from bot.demo.hub.rest_git import verification
from bot.demo.hub.rest_pulls import commit_shape, file_shape
from bot.demo.hub.routing import PAGED, Answer, Call, Page, Route

READ = "contents:read"
RAW = "application/vnd.github.raw"
LARGEST_INLINE = 1 << 20
"""Bytes of a file that are handed out inside JSON."""
MOST_COMMITS = 250
_KINDS = {"tree": "dir", "blob": "file", "commit": "submodule"}


def contents(call: Call) -> Any:
    """A file, or the lines of a folder. With the raw media type the file's bytes."""
    bare = call.hub.bare(call.repository)
    ref, path = call.query.get("ref") or call.repository.default_branch, call.path.get("path", "").strip("/")
    if bare.resolve(ref) is None:
        raise Refusal(404, f"No commit found for the ref {ref}")
    entry = bare.entry(ref, path)
    if entry is None or entry.sha is None:
        raise not_found()
    if entry.type == "tree":
        return [_item(call, line, f"{path}/{line.path}".lstrip("/"), ref) for line in bare.tree(entry.sha)]
    data = bare.blob(entry.sha) if entry.type == "blob" else None
    if data is None:
        raise not_found()
    if RAW in call.request.headers.get("accept", "") or "vnd.github.v3.raw" in call.request.headers.get("accept", ""):
        return Answer(data, 200, {"content-type": f"{RAW}; charset=utf-8"})
    inline = len(data) <= LARGEST_INLINE
    return _item(call, entry, path, ref) | {
        "encoding": "base64" if inline else "none",
        "content": base64.encodebytes(data).decode() if inline else "",
    }


def _item(call: Call, entry: Entry, path: str, ref: str) -> dict[str, Any]:
    api, page = shapes.api(call.hub, call.repository), shapes.html(call.hub, call.repository)
    git = f"{api}/git/{entry.type}s/{entry.sha}" if entry.type != "commit" else None
    url = f"{api}/contents/{path}?ref={ref}"
    html = f"{page}/{entry.type}/{ref}/{path}"
    return {
        "type": "symlink" if entry.mode == "120000" else _KINDS[entry.type],
        "size": entry.size or 0,
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": entry.sha,
        "url": url,
        "git_url": git,
        "html_url": html,
        "download_url": f"{page}/raw/{ref}/{path}" if entry.type == "blob" else None,
        "_links": {"self": url, "git": git, "html": html},
    }


def list_commits(call: Call) -> Page:
    bare = call.hub.bare(call.repository)
    sha = bare.resolve(call.query.get("sha") or call.repository.default_branch)
    if sha is None:
        raise not_found()
    found = bare.log(sha, most=MOST_COMMITS, path=call.query.get("path", ""))
    return Page([commit_shape(call, one) for one in found])


def get_commit(call: Call) -> dict[str, Any]:
    """A commit with what it changed against its first parent."""
    bare = call.hub.bare(call.repository)
    sha = bare.resolve(call.path["ref"])
    found = bare.commit(sha) if sha else None
    if found is None:
        raise Refusal(422, f"No commit found for SHA: {call.path['ref']}")
    files = bare.diff(found.parents[0] if found.parents else bare.write_tree([]), found.sha)
    added, removed = sum(one.additions for one in files), sum(one.deletions for one in files)
    shape = commit_shape(call, found)
    shape["commit"]["verification"] = verification(call.repository, found.sha)
    return shape | {
        "stats": {"total": added + removed, "additions": added, "deletions": removed},
        "files": [file_shape(call, one, found.sha) for one in files],
    }


def compare(call: Call) -> dict[str, Any]:
    """`base...head`: what head has since their last common commit."""
    names = call.path["basehead"].split("...")
    bare = call.hub.bare(call.repository)
    ends = [bare.resolve(name) for name in names]
    if len(ends) != 2 or not ends[0] or not ends[1]:
        raise not_found()
    base, head = ends[0], ends[1]
    fork = bare.merge_base(base, head)
    if fork is None:
        raise Refusal(404, f"No common ancestor between {names[0]} and {names[1]}.")
    ahead, behind = bare.count(head, base), bare.count(base, head)
    status = "diverged" if ahead and behind else "ahead" if ahead else "behind" if behind else "identical"
    url = f"{shapes.api(call.hub, call.repository)}/compare/{call.path['basehead']}"
    page = f"{shapes.html(call.hub, call.repository)}/compare"
    found = [one for one in (bare.commit(base), bare.commit(fork)) if one]
    return {
        "url": url,
        "html_url": f"{page}/{call.path['basehead']}",
        "permalink_url": f"{page}/{base[:7]}...{head[:7]}",
        "diff_url": f"{page}/{call.path['basehead']}.diff",
        "patch_url": f"{page}/{call.path['basehead']}.patch",
        "base_commit": commit_shape(call, found[0]),
        "merge_base_commit": commit_shape(call, found[1]),
        "status": status,
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
        "commits": [commit_shape(call, one) for one in reversed(bare.log(head, most=MOST_COMMITS, without=base))],
        "files": [file_shape(call, one, head) for one in bare.diff(fork, head)],
    }


def list_branches(call: Call) -> Page:
    found = call.hub.bare(call.repository).refs("refs/heads/")
    api = shapes.api(call.hub, call.repository)
    return Page(
        [
            {
                "name": name.removeprefix("refs/heads/"),
                "commit": {"sha": sha, "url": f"{api}/commits/{sha}"},
                "protected": False,
            }
            for name, sha in found.items()
        ]
    )


def get_branch(call: Call) -> dict[str, Any]:
    name, bare = call.path["branch"], call.hub.bare(call.repository)
    sha = bare.ref(f"refs/heads/{name}")
    commit = bare.commit(sha) if sha else None
    if commit is None:
        raise Refusal(404, "Branch not found")
    url = f"{shapes.api(call.hub, call.repository)}/branches/{name}"
    return {
        "name": name,
        "commit": commit_shape(call, commit),
        "_links": {"self": url, "html": f"{shapes.html(call.hub, call.repository)}/tree/{name}"},
        "protected": False,
        "protection": {"enabled": False},
        "protection_url": f"{url}/protection",
    }


def routes(_: Hub) -> list[Route]:
    """What this module answers. It comes after the checks', whose addresses begin with a commit's."""
    at = "/repos/{owner}/{repo}"
    return [
        Route("GET", f"{at}/contents", contents, READ, query={"ref": str}),
        Route("GET", f"{at}/contents/", contents, READ, query={"ref": str}),
        Route("GET", f"{at}/contents/{{path:rest}}", contents, READ, query={"ref": str}),
        Route("GET", f"{at}/commits", list_commits, READ, query={**PAGED, "sha": str, "path": str}),
        Route("GET", f"{at}/commits/{{ref:rest}}", get_commit, READ),
        Route("GET", f"{at}/compare/{{basehead:rest}}", compare, READ),
        Route("GET", f"{at}/branches", list_branches, READ, query=PAGED),
        Route("GET", f"{at}/branches/{{branch:rest}}", get_branch, READ),
    ]
