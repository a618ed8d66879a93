"""The journal on a real disk: what goes in comes out, damage is named, a crash loses nothing that was promised."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from math import inf
from pathlib import Path
from random import Random
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.budget import Usage
from bot.core.changeset import canonical
from bot.core.effects import Effect, PrepareWorkspace, RunBaseline
from bot.core.errors import SetupError
from bot.core.events import CallFailed, ChangesetTaken, Event, ModelReplied, RoomFailed, StopRequested
from bot.core.limits import AGENT, MODES, REFERENCE, Override, Rules, Thresholds
from bot.store.journal import GENESIS, Journal, Record, decode, encode, read, read_records, recordable
from tests.core.play import FLAT, change, changeset, request

AT = "2025-01-01T00:00:00+00:00"
KINDS = (*get_args(Event), *get_args(Effect))
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


factors = st.decimals("0.001", "10", places=3)
rules = st.builds(
    Rules,
    mode=st.sampled_from(MODES),
    enforce_for=st.sampled_from([("all",), ("low", "high"), ()]),
    multiplier=factors,
    base=st.sampled_from([AGENT, REFERENCE]),
    thresholds=st.builds(Thresholds, stop_loss=st.decimals("1.01", "9", places=2)),
    overrides=st.lists(
        st.builds(Override, kind=st.just("PLAN"), tokens=st.integers(1, 10**9), seconds=st.none(), reason=st.just("why")),
        max_size=1,
    ).map(tuple),
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that events and effects are made of."""
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: words,
        int: st.integers(-(2**70), 2**70),
        bool: st.booleans(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bytes: st.binary(max_size=12),
        type(None): st.none(),
        Rules: rules,  # checks itself: most of what its types would take is refused
    }
    if kind in simple:
        return simple[kind]
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return st.one_of([values(part) for part in get_args(kind)])
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        return st.lists(values(parts[0]), max_size=2).map(tuple) if parts[1:] == (...,) else st.tuples(*map(values, parts))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    assert isinstance(kind, type), f"nothing is known about {kind}"
    assert is_dataclass(kind), f"nothing is known about {kind}"
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: values(hints[field.name]) for field in fields(kind)})


def clock() -> str:
    return AT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session" / "journal.jsonl"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    path.parent.mkdir()
    opened = Journal(path, clock)
    yield opened
    opened.close()


RICH: tuple[tuple[Event, tuple[Effect, ...]], ...] = (
    (request("Fix “it”\n\nüñí 你好 \u2028 \x1f end"), (PrepareWorkspace("b" * 40),)),
    (ChangesetTaken(changeset(change("a", b"\xff\xfe\0"), change("b", None), change("c", b"", None))), ()),
    (CallFailed("c001", "timeout", "unknown", 'said "no"\\\n', 1e-7), (RunBaseline("tree"),)),
    (StopRequested("me"), ()),
)


def written(path: Path) -> list[Record]:
    """A journal of every kind of line."""
    path.parent.mkdir(exist_ok=True)
    journal = Journal(path, clock)
    for event, effects in RICH:
        journal.append(event, effects)
    journal.close()
    return journal.records


class TestRoundTrip:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
    @settings(max_examples=25)
    @given(data=st.data())
    def test_every_event_and_effect_comes_out_as_it_went_in(self, kind: type[Any], data: st.DataObject) -> None:
        item = data.draw(values(kind))
        name, body = encode(item)
        back = decode(name, json.loads(canonical(body)))
        assert back == item
        assert repr(back) == repr(item), "the types of the parts are the same too, not only equal"

    @given(st.binary(), st.binary())
    def test_contents_are_kept_byte_for_byte(self, before: bytes, after: bytes) -> None:
        event = ChangesetTaken(changeset(change("a", after, before)))
        assert recordable(event) == event

    def test_what_is_read_is_what_was_appended(self, path: Path) -> None:
        assert written(path) == read_records(path)
        items = [record.item for record in read_records(path)]
        assert items == [item for event, effects in RICH for item in (event, *effects)]

    @given(st.text())
    def test_half_a_character_is_spelled_out_rather_than_lost(self, text: str) -> None:
        """A file name that is not UTF-8 may come in any message. A path so spelled has a backslash, which the policy refuses."""
        event = recordable(RoomFailed("SendCall", "environment", text + "\udcff"))
        assert event == RoomFailed("SendCall", "environment", (text + "\udcff").encode("utf-8", "backslashreplace").decode())
        assert recordable(event) == event

    def test_an_endless_wait_stays_one(self) -> None:
        event = CallFailed("c001", "rate_limited", "no", "retry-after: inf", inf)
        assert recordable(event) == event
        canonical(encode(event)[1])


