"""Code that misbehaves while it is checked, through the front door: stopped, called what it is, never a pass, nothing left."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.world.test_policy import NOT_BELIEVED, SESSIONS, Scene
from tests.world.watching import listing
from tests.world.world import DONE, World, a_plan, approves, audits, builds, drafts, edit, serve

pytestmark = pytest.mark.sampled

SOURCES = {
    "Makefile": "test:\n\t@sh check.test.sh\n",
    "sums.sh": "sum() { echo $(($1 + $2)); }\n",
    "check.test.sh": '. ./sums.sh\n[ "$(sum 2 0)" = 2 ]\n',
    ".github/ostler.yml": "verify: {full_seconds: 60}\n",
}
ISSUE = "sum() should say where it is slow: time it"
MARK = f"61{os.getpid()}"
"""How long nobody sleeps but what a test of this process started."""
TROUBLE = {
    "hangs": (f"sleep {MARK}", "the tests did not end by themselves: stopped after"),
    "forks without end": (f"while :; do sleep {MARK} & done", "annot fork"),
    "floods": ("yes flood", "stopped for writing output without end"),
    "eats memory": ("dd if=/dev/zero of=/dev/null bs=6G count=1 || exit 1", "memory exhausted"),
    "writes outside": ("echo x >/etc/ostler-was-here || exit 1", "Read-only file system"),
    "crashes its tool": ("kill -SEGV $PPID", "ended by signal 11"),
    "calls a tool that is not there": ("no-such-tool || exit", "not found"),
}


def running() -> bool:
    """Whether something that a test started is still there, anywhere on the machine."""
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    return any(f"sleep\0{MARK}\0".encode() in line for line in lines)


@pytest.mark.parametrize("what", TROUBLE)
def test_trouble_is_called_what_it_is(tmp_path: Path, what: str) -> None:
    script, why = TROUBLE[what]
    limit = "verify: {full_seconds: 3}\n" if what == "hangs" else SOURCES[".github/ostler.yml"]
    scene = Scene.of(tmp_path, {**SOURCES, ".github/ostler.yml": limit})
    said = scene.play([edit("sums.sh", "sum()", f"{script}\nsum()")], issue=ISSUE, plan=a_plan("sums.sh", bug=False))
    assert said.code == NOT_BELIEVED, (said.out, said.err)
    assert said.result["checks"]["tests_before"] == "pass"
    assert said.result["checks"]["verdict"] == "fail"
    assert why in said.result["outcome"]
    assert not running()
    assert not Path("/etc/ostler-was-here").exists()
    scene.assert_nothing_landed()


def test_children_go_and_a_check_that_cannot_run_is_no_pass(tmp_path: Path) -> None:
    """The tests did pass; what they started in the background ends with them."""
    scene = Scene.of(tmp_path, {**SOURCES, ".github/ostler.yml": "verify: {lint: kill -SEGV $$}\n"})
    child = edit("sums.sh", "sum()", f"setsid sleep {MARK} >/dev/null 2>&1 &\nsum()")
    with serve(
        [drafts(a_plan("sums.sh", bug=False)), approves(), *builds([child], DONE), audits(evidence=("sums.sh:2",))]
    ) as vendors:
        said = scene.world.run(ISSUE, vendors=vendors)
    assert (said.code, said.result["checks"]["tests_after"]) == (0, "pass"), (said.out, said.err)
    assert not running()
    report = (scene.world.folder(said) / "report.md").read_text("utf-8")
    assert "| lint | neutral: not blamed on the change, because the base ends with ended by signal 11 too" in report
    changed = {name for name, seen in listing(tmp_path, but=SESSIONS).items() if scene.before.get(name) != seen}
    assert all(name.startswith("repository/.git/") for name in changed), changed


def test_a_missing_toolchain_is_never_a_pass(tmp_path: Path) -> None:
    """A machine without Node: the change is delivered, and called not verified."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").symlink_to(str(shutil.which("git")))
    package = json.dumps({"name": "sums", "version": "1.0.0", "type": "module", "scripts": {"test": "node --test"}})
    files = {"package.json": package, "sums.js": "export const sum = (a, b) => a - b;\n"}
    world = World.of(tmp_path, files, PATH=str(tmp_path / "bin"))
    fix = edit("sums.js", "a - b", "a + b")
    with serve(
        [drafts(a_plan("sums.js", bug=False)), approves(), *builds([fix], DONE), audits(evidence=("sums.js:1",))]
    ) as vendors:
        said = world.run("sum() has to add", vendors=vendors)
    assert said.code == 0, (said.out, said.err)
    checks = said.result["checks"]
    assert [checks[name] for name in ("tests_before", "tests_after", "verdict")] == ["neutral"] * 3
    report = (world.folder(said) / "report.md").read_text("utf-8")
    assert "not verified: there is no node on PATH: install Node 20 or newer" in report
    assert "| types | pass" not in report
    assert "| tests after | pass" not in report
