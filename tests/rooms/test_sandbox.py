"""The sandbox against code that hangs, forks, floods, eats, escapes and lingers: stopped, and reported as what it is.

There is no skipping here: a machine without a full sandbox fails these tests with the advice that it also gives users.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bot.core.errors import SetupError
from bot.core.reports import Ran
from bot.workspace import probes
from bot.workspace.capture import FLOOD_BYTES, Keep
from bot.workspace.sandbox import Sandbox, own_interpreter
from bot.workspace.tiers import TIERS, Scratch

AT = "/root/some where/project"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def sh(box: Sandbox, work: Path, script: str, seconds: float = 20.0, **more: object) -> Ran:
    return box.run(["sh", "-c", script], work=work, at=AT, seconds=seconds, **more)  # type: ignore[arg-type]


def py(box: Sandbox, work: Path, script: str, seconds: float = 20.0, **more: object) -> Ran:
    argv = [sys.executable, "-I", "-S", "-c", script]
    return box.run(argv, work=work, at=AT, readonly=own_interpreter(), seconds=seconds, **more)  # type: ignore[arg-type]


def running(marker: str) -> list[str]:
    """Processes of the whole machine whose command line holds the marker."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = Path("/proc", pid, "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in text:
            found.append(pid)
    return found


def test_every_probe_is_reported_and_holds(box: Sandbox) -> None:
    names = {probe.name for probe in box.report.probes}
    assert names >= {
        "tcp-host",
        "tcp-out",
        "udp-out",
        "udp-host",
        "unix-socket",
        "abstract-socket",
        "secret-file",
        "write-outside",
        "write-host",
        "loopback",
        "environ-of-others",
        "own-environment",
        "no-new-privs",
        "capabilities",
        "survivor",
        "work-folder",
    }
    assert box.report.tier in TIERS
    assert all(probe.detail for probe in box.report.probes)


def test_probes_fail_where_there_is_no_wall(tmp_path: Path) -> None:
    """The probes are worth something only if they notice: here the script runs on the bare machine."""

    def bare(argv: Sequence[str], work: Path, at: str) -> Ran:
        env = {"PATH": os.defpath, "STRAY": "x"}
        done = subprocess.run(argv, cwd=work, env=env, capture_output=True, text=True, check=False)
        return Ran(done.returncode, None, False, 0.0, done.stdout + done.stderr, False)

    failed = {probe.name for probe in probes.probe(bare, tmp_path / "work") if not probe.ok}
    assert failed >= {
        "tcp-host",
        "udp-host",
        "unix-socket",
        "abstract-socket",
        "secret-file",
        "write-outside",
        "own-environment",
        "no-new-privs",
        "survivor",
        "environ-of-others",
        "work-folder",
    }


def test_no_tier_means_advice_and_no_running(tmp_path: Path) -> None:
    made = Sandbox(tmp_path / "box")
    with pytest.raises(SetupError, match="not been probed"):
        sh(made, tmp_path, "true")
    report = made.probe(())
    assert (report.tier, report.full) == ("none", False)
    assert "bubblewrap" in report.advice
    with pytest.raises(SetupError, match="bubblewrap"):
        sh(made, tmp_path, "true")


def test_a_tier_that_fails_a_probe_is_named_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leak = 'found.append(("secret-file", False, "planted for this test"))\nhere = os.getcwd()'
    monkeypatch.setattr(probes, "SCRIPT", probes.SCRIPT.replace("here = os.getcwd()", leak))
    report = Sandbox(tmp_path / "box").probe()
    assert report.tier == "none"
    assert any("secret-file failed (planted for this test)" in reason for reason in report.refused)


def test_exit_codes_signals_and_output(box: Sandbox, work: Path) -> None:
    assert (sh(box, work, "echo out; echo err >&2; exit 3").exit, sh(box, work, "true").ended) == (3, True)
    ran = sh(box, work, "echo out; echo err >&2")
    assert (ran.text, ran.truncated) == ("out\nerr\n", False)
    killed = sh(box, work, "kill -SEGV $$")
    assert (killed.exit, killed.signal, killed.ended) == (None, signal.SIGSEGV, False)
    assert sh(box, work, "cat").text == ""
    missing = box.run(["no-such-program"], work=work, at=AT, seconds=10)
    assert missing.exit == 127


def test_the_work_folder_appears_where_asked_and_keeps_what_is_written(box: Sandbox, work: Path) -> None:
    (work / "given").write_text("here")
    ran = sh(box, work, "pwd; cat given; mkdir -p sub; chmod +x given; echo made > sub/made")
    assert ran.text == f"{AT}\nhere"
    assert (work / "sub/made").read_text() == "made\n"
    assert os.access(work / "given", os.X_OK)


