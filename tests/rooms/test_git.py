"""The git room against real git: trees in and out, a poisoned repository, delivery into a user's checkout."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from bot.core.errors import SetupError
from bot.workspace.checkout import Checkout
from bot.workspace.git import Worktree
from bot.workspace.merging import revert

WHO = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
}


def sh(at: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=at, env=WHO, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "user"
    root.mkdir()
    sh(root, "init", "-q", "-b", "main")
    put(root, a_DOT_py="A = 1\n", pkg__b_DOT_py="B = 1\n", _DOT_gitignore="*.log\nbuild/\n")
    (root / "link").symlink_to("a.py")
    (root / "tool.sh").write_text("#!/bin/sh\n")
    (root / "tool.sh").chmod(0o755)
    sh(root, "add", "-A")
    sh(root, "commit", "-qm", "first")
    return root


@pytest.fixture
def work(repo: Path, tmp_path: Path) -> Worktree:
    return Worktree.create(tmp_path / "run", Checkout.open(repo), "HEAD")


class TestCheckout:
    def test_says_what_it_found(self, repo: Path) -> None:
        found = Checkout.open(repo / "pkg")
        assert (found.root, found.branch, found.shallow, found.dirty()) == (repo, "main", False, ())
        assert found.head == sh(repo, "rev-parse", "HEAD")

    def test_detached_head_has_no_branch(self, repo: Path) -> None:
        sh(repo, "checkout", "-q", "--detach")
        assert Checkout.open(repo).branch is None

    def test_linked_worktree_shares_objects(self, repo: Path, tmp_path: Path) -> None:
        sh(repo, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
        found = Checkout.open(tmp_path / "linked")
        assert (found.branch, found.git_dir, found.root) == ("side", repo / ".git", tmp_path / "linked")
        put(found.root, a_DOT_py="A = 2\n")
        assert found.dirty() == ("a.py",)

    def test_what_is_no_checkout_is_refused_in_one_sentence(self, repo: Path, tmp_path: Path) -> None:
        (tmp_path / "plain").mkdir()
        sh(tmp_path, "init", "-q", "--bare", "bare.git")
        sh(tmp_path, "init", "-q", "empty")
        cases = {
            "missing": "does not exist",
            "plain": "not a git",
            "bare.git": "bare",
            "empty": "no commits",
            "user/.git": "inside a .git",
        }
        for name, said in cases.items():
            with pytest.raises(SetupError, match=said) as caught:
                Checkout.open(tmp_path / name)
            assert "\n" not in str(caught.value)

    def test_dirty_lists_changed_staged_and_untracked_but_not_ignored(self, repo: Path) -> None:
        put(repo, a_DOT_py="A = 2\n", new__x_DOT_py="", x_DOT_log="", build__y="")
        (repo / "pkg/b.py").unlink()
        put(repo, staged_DOT_py="")
        sh(repo, "add", "staged.py")
        assert Checkout.open(repo).dirty() == ("a.py", "new/x.py", "pkg/b.py", "staged.py")

    def test_dirty_sees_line_ends_as_the_user_does(self, repo: Path) -> None:
        sh(repo, "config", "core.autocrlf", "true")
        (repo / "a.py").unlink()
        sh(repo, "checkout", "a.py")
        assert (repo / "a.py").read_bytes() == b"A = 1\r\n"
        os.utime(repo / "a.py", (10**9, 10**9))
        assert Checkout.open(repo).dirty() == ()

    def test_branch_with_odd_names_and_config_includes(self, repo: Path, tmp_path: Path) -> None:
        (tmp_path / "evil").write_text("[core]\n\tfilemode = nonsense\n")
        sh(repo, "config", "include.path", str(tmp_path / "evil"))
        sh(repo, "config", "--file", str(tmp_path / "evil"), "core.filemode", "false")
        sh(repo, "checkout", "-qb", "feat/ümlaut")
        assert Checkout.open(repo).branch == "feat/ümlaut"


def poison(root: Path, marks: Path) -> None:
    """Point every setting that can run a program at one that leaves a marker named after it."""
    marks.mkdir()
    hooks = root / ".git" / "hooks-evil"
    hooks.mkdir()

    def leave(name: str, rest: str = "") -> str:
        script = hooks / f"run-{name}"
        script.write_text(f"#!/bin/sh\ntouch '{marks}/{name}'\n{rest}\n")
        script.chmod(0o755)
        return str(script)

    for hook in ("pre-commit", "post-checkout", "post-index-change", "reference-transaction", "post-commit", "pre-auto-gc"):
        (hooks / hook).write_text(f"#!/bin/sh\ntouch '{marks}/hook-{hook}'\n")
        (hooks / hook).chmod(0o755)
    settings = {
        "core.hooksPath": str(hooks),
        "core.fsmonitor": leave("fsmonitor"),
        "filter.x.clean": leave("clean", "cat"),
        "filter.x.smudge": leave("smudge", "cat"),
        "filter.x.process": leave("process"),
        "filter.x.required": "true",
        "diff.x.textconv": leave("textconv", 'cat "$1"'),
        "diff.x.command": leave("diffcommand"),
        "diff.external": leave("external"),
        "merge.x.driver": leave("merge"),
        "core.pager": leave("pager", "cat"),
        "core.editor": leave("editor"),
        "core.sshCommand": leave("ssh"),
        "core.askPass": leave("askpass"),
        "core.alternateRefsCommand": leave("alternates"),
        "credential.helper": leave("credential"),
        "gpg.program": leave("gpg"),
        "commit.gpgSign": "true",
        "alias.status": "!" + leave("alias"),
        "alias.rev-parse": "!" + leave("alias"),
        "uploadpack.packObjectsHook": leave("packhook"),
        "url.ext::sh -c touch%S" + str(marks) + "/ext.insteadOf": "/",
        "protocol.ext.allow": "always",
    }
    attributes = "* filter=x diff=x merge=x\n"
    (root / ".gitattributes").write_text(attributes)
    sh(root, "add", "-A")
    sh(root, "commit", "-qm", "attributes")
    with (root / ".git" / "config").open("a") as file:
        for name, value in settings.items():
            section, _, key = name.rpartition(".")
            first, _, rest = section.partition(".")
            head = f'[{first} "{rest}"]' if rest else f"[{first}]"
            file.write(f'{head}\n\t{key} = "{value}"\n')


class TestPoisoned:
    def test_nothing_the_repository_configures_is_run(self, repo: Path, tmp_path: Path) -> None:
        marks = tmp_path / "marks"
        poison(repo, marks)
        put(repo, a_DOT_py="A = 3\n")
        checkout = Checkout.open(repo)
        assert checkout.dirty() == ("a.py",)
        work = Worktree.create(tmp_path / "run", checkout, checkout.head)
        base = work.tree_of(checkout.head)
        put(work.tree, a_DOT_py="A = 4\n")
        tree = work.snapshot()
        work.materialise(tree, tmp_path / "copy")
        assert "A = 4" in work.diff(base, tree)
        work.log(2)
        work.overlay(base, tree, ["a.py"])
        commit = work.commit(tree, checkout.head, "change\n", "2026-01-02T03:04:05+00:00")
        assert revert(work, checkout.head) is not None
        work.restore(base)
        work.deliver(checkout, commit, "ostler/x")
        assert checkout.branch_head("ostler/x") == commit
        assert sorted(path.name for path in marks.iterdir()) == []

    def test_the_poison_works_on_plain_git(self, repo: Path, tmp_path: Path) -> None:
        """Otherwise the test above proves nothing."""
        marks = tmp_path / "marks"
        poison(repo, marks)
        put(repo, a_DOT_py="A = 3\n")
        subprocess.run(["git", "status"], cwd=repo, env=WHO, capture_output=True, check=False)
        subprocess.run(["git", "diff"], cwd=repo, env=WHO, capture_output=True, check=False)
        assert {"fsmonitor", "clean"} & {path.name for path in marks.iterdir()}

    def test_a_repository_left_inside_the_tree_is_neither_run_nor_hides_files(self, work: Worktree, tmp_path: Path) -> None:
        inner = work.tree / "inner"
        inner.mkdir()
        sh(inner, "init", "-q")
        put(inner, seen_DOT_py="S = 1\n")
        sh(inner, "add", "-A")
        sh(inner, "commit", "-qm", "x")
        poison(inner, tmp_path / "marks")
        (work.tree / ".git").write_text("gitdir: /nonexistent\n")
        (work.tree / ".GIT").mkdir()
        tree = work.snapshot()
        assert "inner/seen.py" in work.files(tree)
        assert not list((tmp_path / "marks").iterdir())
        assert not (work.tree / ".git").exists()
        assert not (work.tree / ".GIT").exists()


class TestTrees:
    def test_create_gives_the_files_and_no_git_entry(self, work: Worktree) -> None:
        assert sorted(os.listdir(work.tree)) == [".gitignore", "a.py", "link", "pkg", "tool.sh"]
        assert os.readlink(work.tree / "link") == "a.py"
        assert os.access(work.tree / "tool.sh", os.X_OK)
        assert work.snapshot() == work.tree_of(work.base)
        assert Worktree.open(work.folder) == work

    def test_changes_show_every_kind(self, work: Worktree) -> None:
        base = work.tree_of(work.base)
        put(work.tree, a_DOT_py="A = 2\n", new_DOT_py="N = 1\n", noise_DOT_log="x", pkg____pycache____b_DOT_pyc="x")
        (work.tree / "pkg/b.py").unlink()
        (work.tree / "tool.sh").chmod(0o644)
        (work.tree / "link").unlink()
        put(work.tree, link="now a file\n")
        tree = work.snapshot()
        found = {c.path: (c.op, c.old_mode, c.new_mode, c.before, c.after) for c in work.changes(base, tree)}
        assert found == {
            "a.py": ("modify", "100644", "100644", b"A = 1\n", b"A = 2\n"),
            "link": ("modify", "120000", "100644", b"a.py", b"now a file\n"),
            "new.py": ("add", "000000", "100644", None, b"N = 1\n"),
            "pkg/b.py": ("delete", "100644", "000000", b"B = 1\n", None),
            "tool.sh": ("modify", "100755", "100644", b"#!/bin/sh\n", b"#!/bin/sh\n"),
        }
        assert work.changes(tree, tree) == ()

    def test_the_patch_applies_with_plain_git(self, work: Worktree, repo: Path) -> None:
        (work.tree / "blob.bin").write_bytes(bytes(range(256)))
        put(work.tree, a_DOT_py="A = 'ü'\n")
        (work.tree / "latin.txt").write_bytes(b"caf\xe9\n")
        tree = work.snapshot()
        patch = repo.parent / "p"
        patch.write_bytes(work.patch(work.tree_of(work.base), tree))
        sh(repo, "apply", "--index", str(patch))
        assert sh(repo, "write-tree") == tree

    def test_restore_leaves_exactly_the_tree(self, work: Worktree) -> None:
        base = work.tree_of(work.base)
        put(work.tree, a_DOT_py="broken", noise_DOT_log="", build__deep__x="", new_DOT_py="")
        (work.tree / "tool.sh").chmod(0o000)
        (work.tree / "pkg/b.py").unlink()
        (work.tree / "pkg/b.py").mkdir()
        put(work.tree, **{"pkg__b.py__inside": ""})
        os.mkfifo(work.tree / "pipe")
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(work.tree / "s"))
        (work.tree / "build").chmod(0o000)
        work.restore(base)
        assert sorted(p.relative_to(work.tree).as_posix() for p in work.tree.rglob("*")) == [
            ".gitignore",
            "a.py",
            "link",
            "pkg",
            "pkg/b.py",
            "tool.sh",
        ]
        assert (work.tree / "a.py").read_text() == "A = 1\n"
        assert (work.tree / "tool.sh").stat().st_mode & 0o777 == 0o755
        assert work.snapshot() == base

    def test_links_planted_in_place_of_folders_are_not_followed(self, work: Worktree, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        put(outside, b_DOT_py="keep\n", other="keep\n")
        (work.tree / "pkg/b.py").unlink()
        (work.tree / "pkg").rmdir()
        (work.tree / "pkg").symlink_to(outside)
        tree = work.snapshot()
        assert {c.path: c.new_mode for c in work.changes(work.tree_of(work.base), tree)} == {
            "pkg": "120000",
            "pkg/b.py": "000000",
        }
        work.restore(work.tree_of(work.base))
        assert (outside / "b.py").read_text() == "keep\n"
        assert (outside / "other").exists()
        assert not (work.tree / "pkg").is_symlink()

    def test_a_change_with_forged_times_is_seen(self, work: Worktree, tmp_path: Path) -> None:
        base = work.tree_of(work.base)
        for folder in (work.tree, tmp_path / "copy"):
            work.materialise(base, tmp_path / "copy")
            path = folder / "a.py"
            os.utime(path, ns=(10**18, 10**18))
            if folder == work.tree:
                work.snapshot()
            else:
                work.materialise(base, folder)
            before = path.stat()
            path.write_text("A = 9\n")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            if folder == work.tree:
                assert [c.path for c in work.changes(base, work.snapshot())] == ["a.py"]
            else:
                work.materialise(base, folder)
                assert path.read_text() == "A = 1\n"

    def test_materialise_is_incremental_and_exact(self, work: Worktree, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        base = work.tree_of(work.base)
        work.materialise(base, copy)
        kept = (copy / "pkg/b.py").stat().st_ino
        put(work.tree, a_DOT_py="A = 2\n", deep__er__x_DOT_py="")
        tree = work.snapshot()
        put(copy, rubbish__x="", **{"pkg__b.py": "B = 7\n"})
        work.materialise(tree, copy)
        assert (copy / "pkg/b.py").read_text() == "B = 1\n"
        assert (copy / "a.py").read_text() == "A = 2\n"
        assert not (copy / "rubbish").exists()
        work.materialise(base, copy)
        assert not (copy / "deep").exists()
        ino = (copy / "pkg/b.py").stat().st_ino
        work.materialise(tree, copy)
        assert (copy / "pkg/b.py").stat().st_ino == ino
        assert kept

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_files_of_another_user_are_taken_back(self, work: Worktree, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        base = work.tree_of(work.base)
        work.materialise(base, copy)
        for path in (copy, *copy.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        (copy / "pkg").chmod(0o000)
        put(copy, a_DOT_py="A = 5\n")
        work.materialise(base, copy)
        assert (copy / "a.py").read_text() == "A = 1\n"
        assert (copy / "pkg/b.py").exists()

    def test_submodules_stay_empty_and_unchanged(self, repo: Path, tmp_path: Path) -> None:
        sh(repo, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
        sh(repo, "commit", "-qm", "sub")
        checkout = Checkout.open(repo)
        assert checkout.dirty() == ()
        work = Worktree.create(tmp_path / "run", checkout, checkout.head)
        put(work.tree, sub__x="ignored")
        assert work.snapshot() == work.tree_of(work.base)
        work.restore(work.tree_of(work.base))
        assert not os.listdir(work.tree / "sub")
        assert "sub" not in work.files(work.base)

    def test_overlay_takes_the_named_paths_only(self, work: Worktree) -> None:
        base = work.tree_of(work.base)
        put(work.tree, a_DOT_py="A = 2\n", tests__t_DOT_py="T = 1\n", tests__u_DOT_py="U = 1\n")
        (work.tree / "pkg/b.py").unlink()
        head = work.snapshot()
        mixed = work.overlay(base, head, ["tests"])
        assert {c.path for c in work.changes(base, mixed)} == {"tests/t.py", "tests/u.py"}
        assert {c.path for c in work.changes(head, work.overlay(head, base, ["pkg/b.py", "tests/t.py"]))} == {
            "pkg/b.py",
            "tests/t.py",
        }
        assert work.overlay(base, head, []) == base
        (work.tree / "a.py").unlink()
        put(work.tree, **{"a.py__inner": "x"})
        folder = work.snapshot()
        assert work.files(work.overlay(base, folder, ["a.py"])) == (".gitignore", "a.py/inner", "link", "pkg/b.py", "tool.sh")
        assert work.overlay(folder, base, ["a.py", "pkg", "tests"]) == base

    def test_read_and_log(self, work: Worktree) -> None:
        assert work.read(work.base, "pkg/b.py") == b"B = 1\n"
        assert work.read(work.base, "link") == b"a.py"
        assert work.read(work.base, "pkg") is None
        assert work.read(work.base, "*.py") is None
        assert [c.subject for c in work.log(5)] == ["first"]
        assert work.log(5, ["absent"]) == ()

    def test_names_that_are_not_utf8_survive(self, work: Worktree) -> None:
        name = b"caf\xe9 \n.txt"
        with open(os.path.join(os.fsencode(work.tree), name), "wb") as file:
            file.write(b"x\n")
        base, tree = work.tree_of(work.base), work.snapshot()
        (change,) = work.changes(base, tree)
        assert os.fsencode(change.path) == name
        assert work.read(tree, change.path) == b"x\n"
        assert work.overlay(base, tree, [change.path]) == tree

    def test_shallow_clone(self, repo: Path, tmp_path: Path) -> None:
        put(repo, a_DOT_py="A = 2\n")
        sh(repo, "commit", "-qam", "second")
        sh(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", "shallow")
        checkout = Checkout.open(tmp_path / "shallow")
        assert checkout.shallow
        work = Worktree.create(tmp_path / "run", checkout, "HEAD")
        assert len(work.log(5)) == 1
        put(work.tree, a_DOT_py="A = 3\n")
        commit = work.commit(work.snapshot(), work.base, "x", "2026-01-02T03:04:05+02:00")
        work.deliver(checkout, commit, "ostler/x")
        assert sh(checkout.root, "show", "ostler/x:a.py") == "A = 3"
        with pytest.raises(SetupError, match="unshallow"):
            revert(work, checkout.head)


class TestDelivery:
    def test_same_arguments_give_the_same_commit(self, work: Worktree) -> None:
        tree = work.tree_of(work.base)
        made = {work.commit(tree, work.base, "Do it\n\nWhy\n", "2026-01-02T03:04:05+02:00") for _ in range(2)}
        about = sh(work.git_dir, "log", "-1", "--format=%an <%ae> %cn <%ce> %aI %cI", made.pop())
        who = "Ostler <ostler@users.noreply.github.com>"
        assert about == f"{who} {who} 2026-01-02T03:04:05+02:00 2026-01-02T03:04:05+02:00"
        assert not made

    def test_only_the_branch_appears(self, work: Worktree, repo: Path) -> None:
        put(repo, a_DOT_py="dirty\n")
        before = (sh(repo, "status", "--porcelain"), (repo / ".git/HEAD").read_text(), (repo / ".git/index").read_bytes())
        put(work.tree, a_DOT_py="A = 2\n")
        commit = work.commit(work.snapshot(), work.base, "x", "2026-01-02T03:04:05+00:00")
        checkout = Checkout.open(repo)
        work.deliver(checkout, commit, "ostler/1")
        work.deliver(checkout, commit, "ostler/1")
        assert (sh(repo, "status", "--porcelain"), (repo / ".git/HEAD").read_text(), (repo / ".git/index").read_bytes()) == before
        assert sh(repo, "rev-parse", "ostler/1") == commit
        assert sh(repo, "fsck", "--strict") == ""
        other = work.commit(work.snapshot(), work.base, "y", "2026-01-02T03:04:05+00:00")
        with pytest.raises(SetupError, match="exists already"):
            work.deliver(checkout, other, "ostler/1")
        for bad in ("-x", "a..b", "ostler/1/below"):
            with pytest.raises(SetupError):
                work.deliver(checkout, other, bad)

    def test_revert_gives_a_tree_or_says_conflict(self, repo: Path, tmp_path: Path) -> None:
        put(repo, a_DOT_py="A = 2\n", n_DOT_py="N = 1\n")
        sh(repo, "add", "-A")
        sh(repo, "commit", "-qm", "second")
        second = sh(repo, "rev-parse", "HEAD")
        put(repo, pkg__b_DOT_py="B = 2\n")
        sh(repo, "commit", "-qam", "third")
        checkout = Checkout.open(repo)
        work = Worktree.create(tmp_path / "run", checkout, "HEAD")
        tree = revert(work, second[:8])
        assert tree is not None
        sh(repo, "revert", "--no-edit", second)
        assert tree == sh(repo, "rev-parse", "HEAD^{tree}")
        put(work.tree, a_DOT_py="A = 'else'\n")
        assert revert(work, second) is None
        for bad in ("deadbeef", "HEAD~1", "--all"):
            with pytest.raises(SetupError):
                revert(work, bad)

    def test_open_needs_a_worktree_and_clears_old_locks(self, work: Worktree, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match="no worktree"):
            Worktree.open(tmp_path / "nothing")
        (work.git_dir / "index.lock").touch()
        assert Worktree.open(work.folder).snapshot() == work.tree_of(work.base)
