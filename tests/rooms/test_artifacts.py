"""Artifacts as a stranger would pack them: only what is expected, counted, from our own run."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.errors import PolicyError, SetupError
from bot.github.artifacts import MAX_ENTRIES, download, from_folder, unpacked
from bot.github.client import Client, NotFound
from tests.rooms.small_github import REPOSITORY, Reply, SmallGitHub, small_github

ALLOW = (r"journal\.jsonl", r"trees/[0-9a-f]{4}\.json")
FILES = {"journal.jsonl": b'{"seq": 0}\n' * 50, "trees/00ff.json": b"{}"}
CAP = 100_000


def packed(files: dict[str, bytes] | None = None, *extra: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (FILES if files is None else files).items():
            archive.writestr(name, content)
        for entry, content in extra:
            archive.writestr(entry, content)
    return made.getvalue()


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    made.create_system = 3
    return made


def test_what_was_packed_comes_out() -> None:
    assert unpacked(packed(), ALLOW, CAP) == FILES
    assert unpacked(packed({}), ALLOW, CAP) == {}
    assert unpacked(packed(None, (entry("trees/", 0o40755), b"")), ALLOW, CAP) == FILES
    exactly = sum(map(len, FILES.values()))
    assert unpacked(packed(), ALLOW, exactly) == FILES
    with pytest.raises(PolicyError, match="more than"):
        unpacked(packed(), ALLOW, exactly - 1)


@pytest.mark.parametrize(
    "name",
    ["../journal.jsonl", "/journal.jsonl", "trees/../journal.jsonl", "trees/./00ff.json", "trees//00ff.json", "trees\\00ff.json",
     "C:/journal.jsonl", "journal.jsonl ", "journal.jsonl\n", "Journal.jsonl", "journalxjsonl", "other", "trees/00FF.json",
     "trees/00ff.json/x", "x/journal.jsonl", ".", "..", "trees/00ffe.json"],
)  # fmt: skip
def test_a_name_that_nobody_expects_refuses_all(name: str) -> None:
    with pytest.raises(PolicyError):
        unpacked(packed({**FILES, name: b"x"}), ALLOW, CAP)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", "a/./x", "a//x", "a\\x", ".", "..", "/"])
def test_no_rule_lets_a_name_out_of_its_folder(name: str) -> None:
    with pytest.raises(PolicyError, match="with the name"):
        unpacked(packed({name: b"x"}), (".*",), CAP)


@pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o020644, 0o060644, 0o140644, 0o040755])
def test_only_regular_files(mode: int) -> None:
    with pytest.raises(PolicyError, match="plain file"):
        unpacked(packed({}, (entry("journal.jsonl", mode), b"/etc/passwd")), ALLOW, CAP)


def test_a_folder_with_content_is_no_folder() -> None:
    with pytest.raises(PolicyError):
        unpacked(packed({}, (entry("journal.jsonl/", 0o40755), b"x")), ALLOW, CAP)


def test_a_name_that_stands_twice() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        raw = packed(None, (entry("journal.jsonl", 0o100644), b"another"))
    with pytest.raises(PolicyError, match="twice"):
        unpacked(raw, ALLOW, CAP)


def test_a_bomb_is_counted_while_it_unfolds() -> None:
    bomb = packed({"journal.jsonl": bytes(50_000_000)})
    assert len(bomb) < CAP
    with pytest.raises(PolicyError, match="more than 100,000 bytes"):
        unpacked(bomb, ALLOW, CAP)


def test_a_lying_header_is_found_out() -> None:
    raw = bytearray(packed({"journal.jsonl": bytes(50_000_000)}))
    directory = raw.rindex(b"PK\x01\x02")
    for place in (directory + 24, 22):  # the size, in the directory and before the content
        raw[place : place + 4] = struct.pack("<I", 10)
    with pytest.raises(PolicyError, match="not a sound zip"):
        unpacked(bytes(raw), ALLOW, CAP)


def test_entries_are_counted_first() -> None:
    many = packed({f"trees/{number:04x}.json": b"" for number in range(MAX_ENTRIES + 1)})
    with pytest.raises(PolicyError, match="entries"):
        unpacked(many, ALLOW, CAP)


def test_other_methods_and_passwords() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("journal.jsonl", b"x")
    with pytest.raises(PolicyError, match="plain file"):
        unpacked(made.getvalue(), ALLOW, CAP)
    raw = bytearray(packed({"journal.jsonl": b"x"}))
    raw[6] |= 1
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(PolicyError, match="plain file"):
        unpacked(bytes(raw), ALLOW, CAP)


WHOLE = packed()


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, len(WHOLE))
)
def test_damage_is_refused_or_harmless(changes: list[tuple[int, int]], end: int) -> None:
    for keep in (len(WHOLE), end):
        raw = bytearray(WHOLE)
        for at, value in changes:
            raw[at] = value
        try:
            got = unpacked(bytes(raw[:keep]), ALLOW, CAP)
        except PolicyError:
            continue
        assert got.items() <= FILES.items()  # whole files only: each has its checksum


# --- by id ---


class Stored:
    """One artifact on GitHub, made by run 8 of this repository; its bytes lie on another host."""

    def __init__(self, hub: SmallGitHub, store: SmallGitHub, client: Client) -> None:
        self.hub, self.client = hub, client
        self.raw = packed()
        run = {"id": 8, "repository_id": 9, "head_repository_id": 9}
        self.about: dict[str, Any] = {"id": 5, "expired": False, "digest": None, "workflow_run": run}
        place = f"/repos/{REPOSITORY}/actions/artifacts/5"
        hub.on("GET", place, lambda _: Reply(200, self.about))
        hub.on("GET", f"{place}/zip", Reply(302, None, {"Location": f"{store.url}/blob?sig=1"}))
        store.on("GET", "/blob", lambda _: Reply(200, self.raw, {"Content-Type": "application/zip"}))

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()

    def get(self, run_id: int = 8, digest: str | None = None, max_bytes: int = CAP) -> dict[str, bytes]:
        return download(self.client, 5, run_id=run_id, digest=digest, allow=ALLOW, max_bytes=max_bytes)


@pytest.fixture
def stored() -> Iterator[Stored]:
    with small_github() as hub, small_github() as store, hub.client() as client:
        yield Stored(hub, store, client)


def test_an_artifact_of_our_own_run(stored: Stored) -> None:
    assert stored.get() == stored.get(digest=stored.digest) == stored.get(digest=f"sha256:{stored.digest}") == FILES
    stored.about["digest"] = f"sha256:{stored.digest}"
    assert stored.get() == FILES


@pytest.mark.parametrize(
    "run",
    [
        {"id": 7, "repository_id": 9, "head_repository_id": 9},
        {"id": 8, "repository_id": 9, "head_repository_id": 10},
        {"id": 8, "repository_id": 9},
        {"id": 8},
        None,
    ],
    ids=range(5),
)
def test_an_artifact_of_anybody_else(stored: Stored, run: Any) -> None:
    stored.about["workflow_run"] = run
    with pytest.raises(PolicyError, match="not made by"):
        stored.get()
    assert not stored.hub.asked("GET", "zip")


def test_an_artifact_that_was_changed(stored: Stored) -> None:
    for wrong in ("0" * 64, f"sha256:{'0' * 64}", "sha256:", "", stored.digest.upper()):
        with pytest.raises(PolicyError, match="digest"):
            stored.get(digest=wrong)
    stored.about["digest"] = "sha256:" + "0" * 64
    with pytest.raises(PolicyError, match="digest"):
        stored.get()


def test_an_artifact_that_is_gone(stored: Stored) -> None:
    stored.about["expired"] = True
    with pytest.raises(NotFound, match="expired"):
        stored.get()


def test_an_artifact_that_is_too_large(stored: Stored) -> None:
    stored.raw += os.urandom(1_200_000)
    with pytest.raises(PolicyError, match="larger"):
        stored.get()


# --- from a folder ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "in"


def test_a_folder_is_read_by_the_same_rules(folder: Path, tmp_path: Path) -> None:
    (folder / "empty").mkdir()
    assert from_folder(folder, ALLOW, CAP) == FILES
    exactly = sum(map(len, FILES.values()))
    assert from_folder(folder, ALLOW, exactly) == FILES
    with pytest.raises(PolicyError, match="more than"):
        from_folder(folder, ALLOW, exactly - 1)
    with pytest.raises(SetupError, match="no folder"):
        from_folder(tmp_path / "none", ALLOW, CAP)


def test_a_folder_holds_only_plain_files(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_text("secret")
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees" / "00aa.json").write_text("secret")
    tricks: dict[str, Callable[[Path], object]] = {
        "journal.jsonl": lambda path: path.symlink_to(outside),
        "trees": lambda path: path.symlink_to(tmp_path / "trees"),
        "trees/00aa.json": lambda path: os.mkfifo(path),
        "trees/00ab.json": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
        "dangling": lambda path: path.symlink_to("nowhere"),
        "other": lambda path: path.write_text("x"),
        ".hidden": lambda path: path.write_text("x"),
    }
    for name, trick in tricks.items():
        place = folder / name
        kept = place.rename(tmp_path / "kept") if place.exists() else None
        trick(place)
        with pytest.raises(PolicyError):
            from_folder(folder, ALLOW, CAP)
        place.unlink()
        if kept:
            kept.rename(place)
    assert from_folder(folder, ALLOW, CAP) == FILES
