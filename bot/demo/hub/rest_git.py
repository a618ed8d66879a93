"""Blobs, trees, commits and refs over REST, and git itself over HTTP.

What GitHub says no to is refused here too: a ref that is there already, an update that is no fast forward, an object that nobody
wrote, a workflow file changed without the permission `workflows`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as RawRoute

from bot.demo.hub import auth, git_http, issues
from bot.demo.hub.git import MODES, ZERO, Bare, CommitData, Entry, GitFailed, Signature
from bot.demo.hub.hub import Hub
from bot.demo.hub.refusals import Refusal, invalid, not_found
from bot.demo.hub.routing import PAGED, Answer, Call, Page, Route
from bot.demo.hub.state import Issue, Pull, Repository, Token, User, stamp

WORKFLOWS = ".github/workflows"
SIGNATURE = "-----BEGIN PGP SIGNATURE-----\n\nthe stand-in's\n-----END PGP SIGNATURE-----"
_SIGNATURE = {"name!": str, "email!": str, "date": str}
_ENTRY = {"path!": str, "mode!": frozenset(MODES), "type!": frozenset(("blob", "tree", "commit")), "sha?": str, "content": str}


def bare(repository: Repository) -> Bare:
    return Bare(repository.git)


def place(call: Call) -> str:
    """The API's address of the repository."""
    return f"{call.hub.api_url}/repos/{call.repository.full_name}"


def page(call: Call) -> str:
    """The address of its pages."""
    return f"{call.hub.url}/{call.repository.full_name}"


# Objects


def get_blob(call: Call) -> dict[str, Any]:
    data = bare(call.repository).blob(call.path["sha"])
    if data is None:
        raise not_found()
    sha = call.path["sha"]
    return {
        "sha": sha,
        "node_id": f"B_{sha}",
        "size": len(data),
        "url": f"{place(call)}/git/blobs/{sha}",
        "content": base64.encodebytes(data).decode(),
        "encoding": "base64",
    }


def make_blob(call: Call) -> Answer:
    content = call.body["content"]
    data = _decoded(content) if call.body.get("encoding", "utf-8") == "base64" else content.encode()
    sha = bare(call.repository).write_blob(data)
    return Answer({"sha": sha, "url": f"{place(call)}/git/blobs/{sha}"}, 201)


def _decoded(content: str) -> bytes:
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except binascii.Error:
        raise Refusal(422, "content is not valid Base64") from None


def get_tree(call: Call) -> dict[str, Any]:
    repository = bare(call.repository)
    sha = repository.resolve(call.path["sha"], "tree")
    if sha is None:
        raise not_found()
    return _tree(call, sha, repository.tree(sha, recursive=bool(call.query.get("recursive"))))


def _tree(call: Call, sha: str, entries: list[Entry]) -> dict[str, Any]:
    listed = []
    for entry in entries:
        item: dict[str, Any] = {"path": entry.path, "mode": entry.mode, "type": entry.type, "sha": entry.sha}
        if entry.size is not None:
            item["size"] = entry.size
        if entry.type != "commit":
            item["url"] = f"{place(call)}/git/{entry.type}s/{entry.sha}"
        listed.append(item)
    return {"sha": sha, "url": f"{place(call)}/git/trees/{sha}", "tree": listed, "truncated": False}


def make_tree(call: Call) -> Answer:
    repository = bare(call.repository)
    base = call.body.get("base_tree")
    if base is not None and (base := repository.resolve(base, "tree")) is None:
        raise Refusal(422, "base_tree is not a valid tree oid")
    if not call.body["tree"]:
        raise Refusal(422, "Invalid tree info")
    entries = [_wanted(repository, item) for item in call.body["tree"]]
    if base is None and any(entry.sha is None for entry in entries):
        raise Refusal(422, "tree.sha may be null only with a base_tree")
    try:
        sha = repository.write_tree(entries, base)
    except GitFailed as error:
        raise Refusal(422, f"GitRPC::BadObjectState: {error}") from None
    return Answer(_tree(call, sha, repository.tree(sha)), 201)


def _wanted(repository: Bare, item: Mapping[str, Any]) -> Entry:
    path, mode, kind = item["path"], item["mode"], item["type"]
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts) or "\0" in path:
        raise Refusal(422, "tree.path contains a malformed path component")
    if MODES[mode] != kind:
        raise Refusal(422, f"tree.mode {mode} is not that of a {kind}")
    if ("content" in item) == ("sha" in item):
        raise Refusal(422, "Must supply either tree.sha or tree.content, and not both")
    if "content" in item:
        return Entry(path, mode, kind, repository.write_blob(item["content"].encode()))
    sha = item["sha"]
    if sha is not None and kind != "commit" and repository.type_of(sha) != kind:
        raise Refusal(422, f"tree.sha {sha} is not a valid {kind}")
    return Entry(path, mode, kind, sha)


def get_commit(call: Call) -> dict[str, Any]:
    found = bare(call.repository).commit(call.path["sha"])
    if found is None:
        raise not_found()
    return git_commit(call, found)