class TestAppend:
    def test_it_is_on_disk_when_append_returns(self, journal: Journal, path: Path) -> None:
        for count, (event, effects) in enumerate(RICH, 1):
            journal.append(event, effects)
            assert path.read_bytes().count(b"\n") == len(journal.records) == len(read_records(path))
            assert [record.item for record in journal.records if record.type == "event"][-1] == RICH[count - 1][0]

    def test_records_are_numbered_chained_and_dated(self, path: Path) -> None:
        records = written(path)
        assert [record.seq for record in records] == list(range(len(records)))
        assert [record.prev for record in records] == [GENESIS, *(record.hash for record in records[:-1])]
        assert {record.at for record in records} == {AT}

    def test_an_event_names_the_effect_that_it_answers(self, journal: Journal, path: Path) -> None:
        journal.append(RICH[0][0], RICH[0][1])
        journal.append(StopRequested("me"), (), of=1)
        assert [record.of for record in read_records(path)] == [None, None, 1]

    def test_the_chain_goes_on_after_reopening(self, path: Path) -> None:
        written(path)
        again = Journal(path, clock)
        again.append(StopRequested("again"), ())
        again.close()
        assert read_records(path)[-1].item == StopRequested("again")

    def test_nobody_else_may_read_it(self, journal: Journal, path: Path) -> None:
        assert path.stat().st_mode & 0o077 == 0


class TestDamage:
    @pytest.mark.sampled("bot/store/journal.py")
    def test_every_edit_of_one_byte_is_refused_and_its_line_named(self, path: Path) -> None:
        """Also one that JSON would read as the same value. Only the last line's end is another matter: that is a torn line."""
        written(path)
        raw, chance = path.read_bytes(), Random(1)
        for at in range(len(raw) - 1):
            for byte in {raw[at] ^ 0x20, raw[at] ^ 0x01, chance.randrange(256), 0x0A, 0x0D} - {raw[at]}:
                damaged = raw[:at] + bytes([byte]) + raw[at + 1 :]
                with pytest.raises(SetupError, match=rf"line {raw.count(10, 0, at) + 1}: "):
                    list(read(damaged, path))

    @pytest.mark.parametrize(
        "damage",
        [
            lambda lines: [*lines[:2], *lines[3:]],
            lambda lines: [*lines[:2], lines[2], *lines[2:]],
            lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
            lambda lines: lines[1:],
            lambda lines: [*lines[:2], b"\n", *lines[2:]],
            lambda lines: [*lines[:2], b"null\n", *lines[2:]],
            lambda lines: [*lines[:2], b"[" * 100_000 + b"\n", *lines[2:]],
            lambda lines: [*lines[:2], b'{"seq":2}\n', *lines[2:]],
            lambda lines: [*lines[:2], lines[2].replace(b'"seq":2', b'"seq":2,"seq":2'), *lines[3:]],
            lambda lines: [*lines[:2], lines[2].replace(b'"type":', b'"type": '), *lines[3:]],
        ],
        ids=["missing", "twice", "swapped", "beheaded", "blank", "null", "deep", "poor", "key twice", "spaced"],
    )
    def test_lines_that_are_not_as_they_were_written_are_refused(
        self, path: Path, damage: Callable[[list[bytes]], list[bytes]]
    ) -> None:
        written(path)
        path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
        with pytest.raises(SetupError, match=r"line [1-4]: "):
            read_records(path)
        with pytest.raises(SetupError):
            Journal(path, clock)

    def test_a_refused_journal_is_left_as_it_is_and_not_locked(self, path: Path) -> None:
        written(path)
        raw = path.read_bytes().replace(b"timeout", b"tomeout") + b"torn"
        path.write_bytes(raw)
        for _ in range(2):
            with pytest.raises(SetupError, match="line 4: the record is damaged"):
                Journal(path, clock)
        assert path.read_bytes() == raw

    def test_a_torn_last_line_never_happened(self, path: Path) -> None:
        """Cut anywhere, the whole lines before the cut are there, and the next append begins a line of its own."""
        records = written(path)
        raw = path.read_bytes()
        for size in range(len(raw)):
            path.write_bytes(raw[:size])
            whole = raw[:size].count(b"\n")
            assert read_records(path) == records[:whole]
            if size % 97 and raw[size - 1 : size + 2].count(b"\n") == 0:
                continue
            journal = Journal(path, clock)
            assert journal.records == records[:whole]
            journal.append(StopRequested("me"), ())
            journal.close()
            assert len(read_records(path)) == whole + 1

    def test_no_journal_is_said(self, path: Path) -> None:
        with pytest.raises(SetupError, match="no journal"):
            read_records(path)


