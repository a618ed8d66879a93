"""The image, as far as it can be tried without a container engine: its build stage is done in an empty folder."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.house.tree import ROOT

TEXT = (ROOT / "Dockerfile").read_text("utf-8")
BASE = r"python:3\.\d+\.\d+-slim-bookworm"
SECONDS = 300


def instructions() -> list[tuple[str, str]]:
    """Every instruction with its text, comments and line breaks taken out."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1].strip()) for line in joined.splitlines() if line.strip()]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def the(word: str) -> str:
    """The text of the only instruction `word` of the last stage."""
    (found,) = (rest for each, rest in stages()[-1] if each == word)
    return found


def test_the_base_is_named_by_its_full_version() -> None:
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1, "what is compiled in one stage has to run in the other"
    assert re.fullmatch(BASE, bases[0])


def test_it_runs_as_nobody_in_particular() -> None:
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", the("USER"))
    last = [word for word, _ in stages()[-1]]
    assert "RUN" not in last[last.index("USER") :]


@pytest.mark.parametrize("word", ["ENTRYPOINT", "CMD", "HEALTHCHECK"])
def test_nothing_runs_through_a_shell(word: str) -> None:
    command = json.loads(the(word)[the(word).index("[") :])
    assert all(isinstance(part, str) for part in command)


def test_no_secret_and_no_checkout_gets_in() -> None:
    """Every source is there and let in by name; all else stays out."""
    ignore = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert ignore[0] == "*"
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    assert {source for source, _ in copies()} == let_in
    for source in let_in:
        assert (ROOT / source).exists(), source
        assert not any(fnmatch.fnmatch(source, line) for line in ignore[1:] if not line.startswith("!"))
    assert not re.search(r"(?i)(?:^|\s)(?:ARG|ADD)\s|api_key|token|secret", TEXT)


def copies() -> list[tuple[str, str]]:
    """What the build stage copies: source and target."""
    found = [rest.split() for word, rest in stages()[0] if word == "COPY"]
    return [(source, words[-1]) for words in found for source in words[:-1]]


def test_health_is_asked_as_the_image_asks_it() -> None:
    command = json.loads(the("HEALTHCHECK")[the("HEALTHCHECK").index("[") :])

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = [sys.executable, *(part.replace(f":{the('EXPOSE')}", f":{server.server_port}") for part in command[1:])]
        up = subprocess.run(asked, capture_output=True, check=False, timeout=SECONDS)
        server.shutdown()
    down = subprocess.run(asked, capture_output=True, check=False, timeout=SECONDS)
    assert (up.returncode, down.returncode) == (0, 1), up.stderr


@pytest.fixture(scope="module")
def quick() -> dict[str, str]:
    """An environment in which pip gives up at once and compiles nothing; skips where it finds no package index."""
    settings = {"PIP_RETRIES": "0", "PIP_DEFAULT_TIMEOUT": "10", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_COMPILE": "1"}
    environment = {**os.environ, **settings}
    name = re.search(r"(?m)^hatchling==\S+", (ROOT / "requirements.lock").read_text("utf-8"))
    assert name
    ask = [sys.executable, "-I", "-m", "pip", "--quiet", "install", "--dry-run", "--no-deps", "--ignore-installed", name[0]]
    done = subprocess.run(ask, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode:
        pytest.skip("no package index can be reached, so the image's build stage is not tried")
    return environment


@pytest.mark.sampled("Dockerfile", "pyproject.toml", "requirements.lock")
def test_the_build_stage_works_in_an_empty_folder(quick: dict[str, str], tmp_path: Path) -> None:
    source, home = tmp_path / "src", tmp_path / "opt"
    source.mkdir()
    places = {"/opt/ostler": str(home), "/src": str(source)}
    for word, rest in stages()[0]:
        if word == "COPY":
            *names, target = rest.split()
            for name in names:
                _copy(ROOT / name, source / target if target != "./" else source / name)
        elif word == "RUN":
            for line in rest.split("&&"):
                words = [_placed(part, places) for part in shlex.split(line)]
                words[0] = sys.executable if words[0] == "python" else words[0]
                done = subprocess.run(words, cwd=source, env=quick, capture_output=True, text=True, check=False, timeout=SECONDS)
                assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(source)
    entry = [_placed(part, places) for part in json.loads(the("ENTRYPOINT"))]
    for command in ([*entry, "--help"], [*entry, *json.loads(the("CMD")), "--help"], [*entry[:3], "pip", "check"]):
        done = subprocess.run(command, cwd=tmp_path, env=quick, capture_output=True, text=True, check=False, timeout=SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr


def _placed(part: str, places: dict[str, str]) -> str:
    for place, here in places.items():
        if part == place or part.startswith(f"{place}/"):
            return here + part.removeprefix(place)
    return part


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.py[cod]"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
