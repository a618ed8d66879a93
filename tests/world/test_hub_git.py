"""The stand-in's repositories, Actions API and identity tokens: real git over HTTP, answers read by githubkit's models."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from githubkit import GitHub, TokenAuthStrategy, webhooks
from githubkit.exception import RequestFailed

from bot.demo.hub import Hub, artifacts, oidc, serve, workflows
from bot.demo.hub.people import NotAllowed
from bot.demo.hub.rest_git import refs_changed
from bot.demo.hub.state import Pull
from bot.demo.hub.webhooks import plain
from bot.demo.runner.platform import JobIdentity, Machine

OWNER, REPO, SHOP = "ada", "shop", "ada/shop"
WHEN = "2026-11-21T11:34:31Z"
AUTHOR = {"name": "Ostler", "email": "ostler@example.org", "date": WHEN}
FLOW = """
name: Flow
on:
  issues: {types: [labeled]}
  workflow_dispatch:
    inputs:
      issue: {type: number, required: true}
      size: {type: choice, options: [small, large], default: small}
permissions: {}
concurrency: {group: "flow-${{ github.event.issue.number || inputs.issue }}", queue: max}
jobs:
  first:
    runs-on: ubuntu-24.04
    permissions: {contents: read, id-token: write}
    outputs: {said: "${{ steps.a.outputs.said }}"}
    steps:
      - id: a
        env: {SIZE: "${{ inputs.size }}"}
        run: |
          echo "said=$SIZE" >> "$GITHUB_OUTPUT"
          "$PY" -c "$ASK" > "$DROP/oidc"
          date +%s%N >> "$DROP/first"
  second:
    needs: first
    runs-on: ubuntu-24.04
    env: {SAID: "${{ needs.first.outputs.said }}"}
    steps:
      - run: echo "$SAID" >> "$DROP/second"; test -e "$DROP/go"
