"""GitHub's own command line, `gh`, sees what Ostler made: the stand-in answers a client that nobody here wrote.

`gh` speaks https to an Enterprise Server, so a front with a certificate of its own stands before the stand-in, here only.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.world.town import TITLE, Town, town

pytestmark = pytest.mark.sampled

needs_gh = pytest.mark.skipif(shutil.which("gh") is None, reason="GitHub's command line gh is not installed: Debian's package gh")
GONE = ("connection", "host", "accept-encoding", "transfer-encoding", "content-length")
"""Headers of one connection, which are not passed on."""


def certificate(folder: Path) -> Path:
    """Key and certificate of localhost for a day, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "localhost.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    return file


@contextmanager
def fronted(port: int, pem: Path) -> Iterator[int]:
    """The server at `port` over https; the port of that."""

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            behind = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in GONE}
            behind.request(self.command, self.path, body, headers)
            answer = behind.getresponse()
            told = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in GONE:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)
            behind.close()

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Front) as server:
        server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True, slots=True)
class Gh:
    env: dict[str, str]
    repository: str

    def __call__(self, *words: str, code: int = 0) -> str:
        """What `gh` prints about the repository."""
        where = () if words[0] == "api" else ("--repo", self.repository)
        done = subprocess.run(["gh", *words, *where], env=self.env, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self(*words))


@contextmanager
def gh_in(there: Town, folder: Path, login: str) -> Iterator[Gh]:
    """`gh`, signed in as `login`."""
    pem = certificate(folder)
    with fronted(int(there.hub.url.rpartition(":")[2]), pem) as port:
        env = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "GH_CONFIG_DIR": str(folder / "gh"), "SSL_CERT_FILE": str(pem),
            "GH_HOST": f"localhost:{port}", "GH_ENTERPRISE_TOKEN": there.person(login).token, "NO_COLOR": "1",
            "GH_NO_UPDATE_NOTIFIER": "1", "GH_PROMPT_DISABLED": "1",
        }  # fmt: skip
        yield Gh(env, f"localhost:{port}/{there.name}")


@needs_gh
def test_gh_lists_and_shows_what_ostler_made(tmp_path: Path) -> None:
    with town(tmp_path, "alone", config="approval: never\n") as there, gh_in(there, tmp_path, "rita") as gh:
        number = there.ask()
        there.settle()
        told = there.expect_one(number)
        (pull,) = told.pulls
        issues(gh, number)
        pulls(gh, pull, there.clone(number) / "calc.py")
        runs(gh, there.runs()[0]["id"])
        assert gh.json("api", f"repos/{there.name}/issues/{number}/comments")[0]["body"] == told.plan[0]["body"]
        assert there.hub.errors == []


def issues(gh: Gh, number: int) -> None:
    labels = gh.json("label", "list", "--json", "name,color,description", "--limit", "100")
    assert {"ostler:in-review", "bug"} <= {label["name"] for label in labels}
    (line,) = gh("issue", "list").splitlines()
    assert line.split("\t")[:3] == [str(number), "OPEN", TITLE]
    assert "ostler:in-review" in line
    assert gh("issue", "list", "--state", "closed") == ""
    shown = gh("issue", "view", str(number), "--comments")
    assert "author:\tgithub-actions" in shown
    assert f"## Plan for #{number}" in shown
    assert "github.com" not in shown
    found = gh.json("issue", "view", str(number), "--json", "author,comments,labels,state,title")
    assert (found["title"], found["state"], found["author"]["login"], len(found["comments"])) == (TITLE, "OPEN", "ada", 2)


def pulls(gh: Gh, pull: dict[str, Any], changed: Path) -> None:
    number = str(pull["number"])
    (line,) = gh("pr", "list").splitlines()
    assert line.split("\t")[:4] == [number, pull["title"], pull["head"]["ref"], "DRAFT"]
    shown = gh("pr", "view", number)
    assert shown.startswith(f"title:\t{pull['title']}\n")
    comments = gh("pr", "view", number, "--comments")
    assert "## Audit" in comments
    assert "github.com" not in shown + comments, "what is on a server of one's own names no other"
    found = gh.json("pr", "view", number, "--json", "additions,baseRefName,commits,deletions,isDraft,statusCheckRollup")
    assert (found["isDraft"], found["baseRefName"], len(found["commits"])) == (True, "main", 2)
    checks = gh("pr", "checks", number)
    assert [line.split("\t")[:2] for line in checks.splitlines()] == [["ostler", "pass"]]
    diff = gh("pr", "diff", number)
    added = [line[1:] for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert "+++ b/calc.py" in diff
    assert set(added) & set(changed.read_text("utf-8").splitlines())


def runs(gh: Gh, run: int) -> None:
    (found,) = gh.json("run", "list", "--json", "databaseId,status,conclusion,workflowName")
    assert (found["databaseId"], found["status"], found["conclusion"]) == (run, "completed", "success")
    shown = gh("run", "view", str(run))
    assert all(job in shown for job in ("gate", "plan", "build", "prove", "audit", "publish", "conclude"))
