"""What somebody does who has taken over a part: jobs taken out of the workflow or given a step more, artifacts repacked, programs
that look around on a machine, and a Python that writes down what Ostler is given and what it starts.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.core.changeset import canonical
from bot.core.jobs import Job
from bot.demo.hub import Hub, artifacts
from bot.demo.hub.state import Artifact
from bot.demo.stage import PUBLISHED, REUSABLE
from bot.store.journal import GENESIS
from tests.world.world import UNPLUGGED, a_plan, approves, audits, builds, drafts, edit

Json = dict[str, Any]
Files = dict[str, bytes]

NOTES = {"notes.md": "# Notes\n\nTeh sums.\n"}
"""A repository without tests: the cheapest for which models plan, build and audit."""
NOTES_TITLE, NOTES_BODY = "Typo in notes.md", "notes.md says Teh and should say The"
NOTES_RULES = [
    drafts(a_plan("notes.md", bug=False, criteria=("it says The",), tests=[])),
    approves(),
    *builds([edit("notes.md", "Teh", "The")], "It says The now."),
    audits(evidence=("notes.md:3",)),
]

# --- the workflow -----------------------------------------------------------------------------------------------------


def workflow() -> str:
    return (PUBLISHED / REUSABLE).read_text("utf-8")


def without(job: str) -> dict[str, bytes]:
    """Ostler's workflow with `job` switched off."""
    head, start, rest = workflow().partition(f"\n    name: {job}\n")
    own = re.match(r"(?:.*\n)*?(?=    runs-on:)", rest)
    assert own is not None, f"the workflow has no job {job}"
    kept = re.sub(r"    if: .*\n(?:      .*\n)*", "", own[0])
    return {REUSABLE: f"{head}{start}    if: false\n{kept}{rest[own.end() :]}".encode()}


def with_step(script: str) -> dict[str, bytes]:
    """Ostler's workflow with one more step at the end of every job. It has the job's token as TOKEN, and runs whatever was."""
    step = (
        "\n      - name: Look around\n        if: always()\n        shell: bash\n"
        "        env:\n          TOKEN: ${{ github.token }}\n          JOB: ${{ github.job }}\n"
        f"        run: {script}\n"
    )
    head, start, rest = workflow().partition("jobs:\n")
    jobs = re.split(r"\n(?=\n  # )", rest)
    assert len(jobs) == len(Job), len(jobs)
    return {REUSABLE: "".join([head, start, *(job.rstrip("\n") + step for job in jobs)]).encode()}


# --- artifacts --------------------------------------------------------------------------------------------------------


def opened(artifact: Artifact) -> Files:
    with zipfile.ZipFile(io.BytesIO(artifact.data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def put(artifact: Artifact, data: bytes) -> None:
    """Replace an artifact by somebody who may: the storage says that this is what was uploaded."""
    artifact.data, artifact.digest = data, hashlib.sha256(data).hexdigest()


def records(files: Mapping[str, bytes]) -> list[Json]:
    """The records of the journal among the files of an artifact."""
    return [json.loads(line) for line in files["journal.jsonl"].splitlines()]


def chained(found: list[Json]) -> bytes:
    """A journal of these records whose hashes fit, whatever they say."""
    lines, prev = [], GENESIS
    for seq, record in enumerate(found):
        plain = {**{name: value for name, value in record.items() if name != "hash"}, "seq": seq, "prev": prev}
        prev = hashlib.sha256(canonical(plain)).hexdigest()
        lines.append(canonical({**plain, "hash": prev}) + b"\n")
    return b"".join(lines)


def replaced(value: Any, old: str, new: str) -> Any:
    """`value` with `old` for `new` in every text of it."""
    return json.loads(json.dumps(value).replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1]))


def of_job(hub: Hub, name: str, job: str) -> list[Artifact]:
    """The artifacts that a job left, oldest first."""
    found = [one for one in hub.found(name).artifacts.values() if re.search(rf"-{job}-\d+$", one.name)]
    return sorted(found, key=lambda one: one.id)


