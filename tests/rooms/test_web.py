"""The App's door over real HTTP: who is let in, what is kept, what is shown, what it needs to be told."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from bot.core.budget_report import Spending
from bot.core.errors import SetupError
from bot.core.settling import PhaseLine
from bot.demo.hub.webhooks import plain
from bot.github.webhook import parse
from bot.telemetry import Delivered, Fact, Log, Metrics, Telemetry, Trouble
from bot.web import intake
from bot.web.settings import AppSettings, load_app_settings
from tests.rooms.app_here import (
    OLD_SECRET,
    ORIGIN,
    PEM,
    REPO_ID,
    SECRET,
    SESSION,
    WORKFLOW,
    App,
    headers,
    payload,
    raw,
    report,
    running,
    token,
)
from tests.rooms.small_github import REPOSITORY


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with running(tmp_path) as made:
        yield made


original = intake.body


class TestFigures:
    """What sessions cost, for whoever has the App's token."""

    TOKEN: ClassVar = "t" * 40
    PATHS: ClassVar = ("/api/reports/budget_analysis", "/api/metrics/costs", "/api/dashboard/usage")

    @pytest.fixture
    def opened(self, app: App) -> App:
        app.office.settings.api_token = SecretStr(self.TOKEN)
        return app

    def ask(self, app: App, path: str, token: str | None = TOKEN) -> httpx.Response:
        with httpx.Client(trust_env=False, verify=plain(), timeout=20) as client:
            return client.get(app.url + path, headers={"authorization": f"Bearer {token}"} if token else {})

    def settle(self, app: App, **changes: Any) -> None:
        spending = Spending("gpt-6.1-sol", "auditor", "REVIEW", 2, 0, 900, 50, 100, 700_000)
        body = {"report": asdict(report(spending=(spending,), phases=(PhaseLine("REVIEW", "COMPLETE", 2, 700_000),), **changes))}
        assert app.ask("settle", body, token()).status_code == 200

    @pytest.mark.parametrize("path", PATHS)
    def test_who_has_no_token_sees_nothing(self, app: App, path: str) -> None:
        assert self.ask(app, path).status_code == 404
        app.office.settings.api_token = SecretStr(self.TOKEN)
        for wrong in (None, "", self.TOKEN[:-1], f"{self.TOKEN}t", "ü"):
            answer = self.ask(app, path, wrong) if wrong != "ü" else self.latin(app, path)
            assert (answer.status_code, list(answer.json())) == (401, ["error"])
        assert self.ask(app, path).status_code == 200

    def latin(self, app: App, path: str) -> httpx.Response:
        with httpx.Client(trust_env=False, verify=plain(), timeout=20) as client:
            return client.get(app.url + path, headers=[(b"authorization", "Bearer ü".encode("latin-1"))])

    @pytest.mark.parametrize("path", PATHS)
    def test_before_anything_was_settled_all_is_nothing(self, opened: App, path: str) -> None:
        said = self.ask(opened, path).json()
        assert said.get("spent", said.get("total", {}).get("amount")) == 0

    def test_a_settled_run_stands_against_its_cap_and_in_every_part(self, opened: App) -> None:
        opened.add(working_run=77)
        claim = {"issue": 42, "session": SESSION, "run_id": 77, "run_attempt": 1}
        claim |= {"limits": {"run": 2_000_000, "session": 0, "day": 5_000_000, "per_repository": 1}}
        assert opened.ask("claim", claim, token()).json()["allowance"]["amount"] == 2_000_000
        self.settle(opened)
        (run,) = self.ask(opened, self.PATHS[0]).json()["runs"]
        assert (run["spent"], run["limit"], run["left"], run["level"]) == (700_000, 2_000_000, 1_300_000, "SAFE")
        assert run["phases"] == [{"kind": "REVIEW", "state": "COMPLETE", "calls": 2, "cost": 700_000}]
        said = self.ask(opened, f"{self.PATHS[1]}?days=1").json()
        counts = {"calls": 2, "lost": 0, "input": 900, "cached": 50, "output": 100, "amount": 700_000}
        assert said["total"] == counts
        assert said["by_model"] == [{"model": "gpt-6.1-sol", **counts}]
        assert said["by_role"] == [{"role": "auditor", **counts}]
        assert said["by_phase"] == [{"phase": "REVIEW", **counts}]
        assert said["by_repository"] == [{"repository": REPOSITORY, **counts}]
        assert [row["amount"] for row in said["by_day"]] == [700_000]
        for period in ("day", "week", "month"):
            said = self.ask(opened, f"{self.PATHS[2]}?period={period}").json()
            assert (said["period"], said["total"]["amount"], said["by_model"][0]["output"]) == (period, 700_000, 100)
            caps = [{"cap": "day", "repository": REPOSITORY, "limit": 5_000_000, "held": 700_000, "left": 4_300_000}]
            assert said["caps"] == caps

    @pytest.mark.parametrize(
        ("path", "query"),
        [(PATHS[0], "days=0"), (PATHS[0], "days=367"), (PATHS[1], "days=1.5"), (PATHS[1], "days=1&days=2"), (PATHS[1], "day=1"),
         (PATHS[1], "days=%D9%A2"), (PATHS[2], "period=year"), (PATHS[2], "days=1"), (PATHS[0], "days=-1&x")],
    )  # fmt: skip
    def test_what_is_no_question_gets_one_sentence(self, opened: App, path: str, query: str) -> None:
        answer = self.ask(opened, f"{path}?{query}")
        assert answer.status_code == 422
        assert answer.json()["error"].count(".") == 1

    def test_a_question_about_too_much_is_not_begun(self, opened: App) -> None:
        opened.add(working_run=77)
        self.settle(opened)
        assert opened.office.runs.settled(0.0, 0) is None
        assert len(opened.office.runs.settled(0.0, 1) or ()) == 1


