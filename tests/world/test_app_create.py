"""`ostler app create`, walked through as a person would: page, GitHub's page, back, and the App that was made is started."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import httpx
import pytest

from bot.demo.hub import Hub, serve
from bot.github.manifest import PERMISSIONS
from tests.world.world import ostler

pytestmark = pytest.mark.sampled

SHOP = "ada/shop"
SECONDS = 60
HOME = "your-org/ostler@" + "0" * 40


@pytest.fixture(name="hub")
def _hub(tmp_path: Path) -> Iterator[Hub]:
    with serve(tmp_path / "hub") as hub:
        hub.repository(SHOP, {"README.md": "hello\n"}, {"ada": "admin"})
        hub.person("ada")
        yield hub
        assert hub.errors == []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def walking(hub: Hub, folder: Path, address: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """`ostler app create` up to the moment when it waits for a browser."""
    words = ostler("app", "create", "--url", address, "--home", HOME, "--github", hub.url, *more)
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with subprocess.Popen(words, cwd=folder, env=env, stdout=-1, stderr=-1, text=True) as walk:
        try:
            yield walk
        finally:
            walk.kill()


def until_address(walk: subprocess.Popen[str]) -> str:
    assert walk.stdout is not None
    said = ""
    for line in walk.stdout:
        said += line
        if "Ctrl-C ends it" in line:
            break
    (address,) = re.findall(r"(?m)^  (http://127\.0\.0\.1:\d+/)$", said)
    return str(address)


def form_of(page: str) -> tuple[str, dict[str, str]]:
    """Where the one form of a page goes, and its fields."""
    (action,) = re.findall(r'<form method="post" action="([^"]+)"', page)
    fields = {name: unescape(value) for name, value in re.findall(r'name="([a-z]+)" value="([^"]*)"', page)}
    return unescape(action), fields


def agree(browser: httpx.Client, hub: Hub, start: str, name: str) -> httpx.Response:
    """Press the button on our page, then on GitHub's; the page that the browser ends on."""
    action, fields = form_of(browser.get(start).raise_for_status().text)
    assert action.startswith(f"{hub.url}/settings/apps/new?state=")
    asked = browser.post(f"{action}&as=ada", data=fields).raise_for_status()
    action, fields = form_of(asked.text)
    return browser.post(hub.url + action, data=fields | {"name": name}, follow_redirects=True)


def test_an_app_is_registered_and_starts(hub: Hub, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with walking(hub, tmp_path, address) as walk, httpx.Client(trust_env=False, timeout=SECONDS) as browser:
        done = agree(browser, hub, until_address(walk), "Ostler of Ada")
        out, err = walk.communicate(timeout=SECONDS)
    assert (walk.returncode, err) == (0, "")
    assert "The App is registered" in done.text
    made = next(app for app in hub.state.apps.values() if app.slug == "ostler-of-ada")
    assert f"Registered: {hub.url}/apps/ostler-of-ada (number {made.id})." in out
    assert made.permissions == PERMISSIONS
    file = tmp_path / "ostler.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(made.id) in file.read_text()
    hub.install(made.id, SHOP, PERMISSIONS)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OSTLER_PORT": address.rpartition(":")[2]}
    with subprocess.Popen(ostler("serve", "--env-file", "ostler.env"), cwd=tmp_path, env=env, stdout=-1, text=True) as app:
        try:
            assert app.stdout is not None
            assert app.stdout.readline().startswith("The App listens on ")
            ada = hub.person("ada")
            ada.label(SHOP, ada.open_issue(SHOP, "Totals are wrong"), "ostler")
            delivered(hub)
        finally:
            app.send_signal(signal.SIGTERM)


def delivered(hub: Hub) -> None:
    """Until a delivery was taken. The App that was made knows the secret that signs it."""
    deadline = time.monotonic() + SECONDS
    while not any(one.event == "issues" and one.status_code == 202 for one in hub.state.deliveries.values()):
        assert time.monotonic() < deadline, [(one.event, one.status_code) for one in hub.state.deliveries.values()]
        time.sleep(0.05)


def test_whoever_does_not_know_the_state_brings_no_app(hub: Hub, tmp_path: Path) -> None:
    with walking(hub, tmp_path, "https://ostler.example.com") as walk, httpx.Client(trust_env=False, timeout=SECONDS) as browser:
        start = until_address(walk)
        assert "Register the App ostler" in browser.get(f"{start}done?code={'a' * 40}&state=guessed").text
        assert browser.get(start, headers={"host": "evil.example.com"}).status_code == 400
        assert walk.poll() is None
        walk.send_signal(signal.SIGINT)
        _, err = walk.communicate(timeout=SECONDS)
    assert walk.returncode == 130
    assert "Nothing is lost" in err
    assert not (tmp_path / "ostler.env").exists()


def test_a_code_that_github_does_not_know_makes_nothing(hub: Hub, tmp_path: Path) -> None:
    with walking(hub, tmp_path, "https://ostler.example.com") as walk, httpx.Client(trust_env=False, timeout=SECONDS) as browser:
        start = until_address(walk)
        action, _ = form_of(browser.get(start).text)
        done = browser.get(f"{start}done?code={'a' * 40}&state={action.rpartition('=')[2]}")
        _, err = walk.communicate(timeout=SECONDS)
    assert walk.returncode == 5
    assert "it is good once, for an hour" in err
    assert "The App was not registered" in done.text
    assert not (tmp_path / "ostler.env").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--url", "http://ostler.example.com"), "is no https address"),
        (("--home", "ostler"), "--home takes OWNER/REPO"),
        (("--name", "o" * 35), "The App's name has 1 to 34 characters"),
        (("--out", "here.env"), "here.env is there already"),
        (("--out", "no/where.env"), "no/where.env cannot be written"),
    ],
)
def test_what_does_not_fit_is_one_sentence(hub: Hub, tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    (tmp_path / "here.env").write_text("OSTLER_APP_ID=1\n")
    with walking(hub, tmp_path, "https://ostler.example.com", "--json", *more) as walk:
        out, err = walk.communicate(timeout=SECONDS)
    assert walk.returncode == 5
    assert said in err
    assert len(err.splitlines()) == 1
    assert json.loads(out)["exit_code"] == 5
    assert (tmp_path / "here.env").read_text() == "OSTLER_APP_ID=1\n"
    assert not (tmp_path / "ostler.env").exists()