# --- a Python that watches Ostler -------------------------------------------------------------------------------------

_HOOK = """
import json, os, sys, time
sys.path[:0] = {paths!r}
log = os.open({folder!r} + "/" + os.environ["OSTLER_JOB"] + "-" + str(time.time_ns()), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def tell(what, value):
    os.write(log, json.dumps([what, value], default=repr).encode() + b"\\n")

tell("env", dict(os.environ))
tell("checkout", os.path.exists(os.environ["OSTLER_CHECKOUT"]))

def heard(event, args):
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork"):
        tell("start", [event, *map(repr, args)])

sys.addaudithook(heard)
{before}
from bot.__main__ import main
sys.argv = ["bot", "action"]
code = 1
try:
    code = main()
except SystemExit as end:
    code = end.code
finally:
    {after}
sys.exit(code)
"""


@dataclass(frozen=True, slots=True)
class Heard:
    """One job's program: its environment, whether a checkout was there, and what it started."""

    job: str
    env: Mapping[str, str]
    checkout: bool
    started: list[str]


@dataclass(frozen=True, slots=True)
class Watch:
    """`python` is for `stage`: what the machines run Ostler with."""

    python: str
    folder: Path

    def heard(self) -> list[Heard]:
        """In the order in which they began."""
        found = []
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name.rpartition("-")[2]):
            lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            said = {what: value for what, value in lines if what != "start"}
            started = [" ".join(value) for what, value in lines if what == "start"]
            found.append(Heard(path.name.rpartition("-")[0], said["env"], said["checkout"], started))
        return found


