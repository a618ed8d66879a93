"""Session folders on a real disk: names, finding, and files that are whole or not there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bot.core.errors import BadInput, SetupError
from bot.store.session import Metadata, SessionFolder, Sessions

AT = "2025-03-01T12:00:00.123456+00:00"


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    return Sessions(tmp_path / "state")


def made(sessions: Sessions, name: str, at: str = AT, *, exclusive: bool = False, status: str = "running") -> SessionFolder:
    session = sessions.create(name, at=at, repository="/repo", goal="Fix it", exclusive=exclusive)
    session.update(status=status)
    return session


class TestNames:
    def test_a_session_is_named_by_name_and_time(self, sessions: Sessions) -> None:
        session = made(sessions, "fix-total")
        assert session.id == "fix-total_20250301_120000"
        assert session.metadata() == Metadata("fix-total", session.id, "/repo", "Fix it", "running", AT)

    def test_two_in_one_second_do_not_meet(self, sessions: Sessions) -> None:
        ids = [made(sessions, "fix").id for _ in range(3)]
        assert ids == ["fix_20250301_120000", "fix_20250301_120000-2", "fix_20250301_120000-3"]

    @pytest.mark.parametrize("name", ["", "A", "-a", "a_b", "a b", "../a", "a/b", ".", "a\n", "é", "a" * 64, "a.b", "a\0b", "~"])
    def test_what_is_no_name_is_refused(self, sessions: Sessions, name: str) -> None:
        with pytest.raises(BadInput, match="no session name"):
            made(sessions, name)
        assert sessions.newest() == []

    @pytest.mark.parametrize("name", ["a", "0", "fix-the-total-of-7", "a" * 63, "a-"])
    def test_names_that_are_fine(self, sessions: Sessions, name: str) -> None:
        assert sessions.find(made(sessions, name).id).metadata().name == name

    @pytest.mark.parametrize("status", ["running", "paused"])
    def test_a_chosen_name_whose_session_is_unfinished_is_refused(self, sessions: Sessions, status: str) -> None:
        made(sessions, "fix", status=status)
        with pytest.raises(BadInput, match=r"fix_20250301_120000 is not finished"):
            made(sessions, "fix", exclusive=True)
        made(sessions, "fix", exclusive=False)
        made(sessions, "fix-2", exclusive=True)

    @pytest.mark.parametrize("status", ["completed", "failed"])
    def test_a_finished_name_may_be_used_again(self, sessions: Sessions, status: str) -> None:
        made(sessions, "fix", status=status)
        assert made(sessions, "fix", "2025-03-01T13:00:00+00:00", exclusive=True).id == "fix_20250301_130000"


class TestFinding:
    def test_newest_first(self, sessions: Sessions) -> None:
        ids = [made(sessions, name, f"2025-03-0{day}T00:00:00+00:00").id for day, name in ((2, "b"), (3, "a"), (1, "c"))]
        assert [session.id for session in sessions.newest()] == [ids[1], ids[0], ids[2]]
        assert Sessions(Path("/nowhere")).newest() == []

    def test_by_id_or_the_newest_of_a_name(self, sessions: Sessions) -> None:
        old = made(sessions, "fix", "2025-03-01T00:00:00+00:00")
        new = made(sessions, "fix", "2025-03-02T00:00:00+00:00")
        assert sessions.find("fix").id == new.id
        assert sessions.find(old.id).id == old.id

    @pytest.mark.parametrize("name", ["nothing", "", ".", "..", "../secret", "/etc", "a\0b", "fix*"])
    def test_what_is_not_there_is_said(self, sessions: Sessions, tmp_path: Path, name: str) -> None:
        outside = tmp_path / "state" / "secret"
        made(sessions, "fix")
        outside.mkdir()
        (outside / "metadata.json").write_text("{}")
        with pytest.raises(BadInput, match="no session"):
            sessions.find(name)

    def test_folders_of_others_are_left_alone(self, sessions: Sessions) -> None:
        made(sessions, "fix")
        (sessions.root / "something").mkdir()
        (sessions.root / "file").write_text("x")
        assert len(sessions.newest()) == 1

    @pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"name": "x"}', '{"unknown": 1}', "\x00"])
    def test_a_damaged_session_is_named_and_does_not_hide_the_others(self, sessions: Sessions, damage: str) -> None:
        sound = made(sessions, "sound")
        broken = made(sessions, "broken", "2025-03-02T00:00:00+00:00")
        (broken.path / "metadata.json").write_text(damage)
        with pytest.raises(SetupError, match=r"broken_20250302_000000/metadata\.json cannot be read"):
            broken.metadata()
        assert sessions.find("sound").id == sound.id
        assert sessions.find(broken.id).id == broken.id
        made(sessions, "another", exclusive=True)


class TestFiles:
    def test_a_file_is_replaced_whole(self, sessions: Sessions) -> None:
        session = made(sessions, "fix")
        reader = (session.write("runs/run-01/report.md", "old\n")).open()
        session.write("runs/run-01/report.md", "new “text”\n")
        assert reader.read() == "old\n", "who reads the old one reads it to its end"
        reader.close()
        assert (session.path / "runs/run-01/report.md").read_text("utf-8") == "new “text”\n"

    def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(self, sessions: Sessions) -> None:
        session = made(sessions, "fix")
        session.write("report.md", "old")
        before = sorted(path.name for path in session.path.iterdir())
        with pytest.raises(UnicodeEncodeError):
            session.write("report.md", "half a character: \ud800")
        assert (session.path / "report.md").read_text() == "old"
        assert sorted(path.name for path in session.path.iterdir()) == before

    def test_updating_changes_only_what_is_said(self, sessions: Sessions) -> None:
        session = made(sessions, "fix")
        before = session.metadata()
        session.update(cost=7, outcome="done")
        after = session.metadata()
        assert (after.cost, after.outcome) == (7, "done")
        assert (after.goal, after.started_at, after.status) == (before.goal, before.started_at, before.status)

    def test_nobody_else_may_look_into_a_session(self, sessions: Sessions) -> None:
        session = made(sessions, "fix")
        session.write("report.md", "x")
        old = os.umask(0)
        try:
            open_to_all = made(sessions, "open")
            open_to_all.write("report.md", "x")
        finally:
            os.umask(old)
        for path in (session.path, open_to_all.path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
            assert not (path / "report.md").stat().st_mode & 0o022
