"""Run untrusted commands with nothing to steal and nowhere to go (docs/sandbox.md).

    box = Sandbox(folder); report = box.probe()      # once; tries the tiers in order, keeps the first that is full
    box.run(argv, work=..., at=..., ...)             # refused until a probe passed

Inside there is the system read-only, the interpreters named, the work folder, an empty /tmp and the loopback
interface: another uid, no network, no secrets, no capabilities, and no process survives the command.
"""

from __future__ import annotations

import math
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from bot.core.errors import SetupError
from bot.core.reports import Probe, Ran, SandboxReport
from bot.workspace import probes
from bot.workspace.capture import Captured, capture
from bot.workspace.tiers import HOME, LAUNCHER, TIERS, TOOLS, Job, Limits, Scratch, build, gives_away, reclaim_command

OUTPUT_BYTES = 256 * 1024
MEMORY_BYTES = 4 << 30
SIGNAL_BASE = 128
LAST_SIGNAL = 64
RESTRICTED = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
SYSCTL = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
PROFILE = "a profile for /usr/bin/bwrap with `flags=(unconfined) { userns, }`"
TMP = "/tmp"  # noqa: S108 - inside the sandbox, on a file system of its own
SAFE_PATH = "/usr/local/bin:/usr/bin:/bin"
NAMES = frozenset({"PATH", "PYTHONPATH", "LANG", "CI"})


