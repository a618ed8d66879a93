"""Everything around Ostler on one machine: a stand-in GitHub with its runner, scripted vendors, a repository, and the real App.

    with stage(folder, rules, files) as scene:
        ada = scene.hub.person("ada")
        number = ada.open_issue(scene.name, "Totals are wrong", "...")
        ada.label(scene.name, number, "ostler")
        scene.hub.wait_idle(120)

What Ostler does is real: webhooks, queue, jobs as processes, sandbox, tests, publishing. The models' answers are scripted, and
GitHub is a stand-in; both say so on every page.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.core.errors import BugError
from bot.demo import vendors
from bot.demo.hub import AppCredentials, Hub, serve
from bot.demo.runner.platform import Machine
from bot.demo.vendors import Vendors
from bot.github.manifest import EVENTS, PERMISSIONS, WEBHOOK

_HERE = Path(__file__).resolve().parent
PUBLISHED = _HERE / "published" if (_HERE / "published").is_dir() else _HERE.parents[1]
"""Where action.yml and the workflows lie: inside the installed package, else the checkout."""
HOME = "ostler-dev/ostler"
NAME = "acme/purse"
REUSABLE = ".github/workflows/improve.yml"
CALLER = ".github/workflows/ostler.yml"
PLACE_OF_OSTLER = "your-org/ostler/.github/workflows/improve.yml@0000000000000000000000000000000000000000"
PLACE_OF_ACTION = "your-org/ostler@0000000000000000000000000000000000000000"
PLACE_OF_APP = "https://ostler.example.com"
MODEL_SECRETS = {"ANTHROPIC_API_KEY": "scripted-anthropic-key-1", "OPENAI_API_KEY": "scripted-openai-key-2"}
STATE_KEY = "a-state-key-for-one-stand-in-only-0123456789"
START_SECONDS = 30.0


@dataclass(slots=True)
class Scene:
    """A stage that stands. `app` is the App's process, None where there is none or it was ended."""

    folder: Path
    hub: Hub
    vendors: Vendors
    credentials: AppCredentials | None = None
    name: str = NAME
    port: int = 0
    app: subprocess.Popen[bytes] | None = None
    app_env: dict[str, str] = field(default_factory=dict)
    python: Sequence[str] = (sys.executable, "-I", "-m", "bot")

    @property
    def app_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        return self.folder / "app" / "app.db"

    def start_app(self) -> None:
        """Start the App, or start it again, and wait until it answers."""
        (self.folder / "app").mkdir(exist_ok=True)
        with (self.folder / "app.log").open("ab") as log:
            self.app = subprocess.Popen(
                [*self.python, "serve"], env=self.app_env, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.app.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "app.log").read_text("utf-8", "replace")[-2_000:]
                raise BugError(f"the App did not start: {said}")
            time.sleep(0.05)
        if self.credentials:
            self.hub.app_process(self.credentials, self.app.pid)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.app_url}/health", timeout=2) as answer:  # noqa: S310 an address of ours
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def end_app(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the App, if it runs."""
        if self.app is not None:
            if self.app.poll() is None:
                self.app.send_signal(how)
            try:
                self.app.wait(20)
            except subprocess.TimeoutExpired:
                self.app.kill()
                self.app.wait()
            self.app = None


@contextmanager
def stage(
    folder: Path,
    rules: Sequence[Mapping[str, Any]],
    files: Mapping[str, str | bytes],
    *,
    with_app: bool = True,
    members: Mapping[str, str] | None = None,
    python: str = sys.executable,
    app_python: Sequence[str] | None = None,
    caller: str = "",
    workflows: Mapping[str, bytes] | None = None,
    env: Mapping[str, str] | None = None,
    app_env: Mapping[str, str] | None = None,
) -> Iterator[Scene]:
    """Put everything up in `folder`, and take it down again.

    `python` is what jobs run Ostler with, `app_python` the command of the App without its argument; `caller` names the caller
    workflow (by default the one for the set-up), `workflows` replaces files of Ostler's own repository; `env` and `app_env`
    join the environments of the jobs' machines and of the App.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with vendors.serve(rules) as models:
        machine = Machine(folder / "machines", Path(sys.executable), _machine_env(models, python, env or {}))
        with serve(folder / "hub", machine=machine) as hub:
            scene = Scene(folder, hub, models, python=app_python or (sys.executable, "-I", "-m", "bot"))
            try:
                _furnish(scene, files, with_app, members or {"ada": "admin"}, caller, workflows or {})
                if with_app:
                    scene.app_env |= app_env or {}
                    scene.start_app()
                yield scene
            finally:
                scene.end_app()


def _machine_env(models: Vendors, python: str, more: Mapping[str, str]) -> dict[str, str]:
    """A machine with Ostler installed, like a self-hosted runner's image. The vendors' addresses lead to the scripted ones."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "OSTLER_PYTHON": python,
        "OSTLER_ANTHROPIC_BASE_URL": models.anthropic_url,
        "OSTLER_OPENAI_BASE_URL": models.openai_url,
        "OSTLER_GITHUB_PAUSE": "0",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **more,
    }


def _furnish(
    scene: Scene,
    files: Mapping[str, str | bytes],
    with_app: bool,
    members: Mapping[str, str],
    caller: str,
    workflows: Mapping[str, bytes],
) -> None:
    """Ostler's own repository, the user's with its caller workflow and environments, and the App's registration."""
    hub = scene.hub
    own = {name: (PUBLISHED / name).read_bytes() for name in ("action.yml", REUSABLE)} | dict(workflows)
    hub.repository(HOME, own)
    sha = hub.bare(hub.found(HOME)).resolve("main")
    text = (PUBLISHED / "docs" / "workflows" / (caller or ("app.yml" if with_app else "standalone.yml"))).read_text("utf-8")
    if with_app:
        scene.port = free_port()
    text = text.replace(PLACE_OF_OSTLER, f"{HOME}/{REUSABLE}@{sha}").replace(PLACE_OF_APP, scene.app_url)
    text = text.replace(PLACE_OF_ACTION, f"{HOME}@{sha}")
    hub.repository(scene.name, {**files, CALLER: text}, members)
    hub.environment(scene.name, "ostler-model", MODEL_SECRETS)
    hub.environment(scene.name, "ostler-state", {} if with_app else {"OSTLER_STATE_KEY": STATE_KEY})
    hub.environment(scene.name, "ostler", {} if with_app else {**MODEL_SECRETS, "OSTLER_STATE_KEY": STATE_KEY})
    if with_app:
        scene.credentials = hub.app("ostler", scene.app_url + WEBHOOK, "a-webhook-secret-of-the-demo", list(EVENTS))
        hub.install(scene.credentials, scene.name, PERMISSIONS)
        scene.app_env = _app_env(scene, scene.credentials)


def _app_env(scene: Scene, credentials: AppCredentials) -> dict[str, str]:
    key = scene.folder / "app.pem"
    key.write_text(credentials.private_key_pem)
    key.chmod(0o600)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "UNPLUGGED_TREE") if name in os.environ}
    return {
        **kept,
        "OSTLER_APP_ID": str(credentials.app_id),
        "OSTLER_APP_PRIVATE_KEY": str(key),
        "OSTLER_WEBHOOK_SECRET": credentials.webhook_secret,
        "OSTLER_STATE_KEY": STATE_KEY,
        "OSTLER_DATABASE_URL": f"sqlite:///{scene.database}",
        "OSTLER_GITHUB_API_URL": scene.hub.api_url,
        "OSTLER_GITHUB_PAUSE": "0",
        "OSTLER_PUBLIC_URL": scene.app_url,
        "OSTLER_OIDC_ISSUER": f"{scene.hub.url}/_oidc",
        "OSTLER_WORKFLOW_REF_PREFIX": f"{HOME}/{REUSABLE}@",
        "OSTLER_PORT": str(scene.port),
        "OSTLER_POLL_SECONDS": "0.5",
    }


def free_port() -> int:
    """A port that nothing listens on. Another process may take it before the App does; then the App says so and ends."""
    import socket  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