def signature_json(signature: Signature) -> dict[str, str]:
    return {"name": signature.name, "email": signature.email, "date": stamp(signature.when)}


def verification(repository: Repository, sha: str) -> dict[str, Any]:
    """Nobody's keys are here, so what is signed is shown as signed and has no signature to check."""
    if (at := repository.signed.get(sha)) is None:
        return {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}
    return {"verified": True, "reason": "valid", "signature": SIGNATURE, "payload": f"commit {sha}\n", "verified_at": stamp(at)}


def git_commit(call: Call, commit: CommitData) -> dict[str, Any]:
    """A commit as the git data API shows it."""

    def link(sha: str) -> dict[str, str]:
        return {"sha": sha, "url": f"{place(call)}/git/commits/{sha}", "html_url": f"{page(call)}/commit/{sha}"}

    return {
        **link(commit.sha),
        "node_id": f"C_{commit.sha}",
        "author": signature_json(commit.author),
        "committer": signature_json(commit.committer),
        "message": commit.message,
        "tree": {"sha": commit.tree, "url": f"{place(call)}/git/trees/{commit.tree}"},
        "parents": [link(parent) for parent in commit.parents],
        "verification": verification(call.repository, commit.sha),
    }


def make_commit(call: Call) -> Answer:
    repository = bare(call.repository)
    if repository.type_of(call.body["tree"]) != "tree":
        raise Refusal(422, "Tree SHA does not exist")
    parents = call.body.get("parents", [])
    if any(repository.type_of(parent) != "commit" for parent in parents):
        raise Refusal(422, "Parent SHA does not exist or is not a commit object")
    if not call.body["message"].strip():
        raise invalid("Commit", "message", "missing_field")
    author = _signature(call, "author", None)
    committer = _signature(call, "committer", author if "author" in call.body else None)
    sha = repository.write_commit(call.body["tree"], parents, author, committer, call.body["message"])
    made = repository.commit(sha)
    if made is None:
        raise not_found()
    if call.app_id is not None and not {"author", "committer"} & call.body.keys():
        call.repository.signed.setdefault(sha, call.hub.now())
    return Answer(git_commit(call, made), 201)


def _signature(call: Call, key: str, otherwise: Signature | None) -> Signature:
    given = call.body.get(key)
    if given is None:
        login = call.user.login
        return otherwise or Signature(login, f"{call.user.id}+{login}@users.noreply.github.com", call.hub.now())
    return Signature(given["name"], given["email"], _when(given["date"]) if "date" in given else call.hub.now())


