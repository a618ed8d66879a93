"""`ostler demo`, from a clean folder: the main job, looked at by the demo itself and once more here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.world.world import EXAMPLE_SCRIPT, Said, World, rule

SECONDS = 200
PAGES = ("issue", "pull request", "check run", "workflow run 1", "workflow run 2", "the App's page")
COPIES = {name: re.sub(r"\W+", "-", name.lower()) + ".html" for name in PAGES}


@dataclass
class Showing:
    """A demo that was kept up until it was told to end. `live` holds the pages as they answered, by name."""

    folder: Path
    out: str = ""
    err: str = ""
    code: int = -1
    live: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)

    @property
    def addresses(self) -> dict[str, str]:
        return dict(re.findall(r"(?m)^  ([a-z].+?) +(http://127\.0\.0\.1:\S+)$", self.out))


def fetched(address: str) -> str:
    """The page, or why there is none."""
    try:
        return httpx.get(address, trust_env=False, timeout=30).raise_for_status().text
    except httpx.HTTPError as error:
        return f"no answer: {error}"


@pytest.fixture(scope="module")
def showing(tmp_path_factory: pytest.TempPathFactory) -> Showing:
    """One flow for everything below that only looks."""
    home = tmp_path_factory.mktemp("demo")
    shown = Showing(home / "new" / "folder")
    command = [sys.executable, "-I", "-m", "bot", "demo", "--keep", "--folder", str(shown.folder)]
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_DIR": "/nowhere", "PYTHONPATH": "/nowhere"}
    with (home / "err").open("w+") as err, subprocess.Popen(command, cwd=home, env=env, stdout=-1, stderr=err, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            shown.out += line
            if "Ctrl-C ends it" in line:
                shown.live = {name: fetched(address) for name, address in shown.addresses.items()}
                run.send_signal(signal.SIGTERM)
        shown.code = run.wait(SECONDS)
        shown.after = {name: fetched(address) for name, address in shown.addresses.items()}
        err.seek(0)
        shown.err = err.read()
    return shown


def test_it_ends_well_and_says_what_is_played(showing: Showing) -> None:
    assert (showing.code, showing.err) == (0, ""), showing.out
    words = " ".join(showing.out.split())
    assert "GitHub is a stand-in on this machine and the models are scripted" in words
    assert "no model was asked" in words
    assert "The demo failed" not in words


def test_progress_is_told_in_the_order_in_which_it_happens(showing: Showing) -> None:
    told = (
        "opens issue #1", "issues.labeled accepted by the App (202)", "plan     success", "Plan for #1", "waits for approval",
        "/ostler approve ", "issue_comment.created accepted by the App (202)", "run 2 began", "build    success",
        "prove    success", "audit    success", "draft #2 opened", "Audit", "publish  success", "Finished @ada's task",
        "run 2 ended: success", "Checked again by the demo", "all 20 tests pass", "9 calls",
    )  # fmt: skip
    at = -1
    text = re.sub(r"(?<=\S)[ \n](?=\S)", " ", showing.out)
    for words in told:
        found = text.find(words, at + 1)
        assert found > at, f"{words!r} is not told where it belongs:\n{showing.out}"
        at = found
    assert re.search(r"job +build +success in \d+\.\d s", showing.out)


def test_the_addresses_open_until_it_is_told_to_end(showing: Showing) -> None:
    assert tuple(showing.addresses) == PAGES
    words = {
        "issue": "Negative amounts crash the parser",
        "pull request": "Observed",
        "check run": "Budget: ",
        "workflow run 1": "improve / plan",
        "workflow run 2": "improve / publish",
        "the App's page": "Timeline",
    }
    assert {name: words[name] in page for name, page in showing.live.items()} == dict.fromkeys(PAGES, True)
    assert all("scripted" in page.lower() for page in showing.live.values())
    assert all(page.startswith("no answer") for page in showing.after.values()), "somebody still listens"


def test_copies_of_the_pages_stay(showing: Showing) -> None:
    folder = showing.folder / "pages"
    assert {path.name for path in folder.iterdir()} == set(COPIES.values())
    for name, file in COPIES.items():
        assert str(folder / file) in showing.out
        copy = (folder / file).read_text("utf-8")
        assert f'href="{showing.addresses[name]}"' not in copy
        links = set(re.findall(r'href="([^"#]+)', copy))
        assert all((folder / link).is_file() for link in links), links


def ostler(folder: Path, *args: str) -> Said:
    return World.of(folder).ostler("demo", *args)


def test_a_demo_whose_models_talk_rubbish_fails_and_says_so(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    rules = json.loads(EXAMPLE_SCRIPT.read_text("utf-8"))
    script.write_text(json.dumps([rule("# Phase PLAN: draft", text="Colourless green ideas sleep furiously."), *rules]), "utf-8")
    said = ostler(tmp_path, "--script", str(script), "--folder", str(tmp_path / "demo"))
    assert (said.code, said.err) == (2, ""), said
    (sentence,) = re.findall(r"(?m)^The demo failed: .*$", said.out)
    assert "Ostler stopped at ostler:needs-human" in sentence
    assert "Checked again by the demo" not in said.out
    assert (tmp_path / "demo" / "pages" / "check-run.html").is_file()


NO_SCRIPTS = {
    "empty": "",
    "object": "{}",
    "number": "[1]",
    "key": '[{"when": {}, "reply": {}, "else": 1}]',
    "when": '[{"when": 1}]',
}


@pytest.mark.parametrize("text", NO_SCRIPTS.values(), ids=NO_SCRIPTS)
def test_a_script_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "script.json").write_text(text, "utf-8")
    said = ostler(tmp_path, "--script", str(tmp_path / "script.json"), "--folder", str(tmp_path / "demo"))
    assert (said.code, said.out) == (1, ""), said
    assert said.err.startswith("ostler: ")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "demo").exists()


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "diary.txt").write_text("mine", "utf-8")
    said = ostler(tmp_path, "--folder", str(tmp_path / "demo"))
    assert said.code == 1
    assert "is not empty" in said.err
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["diary.txt"]