def test_nothing_of_the_machine_shows(box: Sandbox, work: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    ran = sh(box, work, f"cat '{secret}' /etc/shadow; ls /root /home /var /run /srv /mnt; env; id -u; cat /proc/1/environ")
    assert "s3cret" not in ran.text
    assert "root:" not in ran.text.replace("/root:\n", "")
    names = {line.partition("=")[0] for line in ran.text.splitlines() if "=" in line}
    assert names <= {"PATH", "HOME", "LANG", "TMPDIR", "PYTHONDONTWRITEBYTECODE", "CI", "PWD", "OLDPWD", "SHLVL", "_"}


def test_environment_is_an_allow_list(box: Sandbox, work: Path) -> None:
    assert sh(box, work, "echo $PYTHONPATH", env={"PYTHONPATH": "/x"}).text == "/x\n"
    for name in ("LD_PRELOAD", "GITHUB_TOKEN", "BASH_ENV", "HOME"):
        with pytest.raises(SetupError, match=name):
            sh(box, work, "true", env={name: "x"})


def test_a_hanging_command_is_stopped_with_its_children(box: Sandbox, work: Path) -> None:
    ran = sh(box, work, "echo begun; (trap '' TERM HUP INT; setsid sleep 61234) & sleep 61234", seconds=0.7)
    assert (ran.timed_out, ran.exit, ran.ended, ran.text) == (True, None, False, "begun\n")
    assert ran.seconds < 5
    assert ran.how.startswith("stopped after")
    assert running("61234") == []


def test_children_left_behind_die(box: Sandbox, work: Path) -> None:
    ran = sh(box, work, "setsid nohup sleep 61235 >/dev/null 2>&1 & echo done")
    assert (ran.exit, ran.text) == (0, "done\n")
    time.sleep(0.1)
    assert running("61235") == []


def test_a_flood_is_cut_and_called_a_flood(box: Sandbox, work: Path) -> None:
    ran = sh(box, work, "yes flood", output_bytes=10_000)
    assert (ran.flooded, ran.exit, ran.ended, ran.truncated) == (True, None, False, True)
    assert len(ran.text) < 11_000
    assert "without end" in ran.how


def test_much_output_keeps_both_ends(box: Sandbox, work: Path) -> None:
    ran = sh(box, work, "echo first; head -c 300000 /dev/zero | tr '\\0' x; echo; echo last", output_bytes=2000)
    assert (ran.exit, ran.truncated, ran.flooded) == (0, True, False)
    assert ran.text.startswith("first\n")
    assert ran.text.endswith("last\n")
    assert "bytes left out" in ran.text
    assert len(ran.text) < 2300


def test_eating_memory_ends_the_eater(box: Sandbox, work: Path) -> None:
    ran = py(box, work, "x = bytearray(2 << 30)", memory_bytes=512 << 20)
    assert ran.exit == 1
    assert "MemoryError" in ran.text


def test_reserved_addresses_are_not_memory(box: Sandbox, work: Path) -> None:
    """V8, Go and Java reserve far more addresses than they use; what counts is what can be written."""
    script = """
import mmap
reserved = mmap.mmap(-1, 64 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=0)
print("reserved")
mmap.mmap(-1, 2 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
"""
    ran = py(box, work, script, memory_bytes=512 << 20)
    assert (ran.exit, "reserved" in ran.text, "Cannot allocate memory" in ran.text) == (1, True, True), ran.text


def test_a_fork_bomb_is_bounded(box: Sandbox, work: Path) -> None:
    script = """
import os, time
made = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        made += 1
except OSError as error:
    print("stopped by", error.errno, made < 1000, flush=True)
"""
    ran = py(box, work, script)
    assert (ran.exit, ran.text) == (0, "stopped by 11 True\n")


def test_a_huge_file_is_refused(box: Sandbox, work: Path) -> None:
    ran = sh(box, work, "truncate -s 5G big")
    assert ran.exit != 0
    assert not (work / "big").exists() or (work / "big").stat().st_size <= 1 << 30


@pytest.mark.parametrize(
    "target", ["/x", "/usr/x", "/etc/passwd", "/root/x", "/dev/x", "/out/x", "{outside}/x", "/proc/sys/kernel/hostname"]
)
def test_writing_outside_is_refused(box: Sandbox, work: Path, tmp_path: Path, target: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    ran = sh(box, work, f"echo x > '{target.format(outside=outside)}'")
    assert ran.exit != 0
    assert os.listdir(outside) == []


def test_links_in_the_work_folder_lead_nowhere(box: Sandbox, work: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    (work / "link").symlink_to(outside)
    assert sh(box, work, "cat link").exit != 0
    sh(box, work, "echo changed > link")
    assert outside.read_text() == "untouched"


def test_readonly_folders_show_where_they_are_and_stay(box: Sandbox, work: Path, tmp_path: Path) -> None:
    extra = tmp_path / "deep" / "extra"
    extra.mkdir(parents=True)
    (extra / "f").write_text("seen\n")
    ran = sh(box, work, f"cat '{extra}/f'; ls '{extra.parent}'; echo x > '{extra}/f'", readonly=(extra,))
    assert ran.text.startswith("seen\nextra\n")
    assert (extra / "f").read_text() == "seen\n"


def test_an_environment_inside_the_checkout_shows_inside_the_copy(box: Sandbox, tmp_path: Path) -> None:
    checkout, work = tmp_path / "checkout", tmp_path / "copy"
    (checkout / ".venv").mkdir(parents=True)
    (checkout / ".venv" / "mark").write_text("theirs")
    work.mkdir()
    ran = box.run(["cat", ".venv/mark"], work=work, at=str(checkout), readonly=(checkout / ".venv",), seconds=10)
    assert ran.text == "theirs"
    (tmp_path / "copy2").mkdir()
    (tmp_path / "copy2" / ".venv").symlink_to("/etc")
    with pytest.raises(SetupError, match="link"):
        box.run(["true"], work=tmp_path / "copy2", at=str(checkout), readonly=(checkout / ".venv",), seconds=10)


@pytest.mark.parametrize("tier", [tier for tier in TIERS if tier != "bwrap"])
def test_an_overlay_takes_changes_and_forgets_them(tmp_path: Path, tier: str) -> None:
    """As a user without root has it too; bubblewrap has overlays since 0.11 only."""
    box = Sandbox(tmp_path / "box")
    assert box.probe((tier,)).full, box.report.advice
    checkout, work = tmp_path / "a, b:c", tmp_path / "copy"
    (checkout / "node_modules/pk").mkdir(parents=True)
    (checkout / "node_modules/pk/mark").write_text("theirs\n")
    work.mkdir()
    script = "cat node_modules/pk/mark; mkdir node_modules/.cache && echo x > node_modules/.cache/y && ls -A node_modules"
    for _ in range(2):
        ran = box.run(["sh", "-c", script], work=work, at=str(checkout), overlay=(checkout / "node_modules",), seconds=10)
        assert (ran.exit, ran.text) == (0, "theirs\n.cache\npk\n")
    box.run(
        ["sh", "-c", "echo x > node_modules/pk/mark"],
        work=work,
        at=str(checkout),
        overlay=(checkout / "node_modules",),
        seconds=10,
    )
    assert sorted(path.name for path in checkout.rglob("*")) == ["mark", "node_modules", "pk"]
    assert (checkout / "node_modules/pk/mark").read_text() == "theirs\n"


def test_out_takes_reports(box: Sandbox, work: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert sh(box, work, "echo '{\"a\": 1}' > /out/r.json", out=out).exit == 0
    assert json.loads((out / "r.json").read_text()) == {"a": 1}


def test_local_servers_and_pseudo_terminals_work(box: Sandbox, work: Path) -> None:
    script = """
import os, pty, socket, multiprocessing.synchronize, multiprocessing
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
pty.openpty()
multiprocessing.Lock()
open("/dev/null", "w").close()
print(len(os.urandom(3)), os.path.expanduser("~"), os.access(os.path.expanduser("~"), os.W_OK))
"""
    assert py(box, work, script).text == "3 /tmp/home True\n"


def test_bad_places_are_refused(box: Sandbox, work: Path) -> None:
    for at in ("relative", "/", "/a/../b"):
        with pytest.raises(SetupError):
            box.run(["true"], work=work, at=at, seconds=5)


def test_killing_ostler_kills_the_command(box: Sandbox, work: Path) -> None:
    """`kill -9` leaves no chance to clean up: the lifeline has to do it."""
    code = f"""
from pathlib import Path
from bot.workspace.sandbox import Sandbox
box = Sandbox(Path({str(box.scratch.folder)!r}))
assert box.probe([{box.report.tier!r}]).full
box.run(["sleep", "61236"], work=Path({str(work)!r}), at="/work/x", seconds=60)
"""
    root = Path(__file__).resolve().parents[2]
    ostler = subprocess.Popen([sys.executable, "-c", code], cwd=root, env={"PATH": os.defpath})
    deadline = time.monotonic() + 15
    while not running("61236") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running("61236")
    ostler.kill()
    ostler.wait()
    deadline = time.monotonic() + 5
    while (left := running("61236")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def test_files_can_be_taken_back_after_a_run(box: Sandbox, work: Path) -> None:
    sh(box, work, "mkdir -p a/b; echo x > a/b/c; chmod 000 a/b; chmod 000 a")
    box.reclaim(work)
    (work / "a").chmod(0o755)
    (work / "a/b").chmod(0o755)
    (work / "a/b/c").unlink()


def test_keep_holds_at_most_its_limit() -> None:
    keep = Keep(100)
    for number in range(10_000):
        keep.add(f"{number}\n".encode())
    text, missing = keep.close()
    assert text.startswith(b"0\n1\n")
    assert text.endswith(b"9999\n")
    assert len(text) < 150
    assert missing == sum(len(f"{n}\n") for n in range(10_000)) - 100
    small = Keep(100)
    small.add(b"abc")
    assert small.close() == (b"abc", 0)
    assert FLOOD_BYTES > 1 << 20


def test_etc_holds_no_secrets(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "s")
    scratch.make()
    names = {path.name for path in scratch.etc.rglob("*")}
    assert {"passwd", "group", "hosts"} <= names
    assert names.isdisjoint({"shadow", "gshadow", "private", "sudoers", "ssh"})