"""
ASK = """
import os, urllib.request as web
asked = web.Request(os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"] + "&audience=me")
asked.add_header("Authorization", "Bearer " + os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"])
print(web.urlopen(asked).read().decode())
"""
FILES = {"README.md": "# Shop\n", "src/a.py": "a = 1\n", ".github/workflows/flow.yml": FLOW}


_clients: list[Any] = []  # githubkit's namespaces hold their client by a weak reference only


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serve(tmp_path / "hub") as made:
        made.repository(SHOP, FILES, {"grace": "write", "rob": "read"})
        yield made
        _clients.clear()
        assert made.errors == []


@pytest.fixture
def engine(hub: Hub, tmp_path: Path) -> Iterator[workflows.Workflows]:
    drop = tmp_path / "drop"
    drop.mkdir()
    machine = Machine(
        tmp_path / "machines",
        Path(sys.executable),
        {"DROP": str(drop), "PATH": os.environ["PATH"], "PY": sys.executable, "ASK": ASK},
    )
    with workflows.running(hub, machine) as made:
        yield made


def kit(hub: Hub, who: str = "grace", token: str = "") -> Any:
    """githubkit, whose `.parsed_data` fails on an answer that isn't as GitHub's description says."""
    auth = TokenAuthStrategy(token or hub.person(who).token)
    made: Any = GitHub(auth, base_url=hub.api_url, trust_env=False, auto_retry=False, http_cache=False, ssl_verify=plain())
    _clients.append(made)
    return made.rest


def job_token(hub: Hub, **permissions: str) -> str:
    return hub.job_token(hub.found(SHOP), permissions, name="job", run_id=1, job_id=2)


def head(hub: Hub, branch: str = "main") -> str:
    sha = hub.bare(hub.found(SHOP)).resolve(branch)
    assert sha
    return sha


def git(folder: Path, *arguments: str, ok: bool = True) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is ok, done.stderr
    return done.stdout.strip()


def address(hub: Hub, token: str) -> str:
    return f"{hub.url.replace('://', f'://x-access-token:{token}@')}/{SHOP}.git"


def refused(status: int, message: str) -> Any:
    class Refused:
        def __enter__(self) -> None:
            self.raises = pytest.raises(RequestFailed)
            self.caught = self.raises.__enter__()

        def __exit__(self, *error: Any) -> bool:
            handled = bool(self.raises.__exit__(*error))
            response = self.caught.value.response
            assert (response.status_code, message in response.json()["message"]) == (status, True), response.text
            return handled

    return Refused()


# git over HTTP


def test_clone_and_push(hub: Hub, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", f"{hub.url}/{SHOP}.git", "copy")  # public: without a token
    copy = tmp_path / "copy"
    (copy / "src" / "b.py").write_text("b = 2\n" * 30_000)
    git(copy, "add", ".")
    git(copy, "-c", "user.name=Grace", "-c", "user.email=g@example.org", "commit", "--quiet", "-m", "More")
    git(copy, "push", "--quiet", address(hub, job_token(hub, contents="read")), "HEAD:refs/heads/more", ok=False)
    git(copy, "push", "--quiet", address(hub, hub.person("rob").token), "HEAD:refs/heads/more", ok=False)
    assert hub.bare(hub.found(SHOP)).resolve("more") is None
    git(copy, "push", "--quiet", address(hub, job_token(hub, contents="write")), "HEAD:refs/heads/more")
    assert head(hub, "more") == git(copy, "rev-parse", "HEAD")
    assert hub.bare(hub.found(SHOP)).tree(head(hub, "more"))[-1].sha == git(copy, "rev-parse", "HEAD:src")


def test_a_private_repository_asks_for_a_token(hub: Hub, tmp_path: Path) -> None:
    hub.repository("ada/safe", {"a": "1"}, {"grace": "read"}, private=True)
    answer = httpx.get(f"{hub.url}/ada/safe.git/info/refs?service=git-upload-pack", trust_env=False)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="GitHub"')
    assert httpx.get(f"{hub.url}/ada/safe", trust_env=False).status_code == 404
    token = hub.person("grace").token
    git(tmp_path, "clone", "--quiet", f"{hub.url.replace('://', f'://x-access-token:{token}@')}/ada/safe.git", "safe")
    assert (tmp_path / "safe" / "a").read_text() == "1"


def test_a_push_moves_the_head_of_a_pull_request(hub: Hub, tmp_path: Path) -> None:
    grace, home = hub.person("grace"), hub.found(SHOP)
    bare = hub.bare(home)
    bare.set_ref("refs/heads/more", head(hub), "0" * 40)
    number = grace.open_issue(SHOP, "More")
    home.issues[number].pull = Pull(1, "more", "main", head(hub), head(hub))
    git(tmp_path, "clone", "--quiet", "--branch", "more", address(hub, grace.token), "copy")
    who = ("-c", "user.name=Grace", "-c", "user.email=g@example.org")
    git(tmp_path / "copy", *who, "commit", "--quiet", "--allow-empty", "-m", "More")
    git(tmp_path / "copy", "push", "--quiet", "origin", "more")
    pull = home.issues[number].pull
    assert pull is not None
    assert pull.head_sha == head(hub, "more") != head(hub)
    kit(hub).git.delete_ref(OWNER, REPO, "heads/more")
    assert home.issues[number].state == "closed"
    refs_changed(hub, home, hub.user("grace"))


# Git data


def test_a_tree_has_the_id_that_git_gives_it(hub: Hub, tmp_path: Path) -> None:
    rest = kit(hub).git
    base = rest.get_tree(OWNER, REPO, "main").parsed_data
    blob = rest.create_blob(OWNER, REPO, content=base64.b64encode(b"\0\xff").decode(), encoding="base64").parsed_data
    made = rest.create_tree(
        OWNER, REPO, base_tree=base.sha, tree=[
            {"path": "src/bin", "mode": "100755", "type": "blob", "sha": blob.sha},
            {"path": "src/a.py", "mode": "100644", "type": "blob", "sha": None},
            {"path": "docs/x y.md", "mode": "100644", "type": "blob", "content": "é\n"},
        ],
    ).parsed_data  # fmt: skip
    git(tmp_path, "clone", "--quiet", f"{hub.url}/{SHOP}.git", "copy")
    copy = tmp_path / "copy"
    (copy / "src" / "bin").write_bytes(b"\0\xff")
    (copy / "src" / "bin").chmod(0o755)
    (copy / "src" / "a.py").unlink()
    (copy / "docs").mkdir()
    (copy / "docs" / "x y.md").write_text("é\n")
    git(copy, "add", "--all")
    assert made.sha == git(copy, "write-tree")
    everything = rest.get_tree(OWNER, REPO, made.sha, recursive="1").parsed_data
    assert [one.path for one in everything.tree if one.type == "blob"] == [
        ".github/workflows/flow.yml", "README.md", "docs/x y.md", "src/bin",
    ]  # fmt: skip
    read = rest.get_blob(OWNER, REPO, blob.sha).parsed_data
    assert base64.b64decode(read.content) == b"\0\xff"


@pytest.mark.parametrize("path", ["/a", "a/../b", ".git/config", "a//b", "x/.GIT/y"])
def test_a_tree_with_a_bad_path_is_refused(hub: Hub, path: str) -> None:
    with refused(422, "malformed path"):
        kit(hub).git.create_tree(OWNER, REPO, tree=[{"path": path, "mode": "100644", "type": "blob", "content": "x"}])


def commit(hub: Hub, message: str = "Again", parent: str = "", token: str = "") -> str:
    rest = kit(hub, token=token).git
    parent = parent or head(hub)
    tree = rest.get_commit(OWNER, REPO, parent).parsed_data.tree.sha
    made = rest.create_commit(OWNER, REPO, message=message, tree=tree, parents=[parent], author=AUTHOR).parsed_data
    return str(made.sha)


def test_the_same_commit_has_the_same_id(hub: Hub) -> None:
    sha = commit(hub)
    assert commit(hub) == sha
    assert commit(hub, "Other") != sha
    read = kit(hub).git.get_commit(OWNER, REPO, sha).parsed_data
    assert (read.author.date, read.committer.name) == (datetime(2026, 11, 21, 11, 34, 31, tzinfo=UTC), "Ostler")
    lines = f"tree {read.tree.sha}\nparent {head(hub)}\n" + "".join(
        f"{role} Ostler <ostler@example.org> 1795260871 +0000\n" for role in ("author", "committer")
    )
    text = f"{lines}\nAgain"
    assert sha == hashlib.sha1(f"commit {len(text)}\0{text}".encode(), usedforsecurity=False).hexdigest()


def test_refs(hub: Hub) -> None:
    rest = kit(hub, token=job_token(hub, contents="write")).git
    one = commit(hub)
    two = commit(hub, "Two", one)
    name = "ostler/issue-1-a"
    assert rest.create_ref(OWNER, REPO, ref=f"refs/heads/{name}", sha=one).parsed_data.object_.sha == one
    with refused(422, "Reference already exists"):
        rest.create_ref(OWNER, REPO, ref=f"refs/heads/{name}", sha=one)
    with refused(422, "Object does not exist"):
        rest.create_ref(OWNER, REPO, ref="refs/heads/other", sha="1" * 40)
    with refused(422, "not a valid ref name"):
        rest.create_ref(OWNER, REPO, ref="refs/heads/a..b", sha=one)
    assert rest.update_ref(OWNER, REPO, f"heads/{name}", sha=two, force=False).parsed_data.object_.sha == two
    with refused(422, "Update is not a fast forward"):
        rest.update_ref(OWNER, REPO, f"heads/{name}", sha=one, force=False)
    assert rest.get_ref(OWNER, REPO, f"heads/{name}").parsed_data.object_.sha == two
    assert [one.ref for one in rest.list_matching_refs(OWNER, REPO, "heads/ostler/").parsed_data] == [f"refs/heads/{name}"]
    with refused(404, "Not Found"):
        rest.get_ref(OWNER, REPO, "heads/ostler")
    rest.update_ref(OWNER, REPO, f"heads/{name}", sha=one, force=True)
    rest.delete_ref(OWNER, REPO, f"heads/{name}")
    with refused(422, "Reference does not exist"):
        rest.delete_ref(OWNER, REPO, f"heads/{name}")


def test_permissions_of_a_job(hub: Hub) -> None:
    reader = kit(hub, token=job_token(hub, contents="read")).git
    with refused(403, "Resource not accessible by integration"):
        reader.create_blob(OWNER, REPO, content="x")
    with refused(403, "Resource not accessible by integration"):
        kit(hub, token=job_token(hub, contents="write")).actions.list_artifacts_for_repo(OWNER, REPO)
    writer = kit(hub, token=job_token(hub, contents="write")).git
    change = [{"path": ".github/workflows/evil.yml", "mode": "100644", "type": "blob", "content": "x"}]
    tree = writer.create_tree(OWNER, REPO, base_tree=head(hub), tree=change).parsed_data.sha
    sha = writer.create_commit(OWNER, REPO, message="m", tree=tree, parents=[head(hub)]).parsed_data.sha
    with refused(403, "without `workflows` permission"):
        writer.create_ref(OWNER, REPO, ref="refs/heads/evil", sha=sha)


def test_contents_commits_and_comparisons(hub: Hub) -> None:
    rest = kit(hub).repos
    file = rest.get_content(OWNER, REPO, "src/a.py").parsed_data
    assert base64.b64decode(file.content) == b"a = 1\n"
    assert {one.name for one in rest.get_content(OWNER, REPO, "").parsed_data} == {".github", "README.md", "src"}
    raw = rest.get_content(OWNER, REPO, "src/a.py", headers={"Accept": "application/vnd.github.raw+json"})
    assert raw.text == "a = 1\n"
    with refused(404, "Not Found"):
        rest.get_content(OWNER, REPO, "src/none.py")
    sha = commit(hub)
    kit(hub).git.create_ref(OWNER, REPO, ref="refs/heads/a/b", sha=sha)
    assert rest.list_commits(OWNER, REPO, sha="a/b").parsed_data[0].sha == sha
    assert rest.get_commit(OWNER, REPO, "a/b").parsed_data.files == []
    compared = rest.compare_commits(OWNER, REPO, "main...a/b").parsed_data
    assert (compared.status, compared.ahead_by, compared.total_commits, compared.files) == ("ahead", 1, 1, [])
    assert {one.name for one in rest.list_branches(OWNER, REPO).parsed_data} == {"a/b", "main"}
    assert rest.get_branch(OWNER, REPO, "a/b").parsed_data.commit.sha == sha
    assert rest.get(OWNER, REPO).parsed_data.full_name == SHOP


# Actions


def test_a_dispatch_runs_and_a_rerun_keeps_what_succeeded(hub: Hub, engine: workflows.Workflows, tmp_path: Path) -> None:
    rest = kit(hub).actions
    inputs = {"issue": "7", "size": "large"}
    made = rest.create_workflow_dispatch(OWNER, REPO, "flow.yml", ref="main", inputs=inputs).parsed_data
    hub.wait_idle(60)
    run = rest.get_workflow_run(OWNER, REPO, made.workflow_run_id).parsed_data
    jobs = rest.list_jobs_for_workflow_run(OWNER, REPO, run.id).parsed_data.jobs
    assert [(one.name, one.conclusion) for one in jobs] == [("first", "success"), ("second", "failure")], run
    assert (run.event, run.conclusion, run.run_attempt) == ("workflow_dispatch", "failure", 1)
    (tmp_path / "drop" / "go").touch()
    rest.re_run_workflow_failed_jobs(OWNER, REPO, run.id)
    hub.wait_idle(60)
    again = rest.get_workflow_run(OWNER, REPO, run.id).parsed_data
    assert (again.conclusion, again.run_attempt) == ("success", 2)
    assert (tmp_path / "drop" / "second").read_text() == "large\nlarge\n"
    assert len((tmp_path / "drop" / "first").read_text().splitlines()) == 1
    both = rest.list_jobs_for_workflow_run(OWNER, REPO, run.id).parsed_data.jobs
    assert sorted((one.name, one.conclusion) for one in both) == [("first", "success"), ("second", "success")]
    assert [one.id for one in rest.list_workflow_runs_for_repo(OWNER, REPO, status="success").parsed_data.workflow_runs] == [
        run.id
    ]
    with refused(403, "cannot be retried"):
        rest.re_run_workflow_failed_jobs(OWNER, REPO, run.id)
    claims = verified(hub, httpx.Response(200, content=(tmp_path / "drop" / "oidc").read_bytes()).json()["value"], "me")
    assert (claims["run_id"], claims["job_workflow_ref"]) == (str(run.id), f"{SHOP}/.github/workflows/flow.yml@refs/heads/main")


def test_a_label_starts_a_run_and_a_job_does_not(hub: Hub, engine: workflows.Workflows) -> None:
    number = hub.person("grace").open_issue(SHOP, "Broken")
    hub.person("grace").label(SHOP, number, "bug")
    hub.wait_idle(60)
    assert [(run.event_name, run.display_title) for run in hub.found(SHOP).runs.values()] == [("issues", "Broken")]
    kit(hub, token=job_token(hub, issues="write")).issues.add_labels(OWNER, REPO, number, labels=["question"])
    hub.wait_idle(60)
    assert len(hub.found(SHOP).runs) == 1


def test_runs_of_a_group_wait_for_each_other(hub: Hub) -> None:
    engine, home, grace = workflows.of(hub), hub.found(SHOP), hub.user("grace")
    runs = [engine.dispatch(home, "flow.yml", "main", {"issue": number}, grace) for number in (1, 1, 2, 1)]
    assert [run.status for run in runs] == ["queued", "pending", "queued", "pending"]
    engine.cancel(home, runs[1])
    assert [run.status for run in runs] == ["queued", "completed", "queued", "pending"]
    engine.cancel(home, runs[0])
    assert [run.status for run in runs] == ["completed", "completed", "queued", "queued"]


def test_a_dispatch_says_where_its_run_is_when_asked(hub: Hub) -> None:
    grace, path = hub.person("grace"), f"/repos/{SHOP}/actions/workflows/flow.yml/dispatches"
    body = {"ref": "main", "inputs": {"issue": 1}}
    assert grace.request("POST", path, body) is None
    told = grace.request("POST", path, body | {"return_run_details": True})
    assert set(told) == {"workflow_run_id", "run_url", "html_url"}
    assert grace.get(told["run_url"])["id"] == told["workflow_run_id"]


@pytest.mark.parametrize(
    ("inputs", "ref", "message"),
    [
        ({}, "main", "'issue' is required"),
        ({"issue": "1", "x": "2"}, "main", 'Unexpected inputs provided: ["x"]'),
        ({"issue": "1", "size": "huge"}, "main", "must be one of small, large"),
        ({"issue": "1"}, "none", "No ref found for: none"),
    ],
)
def test_a_dispatch_that_github_would_refuse(hub: Hub, inputs: Mapping[str, str], ref: str, message: str) -> None:
    with refused(422, message):
        kit(hub).actions.create_workflow_dispatch(OWNER, REPO, "flow.yml", ref=ref, inputs=dict(inputs))
    with pytest.raises(NotAllowed, match="403"):
        hub.person("rob").dispatch(SHOP, "flow.yml", inputs={"issue": "1"})
    assert hub.found(SHOP).runs == {}


def test_artifacts(hub: Hub) -> None:
    engine, rest = workflows.of(hub), kit(hub).actions
    run = engine.dispatch(hub.found(SHOP), "flow.yml", "main", {"issue": 1}, hub.user("grace"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "hello")
    saved = engine.platform.save_artifact(run.id, 1, "out", packed.getvalue(), retention_days=14, overwrite=False)
    with pytest.raises(Exception, match="already has an artifact"):
        engine.platform.save_artifact(run.id, 1, "out", b"", retention_days=14, overwrite=False)
    seen = rest.get_artifact(OWNER, REPO, saved.id).parsed_data
    assert (seen.name, seen.digest, seen.expired) == ("out", f"sha256:{saved.digest}", False)
    assert (seen.expires_at - seen.created_at).days == 14
    assert rest.list_workflow_run_artifacts(OWNER, REPO, run.id).parsed_data.total_count == 1
    assert rest.list_artifacts_for_repo(OWNER, REPO, name="other").parsed_data.artifacts == []
    token = {"authorization": f"Bearer {hub.person('grace').token}"}
    first = httpx.get(f"{hub.api_url}/repos/{SHOP}/actions/artifacts/{saved.id}/zip", headers=token, trust_env=False)
    assert first.status_code == 302
    signed = first.headers["location"]
    assert httpx.get(signed, trust_env=False).content == packed.getvalue()
    assert httpx.get(signed, headers=token, trust_env=False).status_code == 400  # the token stays with the API
    assert httpx.get(signed.replace("sig=", "sig=0"), trust_env=False).status_code == 403
    artifacts.expire(hub, saved.id)
    with refused(410, "expired"):
        rest.download_artifact(OWNER, REPO, saved.id, "zip")
    assert rest.get_artifact(OWNER, REPO, saved.id).parsed_data.expired
    assert engine.platform.load_artifact(run.id, saved.id) is None


def test_workflows_and_environments(hub: Hub) -> None:
    hub.environment(SHOP, "ostler-state", {"OSTLER_STATE_KEY": "k"})
    rest = kit(hub)
    listed = rest.actions.list_repo_workflows(OWNER, REPO).parsed_data
    assert [(one.name, one.path) for one in listed.workflows] == [("Flow", ".github/workflows/flow.yml")]
    assert rest.actions.get_workflow(OWNER, REPO, "flow.yml").parsed_data.id == listed.workflows[0].id
    assert [one.name for one in rest.repos.get_all_environments(OWNER, REPO).parsed_data.environments] == ["ostler-state"]
    assert rest.repos.get_environment(OWNER, REPO, "ostler-state").parsed_data.name == "ostler-state"


def test_apps_hear_of_runs(hub: Hub) -> None:
    heard: list[tuple[str, Any]] = []
    engine, home, grace = workflows.of(hub), hub.found(SHOP), hub.user("grace")
    hub.post.listeners.append(lambda event: heard.append((event.name, event.payload)))
    engine.cancel(home, engine.dispatch(home, "flow.yml", "main", {"issue": 1}, grace))
    hub.wait_idle(10)
    told: list[Any] = [webhooks.parse_obj(name, payload) for name, payload in heard]
    assert [(one.action, one.workflow_run.conclusion) for one in told] == [("requested", None), ("completed", "cancelled")]


def test_a_workflow_that_cannot_be_read_fails_at_the_start(hub: Hub, engine: workflows.Workflows) -> None:
    home = hub.repository("ada/bad", {".github/workflows/a.yml": "on: issues\njobs: {a: {matrix: 1}}\n"})
    hub.person("ada").open_issue("ada/bad", "Broken")
    hub.wait_idle(10)
    (run,) = home.runs.values()
    assert (run.status, run.conclusion) == ("completed", "startup_failure")
    assert run.message.startswith(".github/workflows/a.yml:2:")


# Identity tokens


def verified(hub: Hub, token: str, audience: str) -> dict[str, Any]:
    known = httpx.get(f"{hub.url}/_oidc/.well-known/openid-configuration", trust_env=False).json()
    keys = jwt.PyJWKSet.from_dict(httpx.get(known["jwks_uri"], trust_env=False).json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(token, key, ["RS256"], audience=audience, issuer=f"{hub.url}/_oidc")
    return claims


def test_an_identity_token(hub: Hub) -> None:
    engine = workflows.of(hub)
    run = engine.dispatch(hub.found(SHOP), "flow.yml", "main", {"issue": 1}, hub.user("grace"))
    here = f"{SHOP}/.github/workflows/flow.yml@refs/heads/main"
    job = JobIdentity(
        run.id,
        1,
        77,
        "gate",
        SHOP,
        {"id-token": "write"},
        "ostler-state",
        here,
        run.head_sha,
        f"ost/ler/x.yml@{'a' * 40}",
        "a" * 40,
    )
    url, secret = engine.platform.oidc(job)
    bearer = {"authorization": f"Bearer {secret}"}
    claims = verified(
        hub, httpx.get(f"{url}&audience=https://app", headers=bearer, trust_env=False).json()["value"], "https://app"
    )
    assert (claims["repository"], claims["repository_id"]) == (SHOP, str(hub.found(SHOP).id))
    assert claims["sub"] == f"repo:{SHOP}:environment:ostler-state"
    assert (claims["job_workflow_ref"], claims["run_attempt"], claims["runner_environment"]) == (
        f"ost/ler/x.yml@{'a' * 40}", "1", "self-hosted",
    )  # fmt: skip
    assert 0 < claims["exp"] - claims["iat"] <= oidc.LIFE
    assert httpx.get(url, headers={"authorization": "Bearer x"}, trust_env=False).status_code == 401
    engine.issuer.close(77)
    assert httpx.get(url, headers=bearer, trust_env=False).status_code == 401