def watched(folder: Path, *, before: str = "", after: str = "pass") -> Watch:
    """A Python for the jobs' machines; `before` and `after` are statements that run around Ostler, as one who owns it would."""
    place = folder / "heard"
    place.mkdir(parents=True)
    hook = folder / "hook.py"
    paths = [UNPLUGGED] if UNPLUGGED else []
    hook.write_text(_HOOK.format(paths=paths, folder=str(place), before=before, after=after))
    python = folder / "watched-python"
    python.write_text(
        f'#!/bin/sh\n[ "$*" = "-I -m bot action" ] && exec {sys.executable} -I {hook}\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    return Watch(str(python), place)


# --- programs that look around ----------------------------------------------------------------------------------------

LOOK = """
import json, os, pathlib, urllib.error, urllib.request

token, job, home = os.environ["TOKEN"], os.environ["JOB"], os.environ["GITHUB_REPOSITORY"]
sha = os.environ["GITHUB_SHA"]

def ask(method, path, body=None):
    headers = {"Authorization": "Bearer " + token, "Accept": "application/vnd.github+json", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    url = os.environ["GITHUB_API_URL"] + "/repos/" + home + path
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code if error.code != 403 or b"not accessible by integration" in error.read() else "403, not by permission"

tried = {
    "contents": [
        ask("POST", "/git/blobs", {"content": "x", "encoding": "utf-8"}),
        ask("POST", "/git/refs", {"ref": "refs/heads/planted-by-" + job, "sha": sha}),
        ask("PATCH", "/git/refs/heads/main", {"sha": sha, "force": True}),
    ],
    "issues": [
        ask("POST", "/issues/1/comments", {"body": "planted"}),
        ask("POST", "/issues/1/labels", {"labels": ["bug"]}),
        ask("PATCH", "/issues/1", {"body": "planted"}),
    ],
    "checks": [ask("POST", "/check-runs", {"name": "planted", "head_sha": sha})],
    "pull-requests": [ask("POST", "/pulls", {"title": "planted", "head": "no-such-branch", "base": "main"})],
    "actions": [ask("POST", "/actions/workflows/no-such.yml/dispatches", {"ref": "main"})],
}
machine = pathlib.Path(os.environ["RUNNER_TEMP"]).parent
files = [p for p in machine.rglob("*") if p.is_file() and not p.is_symlink()]
seen = {
    "env": dict(os.environ), "tried": tried,
    "files": {str(p.relative_to(machine)): p.read_bytes().decode("latin-1") for p in files if p.stat().st_size < 5_000_000},
}
pathlib.Path(os.environ["SEEN"], job + ".json").write_text(json.dumps(seen))
"""
"""What a step runs that somebody planted in a job: writes in the job's name, and everything that lies on its machine."""

SPY = """
import os, pathlib, re, socket, subprocess
words = [a + b for a, b in {words!r}]
hits, names = [], []

def look(name, data):
    hits.extend(f"{{name}}: {{word}}" for word in words if word.encode() in data)

def read(path):
    try:
        look(str(path), pathlib.Path(path).read_bytes())
    except (OSError, ValueError):
        pass

look("environment", repr(os.environ).encode())
for process in pathlib.Path("/proc").glob("[0-9]*"):
    for part in ("environ", "cmdline"):
        read(process / part)
for top in {tops!r}:
    for folder, below, files in os.walk(top):
        below[:] = [name for name in below if name not in ("site-packages", "pyenv", ".pyenv", "lib", "__pycache__")]
        for name in files:
            path = pathlib.Path(folder, name)
            if path.is_file() and path.stat().st_size < 2_000_000:
                read(path)
names = sorted(name for name in os.environ if re.search("KEY|TOKEN|SECRET|GITHUB|RUNNER|ACTIONS|OSTLER", name))
open_ = []
for host, port in {places!r}:
    try:
        socket.create_connection((host, port), timeout=2).close()
        open_.append(f"{{host}}:{{port}}")
    except OSError:
        pass
try:
    socket.getaddrinfo("api.github.com", 443)
    open_.append("names")
except OSError:
    pass
print("SPY", {{"hits": hits, "names": names, "open": open_, "processes": len(list(pathlib.Path("/proc").glob("[0-9]*")))}})
"""


def spy(secrets: Mapping[str, str], places: list[tuple[str, int]], tops: list[str]) -> str:
    """A program that looks for the beginnings of secrets wherever it can read, and for a way out. They stand in it in two parts,
    so that it does not find itself."""
    words = [(value[: len(value) // 2], value[len(value) // 2 :]) for value in secrets.values()]
    return SPY.format(words=words, places=places, tops=tops)


# --- a storage that somebody else writes to ---------------------------------------------------------------------------


@contextmanager
def replacing(job: str, change: Callable[[Files], Files | bytes]) -> Iterator[list[int]]:
    """What `job` uploads is replaced before the next job fetches it, by somebody who can make the storage say that this was
    uploaded. `change` gives the files of the new zip, or the zip; the list fills with the ids of what was replaced."""
    real, done = artifacts.save, []

    def save(*args: Any, **named: Any) -> Artifact:
        made = real(*args, **named)
        if re.search(rf"-{job}-\d+$", made.name):
            new = change(opened(made))
            put(made, new if isinstance(new, bytes) else packed(new))
            done.append(made.id)
        return made

    artifacts.save = save
    try:
        yield done
    finally:
        artifacts.save = real


def flipped(files: Files) -> Files:
    """One byte of the journal is another."""
    raw = bytearray(files["journal.jsonl"])
    raw[len(raw) // 2] ^= 1
    return {**files, "journal.jsonl": bytes(raw)}


def planted(files: Files) -> Files:
    """The changeset says something else, everywhere and with hashes that fit."""
    text, evil = (base64.b64encode(content).decode() for content in (OLD_TEXT, NEW_TEXT))
    found = records(files)
    assert text in json.dumps(found)
    return {**files, "journal.jsonl": chained(replaced(found, text, evil))}


# --- machines that somebody took over ---------------------------------------------------------------------------------

CLAIMS = """
import base64, hashlib, json, pathlib, shutil, subprocess, sys

def git(env, *args, **more):
    command = ["git", "-C", env["OSTLER_CHECKOUT"], *args]
    index = env | {"GIT_INDEX_FILE": env["RUNNER_TEMP"] + "/planted-index"}
    return subprocess.run(command, env=index, check=True, capture_output=True, **more).stdout.decode().strip()

def claim(env, jobs, old, new, mark):
    # On the machine of the job in `env`: make the work of `jobs` up, change what was made, and hand that over. Once.
    out, told = pathlib.Path(env["OSTLER_OUT"]), pathlib.Path(env["GITHUB_OUTPUT"])
    if pathlib.Path(mark).exists():
        return
    pathlib.Path(mark).touch()
    said = dict(line.partition("=")[::2] for line in told.read_text().splitlines())
    for job in jobs:
        place = pathlib.Path(env["RUNNER_TEMP"], "made-up-" + job)
        shutil.copytree(out, place / "in")
        (place / "told").touch()
        more = {
            "OSTLER_JOB": job, "OSTLER_IN": str(place / "in"), "OSTLER_OUT": str(place / "out"), "RUNNER_TEMP": str(place),
            "GITHUB_OUTPUT": str(place / "told"), "OSTLER_JOURNAL_HEAD": said["journal_head"], "GITHUB_STEP_SUMMARY": "",
            "OSTLER_EXPECT_CHANGESET": said["changeset_digest"], "OSTLER_ANTHROPIC_API_KEY": "k", "OSTLER_OPENAI_API_KEY": "k",
        }
        subprocess.run([sys.executable, "-I", "-m", "bot", "action"], env=env | more, check=True, cwd=place)
        said = dict(line.partition("=")[::2] for line in (place / "told").read_text().splitlines())
        shutil.rmtree(out)
        shutil.copytree(place / "out", out)
    text, prev, lines = (out / "journal.jsonl").read_text(), "0" * 64, []
    tree = next(json.loads(line)["body"]["changeset"]["tree"] for line in text.splitlines() if '"name":"ChangesetTaken"' in line)
    git(env, "read-tree", "HEAD")
    blobs = [git(env, "hash-object", "-w", "--stdin", input=base64.b64decode(one)) for one in (old, new)]
    git(env, "update-index", "--add", "--cacheinfo", "100644," + blobs[1] + ",notes.md")
    swaps = {old: new, blobs[0]: blobs[1], tree: git(env, "write-tree")} if new != old else {}
    for one, other in swaps.items():
        assert one in text, "nothing to change"
        text = text.replace(one, other)
    for line in text.splitlines():
        plain = json.loads(line) | {"prev": prev}
        del plain["hash"]
        canonical = lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        prev = hashlib.sha256(canonical(plain)).hexdigest()
        lines.append(canonical(plain | {"hash": prev}) + b"\\n")
    (out / "journal.jsonl").write_bytes(b"".join(lines))
    said["journal_head"] = prev
    if env["OSTLER_JOB"] == "build":
        from bot.loop.driver import fold
        from bot.store.journal import read_records
        said["changeset_digest"] = fold(read_records(out / "journal.jsonl"))[0].changeset.digest
    with told.open("a") as file:
        file.write("".join(f"{name}={value}\\n" for name, value in said.items()))
"""
OLD_TEXT, NEW_TEXT = b"# Notes\n\nThe sums.\n", b"# Notes\n\nplanted!\n"


def taken_over(folder: Path, job: Job, jobs: Sequence[Job], *, plant: bool = True) -> Watch:
    """Machines of which the one of `job`, the first time, makes up the work of `jobs` and plants another change."""
    script = folder / "claims.py"
    folder.mkdir(parents=True, exist_ok=True)
    script.write_text(CLAIMS)
    old, new = (base64.b64encode(text).decode() for text in (OLD_TEXT, NEW_TEXT if plant else OLD_TEXT))
    names = [str(one) for one in jobs]
    claim = f"claim(mine, {names!r}, {old!r}, {new!r}, {str(folder / 'claimed')!r})"
    after = f"if mine['OSTLER_JOB'] == {str(job)!r}: {claim}"
    return watched(folder, before=f"mine = dict(os.environ)\nexec(open({str(script)!r}).read())", after=after)
