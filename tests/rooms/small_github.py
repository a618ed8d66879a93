"""As much of GitHub as its room needs, over real HTTP, with the trouble that is asked for.

    with small_github() as hub:
        hub.trouble("POST", "comments", "drop-after")
        client = hub.client()

Lists, objects and ids are real ones (git's ids too); what is not asked for by any test is not here. The whole stand-in for GitHub
is `bot.demo.hub`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bot.github.client import Client, Clock

REPOSITORY = "octo/stable"
BOT, APP_ID = "github-actions[bot]", 15368
AT = "2026-11-21T10:00:00Z"
Json = Any


class Watch:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.time += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.time, self.sleep, lambda: 0.5)


@dataclass
class Trouble:
    """A status, `drop-before`, `drop-after`, or `stale`: the list as it was before the last thing was made."""

    method: str
    path: str
    kind: int | str
    times: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Json = None


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Json


@dataclass
class Reply:
    status: int
    body: Json = None
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Reply]


class SmallGitHub:
    def __init__(self) -> None:
        self.url = ""
        self.log: list[Request] = []
        self.troubles: list[Trouble] = []
        self.watch = Watch()
        self.fixed: dict[tuple[str, str], Reply | Handler] = {}
        self.next_id = 100
        self.comments: list[Json] = []
        self.checks: list[Json] = []
        self.issue_labels: list[str] = []
        self.labels: list[str] = []
        self.refs: dict[str, str] = {}
        self.objects: dict[str, Json] = {}
        self.pulls: list[Json] = []
        self.lock = threading.Lock()
        self.broken: list[BaseException] = []
        self.after: list[tuple[str, str, Callable[[], None]]] = []

    @property
    def api(self) -> str:
        return f"{self.url}/api/v3"

    def client(self, *, pause: float = 0.0) -> Client:
        return Client.token("t0ken", self.api, REPOSITORY, pause=pause, clock=self.watch.clock)

    def trouble(self, method: str, path: str, kind: int | str, times: int = 1, body: Json = None, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.troubles.append(Trouble(method, path, kind, times, named, body))

    def on(self, method: str, path: str, reply: Reply | Handler) -> None:
        """A fixed answer, or a function, for exactly this path below /api/v3 (or for the whole path)."""
        self.fixed[method, path] = reply

    def asked(self, method: str, path: str = "") -> list[Request]:
        return [request for request in self.log if request.method == method and re.search(path, request.path)]

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    # --- answering ---

    def answer(self, request: Request) -> Reply | None:
        """None: the connection breaks off."""
        with self.lock:
            self.log.append(request)
            trouble = next(
                (t for t in self.troubles if t.times and t.method == request.method and re.search(t.path, request.path)), None
            )
            if trouble is not None:
                trouble.times -= 1
                if trouble.kind == "drop-before":
                    return None
                if isinstance(trouble.kind, int):
                    return Reply(trouble.kind, trouble.body or {"message": "trouble"}, trouble.headers)
            reply = self.route(request, stale=trouble is not None and trouble.kind == "stale")
            for method, path, act in list(self.after):
                if method == request.method and re.search(path, request.path):
                    self.after.remove((method, path, act))
                    act()
            return None if trouble is not None and trouble.kind == "drop-after" else reply

    def route(self, request: Request, *, stale: bool) -> Reply:
        path = request.path.removeprefix("/api/v3")
        for key in ((request.method, path), (request.method, request.path)):
            if key in self.fixed:
                reply = self.fixed[key]
                return reply if isinstance(reply, Reply) else reply(request)
        rest = path.removeprefix(f"/repos/{REPOSITORY}/")
        for method, pattern, name in _ROUTES:
            match = re.fullmatch(pattern, rest)
            if method == request.method and match:
                handler: Callable[..., Reply] = getattr(self, name)
                if method == "GET" and name.startswith("list_"):
                    return self.page(request, handler(request, *match.groups()), stale=stale)
                return handler(request, *match.groups())
        return Reply(404, {"message": "Not Found"})

    def page(self, request: Request, reply: Reply, *, stale: bool) -> Reply:
        body = reply.body
        key = next(iter(body)) if isinstance(body, dict) else None
        items = body[key] if key else body
        items = items[:-1] if stale else items
        size, number = int(request.query.get("per_page", "30")), int(request.query.get("page", "1"))
        size = min(size, 2)  # so that every list has several pages
        headers = {}
        if number * size < len(items):
            again = "&".join(f"{name}={value}" for name, value in {**request.query, "page": number + 1}.items())
            headers["Link"] = f'<{self.url}{request.path}?{again}>; rel="next"'
        part = items[(number - 1) * size : number * size]
        return Reply(200, {key: part} if key else part, headers)

    # --- comments and labels ---

    def list_comments(self, request: Request, issue: str) -> Reply:
        return Reply(200, list(self.comments))

    def add_comment(self, body: str, author: str = BOT, **more: Any) -> Json:
        made = {
            "id": self.new_id(),
            "user": {"login": author, "id": 7, "type": "User"},
            "body": body,
            "created_at": AT,
            "updated_at": AT,
        }
        self.comments.append({**made, **more})
        return self.comments[-1]

    def post_comment(self, request: Request, issue: str) -> Reply:
        return Reply(201, self.add_comment(request.body["body"]))

    def patch_comment(self, request: Request, number: str) -> Reply:
        found = next(c for c in self.comments if c["id"] == int(number))
        found["body"] = request.body["body"]
        return Reply(200, found)

    def delete_comment(self, request: Request, number: str) -> Reply:
        self.comments = [c for c in self.comments if c["id"] != int(number)]
        return Reply(204)

    def list_issue_labels(self, request: Request, issue: str) -> Reply:
        return Reply(200, [{"name": name} for name in self.issue_labels])

    def post_issue_label(self, request: Request, issue: str) -> Reply:
        self.issue_labels += [name for name in request.body["labels"] if name not in self.issue_labels]
        return Reply(200, [])

    def delete_issue_label(self, request: Request, issue: str, name: str) -> Reply:
        if unquote(name) not in self.issue_labels:
            return Reply(404, {"message": "Label does not exist"})
        self.issue_labels.remove(unquote(name))
        return Reply(200, [])

    def get_label(self, request: Request, name: str) -> Reply:
        return Reply(200, {"name": name}) if unquote(name) in self.labels else Reply(404, {"message": "Not Found"})

    def post_label(self, request: Request) -> Reply:
        if request.body["name"] in self.labels:
            return Reply(422, {"message": "Validation Failed", "errors": [{"code": "already_exists", "field": "name"}]})
        self.labels.append(request.body["name"])
        return Reply(201, {"name": request.body["name"]})

    # --- checks ---

    def list_checks(self, request: Request, sha: str) -> Reply:
        query = request.query
        assert query["filter"] == "all"
        found = [c for c in self.checks if c["head_sha"] == sha and str(c["app"]["id"]) == query["app_id"]]
        return Reply(200, {"check_runs": found})

    def post_check(self, request: Request) -> Reply:
        self.checks.append({"id": self.new_id(), "app": {"id": APP_ID}, "conclusion": None, **request.body})
        return Reply(201, self.checks[-1])

    def patch_check(self, request: Request, number: str) -> Reply:
        found = next(c for c in self.checks if c["id"] == int(number))
        found.update(request.body)
        return Reply(200, found)

    # --- git ---

    def blob(self, content: bytes) -> str:
        return self.keep("blob", content, {"content": content})

    def keep(self, kind: str, raw: bytes, value: Json) -> str:
        sha = hashlib.sha1(f"{kind} {len(raw)}\0".encode() + raw, usedforsecurity=False).hexdigest()
        self.objects[sha] = {**value, "sha": sha}
        return sha

    def tree(self, files: dict[str, tuple[str, str]]) -> str:
        """The id of a tree of {path: (mode, blob)}."""
        inside: dict[str, dict[str, tuple[str, str]]] = {}
        entries: list[tuple[str, str, str]] = []
        for path, entry in files.items():
            name, slash, rest = path.partition("/")
            if slash:
                inside.setdefault(name, {})[rest] = entry
            else:
                entries.append((name, *entry))
        entries += [(name, "040000", self.tree(below)) for name, below in inside.items()]
        entries.sort(key=lambda e: e[0] + ("/" if e[1] == "040000" else ""))
        raw = b"".join(f"{mode.lstrip('0')} {name}\0".encode() + bytes.fromhex(sha) for name, mode, sha in entries)
        listed = [
            {"path": name, "mode": mode, "sha": sha, "type": "tree" if mode == "040000" else "blob"}
            for name, mode, sha in entries
        ]
        return self.keep("tree", raw, {"tree": listed, "files": dict(files)})

    def commit(self, tree: str, parents: list[str], message: str, when: str = AT, name: str = "A", email: str = "a@b.c") -> str:
        lines = [f"tree {tree}", *(f"parent {sha}" for sha in parents), f"author {name} <{email}> {when}", "", message]
        value = {"tree": {"sha": tree}, "parents": [{"sha": sha} for sha in parents], "message": message}
        return self.keep("commit", "\n".join(lines).encode(), value)

    def post_blob(self, request: Request) -> Reply:
        return Reply(201, {"sha": self.blob(base64.b64decode(request.body["content"]))})

    def post_tree(self, request: Request) -> Reply:
        files = dict(self.objects[request.body["base_tree"]]["files"])
        for entry in request.body["tree"]:
            if entry["sha"] is None:
                del files[entry["path"]]
            else:
                assert entry["sha"] in self.objects
                files[entry["path"]] = (entry["mode"], entry["sha"])
        return Reply(201, {"sha": self.tree(files)})

    def get_tree(self, request: Request, sha: str) -> Reply:
        found = self.objects[sha]
        if request.query.get("recursive"):
            listed = [{"path": path, "mode": mode, "sha": blob} for path, (mode, blob) in found["files"].items()]
            return Reply(200, {"sha": sha, "tree": listed, "truncated": False})
        return Reply(200, {"sha": sha, "tree": found["tree"], "truncated": False})

    def post_commit(self, request: Request) -> Reply:
        body, author = request.body, request.body["author"]
        assert body["committer"] == author
        sha = self.commit(body["tree"], body["parents"], body["message"], author["date"], author["name"], author["email"])
        return Reply(201, self.objects[sha])

    def get_commit(self, request: Request, sha: str) -> Reply:
        found = self.objects.get(sha)
        return Reply(200, found) if found else Reply(404, {"message": "Not Found"})

    def get_ref(self, request: Request, name: str) -> Reply:
        sha = self.refs.get(unquote(name))
        return (
            Reply(200, {"ref": f"refs/heads/{unquote(name)}", "object": {"sha": sha}})
            if sha
            else Reply(404, {"message": "Not Found"})
        )

    def list_matching(self, request: Request, prefix: str) -> Reply:
        found = {name: sha for name, sha in self.refs.items() if name.startswith(unquote(prefix))}
        return Reply(200, [{"ref": f"refs/heads/{name}", "object": {"sha": sha}} for name, sha in found.items()])

    def post_ref(self, request: Request) -> Reply:
        name = request.body["ref"].removeprefix("refs/heads/")
        if name in self.refs:
            return Reply(422, {"message": "Reference already exists"})
        self.refs[name] = request.body["sha"]
        return Reply(201, {})

    def patch_ref(self, request: Request, name: str) -> Reply:
        assert request.body["force"] is False
        parents = [p["sha"] for p in self.objects[request.body["sha"]]["parents"]]
        if self.refs[unquote(name)] not in (*parents, request.body["sha"]):
            return Reply(422, {"message": "Update is not a fast forward"})
        self.refs[unquote(name)] = request.body["sha"]
        return Reply(200, {})

    # --- pull requests ---

    def list_pulls(self, request: Request) -> Reply:
        return Reply(200, [self.shown(pull) for pull in self.pulls])

    def shown(self, pull: Json) -> Json:
        return {**pull, "head": {**pull["head"], "sha": self.refs.get(pull["head"]["ref"], "")}}

    def post_pull(self, request: Request) -> Reply:
        body = request.body
        if any(p["state"] == "open" and p["head"]["ref"] == body["head"] for p in self.pulls):
            return Reply(422, {"message": "Validation Failed", "errors": [{"message": "A pull request already exists"}]})
        head = {"ref": body["head"], "repo": {"full_name": REPOSITORY}}
        pull = {"number": self.new_id(), "state": "open", "draft": body["draft"], "head": head, "base": {"ref": body["base"]}}
        self.pulls.append(pull)
        return Reply(201, self.shown(pull))

    def get_pull(self, request: Request, number: str) -> Reply:
        return Reply(200, self.shown(next(p for p in self.pulls if p["number"] == int(number))))

    def patch_pull(self, request: Request, number: str) -> Reply:
        next(p for p in self.pulls if p["number"] == int(number)).update(request.body)
        return Reply(200, {})


_ROUTES = (
    ("GET", r"issues/(\d+)/comments", "list_comments"),
    ("POST", r"issues/(\d+)/comments", "post_comment"),
    ("PATCH", r"issues/comments/(\d+)", "patch_comment"),
    ("DELETE", r"issues/comments/(\d+)", "delete_comment"),
    ("GET", r"issues/(\d+)/labels", "list_issue_labels"),
    ("POST", r"issues/(\d+)/labels", "post_issue_label"),
    ("DELETE", r"issues/(\d+)/labels/([^/]+)", "delete_issue_label"),
    ("GET", r"labels/([^/]+)", "get_label"),
    ("POST", r"labels", "post_label"),
    ("GET", r"commits/([0-9a-f]+)/check-runs", "list_checks"),
    ("POST", r"check-runs", "post_check"),
    ("PATCH", r"check-runs/(\d+)", "patch_check"),
    ("POST", r"git/blobs", "post_blob"),
    ("POST", r"git/trees", "post_tree"),
    ("GET", r"git/trees/([0-9a-f]+)", "get_tree"),
    ("POST", r"git/commits", "post_commit"),
    ("GET", r"git/commits/([0-9a-f]+)", "get_commit"),
    ("GET", r"git/ref/heads/(.+)", "get_ref"),
    ("GET", r"git/matching-refs/heads/(.+)", "list_matching"),
    ("POST", r"git/refs", "post_ref"),
    ("PATCH", r"git/refs/heads/(.+)", "patch_ref"),
    ("GET", r"pulls", "list_pulls"),
    ("POST", r"pulls", "post_pull"),
    ("GET", r"pulls/(\d+)", "get_pull"),
    ("PATCH", r"pulls/(\d+)", "patch_pull"),
)  # fmt: skip


@contextmanager
def small_github() -> Iterator[SmallGitHub]:
    hub = SmallGitHub()
    server = _Server(("127.0.0.1", 0), _handler(hub))
    server.broken = hub.broken
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert not hub.broken, f"the stand-in broke: {hub.broken}"


class _Server(ThreadingHTTPServer):
    broken: list[BaseException]

    def handle_error(self, *_: object) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):  # a client may hang up
            self.broken.append(error)


def _handler(hub: SmallGitHub) -> type[BaseHTTPRequestHandler]:
    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65_536  # headers and body in one packet, or each answer takes 40 ms
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("content-length", "0")))
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = hub.answer(Request(self.command, parts.path, query, headers, json.loads(raw) if raw else None))
            if reply is None:
                self.close_connection = True
                return
            content = (
                reply.body if isinstance(reply.body, bytes) else b"" if reply.body is None else json.dumps(reply.body).encode()
            )
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            pass

    return Answering
