"""The four actions that the runner brings itself, known by name: checkout, upload- and download-artifact, setup-python.

Inputs they don't know, or whose value would mean something they don't do, are refused.
"""

from __future__ import annotations

import base64
import glob
import hashlib
import io
import os
import re
import stat
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from bot.core.errors import BadInput
from bot.demo.runner.commands import Console
from bot.demo.runner.platform import StoredArtifact
from bot.demo.runner.workplace import Workplace

MAX_UNPACKED = 1024**3
"""Bytes that one artifact may have when it is unpacked."""
_SHA = re.compile(r"[0-9a-f]{40}")
_FORBIDDEN = set('":<>|*?\r\n\\/')
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same files make the same zip


@dataclass(frozen=True, slots=True)
class Task:
    """One use of a built-in action. `run` is one process: arguments, folder, environment; BadInput where it fails."""

    place: Workplace
    given: Mapping[str, str]
    console: Console
    where: str  # file and line, for messages
    run: Callable[[Sequence[str], Path, Mapping[str, str]], None]

    def inputs(self, defaults: Mapping[str, str], fixed: Mapping[str, str]) -> dict[str, str]:
        """The inputs with their defaults. Of those in `fixed` only that value is supported; others are unknown."""
        taken = dict(defaults)
        for name, value in self.given.items():
            folded = name.lower()
            if folded in fixed:
                if value.lower() != fixed[folded]:
                    self.refuse(f"the input '{name}' can only be '{fixed[folded]}' here, not '{value}'")
            elif folded in defaults:
                taken[folded] = value
            else:
                self.refuse(f"the input '{name}' is not supported")
        return taken

    def refuse(self, what: str) -> None:
        raise BadInput(f"{self.where}{what}")

    def flag(self, inputs: Mapping[str, str], name: str) -> bool:
        if inputs[name].lower() not in ("true", "false"):
            self.refuse(f"the input '{name}' must be true or false, not '{inputs[name]}'")
        return inputs[name].lower() == "true"

    def inside(self, path: str) -> Path:
        """A folder beneath the workspace."""
        workspace = self.place.site.workspace.resolve()
        found = (workspace / path).resolve()
        if not found.is_relative_to(workspace):
            self.refuse(f"the path '{path}' is outside of the workspace")
        return found


def run(name: str, task: Task) -> dict[str, str]:
    """Do what the action does; its outputs. BadInput where it fails."""
    task.console.say(f"##[group]{name} (built into this runner)\n##[endgroup]")
    return _ACTIONS[name](task)


# --- actions/checkout -------------------------------------------------------------------------------------------------

_CHECKOUT = {"repository": "", "ref": "", "token": "", "path": ".", "fetch-depth": "1", "persist-credentials": "true"}
_CHECKOUT_FIXED = {"submodules": "false", "lfs": "false", "fetch-tags": "false", "clean": "true", "set-safe-directory": "true"}


