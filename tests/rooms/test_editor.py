"""A model's editing calls against real files: both front ends, all or nothing, what is refused and what is a mistake."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.errors import BadInput, SetupError
from bot.workspace import editor as module
from bot.workspace.editor import Editor, Outcome
from bot.workspace.files import Beneath
from bot.workspace.patches import parse_operation, parse_patch

PYTHON = "def f(x):\n    return x\n\n\ndef g(x):\n    return f(x)\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.py").write_text(PYTHON)
    (root / "data.json").write_text('{"a": 1}\n')
    (root / "pyproject.toml").write_text('[project]\nname = "x"\n')
    (root / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (root / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "secret").write_text("key")
    return root


@pytest.fixture
def editor(root: Path) -> Editor:
    return Editor(Beneath(root), "/home/runner/work/x")


def _files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()
    }


def _claude(editor: Editor, command: str, path: str = "/repo/src/a.py", **more: object) -> Outcome:
    return editor.text_editor({"command": command, "path": path, **more})


def _patch(editor: Editor, *lines: str) -> Outcome:
    return editor.apply_patch({"patch": "\n".join(["*** Begin Patch", *lines, "*** End Patch"])})


def _part(kind: str, name: str, new: str, number: int) -> list[str]:
    """What a patch says about one file."""
    if kind == "add":
        return [f"*** Add File: {new}", f"+new {number}", f"+two {number}"]
    if kind == "delete":
        return [f"*** Delete File: {name}"]
    move = [f"*** Move to: {new}"] if kind == "move" else []
    return [f"*** Update File: {name}", *move, "@@", f"-one {number}", f"+new {number}", f" two {number}"]


class TestView:
    def test_a_file_has_line_numbers_and_a_range(self, editor: Editor) -> None:
        assert _claude(editor, "view").text.split("\n")[:2] == ["     1\tdef f(x):", "     2\t    return x"]
        assert _claude(editor, "view", view_range=[5, -1]).text == "     5\tdef g(x):\n     6\t    return f(x)"
        assert _claude(editor, "view", view_range=[2, 2]).text == "     2\t    return x"
        for bad in ([0, 2], [3, 2], [99, 100], [1], "1-2", [1, 2.5], [True, 2]):
            assert _claude(editor, "view", view_range=bad).is_error

    @pytest.mark.parametrize("path", ["/repo", "/repo/", ".", "./", "/home/runner/work/x"])
    def test_the_root_by_any_of_its_names_lists_two_levels(self, editor: Editor, root: Path, path: str) -> None:
        (root / "src" / "deep" / "deeper").mkdir(parents=True)
        (root / "node_modules" / "x").mkdir(parents=True)
        (root / ".hidden").write_text("")
        shown = _claude(editor, "view", path)
        assert shown.text.split("\n") == [
            "./",
            "data.json",
            "latin.txt",
            "logo.png",
            "pyproject.toml",
            "src/",
            "src/a.py",
            "src/deep/",
        ]

    def test_long_files_and_folders_say_how_to_go_on(self, editor: Editor, root: Path) -> None:
        (root / "long.txt").write_text("".join(f"line {n}\n" for n in range(1, 1001)))
        shown = _claude(editor, "view", "/repo/long.txt").text
        assert shown.endswith("   250\tline 250\n(Lines 1 to 250 of 1000; for more use view_range [251, 500].)")
        (root / "wide.txt").write_text("x" * 100_000 + "\nend\n")
        shown = _claude(editor, "view", "wide.txt").text
        assert len(shown) < module.VIEW_CHARS + 200
        assert "cut" in shown
        assert "view_range [2, 2]" in shown
        for number in range(500):
            (root / "src" / f"m{number:03}.txt").touch()
        assert _claude(editor, "view", "src").text.endswith("(There are more entries; view a folder below to see them.)")

    def test_what_is_no_text_shows_size_and_kind(self, editor: Editor) -> None:
        assert _claude(editor, "view", "logo.png").text == "logo.png: 10 bytes, PNG image; not shown."
        assert "text that isn't UTF-8" in _claude(editor, "view", "latin.txt").text

    @pytest.mark.parametrize(
        "path", ["/etc/passwd", "../secret", "/repo/../secret", ".git/config", "link", "/proc/self/environ", "none"]
    )
    def test_reading_elsewhere_is_a_plain_error(self, editor: Editor, root: Path, path: str) -> None:
        (root / "link").symlink_to("../secret")
        done = _claude(editor, "view", path)
        assert done.is_error
        assert done.refused == ()
        assert "key" not in done.text


class TestStrReplace:
    def test_it_edits_and_says_where(self, editor: Editor, root: Path) -> None:
        done = _claude(editor, "str_replace", old_str="    return x\n", new_str="    y = x\n    return y\n")
        assert not done.is_error
        assert done.touched == ("src/a.py",)
        assert done.text == "Edited src/a.py, lines 2-3."
        assert (root / "src" / "a.py").read_text() == PYTHON.replace("    return x\n", "    y = x\n    return y\n")

    def test_a_damaged_quotation_is_mended_and_said(self, editor: Editor, root: Path) -> None:
        done = _claude(editor, "str_replace", old_str="def g(x):\nreturn f(x)", new_str="def g(x):\nlog(x)\nreturn f(x)")
        assert "level 'indent'" in done.text
        assert (root / "src" / "a.py").read_text() == PYTHON.replace("    return f(x)", "    log(x)\n    return f(x)")

    def test_a_missing_new_str_deletes(self, editor: Editor, root: Path) -> None:
        assert not _claude(editor, "str_replace", old_str="\n\ndef g(x):\n    return f(x)\n").is_error
        assert (root / "src" / "a.py").read_text() == "def f(x):\n    return x\n"

    def test_an_ambiguous_or_unknown_block_changes_nothing(self, editor: Editor, root: Path) -> None:
        before = _files(root)
        for old in ("(x):", "nowhere to be found", ""):
            done = _claude(editor, "str_replace", old_str=old, new_str="y")
            assert done.is_error
            assert done.touched == ()
        assert "lines 1, 5" in _claude(editor, "str_replace", old_str="(x):", new_str="y").text
        assert _files(root) == before

    @pytest.mark.parametrize("path", ["logo.png", "latin.txt"])
    def test_what_is_no_utf8_text_is_left_alone(self, editor: Editor, root: Path, path: str) -> None:
        before = _files(root)
        done = _claude(editor, "str_replace", path, old_str="a", new_str="b")
        assert done.is_error
        assert "can't be edited" in done.text
        assert _claude(editor, "create", path, file_text="x").is_error
        assert _files(root) == before

    def test_windows_newlines_and_mode_stay(self, editor: Editor, root: Path) -> None:
        script = root / "run.py"
        script.write_bytes(b"a = 1\r\nb = 2\r\n")
        script.chmod(0o755)
        assert not _claude(editor, "str_replace", "run.py", old_str="a = 1\nb = 2", new_str="a = 1\nc = 3\nb = 2").is_error
        assert script.read_bytes() == b"a = 1\r\nc = 3\r\nb = 2\r\n"
        assert os.access(script, os.X_OK)


class TestCreateAndInsert:
    def test_create_makes_a_file_and_its_folders(self, editor: Editor, root: Path) -> None:
        done = _claude(editor, "create", "/home/runner/work/x/new/deep/b.py", file_text="b = 1\n")
        assert done.touched == ("new/deep/b.py",)
        assert (root / "new" / "deep" / "b.py").read_text() == "b = 1\n"

    def test_create_rewrites_short_files_only(self, editor: Editor, root: Path) -> None:
        assert not _claude(editor, "create", file_text="z = 1\n").is_error
        (root / "long.txt").write_text("x\n" * 200)
        assert _claude(editor, "create", "long.txt", file_text="short\n").is_error
        assert (root / "long.txt").read_text() == "x\n" * 200

    @pytest.mark.parametrize(("at", "wanted"), [(0, "N\na\nb"), (1, "a\nN\nb"), (2, "a\nb\nN")])
    @pytest.mark.parametrize("name", ["insert_text", "new_str"])
    @pytest.mark.parametrize("text", ["N", "N\n"])
    def test_insert_goes_below_the_line(self, editor: Editor, root: Path, at: int, wanted: str, name: str, text: str) -> None:
        (root / "t.txt").write_text("a\nb")
        assert not editor.text_editor({"command": "insert", "path": "t.txt", "insert_line": at, name: text}).is_error
        assert (root / "t.txt").read_text() == wanted

    def test_insert_outside_the_file_is_an_error(self, editor: Editor) -> None:
        for at in (-1, 7, "1", None, True):
            assert _claude(editor, "insert", insert_line=at, insert_text="x").is_error

    def test_bad_arguments_are_sentences_not_exceptions(self, editor: Editor) -> None:
        for arguments in (
            {},
            {"command": "undo_edit", "path": "a"},
            {"command": "view"},
            {"command": "create", "path": "x"},
            {"command": "create", "path": 3, "file_text": "x"},
            {"command": "str_replace", "path": "src/a.py"},
            {"command": "create", "path": "x", "file_text": "\udc80"},
            {"command": "create", "path": "x", "file_text": "\0"},
            {"command": "create", "path": "/repo", "file_text": "x"},
            {"command": ["view"], "path": "x"},
        ):
            done = editor.text_editor(arguments)
            assert done.is_error
            assert done.text.endswith(".")
            assert done.touched == done.refused == ()


class TestParsing:
    @pytest.mark.parametrize(
        ("path", "old", "new"),
        [("src/a.py", "return x\n", "return (x\n"), ("data.json", "1}", "1"), ("pyproject.toml", '"x"', '"x')],
    )
    def test_an_edit_that_breaks_a_file_is_not_written(self, editor: Editor, root: Path, path: str, old: str, new: str) -> None:
        before = _files(root)
        done = _claude(editor, "str_replace", path, old_str=old, new_str=new)
        assert done.is_error
        assert "no longer parse" in done.text
        assert _files(root) == before

    def test_new_files_must_parse_and_broken_ones_may_stay_broken(self, editor: Editor, root: Path) -> None:
        assert _claude(editor, "create", "new.py", file_text="def f(:\n").is_error
        assert not (root / "new.py").exists()
        (root / "old.py").write_text("print 'python 2'\nx = 1\n")
        assert not _claude(editor, "str_replace", "old.py", old_str="x = 1", new_str="x = 2").is_error
        assert not _claude(editor, "create", "odd.py", file_text="x = '\\d'\n").is_error
        assert not _claude(editor, "create", "tsconfig.json", file_text="{} // comment\n").is_error


WRITES_OUT = [
    "/etc/ostler-test",
    "../secret",
    "/repo/../secret",
    "link",
    "links/x",
    ".git/hooks/pre-commit",
    ".gitmodules",
    "src/.GIT/config",
    "/repo/git~1/config",
    "magic/tmp/x",
]


class TestRefusals:
    @pytest.mark.parametrize("path", WRITES_OUT)
    def test_writes_elsewhere_are_refused_and_listed(self, editor: Editor, root: Path, path: str) -> None:
        (root / "link").symlink_to("../secret")
        (root / "links").symlink_to("..")
        (root / "magic").symlink_to("/proc/self/root")
        before = _files(root.parent)
        for arguments in (
            {"command": "create", "path": path, "file_text": "x"},
            {"command": "str_replace", "path": path, "old_str": "key", "new_str": "x"},
            {"command": "insert", "path": path, "insert_line": 0, "insert_text": "x"},
        ):
            done = editor.text_editor(arguments)
            assert done.is_error
            assert len(done.refused) == 1, done
        for operation in ({"type": "create_file", "path": path, "diff": "+x"}, {"type": "delete_file", "path": path}):
            assert editor.apply_patch({"operation": operation}).refused == done.refused
        moved = _patch(editor, "*** Update File: src/a.py", f"*** Move to: {path}", "@@", "-    return x", "+    return 1")
        assert moved.refused == done.refused
        assert _files(root.parent) == before

    def test_a_patch_names_all_of_them_and_writes_none_of_the_rest(self, editor: Editor, root: Path) -> None:
        before = _files(root.parent)
        done = _patch(editor, "*** Add File: ok.txt", "+fine", "*** Add File: ../x", "+x", "*** Delete File: .git/index")
        assert done.refused == ("../x", ".git/index")
        assert _files(root.parent) == before

    def test_slips_are_errors_without_refusal(self, editor: Editor) -> None:
        for path in ("none.py", "src", "src/a.py/x", "a//b", "trailing. "):
            done = _claude(editor, "str_replace", path, old_str="a", new_str="b")
            assert done.is_error
            assert done.refused == ()


class TestPatches:
    def test_a_whole_patch_adds_updates_moves_and_deletes(self, editor: Editor, root: Path) -> None:
        (root / "tool").write_text("one\ntwo\n")
        (root / "tool").chmod(0o755)
        done = _patch(
            editor,
            "*** Add File: docs/new.md",
            "+# New",
            "+",
            "+text",
            "*** Update File: /repo/src/a.py",
            "@@ def f(x):",
            "-    return x",
            "+    return -x",
            "@@ def g(x):",
            "-    return f(x)",
            "+    return 0",
            "*** Update File: tool",
            "*** Move to: bin/tool",
            "@@",
            " one",
            "-two",
            "+three",
            "*** End of File",
            "*** Delete File: data.json",
        )
        assert not done.is_error, done.text
        assert set(done.touched) == {"docs/new.md", "src/a.py", "tool", "bin/tool", "data.json"}
        assert (root / "docs" / "new.md").read_text() == "# New\n\ntext\n"
        assert (root / "src" / "a.py").read_text() == "def f(x):\n    return -x\n\n\ndef g(x):\n    return 0\n"
        assert (root / "bin" / "tool").read_text() == "one\nthree\n"
        assert os.access(root / "bin" / "tool", os.X_OK)
        assert not (root / "tool").exists()
        assert not (root / "data.json").exists()

    def test_one_bad_chunk_undoes_the_call(self, editor: Editor, root: Path) -> None:
        before = _files(root)
        done = _patch(editor, "*** Add File: ok.txt", "+x", "*** Update File: src/a.py", "@@", "-nowhere", "+x")
        assert done.is_error
        assert _files(root) == before
        done = _patch(editor, "*** Delete File: data.json", "*** Update File: src/a.py", "@@", "-    return x", "+    return (")
        assert done.is_error
        assert _files(root) == before

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(["update", "add", "delete", "move"]), st.booleans()), min_size=1, max_size=5))
    def test_over_several_files_it_is_all_or_nothing(self, parts: list[tuple[str, bool]]) -> None:
        """Each part of a patch does what it should, or one that can't keeps all of them from being written."""
        lines: list[str] = []
        with TemporaryDirectory() as folder:
            before = {f"{n}.txt": f"one {n}\ntwo {n}\n".encode() for n in range(len(parts))}
            after = dict(before)
            for n, (kind, fits) in enumerate(parts):
                (Path(folder) / f"{n}.txt").write_bytes(before[f"{n}.txt"])
                name, new = (f"{n}.txt" if fits else f"none{n}.txt"), (f"new{n}.txt" if fits else f"{n}.txt")
                lines += _part(kind, name, new, n)
                if kind in ("delete", "move"):
                    after.pop(f"{n}.txt")
                if kind in ("add", "move"):
                    after[new] = f"new {n}\ntwo {n}\n".encode()
                elif kind == "update":
                    after[f"{n}.txt"] = f"new {n}\ntwo {n}\n".encode()
            done = _patch(Editor(Beneath(Path(folder))), *lines)
            good = all(fits for _, fits in parts)
            assert done.is_error is not good
            assert _files(Path(folder)) == (after if good else before)

    def test_a_disk_that_fails_halfway_leaves_everything_as_it_was(
        self, editor: Editor, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root / "run").write_text("x\n")
        (root / "run").chmod(0o755)
        before, write = _files(root), Beneath.write

        def failing(self: Beneath, path: str, data: bytes, *, executable: bool = False) -> None:
            if path == "z.txt":
                raise SetupError("The worktree can't be used: no space left.")
            write(self, path, data, executable=executable)

        monkeypatch.setattr(Beneath, "write", failing)
        done = _patch(
            editor,
            "*** Add File: new/a.txt",
            "+a",
            "*** Delete File: run",
            "*** Update File: src/a.py",
            "@@",
            "-    return x",
            "+    return 1",
            "*** Add File: z.txt",
            "+z",
        )
        assert done.is_error
        assert done.touched == ()
        assert _files(root) == before
        assert os.access(root / "run", os.X_OK)

    def test_the_tools_operations(self, editor: Editor, root: Path) -> None:
        assert editor.apply_patch({"type": "create_file", "path": "n.txt", "diff": "+a\n+b\n"}).touched == ("n.txt",)
        assert (root / "n.txt").read_text() == "a\nb\n"
        update = {"type": "update_file", "path": "/repo/n.txt", "diff": "@@\n a\n-b\n+c\n"}
        assert editor.apply_patch({"operation": update}).touched == ("n.txt",)
        assert (root / "n.txt").read_text() == "a\nc\n"
        assert editor.apply_patch({"type": "create_file", "path": "n.txt", "diff": "+a"}).is_error
        assert editor.apply_patch({"type": "delete_file", "path": "n.txt"}).touched == ("n.txt",)
        assert not (root / "n.txt").exists()

    def test_chunks_that_only_add(self, editor: Editor, root: Path) -> None:
        assert not _patch(editor, "*** Update File: src/a.py", "@@ def f(x):", "+    x += 1", "@@", "+", "+END = 1").is_error
        assert (root / "src" / "a.py").read_text() == PYTHON.replace("def f(x):\n", "def f(x):\n    x += 1\n") + "\nEND = 1\n"