class TestWebhook:
    def test_a_signed_label_is_kept_once_however_often_it_comes(self, app: App) -> None:
        content = raw()
        assert [app.deliver(content).status_code for _ in range(50)] == [202] * 50
        assert app.office.inbox.waiting() == 1
        held = app.office.inbox.take(time.time())
        assert held is not None
        assert (held.event, parse("issues", held.body)) == ("issues", parse("issues", content))

    def test_both_secrets_count_while_one_replaces_the_other(self, app: App) -> None:
        assert app.deliver(raw(), secret=OLD_SECRET).status_code == 202
        assert app.deliver(raw(), secret="another secret altogether", guid="g-2").status_code == 401

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("x-hub-signature-256", None),
            ("x-hub-signature-256", "sha256=" + "0" * 64),
            ("x-hub-signature-256", ""),
            ("x-hub-signature", "sha1=" + "0" * 40),
        ],
        ids=["unsigned", "forged", "empty", "sha1"],
    )
    def test_without_a_good_signature_nothing_is_kept(self, app: App, name: str, value: str | None) -> None:
        given = headers(raw())
        del given["x-hub-signature-256"]
        answer = app.post("/webhook/github", raw(), {**given, name: value} if value is not None else given)
        assert answer.status_code == 401
        assert app.office.inbox.waiting() == 0

    def test_two_signatures_and_two_events_are_none(self, app: App) -> None:
        given = headers(raw())
        twice = [*given.items(), ("x-hub-signature-256", given["x-hub-signature-256"])]
        assert app.post("/webhook/github", raw(), twice).status_code == 401
        assert app.post("/webhook/github", raw(), [*given.items(), ("x-github-event", "ping")]).status_code == 400
        assert app.office.inbox.waiting() == 0

    def test_a_flipped_byte_is_another_content(self, app: App) -> None:
        content = raw()
        for place in range(0, len(content), 17):
            flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
            assert app.post("/webhook/github", flipped, headers(content)).status_code == 401
        assert app.office.inbox.waiting() == 0

    @pytest.mark.parametrize(
        ("content", "status"),
        [
            (b"", 400),
            (b"{", 400),
            (b"[]", 400),
            (b'{"action":"labeled","label":"ostler"}', 400),
            (raw()[:-1] + b',"n":' + b"[" * 300 + b"]" * 300 + b"}", 400),
            (raw()[:-1] + b',"n":NaN}', 400),
            (raw()[:-1] + b',"s":"\\ud800"}', 400),
            (raw(comment={"id": 1}), 400),
            (raw(issue={"number": "42"}), 400),
            (b" " * 5_000_001, 413),
        ],
        ids=["empty", "half", "list", "bare", "deep", "nan", "surrogate", "shape", "type", "oversize"],
    )
    def test_what_is_no_delivery_is_refused_without_effect(self, app: App, content: bytes, status: int) -> None:
        assert app.deliver(content).status_code == status
        assert app.office.inbox.waiting() == 0

    def test_chunks_are_counted_as_they_come(self, app: App) -> None:
        def chunks() -> Iterator[bytes]:
            for _ in range(60):
                yield b" " * 100_000

        with httpx.Client(trust_env=False, verify=plain(), timeout=20) as client:
            try:
                status = client.post(f"{app.url}/webhook/github", content=chunks(), headers=headers(b"")).status_code
            except httpx.TransportError:  # the App hung up while we still sent
                status = 413
        assert status == 413
        assert app.office.inbox.waiting() == 0

    def test_who_sends_slowly_is_hung_up_on(self, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(intake, "body", lambda request, most: original(request, most, 0.2))
        with socket.create_connection(("127.0.0.1", int(app.url.rpartition(":")[2]))) as connection:
            connection.sendall(b"POST /webhook/github HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
            connection.settimeout(10)
            assert b" 408 " in connection.recv(100)

    @pytest.mark.parametrize(
        ("event", "content"),
        [
            ("issues", raw(sender={"login": "ostler[bot]", "id": 1, "type": "Bot"})),
            ("issues", raw(label={"name": "ostler:planning"})),
            ("issues", raw(action="unlabeled")),
            ("issues", raw(installation={"id": 0})),
            ("push", b"{}"),
            ("ping", b"{}"),
        ],
        ids=["own", "state-label", "unlabeled", "no-installation", "push", "ping"],
    )
    def test_what_is_not_for_us_is_thanked_for_and_not_kept(self, app: App, event: str, content: bytes) -> None:
        assert app.deliver(content, event=event).status_code == 204
        assert app.office.inbox.waiting() == 0

    @pytest.mark.parametrize(("said", "kept"), [("/ostler approve 7f7f7f7f", 1), ("thanks /ostler stop", 0), ("/ostlers", 0)])
    def test_of_comments_only_commands_are_kept(self, app: App, said: str, kept: int) -> None:
        comment = {"id": 8, "body": said, "user": {"login": "ada"}, "created_at": "x", "updated_at": "x"}
        content = json.dumps({**payload(action="created", comment=comment), "label": None}).encode()
        assert app.deliver(content, event="issue_comment").status_code == (202 if kept else 204)
        assert app.office.inbox.waiting() == kept

    def test_another_apps_installation_starts_nothing(self, app: App) -> None:
        app.deliver(raw(installation={"id": 8}))
        app.deliver(raw(repository={"full_name": REPOSITORY, "id": 10, "default_branch": "main"}), guid="g-2")
        app.deliver(raw(repository={"full_name": "o/other", "id": REPO_ID, "default_branch": "main"}), guid="g-3")
        while app.office.inbox.waiting():
            app.worker.once()
        assert app.office.queue.lanes() == {}
        assert {request.path for request in app.hub.log} == {"/api/v3/app/hook/deliveries"}

    @pytest.mark.parametrize(
        ("event", "action", "names"),
        [
            ("installation_repositories", "removed", {"repositories_removed": [{"full_name": REPOSITORY}]}),
            ("installation", "suspend", {}),
            ("installation", "deleted", {}),
        ],
        ids=["removed", "suspended", "deleted"],
    )
    def test_where_the_app_may_not_be_its_sessions_wait(self, app: App, event: str, action: str, names: dict[str, Any]) -> None:
        app.add()
        about = {"sender": {"login": "ada", "id": 3, "type": "User"}, "installation": {"id": 7}}
        assert app.deliver(json.dumps({"action": action, **about, **names}).encode(), event=event).status_code == 202
        while app.worker.once():
            pass
        assert app.office.queue.lanes() == {"away": 1}
        assert {request.path for request in app.hub.log} <= {"/api/v3/app/hook/deliveries"}
        back = {"action": "added", "repositories_added": [{"full_name": REPOSITORY}], **about}
        app.deliver(json.dumps(back).encode(), event="installation_repositories", guid="g-2")
        while app.office.queue.lanes() == {"away": 1}:
            assert app.worker.once()

    def test_who_was_removed_from_another_repository_goes_on_here(self, app: App) -> None:
        app.add()
        app.office.queue.leave(7, ["octo/other"])
        app.office.queue.leave(8)
        assert app.office.queue.lanes() == {"queued": 1}


class TestPages:
    def test_health_says_whether_work_gets_done(self, app: App) -> None:
        assert app.get("/health").text == "ok\n"
        assert app.get("/api/health").status_code == 503  # nobody started the worker
        app.worker.start()
        deadline = time.monotonic() + 10
        while app.get("/api/health").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert app.get("/api/health").json() == {"ok": True, "database": True, "worker": True}
        app.worker.stop(10)
        assert app.get("/api/health").json() == {"ok": False, "database": True, "worker": False}

    def test_metrics_count_what_happened(self, app: App) -> None:
        app.add(working_run=77)
        app.deliver(raw())
        app.deliver(raw(), secret="not the secret at all")
        app.ask("settle", {"report": asdict(report())}, token())
        lines = app.get("/metrics").text.splitlines()
        for line in (
            'ostler_deliveries_total{outcome="stored"} 1.0',
            'ostler_deliveries_total{outcome="refused"} 1.0',
            'ostler_workflow_runs_settled_total{run_state="GATE",standing="waiting"} 1.0',
            "ostler_spent_microdollars_total 700000.0",
            'ostler_sessions{lane="resting"} 1.0',
            "ostler_deliveries_waiting 1.0",
        ):
            assert line in lines

    def test_no_name_that_people_choose_is_a_label_of_a_metric(self, app: App) -> None:
        """A label with as many values as there are sessions would cost whoever stores them more than they tell."""
        app.add(working_run=77)
        app.deliver(raw())
        app.ask("settle", {"report": asdict(report())}, token())
        text = app.get("/metrics").text
        assert [name for name in (SESSION, REPOSITORY, "ada", "#42", "issue-42") if name in text] == []

    def test_what_cannot_be_told_stops_nothing(self, app: App) -> None:
        def broken(fact: object) -> None:
            raise OSError(f"nobody listens to {fact}")

        app.office.telemetry = Telemetry([broken])
        app.add(working_run=77)
        assert app.deliver(raw()).status_code == 202
        assert app.ask("settle", {"report": asdict(report())}, token()).status_code == 200
        assert app.state().standing == "waiting"

    def test_a_runs_page_opens_with_its_link_only(self, app: App) -> None:
        app.add(working_run=77)
        app.ask("settle", {"report": asdict(report(phases=()))}, token())
        link = app.office.page(SESSION).removeprefix(ORIGIN)
        page = app.get(link)
        assert page.status_code == 200
        for text in (
            "Sums &lt;are&gt; wrong",
            "Plan 7f7f7f7f waits for approval",
            "Budget: 35% used",
            f"{REPOSITORY}#42",
            SESSION,
        ):
            assert text in page.text
        assert "<script" not in page.text
        assert page.headers["referrer-policy"] == "no-referrer"
        assert app.hub.checks[0]["details_url"] == app.office.page(SESSION)
        other = "issue-42-00000000_20261121_113431"
        for path in (
            link[:-1],
            link.partition("?")[0],
            f"{link.partition('?')[0]}?key=ü",
            f"/runs/{other}?key={app.office.page_key(other)}",
        ):
            assert app.get(path).status_code == 404

    def test_telling_never_stops_what_is_told_about(self, capsys: pytest.CaptureFixture[str]) -> None:
        told: list[Fact] = []

        def broken(_: Fact) -> None:
            raise RuntimeError("no space left")

        log, metrics = Log(), Metrics(CollectorRegistry())
        Telemetry([broken, log, metrics, told.append]).tell(Trouble("x", "E", "ghp_" + "a" * 36))
        Telemetry([log, metrics, told.append]).tell(Delivered("issues", "stored"))
        assert len(told) == 2
        out = capsys.readouterr().err.splitlines()
        assert "ghp_" not in "".join(out)
        assert json.loads(out[-1])["event"] == "delivered"


class TestSettings:
    GOOD: ClassVar = {
        "APP_ID": "12", "APP_PRIVATE_KEY": PEM, "WEBHOOK_SECRET": SECRET, "STATE_KEY": "k" * 40, "PUBLIC_URL": f"{ORIGIN}/",
        "WORKFLOW_REF_PREFIX": WORKFLOW,
    }  # fmt: skip

    def load(self, monkeypatch: pytest.MonkeyPatch, **changes: str) -> AppSettings:
        for name, value in {**self.GOOD, **changes}.items():
            monkeypatch.setenv(f"OSTLER_{name}", value)
        return load_app_settings()

    def test_what_is_left_out_has_a_place(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        file = tmp_path / "key.pem"
        file.write_text(PEM)
        given = self.load(monkeypatch, APP_PRIVATE_KEY=str(file), STATE_DIR=str(tmp_path / "state"))
        assert given.app_private_key.get_secret_value() == PEM
        assert given.database_url == f"sqlite:///{tmp_path}/state/ostler.db"
        assert (given.public_url, given.origin) == (ORIGIN, ORIGIN)
        assert PEM not in repr(given)
        assert self.load(monkeypatch, APP_PRIVATE_KEY=PEM.replace("\n", "\\n")).app_private_key.get_secret_value() == PEM

    def test_defaults_of_all_repositories_are_read_and_have_to_hold(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        file = tmp_path / "ostler.yml"
        file.write_text("approval: always\n")
        assert self.load(monkeypatch, DEFAULTS=str(file)).defaults == "approval: always\n"
        file.write_text("version: 1\napproval: sometimes\n")
        with pytest.raises(SetupError, match=rf"^OSTLER_DEFAULTS: {file}, line 2: approval: "):
            self.load(monkeypatch, DEFAULTS=str(file))

    @pytest.mark.parametrize(
        ("name", "value"),
        [(name, "") for name in GOOD]
        + [
            ("APP_ID", "x1"), ("APP_PRIVATE_KEY", "/nowhere/k.pem"), ("APP_PRIVATE_KEY", "nonsense"), ("WEBHOOK_SECRET", "short"),
            ("STATE_KEY", "short"), ("PUBLIC_URL", "http://ostler.example.com"), ("PUBLIC_URL", "ostler"), ("PORT", "70000"),
            ("PORT", "eighty"), ("GITHUB_API_URL", "ftp://x"), ("WORKFLOW_REF_PREFIX", "improve.yml"), ("SWEEP_MINUTES", "0"),
            ("POLL_SECONDS", "-1"), ("WORKFLOW_FILE", "../ostler.yml"), ("OIDC_ISSUER", "https://u@x/"),
            ("DEFAULTS", "/nowhere/ostler.yml"), ("DEFAULTS", str(Path(__file__))),
        ],
    )  # fmt: skip
    def test_what_is_missing_or_wrong_is_one_sentence(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        with pytest.raises(SetupError, match=rf"^OSTLER_{name}\b.*\.$") as refused:
            self.load(monkeypatch, **{name: value})
        assert "\n" not in str(refused.value)
