"""The two servers of W1: `ostler serve` and probot's own `probot run`, each as its users start it, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.watch import PAGE, TICKS

OSTLER, PROBOT = "ostler", "probot"
PACKAGES = {"probot": "14.3.2", "@octokit/webhooks-examples": "7.6.1"}
SECRET = "a-webhook-secret-of-the-bench"
APP_ID = "4711"
STARTING = 60.0
HANDLER = Path(__file__).resolve().parent / "probot.mjs"


@dataclass(slots=True)
class Receiver:
    """A server that runs. `most` is the most memory seen, in bytes; `accepted` how many deliveries it acknowledged to keep."""

    name: str
    path: str
    port: int
    process: subprocess.Popen[bytes]
    database: Path | None = None
    most: int = 0
    accepted: int = 0
    computed: float = 0.0

    def look(self) -> float:
        """See how much memory it has now; the seconds that it has computed since the last look."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        self.most = max(self.most, pages * PAGE)
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        before, self.computed = self.computed, (int(fields[11]) + int(fields[12])) / TICKS
        return self.computed - before


def install(place: Path) -> Path:
    """probot and the recorded payloads, in a folder of their own; made when it is not there yet.

    Raises:
        LookupError: there is no Node, or the registry does not give them.
    """
    done = place / f".installed-{'-'.join(PACKAGES.values())}"
    if done.exists():
        return place
    if shutil.which("npm") is None:
        raise LookupError("probot needs Node with npm, and there is none on PATH")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "package.json").write_text("{}\n")
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact", *wanted]
    ran = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=place)
    if ran.returncode:
        raise LookupError(f"probot cannot be installed: {ran.stderr.strip()[-300:]}")
    done.touch()
    return place


def start(packages: Path, folder: Path) -> list[AbstractContextManager[Receiver]]:
    """Ostler and probot, to be entered: they are stopped on the way out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    key = folder / "key.pem"
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    key.write_bytes(made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return [_ostler(folder, key), _probot(packages, folder, key)]


@contextmanager
def _ostler(folder: Path, key: Path) -> Iterator[Receiver]:
    port, nowhere = _free_port(), _free_port()
    database = folder / "ostler.db"
    env = {
        "OSTLER_APP_ID": APP_ID,
        "OSTLER_APP_PRIVATE_KEY": str(key),
        "OSTLER_WEBHOOK_SECRET": SECRET,
        "OSTLER_STATE_KEY": "a-state-key-of-the-bench-that-signs-nothing",
        "OSTLER_DATABASE_URL": f"sqlite:///{database}",
        "OSTLER_GITHUB_API_URL": f"http://127.0.0.1:{nowhere}",
        "OSTLER_OIDC_ISSUER": f"http://127.0.0.1:{nowhere}",
        "OSTLER_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "OSTLER_WORKFLOW_REF_PREFIX": "octo/ostler/.github/workflows/improve.yml@",
        "OSTLER_PORT": str(port),
    }
    with _process([sys.executable, "-I", "-m", "bot", "serve"], env, folder, OSTLER, port) as process:
        yield Receiver(OSTLER, "/webhook/github", port, process, database)


@contextmanager
def _probot(packages: Path, folder: Path, key: Path) -> Iterator[Receiver]:
    port = _free_port()
    env = {
        "APP_ID": APP_ID, "PRIVATE_KEY_PATH": str(key), "WEBHOOK_SECRET": SECRET, "NODE_ENV": "production", "HOST": "127.0.0.1",
        "PORT": str(port),
    }  # fmt: skip
    command = ["node", str(packages / "node_modules/probot/bin/probot.js"), "run", str(HANDLER)]
    with _process(command, env, folder, PROBOT, port) as process:
        yield Receiver(PROBOT, "/api/github/webhooks", port, process)


@contextmanager
def _process(command: list[str], env: dict[str, str], folder: Path, name: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**kept, **env, "HOME": str(folder)}, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        _wait(process, port, log)
        yield process
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + STARTING
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"a server did not start: {log.read_text('utf-8', 'replace').strip()[-300:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
