"""The stand-in GitHub as its administrator sees it: accounts, repositories, Apps, and what happened."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request

from bot.core.errors import BadInput, BugError
from bot.demo.hub import auth, issues, shapes
from bot.demo.hub.faults import Fault
from bot.demo.hub.git import Bare, Signature
from bot.demo.hub.people import Person
from bot.demo.hub.state import (
    ACTIONS_APP_ID,
    ACTIONS_LOGIN,
    ROLES,
    App,
    Environment,
    Installation,
    Label,
    LogEntry,
    Repository,
    State,
    Token,
    User,
)
from bot.demo.hub.webhooks import Event, Post

Change = Literal["created", "added", "removed", "suspend", "unsuspend", "deleted"]
POLL = 0.02
"""Seconds between two looks at whether all is quiet."""
LABELS = {"bug": "d73a4a", "documentation": "0075ca", "enhancement": "a2eeef", "good first issue": "7057ff", "question": "d876e3"}


@dataclass(frozen=True, slots=True)
class AppCredentials:
    """What an App's owner downloads. `installations` gives the installation's id by repository, and fills up with `install`."""

    app_id: int
    slug: str
    private_key_pem: str
    webhook_secret: str
    installations: dict[str, int]


def real_time() -> datetime:
    return datetime.now(UTC)


@cache
def _app_key(number: int) -> rsa.RSAPrivateKey:
    """The key of a hub's first App, its second one and so on: made once for the process, as it takes longer than requests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(slots=True)
