"""What a world shows to somebody who watches closely: every file of a folder, every request on its way to a model."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.world.world import Json


def listing(folder: Path, *, but: str = "") -> dict[str, str]:
    """Everything in `folder` except below `but`: mode, and link target or digest of the content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if but and (name == but or name.startswith(f"{but}/")):
            continue
        content = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[name] = f"{path.lstat().st_mode:o} {hashlib.sha256(content).hexdigest()}"
    return found


def prompt(body: Any) -> str:
    """Every text of a request, in order, but for what tools answered: that stands in a place of its own."""
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return "\n".join(filter(None, map(prompt, body)))
    if isinstance(body, dict) and not str(body.get("type")).endswith(("_result", "_output")):
        wanted = ("system", "instructions", "input", "messages", "content", "text")
        return "\n".join(filter(None, (prompt(body[name]) for name in wanted if name in body)))
    return ""


def blocks_of(text: str, nonce: str) -> tuple[str, list[str]]:
    """What stands outside the blocks marked with `nonce`, and what stands in each."""
    block = re.compile(rf"<data {nonce} [\w -]+>\n(.*?)\n</data {nonce}>", re.DOTALL)
    return block.sub("", text), block.findall(text)


@dataclass(frozen=True, slots=True)
class Ear:
    """A place on the way to the stand-in at which every request is written down."""

    url: str
    heard: list[Json]


@contextmanager
def listening(upstream: str) -> Iterator[Ear]:
    heard: list[Json] = []
    target = urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            heard.append(json.loads(raw))
            link = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
            link.request("POST", self.path, raw, dict(self.headers))
            answer = link.getresponse()
            body = answer.read()
            link.close()
            self.send_response(answer.status)
            self.send_header("content-type", answer.headers["content-type"])
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nobody reads along."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Ear(f"http://127.0.0.1:{server.server_address[1]}", heard)
        finally:
            server.shutdown()
            thread.join()