class Sandbox:
    """`folder` is a place for Ostler's own files outside the sandbox; one box serves any number of threads."""

    def __init__(self, folder: Path) -> None:
        self.scratch = Scratch(folder.absolute())
        self.report = SandboxReport("none", (), "the sandbox has not been probed yet")

    def probe(self, tiers: Sequence[str] = TIERS) -> SandboxReport:
        """Try `tiers` in order, use the first in which every probe passes, and say why the others are not used."""
        self.scratch.make()
        refused: list[str] = []
        last: tuple[Probe, ...] = ()
        for tier in tiers:
            try:
                last = probes.probe(partial(self._run_probe, tier), self.scratch.folder / "probe")
            except SetupError as error:
                refused.append(f"{tier}: {error}")
                continue
            failed = [probe for probe in last if not probe.ok]
            if not failed:
                self.report = SandboxReport(tier, last, "", tuple(refused))
                return self.report
            refused.append(f"{tier}: " + "; ".join(f"{probe.name} failed ({probe.detail})" for probe in failed))
        self.report = SandboxReport("none", last, advice(refused), tuple(refused))
        return self.report

    def run(
        self,
        argv: Sequence[str],
        *,
        work: Path,
        at: str,
        readonly: Sequence[Path] = (),
        overlay: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        seconds: float,
        output_bytes: int = OUTPUT_BYTES,
        memory_bytes: int = MEMORY_BYTES,
        out: Path | None = None,
    ) -> Ran:
        """Run one command in `work`, which appears at the absolute path `at`; `out`, if given, appears at /out.

        `readonly` paths appear where they are, and so do `overlay` folders, which can be written to: what is written there
        is gone afterwards. `env` may set PATH, PYTHONPATH, LANG and CI; nothing else goes in.
        Raises SetupError when the sandbox isn't full or doesn't start; what the command does is in the answer.
        """
        if not self.report.full:
            raise SetupError(f"no full sandbox on this machine: {self.report.advice}")
        limits = Limits(memory_bytes, max(math.ceil(seconds * (os.cpu_count() or 1)), 1))
        job = self._job(argv, work, at, (readonly, overlay), env or {}, limits, out)
        return self._start(self.report.tier, job, seconds, output_bytes)

    def reclaim(self, folder: Path) -> None:
        """Make a work folder ours again that a killed run left with the sandbox's uid. Does nothing when it is ours."""
        if folder.exists() and gives_away(self.report.tier) and folder.stat().st_uid != os.geteuid():
            done = subprocess.run(reclaim_command(folder), env={"PATH": TOOLS}, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SetupError(f"cannot take {folder} back from uid 65534: {done.stderr.strip()[-200:]}")

    def _run_probe(self, tier: str, argv: Sequence[str], work: Path, at: str) -> Ran:
        limits = Limits(MEMORY_BYTES, math.ceil(probes.SECONDS))
        job = self._job(argv, work, at, (own_interpreter(), ()), {}, limits, None)
        return self._start(tier, job, probes.SECONDS, OUTPUT_BYTES)

    def _job(
        self,
        argv: Sequence[str],
        work: Path,
        at: str,
        shown: tuple[Sequence[Path], Sequence[Path]],
        env: Mapping[str, str],
        limits: Limits,
        out: Path | None,
    ) -> Job:
        if not os.path.isabs(at) or os.path.normpath(at) != at or at == "/":
            raise SetupError(f"the work folder cannot appear at {at!r}; give an absolute path below the root")
        if strange := sorted(set(env) - NAMES):
            raise SetupError(f"the sandbox does not take the environment variable {strange[0]}")
        plain = {"PATH": SAFE_PATH, "HOME": HOME, "LANG": "C.UTF-8", "TMPDIR": TMP, "PYTHONDONTWRITEBYTECODE": "1", "CI": "true"}
        started = f"ostler-started-{secrets.token_hex(8)}"
        readonly, overlay = (tuple(path.absolute() for path in paths) for paths in shown)
        where = out.absolute() if out else None
        return Job(tuple(argv), work.absolute(), at, readonly, overlay, where, {**plain, **env}, limits, started)

    def _start(self, tier: str, job: Job, seconds: float, output_bytes: int) -> Ran:
        for folder in (job.work, job.out):
            if folder is not None:
                self.reclaim(folder)
        cwd = self.scratch.folder
        done = capture(build(tier, job, self.scratch), env={"PATH": TOOLS}, cwd=cwd, seconds=seconds, output_bytes=output_bytes)
        return ran(done, job.started, seconds)


def ran(done: Captured, started: str, seconds: float) -> Ran:
    """What happened, read from the launcher's return code. Raises SetupError when the sandbox never stood."""
    head, found, rest = done.output.partition(f"{started}\n".encode())
    if not found or head:
        if done.timed_out:
            raise SetupError(f"the sandbox did not start within {seconds:.0f} s")
        said = done.output.decode(errors="replace").strip()[-300:] or f"exit {done.code}"
        raise SetupError(f"the sandbox does not start: {said}")
    killed = SIGNAL_BASE < done.code <= SIGNAL_BASE + LAST_SIGNAL
    number = done.code - SIGNAL_BASE if killed else -done.code if done.code < 0 else None
    code = None if number is not None or done.timed_out or done.flooded else done.code
    return Ran(code, number, done.timed_out, done.seconds, rest.decode(errors="replace"), done.left_out > 0, done.flooded)


def own_interpreter() -> tuple[Path, ...]:
    """The folders without which Ostler's own Python doesn't run: its environment and the installation beneath it."""
    real = Path(sys.executable).resolve()
    return tuple(dict.fromkeys((Path(sys.prefix), Path(sys.base_prefix), real.parent.parent)))


def advice(refused: Sequence[str]) -> str:
    """What to do on a machine without a full sandbox."""
    if not sys.platform.startswith("linux"):
        return (
            "Ostler runs untrusted code on Linux only; use a Linux machine, a container with user namespaces, or GitHub Actions"
        )
    ways = ["install bubblewrap (apt-get install bubblewrap)", "run as root or give this account passwordless sudo"]
    if RESTRICTED.exists() and RESTRICTED.read_text().strip() == "1":
        ways.append(f"let user namespaces through AppArmor ({SYSCTL}, or {PROFILE})")
    return f"no full sandbox: {'; '.join(refused)}. To get one: {', or '.join(ways)}. Launcher: {LAUNCHER}"
