"""Files that edits are tried on: sources out of releases from the package registry, pinned by hash.

They are fetched once into build/bench and nothing of them is kept elsewhere. Wheels, because they are plain archives: nothing of
the packages is run.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

MIN_LINES, MOST_BYTES = 30, 400_000
"""Shorter files hold no block worth quoting; longer ones are data."""


@dataclass(frozen=True, slots=True)
class Release:
    """A wheel, and the endings of the names of its files that are taken."""

    name: str
    version: str
    digest: str
    take: str

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.digest}"


RELEASES = (
    Release("click", "8.3.0", "9b9f285302c6e3064f4330c05f05b81945b2a39544279343e6e7c5f27a9baddc", ".py"),
    # Its JavaScript, for a language of braces; its Python would drown the others.
    Release("django", "5.2.7", "59a13a6515f787dec9d97a0438cd2efac78c8aca1c80025244b0fe507fe0754b", ".js"),
    # Half of it are tests, where the same lines come again and again.
    Release("networkx", "3.5", "0030d386a9a06dee3565298b4a734b68589749a544acbb6c412dc9e2489ec6ec", ".py"),
    Release("pytest", "8.4.2", "872f880de3fc3a5bdc88a11b39c9710c3497a547cfa9320bc3c5e62fbf272e79", ".py"),
    Release("werkzeug", "3.1.3", "54b78bf3716d19a65be4fceccc0d1d7b89e608834989dfae50ea87564639213e", ".py"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """A file's text; `path` is below the folder that the releases are unpacked into."""

    path: str
    text: str

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.path).suffix

    @property
    def comment(self) -> str:
        """What a comment begins with."""
        return "#" if self.suffix == ".py" else "//"


def prepare(folder: Path, releases: Sequence[Release] = RELEASES) -> list[list[Source]]:
    """The files of each release, in the order of their names; fetched if the pins have changed since.

    Raises:
        RuntimeError: a release cannot be fetched.
    """
    pins = "".join(f"{release.requirement}\n" for release in releases)
    done = folder / f"done-{sha256(pins.encode()).hexdigest()[:12]}"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _fetch(folder, pins)
        for release in releases:
            with zipfile.ZipFile(next(folder.glob(f"{release.name}-*.whl"))) as wheel:
                wheel.extractall(folder / release.name)
        done.touch()
    return [_sources(folder, release) for release in releases]


def _fetch(folder: Path, pins: str) -> None:
    (folder / "requirements.txt").write_text(pins)
    pip = [sys.executable, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
    arguments = ["--only-binary=:all:", "--require-hashes", "--dest", str(folder), "-r", str(folder / "requirements.txt")]
    ran = subprocess.run([*pip, *arguments], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"the sources cannot be fetched: {ran.stderr.strip()[-300:]}")


def _sources(folder: Path, release: Release) -> list[Source]:
    found = []
    for path in sorted((folder / release.name).rglob(f"*{release.take}")):
        data = path.read_bytes()
        packed = re.search(r"\.min\.|/i18n/", path.as_posix())
        if packed is None and len(data) <= MOST_BYTES and data.count(b"\n") >= MIN_LINES:
            found.append(Source(path.relative_to(folder).as_posix(), data.decode()))
    return found
