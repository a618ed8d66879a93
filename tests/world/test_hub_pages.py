"""The stand-in's pages hold what a maintainer looks for, and nothing that runs or loads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.demo.hub import Hub, serve, workflows
from bot.demo.hub.git import Entry, Signature
from bot.demo.hub.marked import markdown
from bot.demo.hub.state import ACTIONS_APP_ID, CheckRun, Pull
from bot.demo.runner.platform import JobRecord, StepRecord

SHOP = "ada/shop"
WHEN = datetime(2026, 11, 21, 11, 34, 31, tzinfo=UTC)
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)> [x](javascript:alert(1)) <b onclick=alert(1)>b</b>"
VOID = {"meta", "input", "br", "hr", "img", "link"}


class Reader(HTMLParser):
    """Refuses what runs or loads, and tags that don't close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "img", "iframe", "link", "object"), tag
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            assert name != "src", tag
            assert not (value or "").lower().startswith("javascript:"), value
        if tag not in VOID and tag != "p":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and tag != "p":
            assert self.open.pop() == tag


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serve(tmp_path / "hub") as made:
        made.repository(SHOP, {"README.md": "# Shop\n", "a.py": "a = 1\n"}, {"grace": "write", "rob": "read"})
        yield made
        assert made.errors == []


def read(hub: Hub, path: str, status: int = 200, **cookies: str) -> str:
    answer = httpx.get(f"{hub.url}/{path}", cookies=cookies, trust_env=False)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    reader = Reader()
    reader.feed(answer.text)
    assert reader.open == []
    assert "Stand-in GitHub (demo)" in answer.text
    assert "{{" not in answer.text
    return answer.text


def plain_text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def check(hub: Hub, **more: Any) -> CheckRun:
    home = hub.found(SHOP)
    sha = hub.bare(home).resolve("main") or ""
    made = CheckRun(
        hub.state.next_id(), "ostler", sha, ACTIONS_APP_ID, 1, "completed", "action_required", "issue-1", None, WHEN, WHEN,
        "Waiting for you", "**35%** used <script>1</script>", "c2lnbmVk", actions=[
            {"label": "Add $2", "identifier": "budget", "description": "Go on with two dollars more"},
        ],
    )  # fmt: skip
    for name, value in more.items():
        setattr(made, name, value)
    home.checks[made.id] = made
    return made


def test_an_issue(hub: Hub) -> None:
    grace = hub.person("grace")
    number = grace.open_issue(SHOP, "Broken <b>", f"Body\n\n{EVIL}\n\n<!-- unseen words -->")
    grace.label(SHOP, number, "bug")
    grace.edit_issue(SHOP, number, title="Broken <i>")
    comment = grace.comment(
        SHOP, number, "<!-- ostler:plan -->\n- [x] did\n- [ ] to do\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nsee #7"
    )
    grace.request("POST", f"/repos/{SHOP}/issues/comments/{comment}/reactions", {"content": "eyes"})
    page = read(hub, f"{SHOP}/issues/{number}")
    words = plain_text(page)
    for expected in ("Broken &lt;i&gt;", "grace opened this", "added the label bug", "changed the title", "👀 1"):
        assert expected in words
    assert "unseen words" not in page
    assert "ostler:plan" not in page
    assert page.count('type="checkbox"') == 2
    assert "<td>1</td>" in page
    assert f'href="/{SHOP}/issues/7"' in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_pull_request(hub: Hub) -> None:
    home, grace = hub.found(SHOP), hub.person("grace")
    bare = hub.bare(home)
    base = bare.resolve("main") or ""
    tree = bare.write_tree([Entry("a.py", "100644", "blob", bare.write_blob(b"a = 2  # <script>\n"))], base)
    who = Signature("Ostler", "o@example.org", WHEN)
    sha = bare.write_commit(tree, [base], who, who, "fix: two\n\nOstler-Session: x")
    bare.set_ref("refs/heads/fix", sha, "0" * 40)
    number = grace.open_issue(SHOP, "fix: two", "Fixes #1")
    home.issues[number].pull = Pull(1, "fix", "main", sha, base, draft=True)
    made = check(hub, head_sha=sha)
    page = read(hub, f"{SHOP}/pull/{number}")
    assert "&lt;script&gt;" in page
    assert '<span class="a">+a = 2' in page
    assert '<span class="d">-a = 1' in page
    for expected in (
        "Draft",
        "Files changed 1",
        "Checks 1",
        "Waiting for you",
        "grace wants to merge 1 commit into main from fix",
    ):
        assert expected in plain_text(page)
    assert f"/{SHOP}/runs/{made.id}" in page
    assert read(hub, f"{SHOP}/issues/{number}") == page
    assert "Ostler-Session: x" in read(hub, f"{SHOP}/commit/{sha}/checks")