class Hub:
    """Everything about one stand-in that is running. `clock` may be replaced to freeze or step the time."""

    folder: Path
    url: str
    state: State = field(default_factory=State)
    clock: Callable[[], datetime] = real_time
    faults: list[Fault] = field(default_factory=list)
    log: list[LogEntry] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)  # unknown routes and the like: what a test asserts to be empty
    rate_limit: int = 5000  # requests an hour and token; GITHUB_TOKEN has 1,000 or this, whichever is less
    busy: list[Callable[[], bool]] = field(default_factory=list)  # each says whether it still has work under way
    post: Post = field(init=False)
    credentials: dict[int, AppCredentials] = field(default_factory=dict)
    _people: dict[str, Person] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.post = Post(self.state, self.now, self.errors)
        self.user("ghost")
        github = self.user("github", "Organization")
        bot = self.user(ACTIONS_LOGIN, "Bot")
        self.state.apps[ACTIONS_APP_ID] = App(
            ACTIONS_APP_ID,
            "github-actions",
            github,
            bot,
            public_key="",
            webhook_url=None,
            webhook_secret="",
            created_at=self.now(),
        )

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/v3"

    @property
    def graphql_url(self) -> str:
        return f"{self.url}/api/graphql"

    def now(self) -> datetime:
        """The time in whole seconds."""
        return self.clock().astimezone(UTC).replace(microsecond=0)

    # Accounts

    def user(self, login: str, type: str = "User") -> User:
        """The account of that name, made when it isn't there: User, Organization or Bot."""
        with self.state.lock:
            known = self.state.user(login)
            if known is None:
                known = self.state.users[login.lower()] = User(self.state.next_id(), login, type)
            return known

    def person(self, login: str) -> Person:
        """Somebody who acts over HTTP with a token of their own; the account is made when it isn't there."""
        with self.state.lock:
            if login not in self._people:
                self._people[login] = Person(login, self.api_url, auth.person_token(self.state, self.user(login)).value)
            return self._people[login]

    # Repositories

    def repository(
        self,
        full_name: str,
        files: Path | Mapping[str, str | bytes],
        members: Mapping[str, str] | None = None,
        private: bool = False,
        default_branch: str = "main",
    ) -> Repository:
        """A repository with one commit of `files`. `members` gives roles by login: read triage write maintain admin."""
        owner, _, name = full_name.partition("/")
        with self.state.lock:
            if self.state.repository(full_name) or not name:
                raise BadInput(f"no repository can be made under the name {full_name}")
            path = self.folder / "repos" / owner / f"{name}.git"
            bare = Bare.create(path, default_branch)
            made = Repository(self.state.next_id(), self.user(owner), name, path, self.now(), private, default_branch)
            for login, role in (members or {}).items():
                self.member(made, login, role)
            for label, color in LABELS.items():
                made.labels[label] = Label(self.state.next_id(), label, color)
            who = Signature(owner, f"{owner}@users.noreply.localhost", self.now())
            sha = bare.write_commit(bare.import_files(files), [], who, who, "First commit\n")
            bare.set_ref(f"refs/heads/{default_branch}", sha, "0" * 40)
            self.state.repositories[made.id] = made
            return made

    def member(self, repository: Repository, login: str, role: str | None, name: str | None = None) -> None:
        """Give somebody a role, or with None take it. `name` is for a custom role that builds on `role`."""
        if role is not None and role not in ROLES:
            raise BadInput(f"{role} is no role: {', '.join(ROLES)}")
        user = self.user(login)
        if role is None:
            repository.members.pop(user.login, None)
        else:
            repository.members[user.login] = role
        repository.role_names.pop(user.login, None)
        if name is not None:
            repository.role_names[user.login] = name

    def issue_from_form(self, full_name: str, login: str, title: str, body: str, labels: list[str]) -> int:
        """Somebody fills in an issue form that sets labels: they are theirs, whatever their role. The new issue's number."""
        with self.state.lock:
            return issues.open_(self, self.found(full_name), self.user(login), title, body, labels).number

    def environment(
        self, full_name: str, name: str, secrets: Mapping[str, str], variables: Mapping[str, str] | None = None
    ) -> None:
        self.found(full_name).environments[name] = Environment(name, dict(secrets), dict(variables or {}))

    def secrets(self, full_name: str, values: Mapping[str, str]) -> None:
        """Secrets of the repository itself."""
        self.found(full_name).secrets.update(values)

    def variables(self, full_name: str, values: Mapping[str, str]) -> None:
        self.found(full_name).variables.update(values)

    def found(self, full_name: str) -> Repository:
        """BadInput when there is none."""
        repository = self.state.repository(full_name)
        if repository is None:
            raise BadInput(f"there is no repository {full_name} here")
        return repository

    def bare(self, repository: Repository) -> Bare:
        return Bare(repository.git)

    # Apps

    def app(self, slug: str, webhook_url: str | None, secret: str = "", events: list[str] | None = None) -> AppCredentials:
        """Register an App. `secret` signs its webhooks (made up when empty); `events` None: all that its permissions allow."""
        encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        secret = secret or secrets.token_hex(20)
        with self.state.lock:
            key = _app_key(len(self.state.apps))
            pem = key.private_bytes(encoding, serialization.PrivateFormat.TraditionalOpenSSL, plain).decode()
            public = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
            # Clients keep tokens by the App's id, some of them for the whole process: no two hubs may give the same one.
            app_id = 1_000_000 + secrets.randbelow(8_999_999)
            made = App(
                app_id, slug, self.user("github", "Organization"), self.user(f"{slug}[bot]", "Bot"),
                public, webhook_url, secret, self.now(), events=list(events or []),
            )  # fmt: skip
            self.state.apps[made.id] = made
            credentials = self.credentials[made.id] = AppCredentials(made.id, slug, pem, secret, {})
        return credentials

    def install(self, app: AppCredentials | int, full_name: str, permissions: Mapping[str, str]) -> int:
        """Install an App on a repository; one installation per account, as on GitHub. An `installation` event goes out."""
        app_id = app if isinstance(app, int) else app.app_id
        unknown = set(permissions) - auth.NAMES
        if unknown:
            raise BadInput(f"there is no permission {', '.join(sorted(unknown))}")
        with self.state.lock:
            repository = self.found(full_name)
            all_ = self.state.installations.values()
            known = next((one for one in all_ if one.app_id == app_id and one.account is repository.owner), None)
            made = known or Installation(self.state.next_id(), app_id, repository.owner, set(), {}, self.now())
            self.state.installations[made.id] = made
            made.repositories.add(repository.id)
            made.permissions = {"metadata": "read"} | dict(permissions)
            self.state.apps[app_id].permissions = dict(made.permissions)
            if app_id in self.credentials:
                self.credentials[app_id].installations[repository.full_name] = made.id
            self._tell_of_installation(made, repository, "created" if known is None else "added")
        return made.id

    def change_installation(self, app: AppCredentials | int, full_name: str, action: Change) -> None:
        """What an owner does on the page of an installation: to one repository of it (removed), or to all of it."""
        app_id = app if isinstance(app, int) else app.app_id
        with self.state.lock:
            repository = self.found(full_name)
            all_ = self.state.installations.values()
            made = next(one for one in all_ if one.app_id == app_id and repository.id in one.repositories)
            if action in ("suspend", "unsuspend"):
                made.suspended_at = self.now() if action == "suspend" else None
            elif action == "removed":
                made.repositories.remove(repository.id)
            else:
                del self.state.installations[made.id]
                for token in (one for one in self.state.tokens.values() if one.installation_id == made.id):
                    token.revoked = True
            self._tell_of_installation(made, repository, action)

    def _tell_of_installation(self, made: Installation, repository: Repository, action: Change) -> None:
        """To the App itself, whatever it may still do there. The caller holds the lock."""
        payload: shapes.Shape = {
            "action": action,
            "installation": shapes.installation(self, made),
            "requester": None,
            "sender": shapes.user(self, repository.owner),
        }
        told, name = [shapes.slim_repository(repository)], "installation"
        if action in ("added", "removed"):
            name = "installation_repositories"
            payload |= {"repository_selection": "selected", "repositories_added": [], "repositories_removed": []}
            payload[f"repositories_{action}"] = told
        else:
            payload["repositories"] = told
        app = self.state.apps[made.app_id]
        if app.webhook_url:
            self.post.send(self.post.letter(app, name, action, made.id, None, payload))

    def app_process(self, app: AppCredentials | int, pid: int | None, webhook_url: str | None = None) -> None:
        """The App's process, so that faults can kill it, and where it listens now."""
        known = self.state.apps[app if isinstance(app, int) else app.app_id]
        known.pid = pid
        known.webhook_url = webhook_url or known.webhook_url

    # What platform.py and route modules call

    def asker(self, request: Request) -> Token | None:
        """Whose token the request carries (Bearer, token, Basic's password); None without one, Refusal 401 for a bad one."""
        value = auth.credential(request.headers.get("authorization", ""))
        with self.state.lock:
            return None if value is None else auth.token(self.state, value, self.now())

    def job_token(
        self, repository: Repository, permissions: Mapping[str, str], *, name: str, run_id: int, job_id: int
    ) -> str:  # fmt: skip
        """A GITHUB_TOKEN: actor github-actions[bot], App 15368, this repository, exactly these permissions."""
        with self.state.lock:
            actor = self.user(ACTIONS_LOGIN)
            return auth.job_token(self.state, actor, repository, permissions, name=name, run_id=run_id, job_id=job_id).value

    def revoke(self, token: str) -> None:
        with self.state.lock:
            if token in self.state.tokens:
                self.state.tokens[token].revoked = True

    def process_started(self, token: str, pid: int) -> None:
        with self.state.lock:
            self.state.tokens[token].pids.add(pid)

    def process_ended(self, token: str, pid: int) -> None:
        with self.state.lock:
            self.state.tokens[token].pids.discard(pid)

    def kill(self, token: Token | None, app_id: int | None = None) -> int:
        """SIGKILL for the processes that work with a token, or for the App's own. Says how many groups were hit."""
        with self.state.lock:
            pids = set(token.pids) if token is not None and token.kind == "job" else set()
            if not pids and app_id in self.state.apps and (pid := self.state.apps[app_id].pid):
                pids = {pid}
        for pid in pids:
            with suppress(ProcessLookupError):
                if os.getpgid(pid) == pid:
                    os.killpg(pid, signal.SIGKILL)
                else:
                    os.kill(pid, signal.SIGKILL)
        return len(pids)

    def emit(
        self,
        name: str,
        action: str | None,
        repository: Repository,
        payload: Mapping[str, Any],
        by: Token | User,
        *,
        only_app: int | None = None,
    ) -> None:
        """Send an event out: `payload` gets action, repository and sender. `by` is who did it."""
        actor = by.user if isinstance(by, Token) else by
        whole = ({"action": action} if action else {}) | dict(payload)
        whole |= {"repository": shapes.repository(self, repository), "sender": shapes.user(self, actor)}
        by_job = isinstance(by, Token) and by.kind == "job"
        self.post.put(Event(name, action, repository.id, actor, whole, by_job, only_app))

    def wait_idle(self, timeout: float) -> None:
        """Until no event, delivery, run or job is under way. BugError when that takes longer than `timeout` seconds."""
        deadline = time.monotonic() + timeout
        quiet = 0
        while quiet < 2:  # twice in a row: what ends one thing may have begun another
            idle = self.post.idle() and not any(one() for one in self.busy)
            quiet = quiet + 1 if idle else 0
            if time.monotonic() > deadline:
                raise BugError(f"something is still under way after {timeout:g} seconds")
            threading.Event().wait(POLL if quiet < 2 else 0)