def _checkout(task: Task) -> dict[str, str]:
    inputs = task.inputs({**_CHECKOUT, "show-progress": "true"}, _CHECKOUT_FIXED)
    run = task.place.assignment.run
    repository = inputs["repository"] or run.repository
    own = repository.lower() == run.repository.lower()
    ref = inputs["ref"] or (run.sha if own else "HEAD")
    depth = inputs["fetch-depth"]
    if not depth.isdecimal():
        task.refuse(f"the input 'fetch-depth' must be a number, not '{depth}'")
    folder = task.inside(inputs["path"])
    if folder.exists() and any(folder.iterdir()):
        task.refuse(f"the folder '{inputs['path']}' is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    url = task.place.platform.git_url(repository)
    env = _git_environment(url, inputs["token"] or task.place.token)
    _git(task, folder, env, "init", "--quiet", "--initial-branch=main")
    _git(task, folder, env, "remote", "add", "origin", url)
    wanted = _fetch(task, folder, env, ref, int(depth))
    _git(task, folder, env, "checkout", "--quiet", "--force", *wanted)
    if task.flag(inputs, "persist-credentials"):
        _git(task, folder, env, "config", "--local", env["GIT_CONFIG_KEY_0"], env["GIT_CONFIG_VALUE_0"])
    sha = _head(folder, task.place.search_path())
    task.console.say(f"{repository} at {sha}")
    return {"ref": ref, "commit": sha}


def _git_environment(url: str, token: str) -> dict[str, str]:
    """The token goes to git by environment, so that no list of processes shows it."""
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    address = urlsplit(url)
    return {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{address.scheme}://{address.netloc}/.extraheader",
        "GIT_CONFIG_VALUE_0": f"AUTHORIZATION: basic {basic}",
    }


def _git(task: Task, folder: Path, env: Mapping[str, str], *arguments: str) -> None:
    task.place.masks.add(env["GIT_CONFIG_VALUE_0"].rpartition(" ")[2])
    task.run(["git", "-c", "protocol.version=2", "-c", "advice.detachedHead=false", *arguments], folder, env)


def _fetch(task: Task, folder: Path, env: Mapping[str, str], ref: str, depth: int) -> tuple[str, ...]:
    """Fetch a commit, branch or tag; what to give to `git checkout`."""
    depths = (f"--depth={depth}",) if depth else ()

    def fetch(*specs: str) -> None:
        _git(task, folder, env, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", *depths, "origin", *specs)

    if _SHA.fullmatch(ref):
        fetch(f"+{ref}:refs/remotes/origin/wanted")
        return ("--detach", ref)
    if ref in ("HEAD", "") or ref.startswith("refs/tags/"):
        fetch(ref or "HEAD")
        return ("--detach", "FETCH_HEAD")
    branch = ref.removeprefix("refs/heads/")
    try:
        fetch(f"+refs/heads/{branch}:refs/remotes/origin/{branch}")
    except BadInput:
        if ref.startswith("refs/"):
            raise
        task.console.say(f"'{ref}' is no branch: trying the tag")
        fetch(f"refs/tags/{ref}")
        return ("--detach", "FETCH_HEAD")
    return ("-B", branch, f"refs/remotes/origin/{branch}")


def _head(folder: Path, path: str) -> str:
    env = {"PATH": path, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


# --- actions/upload-artifact ------------------------------------------------------------------------------------------

_UPLOAD = {
    "name": "artifact",
    "path": "",
    "if-no-files-found": "warn",
    "retention-days": "",
    "compression-level": "6",
    "overwrite": "false",
    "include-hidden-files": "false",
}


def _upload(task: Task) -> dict[str, str]:
    inputs = task.inputs(_UPLOAD, {"archive": "true"})
    name, missing = inputs["name"], inputs["if-no-files-found"]
    if not name or _FORBIDDEN & set(name):
        task.refuse(f"an artifact cannot be named '{name}'")
    if missing not in ("warn", "error", "ignore"):
        task.refuse(f"the input 'if-no-files-found' cannot be '{missing}'")
    if inputs["retention-days"] and not inputs["retention-days"].isdecimal():
        task.refuse(f"the input 'retention-days' must be a number, not '{inputs['retention-days']}'")
    files = _found(task, inputs["path"], task.flag(inputs, "include-hidden-files"))
    if not files:
        message = f"no files were found with the path: {inputs['path'].strip()}; no artifact is uploaded"
        if missing == "error":
            task.refuse(message)
        task.console.line(f"::warning::{message}") if missing == "warn" else task.console.say(message)
        return {}
    data = _zip(files, int(inputs["compression-level"]))
    run = task.place.assignment.run
    days = int(inputs["retention-days"]) if inputs["retention-days"] else None
    saved = task.place.platform.save_artifact(
        run.id, run.attempt, name, data, retention_days=days, overwrite=task.flag(inputs, "overwrite")
    )
    url = f"{task.place.platform.server_url}/{run.repository}/actions/runs/{run.id}/artifacts/{saved.id}"
    task.console.say(f"{len(files)} files, {len(data)} bytes, sha256 {saved.digest}: {url}")
    return {"artifact-id": str(saved.id), "artifact-digest": saved.digest, "artifact-url": url}


def _found(task: Task, paths: str, hidden: bool) -> dict[str, Path]:
    """The files by their name in the zip: relative to the one folder, or to what all paths have in common."""
    wanted = [line.strip() for line in paths.splitlines() if line.strip()]
    if not wanted:
        task.refuse("the input 'path' is required")
    roots: list[Path] = []
    found: list[Path] = []
    for pattern in wanted:
        root, matches = _matches(task, pattern, hidden)
        roots.append(root)
        for match in matches:
            found.extend(_files_below(task, match, hidden))
    if len(roots) == 1 and not roots[0].is_file():
        common = roots[0]
    else:
        common = Path(os.path.commonpath([root if root.is_dir() else root.parent for root in roots]))
    return {path.relative_to(common).as_posix(): path for path in dict.fromkeys(found)}


def _matches(task: Task, pattern: str, hidden: bool) -> tuple[Path, list[Path]]:
    """Where a path or pattern begins, and what it names."""
    if pattern.startswith(("!", "~")):
        task.refuse(f"the pattern '{pattern}' is not supported")
    whole = os.path.normpath(task.place.site.workspace / pattern)
    if not glob.has_magic(pattern):
        return Path(whole), [Path(whole)]
    return Path(_fixed_part(whole)), sorted(map(Path, glob.glob(whole, recursive=True, include_hidden=hidden)))


def _fixed_part(pattern: str) -> str:
    """The folders of a pattern before the first wildcard."""
    kept: list[str] = []
    for part in Path(pattern).parts:
        if glob.has_magic(part):
            break
        kept.append(part)
    return str(Path(*kept))


def _files_below(task: Task, path: Path, hidden: bool) -> Iterator[Path]:
    if path.is_symlink():
        task.refuse(f"{path} is a symbolic link: those are not uploaded")
    if path.is_file():
        yield path
        return
    for one in sorted(path.iterdir()) if path.is_dir() else ():
        if hidden or not one.name.startswith("."):
            yield from _files_below(task, one, hidden)


def _zip(files: Mapping[str, Path], level: int) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, path in files.items():
            entry = zipfile.ZipInfo(name, _ZIP_TIME)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, level)
    return whole.getvalue()


# --- actions/download-artifact ----------------------------------------------------------------------------------------


def _download(task: Task) -> dict[str, str]:
    defaults = {"artifact-ids": "", "path": ".", "merge-multiple": "false", "digest-mismatch": "error"}
    for name in ("name", "pattern", "run-id", "github-token", "repository"):
        if task.given.get(name):
            task.refuse(f"the input '{name}' is not supported: name the artifacts of this run by artifact-ids")
    inputs = task.inputs({**defaults, **dict.fromkeys(("name", "pattern", "run-id", "github-token", "repository"), "")}, {})
    if inputs["digest-mismatch"] != "error":
        task.refuse("the input 'digest-mismatch' can only be 'error' here")
    ids = [one.strip() for one in inputs["artifact-ids"].split(",") if one.strip()]
    if not ids or not all(one.isdecimal() for one in ids):
        task.refuse(f"the input 'artifact-ids' must be numbers with commas between them, not '{inputs['artifact-ids']}'")
    artifacts = [_load(task, int(one)) for one in dict.fromkeys(ids)]
    folder = task.place.site.workspace / inputs["path"]
    apart = len(artifacts) > 1 and not task.flag(inputs, "merge-multiple")
    for artifact in artifacts:
        _unzip(task, artifact, folder / artifact.name if apart else folder)
    return {"download-path": str(folder)}


def _load(task: Task, number: int) -> StoredArtifact:
    found = task.place.platform.load_artifact(task.place.assignment.run.id, number)
    if found is None:
        raise BadInput(f"{task.where}this run has no artifact {number}")
    if hashlib.sha256(found.data).hexdigest() != found.digest:
        task.refuse(f"the artifact {number} does not have the digest it was uploaded with")
    return found


def _unzip(task: Task, artifact: StoredArtifact, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(io.BytesIO(artifact.data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED:
                task.refuse(f"the artifact {artifact.id} has more than {MAX_UNPACKED} bytes when unpacked")
            for entry in archive.infolist():
                name = PurePosixPath(entry.filename)
                if name.is_absolute() or ".." in name.parts or "\\" in entry.filename:
                    task.refuse(f"the artifact {artifact.id} holds a file outside of it: {entry.filename}")
                archive.extract(entry, folder)
            task.console.say(f"{artifact.name}: {len(archive.infolist())} files into {folder}")
    except zipfile.BadZipFile as error:
        task.refuse(f"the artifact {artifact.id} is no zip: {error}")


# --- actions/setup-python ---------------------------------------------------------------------------------------------


def _setup_python(task: Task) -> dict[str, str]:
    """Put the machine's own interpreter first on PATH, whatever version was asked for, and say which it is."""
    inputs = task.inputs(
        {"python-version": ""}, {"update-environment": "true", "check-latest": "false", "allow-prereleases": "false"}
    )
    python, folder = task.place.machine.python, task.place.site.tools / "python"
    folder.mkdir(exist_ok=True)
    for name in ("python", "python3"):  # a link would leave a virtual environment, so a script it is
        script = folder / name
        script.write_text(f"#!/bin/sh\nexec '{python}' \"$@\"\n", "utf-8")
        script.chmod(0o755)
    done = subprocess.run(
        [python, "-I", "-c", "import platform; print(platform.python_version())"],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    task.place.path.insert(0, str(folder))
    task.console.say(f"asked for Python {inputs['python-version'] or 'of any version'}; this machine has {done.stdout.strip()}")
    return {"python-version": done.stdout.strip(), "python-path": str(folder / "python")}


_ACTIONS: Mapping[str, Callable[[Task], dict[str, str]]] = {
    "actions/checkout": _checkout,
    "actions/upload-artifact": _upload,
    "actions/download-artifact": _download,
    "actions/setup-python": _setup_python,
}
