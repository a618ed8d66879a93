"""Somebody who uses GitHub: every click is a request over real HTTP with a personal token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from bot.core.errors import BadInput
from bot.demo.hub.webhooks import plain

TIMEOUT = 30.0


class NotAllowed(BadInput):
    """GitHub said no to a person; `status` is its code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Person:
    """Acts under one login. Methods take `owner/name` first and raise NotAllowed when they aren't let."""

    login: str
    api_url: str
    token: str

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """One request; `path` begins after /api/v3, or is a whole address. The answer's JSON, None where it has no body."""
        url = path if path.startswith("http") else self.api_url + path
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/vnd.github+json"}
        with httpx.Client(trust_env=False, verify=plain(), timeout=TIMEOUT) as client:
            answer = client.request(method, url, headers=headers, json=body)
        if answer.is_error:
            try:
                message = str(answer.json()["message"])
            except (ValueError, KeyError):
                message = answer.text
            raise NotAllowed(answer.status_code, message)
        return answer.json() if answer.content else None

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    # Issues

    def open_issue(self, repository: str, title: str, body: str = "", labels: Sequence[str] = ()) -> int:
        """The new issue's number. Labels of somebody without the role triage are dropped."""
        content = {"title": title, "body": body, "labels": list(labels)}
        return int(self.request("POST", f"/repos/{repository}/issues", content)["number"])

    def edit_issue(self, repository: str, number: int, *, title: str | None = None, body: str | None = None) -> None:
        changes = {name: text for name, text in (("title", title), ("body", body)) if text is not None}
        self.request("PATCH", f"/repos/{repository}/issues/{number}", changes)

    def close(self, repository: str, number: int) -> None:
        self.request("PATCH", f"/repos/{repository}/issues/{number}", {"state": "closed"})

    def reopen(self, repository: str, number: int) -> None:
        self.request("PATCH", f"/repos/{repository}/issues/{number}", {"state": "open"})

    def label(self, repository: str, number: int, *names: str) -> None:
        self.request("POST", f"/repos/{repository}/issues/{number}/labels", {"labels": list(names)})

    def unlabel(self, repository: str, number: int, name: str) -> None:
        self.request("DELETE", f"/repos/{repository}/issues/{number}/labels/{quote(name, safe='')}")

    def comment(self, repository: str, number: int, body: str) -> int:
        """The new comment's id."""
        return int(self.request("POST", f"/repos/{repository}/issues/{number}/comments", {"body": body})["id"])

    def edit_comment(self, repository: str, comment: int, body: str) -> None:
        self.request("PATCH", f"/repos/{repository}/issues/comments/{comment}", {"body": body})

    def delete_comment(self, repository: str, comment: int) -> None:
        self.request("DELETE", f"/repos/{repository}/issues/comments/{comment}")

    def comments(self, repository: str, number: int) -> list[dict[str, Any]]:
        """Up to 100 of them, oldest first."""
        found: list[dict[str, Any]] = self.get(f"/repos/{repository}/issues/{number}/comments?per_page=100")
        return found

    # Checks, runs, pull requests

    def checks(self, repository: str, ref: str, name: str | None = None) -> list[dict[str, Any]]:
        """The latest check runs of a commit or branch."""
        only = f"&check_name={name}" if name else ""
        found: list[dict[str, Any]] = self.get(f"/repos/{repository}/commits/{ref}/check-runs?per_page=100{only}")["check_runs"]
        return found

    def press(self, repository: str, check_run: int, identifier: str) -> None:
        """Press a button of a completed check run."""
        page = self.api_url.removesuffix("/api/v3")
        self.request("POST", f"{page}/{repository}/runs/{check_run}/press", {"identifier": identifier})

    def dispatch(self, repository: str, workflow: str, ref: str = "main", inputs: dict[str, Any] | None = None) -> None:
        """Start a workflow by hand; `workflow` is a file's name in .github/workflows."""
        self.request("POST", f"/repos/{repository}/actions/workflows/{workflow}/dispatches", {"ref": ref, "inputs": inputs or {}})

    def rerun_failed(self, repository: str, run: int) -> None:
        self.request("POST", f"/repos/{repository}/actions/runs/{run}/rerun-failed-jobs")

    def cancel(self, repository: str, run: int) -> None:
        self.request("POST", f"/repos/{repository}/actions/runs/{run}/cancel")

    def approve(self, repository: str, pull: int, body: str = "") -> int:
        return self.review(repository, pull, "APPROVE", body)

    def review(self, repository: str, pull: int, event: str, body: str) -> int:
        """APPROVE, REQUEST_CHANGES or COMMENT; the new review's id."""
        content = {"event": event, "body": body}
        return int(self.request("POST", f"/repos/{repository}/pulls/{pull}/reviews", content)["id"])

    def suggest(self, repository: str, pull: int, comments: Sequence[dict[str, Any]], body: str = "Please apply.") -> int:
        """A review that requests changes, with comments on lines (`path`, `line`, `body`, `start_line`); its id."""
        content = {"event": "REQUEST_CHANGES", "body": body, "comments": list(comments)}
        return int(self.request("POST", f"/repos/{repository}/pulls/{pull}/reviews", content)["id"])

    def merge(self, repository: str, pull: int) -> str:
        """Press "Ready for review" and "Merge pull request"; the merge commit."""
        page = self.api_url.removesuffix("/api/v3")
        self.request("POST", f"{page}/{repository}/pull/{pull}/ready", {})
        return str(self.request("PUT", f"/repos/{repository}/pulls/{pull}/merge", {"merge_method": "merge"})["sha"])