class TestPatchText:
    def test_fences_heredocs_and_line_numbers_are_taken_off(self) -> None:
        body = "*** Update File: a.py\n@@ -1,2 +1,2 @@ class A\n@@ def f\n x\n-y\n+z\n"
        text = f"apply_patch <<'EOF'\n*** Begin Patch\n{body}*** End Patch\nEOF\n"
        (edit,) = parse_patch(text)
        (chunk,) = edit.edits
        assert (chunk.search, chunk.replace, chunk.scope) == ("x\ny\n", "x\nz\n", ("class A", "def f"))
        assert parse_patch(f"```\n{text.split(chr(10), 1)[1]}```")[0] == edit

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "hello",
            "*** Begin Patch\n*** End Patch",
            "*** Begin Patch\n*** Add File: a\n+x",
            "*** Begin Patch\n+x\n*** End Patch",
            "*** Begin Patch\n*** Add File: \n+x\n*** End Patch",
            "*** Begin Patch\n*** Add File: a\nx\n*** End Patch",
            "*** Begin Patch\n*** Delete File: a\n-x\n*** End Patch",
            "*** Begin Patch\n*** Update File: a\n*** End Patch",
            "*** Begin Patch\n*** Update File: a\n@@\n x\n*** End Patch",
            "*** Begin Patch\n*** Update File: a\n@@\nx\n*** End Patch",
            "*** Begin Patch\n*** Update File: a\n*** Move to:\n*** End Patch",
            "*** Begin Patch\n*** Update File: a\n@@\n-x\n*** End of File\n-y\n*** End Patch",
            "*** Begin Patch\n*** Add File: a\n+x\n*** End Patch\n*** Begin Patch\n*** Add File: b\n+x\n*** End Patch",
        ],
    )
    def test_malformed_patches_are_one_sentence(self, text: str) -> None:
        with pytest.raises(BadInput) as caught:
            parse_patch(text)
        assert str(caught.value).endswith((".", "line."))

    def test_malformed_operations_are_one_sentence(self) -> None:
        for operation in (
            {},
            {"type": "create_file"},
            {"type": "x", "path": "a"},
            {"type": "update_file", "path": "a", "diff": 3},
            {"type": "update_file", "path": "a"},
            {"type": "create_file", "path": "a", "diff": "x"},
        ):
            with pytest.raises(BadInput):
                parse_operation(operation)
