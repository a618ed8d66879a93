"""Version modules that git ignores reach the copies in which tests run, and nothing else does."""

from __future__ import annotations

from pathlib import Path

from bot.workspace import generated


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def test_only_untracked_version_modules_beside_tracked_code_are_found(tmp_path: Path) -> None:
    put(tmp_path, "src/pk/_version.py", "src/pk/local_settings.py", "src/other/_version.py", "version.py", "notes/_version.py")
    (tmp_path / "src/pk/__version__.py").symlink_to(tmp_path / "src/pk/local_settings.py")
    found = generated.version_modules(tmp_path, ["src/pk/__init__.py", "setup.py", "version.py", "notes/a.txt"])
    assert found == {"src/pk/_version.py": b"src/pk/_version.py"}


def test_a_copy_keeps_its_own_files_and_follows_no_link(tmp_path: Path) -> None:
    copy, outside = put(tmp_path / "copy", "pk/__init__.py", "own/_version.py"), put(tmp_path / "outside", "a")
    (copy / "led").symlink_to(outside)
    generated.add({"pk/_version.py": b"1", "own/_version.py": b"2", "led/_version.py": b"3", "gone/_version.py": b"4"}, copy)
    assert (copy / "pk/_version.py").read_bytes() == b"1"
    assert (copy / "own/_version.py").read_text() == "own/_version.py"
    assert not (outside / "_version.py").exists()
    assert not (copy / "gone").exists()