def forged(path: Path, change_body: Callable[[dict[str, Any]], None]) -> None:
    """One whole, chained record as another version might have written it."""
    import hashlib

    name, body = encode(ModelReplied("c001", "m", FLAT, (), "end", Usage(), 1.0))
    plain = {"seq": 0, "at": AT, "type": "event", "of": None, "name": name, "body": body, "prev": GENESIS}
    change_body(plain)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(canonical({**plain, "hash": hashlib.sha256(canonical(plain)).hexdigest()}) + b"\n")


@pytest.mark.parametrize(
    "other",
    [
        lambda record: record.update(name="ModelSaid"),
        lambda record: record["body"].pop("usage"),
        lambda record: record["body"].update(tone="friendly"),
        lambda record: record["body"]["usage"].update(thinking=7),
        lambda record: record["body"].update(seconds="soon"),
        lambda record: record["body"].update(blocks=[{"kind": "text", "text": "hi"}]),
        lambda record: record.update(body=None),
    ],
    ids=["name", "field less", "field more", "nested field more", "type", "block", "nothing"],
)
def test_a_record_of_another_version_is_refused_in_one_sentence(path: Path, other: Callable[[dict[str, Any]], None]) -> None:
    """A field that this version does not know may matter: dropping it in silence would change what happened."""
    forged(path, other)
    with pytest.raises(SetupError, match=r"^The journal holds a \w+.* use the version that wrote it\.$") as caught:
        Journal(path, clock)
    assert "\n" not in str(caught.value)
    forged(path, lambda record: None)
    assert len(read_records(path)) == 1


HOLD = """
import sys
from pathlib import Path
from bot.core.events import StopRequested
from bot.core.limits import AGENT, MODES, REFERENCE, Override, Rules, Thresholds
from bot.store.journal import Journal
journal = Journal(Path(sys.argv[1]), lambda: "2025-01-01T00:00:00+00:00")
print("open", flush=True)
if sys.argv[2] == "hold":
    sys.stdin.read()
while True:
    journal.append(StopRequested("x" * 3000), ())
"""


@pytest.fixture
def other_process(path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def start(mode: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


class TestTwoProcesses:
    def test_the_second_is_locked_out_and_told_which_session(
        self, path: Path, other_process: Callable[[str], subprocess.Popen[str]]
    ) -> None:
        path.parent.mkdir()
        holder = other_process("hold")
        with pytest.raises(SetupError, match="Another process is working on the session session"):
            Journal(path, clock)
        assert read_records(path) == [], "looking is allowed"
        holder.kill()
        holder.wait()
        Journal(path, clock).close()

    def test_the_same_process_is_locked_out_too(self, journal: Journal, path: Path) -> None:
        with pytest.raises(SetupError, match="Another process"):
            Journal(path, clock)

    def test_a_lock_file_left_behind_does_not_stay_locked(self, path: Path) -> None:
        written(path)
        fd = os.open(path, os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
        Journal(path, clock).close()

    def test_a_process_killed_while_writing_leaves_a_whole_journal(
        self, path: Path, other_process: Callable[[str], subprocess.Popen[str]]
    ) -> None:
        written(path)
        for turn in range(4):
            writer = other_process("write")
            time.sleep(0.03 * (turn + 1))
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            before = len(read_records(path))
            journal = Journal(path, clock)
            journal.append(StopRequested("survivor"), ())
            journal.close()
            assert len(read_records(path)) == before + 1
        assert before > len(RICH)

    def test_a_reader_sees_whole_records_while_another_writes(
        self, path: Path, other_process: Callable[[str], subprocess.Popen[str]]
    ) -> None:
        path.parent.mkdir()
        other_process("write")
        counts = [len(read_records(path)) for _ in range(15)]
        assert counts == sorted(counts)
