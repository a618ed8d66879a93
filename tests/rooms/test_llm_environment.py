"""Nothing in the environment moves a key. Each client runs in a process of its own, full of traps."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KEY = "sk-ours-0123456789abcdef"
STOLEN = "sk-theirs-fedcba9876543210"
ANSWERS = {
    "anthropic": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
    "openai": {
        "id": "resp_1",
        "object": "response",
        "created_at": 0,
        "model": "gpt-6-luna",
        "status": "completed",
        "output": [
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "hello", "annotations": []}],
            }
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 1,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 4,
        },
    },
}
PROGRAM = """
import sys
vendor, url, key = sys.argv[1:]
from bot.core.conversation import Message, Text
from bot.core.errors import TransientError
from bot.llm.model import Request
if vendor == "anthropic":
    from bot.llm.anthropic import AnthropicModel as Client
    model = "claude-haiku-5-5"
else:
    from bot.llm.openai import OpenAIModel as Client
    model = "gpt-6-luna"
request = Request(model, ("system",), (Message("user", (Text("hi"),)),), 1000, timeout_seconds=10)
try:
    print(Client(key, url, streaming=False).send(request).stop)
except TransientError as error:
    print(error)
"""


class Listener(ThreadingHTTPServer):
    """Records every request, CONNECT of proxies included, and answers as both vendors."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.touched = 0

    def get_request(self) -> Any:
        self.touched += 1  # a handshake that fails is contact too
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        self.server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps(ANSWERS["anthropic" if self.path.endswith("/messages") else "openai"]).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_CONNECT = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Silence: what matters is in `seen`."""


@contextmanager
def listening(context: ssl.SSLContext | None = None) -> Iterator[Listener]:
    with Listener() as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def call(vendor: str, url: str, traps: dict[str, str]) -> str:
    """What the client in a fresh process says; `traps` are added to a plain environment."""
    plain = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV")}
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", PROGRAM, vendor, url, KEY],
        env={**plain, "PYTHONPATH": str(ROOT), **traps},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr
    return done.stdout.strip()


def traps(trap: str) -> dict[str, str]:
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    headers = f"Host: trap.invalid\nAuthorization: Bearer {STOLEN}\nX-Api-Key: {STOLEN}\nX-Leak: 1"
    return {
        **dict.fromkeys(proxies, trap),
        "ANTHROPIC_BASE_URL": trap,
        "ANTHROPIC_API_KEY": STOLEN,
        "ANTHROPIC_AUTH_TOKEN": STOLEN,
        "ANTHROPIC_CUSTOM_HEADERS": headers,
        "OPENAI_BASE_URL": f"{trap}/v1",
        "OPENAI_API_KEY": STOLEN,
        "OPENAI_ADMIN_KEY": STOLEN,
        "OPENAI_CUSTOM_HEADERS": headers,
        "OPENAI_ORG_ID": "org-trap",
        "OPENAI_PROJECT_ID": "proj-trap",
    }


@pytest.mark.parametrize(("vendor", "base", "path"), [("anthropic", "", "/v1/messages"), ("openai", "/v1", "/v1/responses")])
def test_the_environment_moves_neither_key_nor_request(vendor: str, base: str, path: str) -> None:
    with listening() as home, listening() as trap:
        home_url, trap_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in (home, trap))
        assert call(vendor, home_url + base, traps(trap_url)) == "done"
        assert trap.touched == 0
        [(seen_path, headers)] = home.seen
        assert seen_path == path
        assert headers["authorization"] == f"Bearer {KEY}"
        assert headers["host"] == home_url.removeprefix("http://")
        assert STOLEN not in str(headers)
        assert not {"x-leak", "x-api-key", "openai-organization", "openai-project"} & set(headers)


@pytest.mark.parametrize(("vendor", "path"), [("anthropic", "/v1/messages"), ("openai", "/responses")])
def test_the_trap_is_a_trap(vendor: str, path: str) -> None:
    """The same environment catches the SDK as it comes: otherwise the test above would prove nothing."""
    sdk = {
        "anthropic": "import anthropic; anthropic.Anthropic(max_retries=0).messages.create("
        "model='claude-haiku-5-5', max_tokens=9, messages=[{'role': 'user', 'content': 'hi'}])",
        "openai": "import openai; openai.OpenAI(max_retries=0).responses.create(model='gpt-6-luna', input='hi')",
    }
    with listening() as trap:
        url = f"http://127.0.0.1:{trap.server_address[1]}"
        plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        subprocess.run(
            [sys.executable, "-B", "-c", sdk[vendor]], env={**plain, **traps(url)}, check=False, capture_output=True, timeout=60
        )
        assert any(seen.endswith(path) and STOLEN in headers["authorization"] for seen, headers in trap.seen)


@pytest.mark.parametrize(("vendor", "base"), [("anthropic", ""), ("openai", "/v1")])
def test_a_certificate_authority_from_the_environment_is_not_trusted(vendor: str, base: str, tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with listening(context) as trap:
        named = {"SSL_CERT_FILE": str(certificate), "SSL_CERT_DIR": str(tmp_path), "REQUESTS_CA_BUNDLE": str(certificate)}
        said = call(vendor, f"https://127.0.0.1:{trap.server_address[1]}{base}", named)
        assert said == f"the connection to {vendor} failed (ConnectError)"
        assert trap.seen == []


def test_importing_the_clients_imports_no_sdk() -> None:
    program = (
        "import sys, bot.llm.anthropic, bot.llm.openai, bot.llm.prices, bot.llm.tools, bot.llm.scripted\n"
        "print(sorted({'anthropic', 'openai', 'httpx2', 'pydantic', 'genai_prices'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-B", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
