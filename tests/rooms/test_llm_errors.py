"""What goes wrong at a vendor, and what a client makes of it: one request each time, the right error, never the key."""

from __future__ import annotations

import socket
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from bot.core.conversation import Message, Text
from bot.core.errors import BadInput, BugError, OstlerError, SetupError, TransientError
from bot.demo.vendors import Vendors, serve
from bot.llm import wire
from bot.llm.anthropic import AnthropicModel
from bot.llm.model import Model, Reply, Request
from bot.llm.openai import OpenAIModel
from bot.llm.scripted import ScriptedModel

KEY = "sk-secret-0123456789abcdef"
IDS = {"anthropic": "claude-haiku-5-5", "openai": "gpt-6-luna"}


@pytest.fixture(params=["anthropic-streamed", "anthropic-at_once", "openai-streamed", "openai-at_once"])
def client(request: pytest.FixtureRequest) -> Any:
    """How to make a client of each kind: a function of the running stand-in."""
    vendor, _, mode = request.param.partition("-")

    def make(vendors: Vendors) -> Model:
        if vendor == "anthropic":
            return AnthropicModel(KEY, vendors.anthropic_url, streaming=mode == "streamed")
        return OpenAIModel(KEY, vendors.openai_url, streaming=mode == "streamed")

    return make


def ask(vendor: str, **more: Any) -> Request:
    said = (Message("user", (Text("Mend the parser."),)),)
    return Request(**{"model": IDS[vendor], "system": ("You mend code.",), "messages": said, "max_output": 1000, **more})


def failure(client: Any, reply: dict[str, Any], **more: Any) -> tuple[OstlerError, list[dict[str, Any]]]:
    """The error that `reply` leads to, and the journal. Checks on the way that nothing was tried twice and no key is told."""
    with serve([{"reply": reply}]) as vendors:
        model = client(vendors)
        with pytest.raises(OstlerError) as caught:
            model.send(ask(model.vendor, **more))
        told = "".join(traceback.format_exception(caught.value))
        assert KEY not in told
        assert KEY[:12] not in told
        journal = vendors.journal()
        assert len(journal) == 1
        return caught.value, journal


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key(client: Any, status: int) -> None:
    error, _ = failure(client, {"status": status, "body": f"Incorrect API key provided: {KEY}"})
    assert isinstance(error, SetupError)
    assert "key" in str(error)


def test_a_vendor_that_quotes_the_key_is_not_quoted(client: Any) -> None:
    error, _ = failure(client, {"status": 400, "body": f"bad header Bearer {KEY[3:15]}*** in request"})
    assert isinstance(error, BadInput)
    assert "not shown" in str(error)


def test_an_unknown_model(client: Any) -> None:
    error, journal = failure(client, {"text": "never said"}, model="claude-unknown-9")
    assert isinstance(error, SetupError)
    assert "claude-unknown-9" in str(error)
    assert journal[0]["status"] == 404


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request(client: Any, status: int) -> None:
    error, _ = failure(client, {"status": status, "body": "messages: too many"})
    assert isinstance(error, BadInput)
    assert "messages: too many" in str(error)


@pytest.mark.parametrize(
    ("status", "headers", "wait", "billed"),
    [
        (429, {"retry-after": "7"}, 7.0, False),
        (429, {"retry-after-ms": "1500", "retry-after": "2"}, 1.5, False),
        (429, {"retry-after": "soon"}, None, False),
        (529, {}, None, False),
        (503, {"retry-after": "0"}, 0.0, False),
        (409, {}, None, False),
        (408, {}, None, None),
        (500, {}, None, None),
        (504, {}, None, None),
    ],
)
def test_what_may_pass(client: Any, status: int, headers: dict[str, str], wait: float | None, billed: bool | None) -> None:
    error, _ = failure(client, {"status": status, "headers": headers, "body": "busy"})
    assert isinstance(error, TransientError)
    assert (error.status, error.retry_after, error.billed) == (status, wait, billed)


def test_a_date_to_wait_for() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < (wire.retry_after({"retry-after": later}) or 0) <= 90
    assert wire.retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert wire.retry_after({}) is None


def test_an_empty_account_does_not_fill_up_by_waiting(client: Any) -> None:
    body = {"type": "error", "error": {"type": "billing_error", "code": "insufficient_quota", "message": "no credit"}}
    error, _ = failure(client, {"status": 429, "body": body})
    assert isinstance(error, SetupError)
    assert "credit" in str(error)


def test_a_redirect_is_not_followed(client: Any) -> None:
    error, _ = failure(client, {"status": 307, "headers": {"location": "http://127.0.0.1:9/stolen"}})
    assert isinstance(error, SetupError)


@pytest.mark.parametrize("fault", ["cut", "garbage"])
def test_a_broken_answer_may_have_been_billed(client: Any, fault: str) -> None:
    error, _ = failure(client, {"text": "word " * 200, fault: True})
    assert isinstance(error, TransientError)
    assert error.billed is None


def test_an_answer_that_takes_too_long(client: Any) -> None:
    error, _ = failure(client, {"text": "late", "delay": 1}, timeout_seconds=0.3)
    assert isinstance(error, TransientError)
    assert error.billed is None


@pytest.fixture
def nobody() -> str:
    """A port of this machine where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("vendor", [AnthropicModel, OpenAIModel])
def test_a_connection_that_never_stood_is_free(vendor: type[AnthropicModel | OpenAIModel], nobody: str) -> None:
    with pytest.raises(TransientError) as caught:
        vendor(KEY, nobody, streaming=True).send(ask(vendor.vendor))
    assert caught.value.billed is False


@pytest.mark.parametrize("vendor", [AnthropicModel, OpenAIModel])
@pytest.mark.parametrize("key", ["", "  ", "sk-two words", "sk-new\nline", "sk-ümlaut"])
def test_a_key_that_is_none(vendor: type[AnthropicModel | OpenAIModel], key: str) -> None:
    with pytest.raises(SetupError) as caught:
        vendor(key, "http://127.0.0.1", streaming=True)
    assert not key.strip() or key not in str(caught.value)


def test_a_fault_that_passes(client: Any) -> None:
    with serve([{"reply": {"status": 529}, "times": 2}, {"reply": {"text": "ok"}}]) as vendors:
        model = client(vendors)
        for _ in range(2):
            with pytest.raises(TransientError):
                model.send(ask(model.vendor))
        assert model.send(ask(model.vendor)).stop == "done"
        assert [line["status"] for line in vendors.journal()] == [529, 529, 200]


def test_the_scripted_model_keeps_to_its_script() -> None:
    with serve([{"reply": {"text": "ok"}}]) as vendors:
        reply = OpenAIModel(KEY, vendors.openai_url, streaming=False).send(ask("openai"))
    model: Model = ScriptedModel([("gpt-6-luna", reply), ("gpt-6-luna", reply)])
    assert model.input_bound(ask("openai")) >= reply.usage.prompt
    assert isinstance(model.send(ask("openai")), Reply)
    with pytest.raises(BugError):
        model.send(ask("anthropic"))
    with pytest.raises(BugError):
        model.send(ask("openai"))
