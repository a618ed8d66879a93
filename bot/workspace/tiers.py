"""The ways to build a sandbox, best first, each as the argv that builds it. Which one is used is decided by probes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bot.core.errors import SetupError

TIERS = ("sudo-unshare", "bwrap", "userns-unshare")
LAUNCHER = Path(__file__).with_name("launcher.sh")
TOOLS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OTHER_UID = 65534
OUT = "/out"
HOME = "/tmp/home"  # noqa: S108 - inside the sandbox, on a file system of its own

ROOT_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# What programs need of /etc; never the whole, it holds other people's secrets.
ETC = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "nsswitch.conf",
    "localtime",
    "timezone",
    "ssl/certs/ca-certificates.crt",
    "ssl/openssl.cnf",
    "pki/tls/certs/ca-bundle.crt",
    "alternatives",
    "mime.types",
    "protocols",
    "services",
    "os-release",
    "debian_version",
    "fonts",
    "magic",
    "inputrc",
    "terminfo",
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
)
OWN_ETC = {
    "passwd": f"root:x:0:0:root:{HOME}:/bin/sh\nnobody:x:{OTHER_UID}:{OTHER_UID}:nobody:{HOME}:/bin/sh\n",
    "group": f"root:x:0:\nnogroup:x:{OTHER_UID}:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
}
SAYS_STARTED = 'printf "%s\\n" "$0"; exec "$@"'


@dataclass(frozen=True, slots=True)
class Limits:
    """Per process, but `processes`, which is per user: memory in bytes, `cpu` in seconds.

    Memory is what a process may write and nobody shares (RLIMIT_DATA), not its address space: V8, Go and Java reserve many
    gigabytes of addresses that they never touch, and a WebAssembly memory alone reserves ten.
    """

    memory_bytes: int
    cpu_seconds: int
    processes: int = 512
    file_bytes: int = 1 << 30
    open_files: int = 4096


@dataclass(frozen=True, slots=True)
class Job:
    """One untrusted command: `work` appears read-write at `at`, `out` at /out, `readonly` paths where they are.

    `overlay` folders appear where they are and take changes that are gone afterwards. `started` is the line that the sandbox
    prints when it stands, before the command.
    """

    argv: tuple[str, ...]
    work: Path
    at: str
    readonly: tuple[Path, ...]
    overlay: tuple[Path, ...]
    out: Path | None
    env: Mapping[str, str]
    limits: Limits
    started: str


@dataclass(frozen=True, slots=True)
class Scratch:
    """Two folders of ours outside: an empty one to build the root on, and a small /etc, copied so that it is one mount."""

    folder: Path

    def make(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        if self.etc.exists():
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as made:
            part = Path(made) / "etc"
            part.mkdir()
            for name in ETC:
                _copy(Path("/etc", name), part / name)
            for name, text in OWN_ETC.items():
                (part / name).write_text(text)
            part.rename(self.etc)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def etc(self) -> Path:
        return self.folder / "etc"


def build(tier: str, job: Job, scratch: Scratch) -> list[str]:
    """The argv for `job` in `tier`. Raises SetupError naming the program that is missing."""
    return {"sudo-unshare": _sudo_unshare, "bwrap": _bwrap, "userns-unshare": _userns}[tier](job, scratch)


def gives_away(tier: str) -> bool:
    """True if the tier runs as another uid while we are not root, so that files have to be given back."""
    return tier == "sudo-unshare" and os.geteuid() != 0


def reclaim_command(folder: Path) -> list[str]:
    """The argv that makes everything in a folder ours again."""
    owner = f"{os.geteuid()}:{os.getegid()}"
    return [
        _tool("sudo"),
        "-n",
        "find",
        str(folder),
        "-depth",
        "-xdev",
        "!",
        "-uid",
        str(os.geteuid()),
        "-exec",
        "chown",
        "-h",
        owner,
        "{}",
        "+",
    ]


def _sudo_unshare(job: Job, scratch: Scratch) -> list[str]:
    root = [] if os.geteuid() == 0 else [_tool("sudo"), "-n"]
    drop = ["--reuid", str(OTHER_UID), "--regid", str(OTHER_UID), "--clear-groups"]
    return [*root, *_outer(job, "sudo-unshare"), *_unshare(), *_inner(job, scratch, OTHER_UID, drop)]


def _userns(job: Job, scratch: Scratch) -> list[str]:
    return [*_outer(job, "userns-unshare"), *_unshare("--user", "--map-root-user"), *_inner(job, scratch, 0, [])]


def _unshare(*more: str) -> list[str]:
    return [_tool("unshare"), *more, "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]


def _outer(job: Job, tier: str) -> list[str]:
    owner = f"{os.geteuid()}:{os.getegid()}" if gives_away(tier) else "-"
    return ["/bin/sh", str(LAUNCHER), "outer", owner, str(job.work), str(job.out or "")]


def _inner(job: Job, scratch: Scratch, uid: int, drop: Sequence[str]) -> list[str]:
    steps: list[str] = []
    for link, target in _links():
        steps += ["link", target, link]
    for mode, source, target in _binds(job, scratch):
        steps += [mode, str(source), target]
    setpriv = [_tool("setpriv"), *drop, "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--"]
    head = ["/bin/sh", str(LAUNCHER), "inner", str(uid), str(scratch.root), sys.executable, str(job.work), str(job.out or "")]
    return [*head, *steps, "--", *_prlimit(job.limits), *setpriv, *_command(job)]


def _bwrap(job: Job, scratch: Scratch) -> list[str]:
    uid = str(OTHER_UID)
    argv = [*_outer(job, "bwrap"), _tool("bwrap"), "--unshare-all", "--unshare-user", "--uid", uid, "--gid", uid]
    argv += ["--cap-drop", "ALL", "--die-with-parent", "--new-session", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108
    argv += ["--dir", HOME, "--dir", "/run", "--symlink", "../tmp", "/var/tmp"]  # noqa: S108
    for link, target in _links():
        argv += ["--symlink", target, link]
    for mode, source, target in _binds(job, scratch):
        if mode == "over" and _bwrap_has_overlays():
            argv += ["--overlay-src", str(source), "--tmp-overlay", target]
        else:
            argv += ["--bind" if mode == "rw" else "--ro-bind", str(source), target]
    return [
        *argv,
        "--tmpfs",
        "/dev/shm",  # noqa: S108
        "--remount-ro",
        "/dev",
        "--remount-ro",
        "/",
        "--clearenv",
        "--",
        *_prlimit(job.limits),
        *_command(job),
    ]


@cache
def _bwrap_has_overlays() -> bool:
    """Bubblewrap has them since 0.11; an older one shows the folders read-only."""
    said = subprocess.run([_tool("bwrap"), "--help"], env={"PATH": TOOLS}, capture_output=True, text=True, check=False)
    return "--tmp-overlay" in said.stdout + said.stderr


def _prlimit(limits: Limits) -> list[str]:
    return [
        _tool("prlimit"),
        f"--data={limits.memory_bytes}",
        f"--cpu={limits.cpu_seconds}",
        f"--nproc={limits.processes}",
        f"--fsize={limits.file_bytes}",
        f"--nofile={limits.open_files}",
        "--core=0",
        "--",
    ]


def _command(job: Job) -> list[str]:
    """The innermost part: clean environment, folder, the line that says the sandbox stands, the command."""
    pairs = [f"{name}={value}" for name, value in job.env.items()]
    return ["/usr/bin/env", "-i", "-C", job.at, *pairs, "/bin/sh", "-c", SAYS_STARTED, job.started, *job.argv]


def _links() -> list[tuple[str, str]]:
    return [(path, os.readlink(path)) for path in ROOT_LINKS if os.path.islink(path)]


def _binds(job: Job, scratch: Scratch) -> list[tuple[str, Path, str]]:
    """(mode, source, target), parents before what lies in them."""
    binds = [("ro", Path(path), path) for path in ("/usr", *ROOT_LINKS) if os.path.isdir(path) and not os.path.islink(path)]
    binds.append(("ro", scratch.etc, "/etc"))
    for mode, paths in (("ro", job.readonly), ("over", job.overlay)):
        for path in dict.fromkeys(paths):
            if path.exists() and not _in_system(path):
                _refuse_links(job, path)
                binds.append((mode, path, str(path)))
    binds.append(("rw", job.work, job.at))
    if job.out is not None:
        binds.append(("rw", job.out, OUT))
    return sorted(binds, key=lambda bind: bind[2])


def _copy(source: Path, target: Path) -> None:
    """Copy what is there and readable by all; links in folders stay links (most of them lead to /usr)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=_private)
    elif source.is_file() and source.stat().st_mode & stat.S_IROTH:
        shutil.copy(source, target)


def _private(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not os.lstat(os.path.join(folder, name)).st_mode & stat.S_IROTH]


def _in_system(path: Path) -> bool:
    return path.is_relative_to("/usr") or any(path.is_relative_to(link) for link in ROOT_LINKS)


def _refuse_links(job: Job, path: Path) -> None:
    """A path that appears inside the work copy is mounted on a folder there, which must not be a link to elsewhere."""
    if not path.is_relative_to(job.at):
        return
    here = job.work
    for part in path.relative_to(job.at).parts:
        here = here / part
        try:
            mode = here.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(mode):
            raise SetupError(
                f"{here.relative_to(job.work)} is a file or link in the repository but an environment in the checkout; remove one"
            )


def _tool(name: str) -> str:
    found = shutil.which(name, path=TOOLS)
    if found is None:
        raise SetupError(f"{name} is not installed")
    return found