def test_the_buttons_of_a_check_run(hub: Hub) -> None:
    made = check(hub)
    path = f"{SHOP}/runs/{made.id}"
    page = read(hub, path)
    assert "<form" not in page
    assert "<strong>35%</strong> used &lt;script&gt;" in page
    assert re.search(r"<details[^>]*><summary[^>]*>Signed state \(8 characters\)</summary>", page)
    assert "<form" not in read(hub, f"{path}?as=rob")
    assert "signed in as <strong>grace</strong>" in read(hub, path, demo_login="grace")
    assert re.search(r'<button name="identifier" value="budget" title="[^"]+">Add \$2</button>', read(hub, f"{path}?as=grace"))
    given = {"identifier": "budget"}
    press = f"{hub.url}/{path}/buttons"
    answers = [
        httpx.post(press, data=given, trust_env=False),
        httpx.post(press, data=given, trust_env=False, cookies={"demo_login": "rob"}),
        httpx.post(
            press, data=given, trust_env=False, cookies={"demo_login": "grace"}, headers={"origin": "http://evil.example"}
        ),
        httpx.post(press, data={"identifier": "no"}, trust_env=False, cookies={"demo_login": "grace"}),
        httpx.post(press, data=given, trust_env=False, cookies={"demo_login": "grace"}, headers={"origin": hub.url}),
    ]
    assert [one.status_code for one in answers] == [403, 403, 403, 404, 303]
    assert answers[-1].headers["location"] == f"/{path}"


def test_a_workflow_run(hub: Hub) -> None:
    flow = "name: Flow\non: workflow_dispatch\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: 'true'\n"
    home = hub.repository("ada/flow", {".github/workflows/flow.yml": flow})
    engine = workflows.of(hub)
    run = engine.dispatch(home, "flow.yml", "main", {}, hub.user("ada"))
    step = StepRecord(1, "Run <tests>", "completed", "failure", log="assert <script>\n")
    job = JobRecord(
        run.id, 1, 5, "a", "improve / a", "completed", "failure", steps=(step,), permissions={"contents": "read"}, summary="# Sum"
    )
    engine.platform.job_changed(job)
    engine.platform.save_artifact(run.id, 1, "ostler-x", b"zip", retention_days=14, overwrite=False)
    page = read(hub, f"ada/flow/actions/runs/{run.id}")
    for expected in (
        "improve / a",
        "contents: read",
        "Run &lt;tests&gt;",
        "assert &lt;script&gt;",
        "ostler-x",
        "attempt 1",
        "Sum",
    ):
        assert expected in plain_text(page)
    assert read(hub, f"ada/flow/actions/runs/{run.id}/job/5") == page
    assert "on workflow_dispatch by ada" in plain_text(read(hub, "ada/flow"))


def test_the_home_of_a_repository(hub: Hub) -> None:
    hub.person("grace").open_issue(SHOP, "Broken")
    page = read(hub, SHOP)
    assert f"git clone {hub.url}/{SHOP}.git" in page
    assert "Broken" in page
    assert "<h1>Shop</h1>" in page
    assert "Not Found" in read(hub, "ada/none", 404)
    assert "Not Found" in read(hub, f"{SHOP}/issues/99", 404)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("<details open onclick=x><summary>More & <b>b</b></summary>", "<details><summary>More &amp; <b>b</b></summary>"),
        ("a <!-- b\nc --> d", "<p>a  d</p>\n"),
        ("![p](http://x.example/p.png)", '<p><a href="http://x.example/p.png" rel="noreferrer nofollow">p</a></p>\n'),
        ("https://x.example/a.", '<p><a href="https://x.example/a">https://x.example/a</a>.</p>\n'),
        ("`#1` a#1 [#1](http://x.example)", '<p><code>#1</code> a#1 <a href="http://x.example">#1</a></p>\n'),
        ("<svg/onload=alert(1)>", "&lt;svg/onload=alert(1)&gt;"),
        ("<!-- never closed", ""),
    ],
)
def test_markdown(text: str, html: str) -> None:
    assert markdown(text, "/o/r") in (html, f"<p>{html}</p>\n")