def _when(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise Refusal(422, f"Invalid request.\n\n{text} is not a valid ISO 8601 date with a time zone.")
    return when


# Refs


def _ref(call: Call, name: str, sha: str) -> dict[str, Any]:
    kind = bare(call.repository).type_of(sha) or "commit"
    return {
        "ref": name,
        "node_id": f"REF_{name}",
        "url": f"{place(call)}/git/{name}",
        "object": {"sha": sha, "type": kind, "url": f"{place(call)}/git/{kind}s/{sha}"},
    }


def get_ref(call: Call) -> dict[str, Any]:
    name = f"refs/{call.path['ref']}"
    sha = bare(call.repository).ref(name)
    if sha is None:
        raise not_found()
    return _ref(call, name, sha)


def matching_refs(call: Call) -> Page:
    found = bare(call.repository).refs(f"refs/{call.path['ref']}")
    return Page([_ref(call, name, sha) for name, sha in found.items()])


def make_ref(call: Call) -> Answer:
    name, sha, repository = call.body["ref"], call.body["sha"], bare(call.repository)
    if not name.startswith("refs/") or name.count("/") < 2 or not repository.good_name(name):
        raise Refusal(422, f"{name} is not a valid ref name.")
    if repository.type_of(sha) is None:
        raise Refusal(422, "Object does not exist")
    if name.startswith("refs/heads/") and repository.type_of(sha) != "commit":
        raise Refusal(422, "Reference update failed: a branch names a commit")
    if repository.ref(name) is not None:
        raise Refusal(422, "Reference already exists")
    _may_change_workflows(call, sha, None)
    _moved(call, name, sha, ZERO)
    return Answer(_ref(call, name, sha), 201)


def change_ref(call: Call) -> dict[str, Any]:
    name, sha, repository = f"refs/{call.path['ref']}", call.body["sha"], bare(call.repository)
    old = repository.ref(name)
    if old is None:
        raise Refusal(422, "Reference does not exist")
    if repository.type_of(sha) != "commit":
        raise Refusal(422, "Object does not exist")
    if not call.body.get("force", False) and not repository.is_ancestor(old, sha):
        raise Refusal(422, "Update is not a fast forward")
    _may_change_workflows(call, sha, old)
    _moved(call, name, sha, old)
    return _ref(call, name, sha)


def delete_ref(call: Call) -> Answer:
    name, repository = f"refs/{call.path['ref']}", bare(call.repository)
    old = repository.ref(name)
    if old is None:
        raise Refusal(422, "Reference does not exist")
    if name == f"refs/heads/{call.repository.default_branch}":
        raise Refusal(422, "Cannot delete the default branch")
    _moved(call, name, ZERO, old)
    return Answer(status=204)


def _moved(call: Call, name: str, new: str, old: str) -> None:
    try:
        bare(call.repository).set_ref(name, new, old)
    except GitFailed as error:
        raise Refusal(422, f"Reference update failed: {error}") from None
    refs_changed(call.hub, call.repository, call.token or call.user)


def _may_change_workflows(call: Call, sha: str, old: str | None) -> None:
    """An App may bring workflow files only as they are on some branch already, unless it has the permission `workflows`."""
    token = call.token
    if token is None or token.permissions is None or token.permissions.get("workflows") == "write":
        return
    repository = bare(call.repository)
    if repository.type_of(sha) != "commit" or (mine := repository.entry(sha, WORKFLOWS)) is None:
        return
    known = [*([old] if old else []), *repository.refs("refs/heads/").values()]
    if not any((entry := repository.entry(one, WORKFLOWS)) and entry.sha == mine.sha for one in known):
        raise Refusal(403, "refusing to allow a GitHub App to create or update workflows without `workflows` permission")


def refs_changed(hub: Hub, repository: Repository, by: Token | User) -> None:
    """Open pull requests follow their branches; whose head is gone is closed."""
    with hub.state.lock:
        heads = bare(repository).refs("refs/heads/")
        for issue in repository.issues.values():
            if issue.pull is not None and issue.state == "open":
                ends = [heads.get(f"refs/heads/{branch}") for branch in (issue.pull.head, issue.pull.base)]
                _follow(hub, repository, issue, issue.pull, ends[0], ends[1], by)


def _follow(
    hub: Hub, home: Repository, issue: Issue, pull: Pull, head: str | None, base: str | None, by: Token | User
) -> None:  # fmt: skip
    pull.base_sha = base or pull.base_sha
    if head is None:
        issues.set_state(hub, home, issue, by, "closed", None)
    elif head != pull.head_sha:
        before, pull.head_sha, issue.updated_at = pull.head_sha, head, hub.now()
        issues.tell(hub, "synchronize", home, issue, by, before=before, after=head)


# git over HTTP


def git_door(hub: Hub) -> list[RawRoute]:
    """/{owner}/{repo}.git/...: anybody reads what is public, the rest needs contents:read, a push contents:write."""

    def admitted(request: Request) -> tuple[Repository, Token | None]:
        with hub.state.lock:
            token = hub.asker(request)
            path = request.path_params
            found = hub.state.repository(f"{path['owner']}/{path['repo']}")
            if found is None:
                raise not_found()
            auth.demand(token, found, "contents:write" if git_http.writes(request) else "contents:read")
            return found, token

    async def door(request: Request) -> Response:
        try:
            repository, token = admitted(request)
        except Refusal as refusal:
            asks = {"www-authenticate": 'Basic realm="GitHub"'} if refusal.status in (401, 404) else {}
            anonymous = not request.headers.get("authorization")
            return Response(f"{refusal.message}\n", 401 if anonymous else refusal.status, asks, "text/plain")

        def done() -> None:
            if token and git_http.writes(request) and request.method == "POST":
                refs_changed(hub, repository, token)

        rest = request.path_params["rest"]
        return await git_http.backend(bare(repository), request, rest, token.user.login if token else "", done)

    return [RawRoute("/{owner}/{repo}.git/{rest:path}", door, methods=["GET", "POST"])]


def routes(hub: Hub) -> list[Route | BaseRoute]:
    """What this module answers."""
    at = "/repos/{owner}/{repo}/git"
    blob = {"content!": str, "encoding": frozenset(("utf-8", "base64"))}
    tree = {"tree!": [_ENTRY], "base_tree?": str}
    commit = {"message!": str, "tree!": str, "parents": [str], "author": _SIGNATURE, "committer": _SIGNATURE}
    read, write = "contents:read", "contents:write"
    return [
        Route("GET", f"{at}/blobs/{{sha}}", get_blob, read),
        Route("POST", f"{at}/blobs", make_blob, write, body=blob),
        Route("GET", f"{at}/trees/{{sha:rest}}", get_tree, read, query={"recursive": str}),
        Route("POST", f"{at}/trees", make_tree, write, body=tree),
        Route("GET", f"{at}/commits/{{sha}}", get_commit, read),
        Route("POST", f"{at}/commits", make_commit, write, body=commit),
        Route("GET", f"{at}/ref/{{ref:rest}}", get_ref, read),
        Route("GET", f"{at}/matching-refs/{{ref:rest}}", matching_refs, read, query=PAGED),
        Route("POST", f"{at}/refs", make_ref, write, body={"ref!": str, "sha!": str}),
        Route("PATCH", f"{at}/refs/{{ref:rest}}", change_ref, write, body={"sha!": str, "force": bool}),
        Route("DELETE", f"{at}/refs/{{ref:rest}}", delete_ref, write),
        *git_door(hub),
    ]
