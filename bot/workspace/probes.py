"""Does the sandbox hold? Things are planted outside and tried from inside before the first untrusted command."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.core.reports import Probe, Ran

AT = "/work/probe"
SECONDS = 20.0
SURVIVOR_SECONDS = 0.05
ALLOWED_ENV = {
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "CI",
    "LC_CTYPE",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
}

RunInside = Callable[[Sequence[str], Path, str], Ran]


@dataclass(frozen=True, slots=True)
class Planted:
    """What the probes look for: `marker` is in the secret file, in a process's environment and on survivors."""

    folder: Path
    marker: str
    tcp: int
    udp: socket.socket

    def facts(self) -> str:
        """As JSON for the script inside."""
        return json.dumps(
            {
                "folder": str(self.folder),
                "marker": self.marker,
                "tcp": self.tcp,
                "udp": self.udp.getsockname()[1],
                "allowed": sorted(ALLOWED_ENV),
                "at": AT,
                "prefix": sys.base_prefix,
            }
        )


def probe(run: RunInside, work: Path) -> tuple[Probe, ...]:
    """Run all probes; `run(argv, work, at)` starts a command inside. Raises SetupError when the sandbox can't start."""
    work.mkdir(parents=True, exist_ok=True)
    answer = work / "answer.json"
    answer.unlink(missing_ok=True)
    with _plant() as planted:
        ran = run((sys.executable, "-I", "-S", "-c", SCRIPT, planted.facts()), work, AT)
        found = _answers(answer, ran)
        if found:
            found += [_survivor(planted.marker), _datagrams(planted.udp), _written(planted.folder)]
    return tuple(found) or (Probe("start", False, f"the probes did not answer: {ran.how}: {ran.text[-300:].strip()}"),)


@contextlib.contextmanager
def _plant() -> Iterator[Planted]:
    """A secret file, a unix socket, TCP and UDP listeners, and a process with a secret in its environment."""
    marker = f"ostler-probe-{secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ostler-probe-")))
        folder.chmod(0o777)
        (folder / "secret").write_text(marker)
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(folder / "socket"))
        unix.listen()
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{marker}")
        abstract.listen()
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        holder = subprocess.Popen(["/bin/sleep", "60"], env={"OSTLER_PROBE_SECRET": marker}, stdout=subprocess.DEVNULL)
        stack.callback(holder.wait)
        stack.callback(holder.kill)
        yield Planted(folder, marker, tcp.getsockname()[1], udp)


def _answers(answer: Path, ran: Ran) -> list[Probe]:
    if ran.exit != 0 or not answer.is_file():
        return []
    return [Probe(name, ok, detail) for name, ok, detail in json.loads(answer.read_text())]


def _survivor(marker: str) -> Probe:
    """The script inside left a daemon with the marker in its arguments."""
    time.sleep(SURVIVOR_SECONDS)
    left = [pid for pid in os.listdir("/proc") if pid.isdigit() and f"{marker}-daemon".encode() in _cmdline(pid)]
    for pid in left:
        with contextlib.suppress(OSError):
            os.kill(int(pid), signal.SIGKILL)
    return Probe(
        "survivor", not left, "a background process was killed with the sandbox" if not left else f"pid {left[0]} lived on"
    )


def _cmdline(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return b""


def _datagrams(udp: socket.socket) -> Probe:
    try:
        udp.recv(64)
    except BlockingIOError:
        return Probe("udp-host", True, "no datagram reached a listener outside")
    return Probe("udp-host", False, "a datagram reached a listener outside")


def _written(folder: Path) -> Probe:
    extra = sorted(set(os.listdir(folder)) - {"secret", "socket"})
    return Probe("write-host", not extra, "nothing appeared outside" if not extra else f"{extra[0]} appeared outside")


# Runs inside with the bare standard library. Prints nothing; answers in the work folder.
SCRIPT = r"""
import glob, json, os, socket, subprocess, sys
facts = json.loads(sys.argv[1])
found = []

def refused(name, what, action):
    try:
        action()
    except OSError as error:
        found.append((name, True, what + ": " + (error.strerror or str(error) or type(error).__name__)))
    else:
        found.append((name, False, what + ": it worked"))

def tcp(host, port):
    socket.create_connection((host, port), timeout=2).close()

def udp(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"x", (host, port))

def unix(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(2)
        made.connect(path)

def read(path):
    open(path).close()

def write(path):
    open(path + "/ostler-probe", "w").close()
    os.unlink(path + "/ostler-probe")

refused("tcp-host", "connecting to a listener outside", lambda: tcp("127.0.0.1", facts["tcp"]))
refused("tcp-out", "connecting to the network", lambda: tcp("192.0.2.1", 80))
refused("udp-out", "sending a datagram to the network", lambda: udp("192.0.2.1", 53))
try:
    udp("127.0.0.1", facts["udp"])
except OSError:
    pass
refused("unix-socket", "connecting to a socket file outside", lambda: unix(facts["folder"] + "/socket"))
refused("abstract-socket", "connecting to an abstract socket outside", lambda: unix("\0" + facts["marker"]))
refused("secret-file", "reading a file outside", lambda: read(facts["folder"] + "/secret"))
outside = [facts["folder"], "/", "/usr", "/etc", "/dev", "/proc/sys/kernel", os.path.dirname(facts["at"]), facts["prefix"]]
for path in outside:
    refused("write-outside", "writing to " + path, lambda: write(path))

try:
    with socket.create_server(("127.0.0.1", 0)) as server:
        tcp(*server.getsockname())
    found.append(("loopback", True, "a local server can be reached"))
except OSError as error:
    found.append(("loopback", False, "a local server cannot be reached: " + str(error)))

seen = []
for path in glob.glob("/proc/[0-9]*/environ"):
    try:
        with open(path, "rb") as file:
            if facts["marker"].encode() in file.read():
                seen.append(path)
    except OSError:
        pass
where = seen[0] if seen else "not to be found"
found.append(("environ-of-others", not seen, "a secret in the environment of a process outside: " + where))

extra = sorted(set(os.environ) - set(facts["allowed"]))
found.append(("own-environment", not extra, "own environment: " + (", ".join(extra) if extra else "only what Ostler set")))

with open("/proc/self/status") as file:
    status = dict(line.split(":", 1) for line in file)
nnp = status["NoNewPrivs"].strip() == "1"
found.append(("no-new-privs", nnp, "no_new_privs is " + ("set" if nnp else "not set")))
caps = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
held = [name for name, value in caps.items() if value]
found.append(("capabilities", not held, "capabilities: " + (", ".join(held) if held else "none")))

daemon = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(30)", facts["marker"] + "-daemon"]
subprocess.Popen(daemon, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

here = os.getcwd()
found.append(("work-folder", here == facts["at"], "the work folder is " + here + " and can be written"))
with open("answer.json", "w") as file:
    json.dump(found, file)
"""
