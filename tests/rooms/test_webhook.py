"""Webhooks: signed by us or refused, of the shape of their event or refused, and never more than a reason to look."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.errors import BadInput, PolicyError, SetupError
from bot.github.webhook import MAX_BYTES, Delivery, ignored, parse, slim, verify

SECRET, BODY = "It's a Secret to Everybody", b"Hello, World!"
SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

USER = {"login": "mona", "id": 1, "type": "User", "site_admin": False}
REPOSITORY = {"id": 9, "full_name": "octo/stable", "default_branch": "main", "owner": USER, "private": False}
COMMON = {"repository": REPOSITORY, "sender": USER, "installation": {"id": 5, "node_id": "x"}}
ISSUE = {"number": 42, "title": "Sums", "body": None, "user": USER, "labels": []}
COMMENT = {
    "id": 3,
    "body": "/ostler stop",
    "user": USER,
    "created_at": "2026-11-21T10:00:00Z",
    "updated_at": "2026-11-21T10:00:00Z",
}
CHECK = {"id": 4, "external_id": "issue-42-x", "head_sha": "a" * 40, "app": {"id": 77}, "pull_requests": [{"number": 57}]}
PAYLOADS: dict[str, dict[str, Any]] = {
    "issues": {"action": "labeled", "issue": ISSUE, "label": {"name": "ostler"}, **COMMON},
    "issue_comment": {"action": "created", "issue": {**ISSUE, "pull_request": {}}, "comment": COMMENT, **COMMON},
    "check_run": {"action": "requested_action", "check_run": CHECK, "requested_action": {"identifier": "approve"}, **COMMON},
    "pull_request_review": {"action": "submitted", "review": {"id": 8}, "pull_request": {"number": 57}, **COMMON},
    "workflow_run": {"action": "completed", "workflow_run": {"id": 6, "status": "completed", "conclusion": "success"}, **COMMON},
    "installation_repositories": {
        "action": "added",
        "installation": {"id": 5},
        "repositories_added": [{"full_name": "octo/stable"}],
        "sender": USER,
    },
    "installation": {"action": "created", "installation": {"id": 5}, "repositories": [], "sender": USER},
}


def signed(raw: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


def raw_of(event: str) -> bytes:
    return json.dumps(PAYLOADS[event]).encode()


# --- signatures ---


def test_githubs_published_example_passes() -> None:
    verify([SECRET], BODY, [SIGNATURE])
    verify(["another", SECRET], BODY, [SIGNATURE])
    verify([SECRET, "another"], BODY, [SIGNATURE])


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["sha1=" + "0" * 40],
        [SIGNATURE.upper()],
        ["sha256=" + SIGNATURE[7:].upper()],
        [SIGNATURE + " "],
        [SIGNATURE + "\n"],
        [SIGNATURE[:-1]],
        [""],
        [SIGNATURE, SIGNATURE],
        ["sha256=" + "0" * 64, SIGNATURE],
    ],
)
def test_any_other_form_is_refused(given: list[str]) -> None:
    with pytest.raises(PolicyError, match="no signature"):
        verify([SECRET], BODY, given)


def test_every_bit_counts() -> None:
    for at in range(len(BODY)):
        for bit in range(8):
            changed = bytearray(BODY)
            changed[at] ^= 1 << bit
            with pytest.raises(PolicyError):
                verify([SECRET], bytes(changed), [SIGNATURE])


@settings(deadline=None)
@given(st.integers(7, 70), st.sampled_from("0123456789abcdef"))
def test_every_digit_of_the_signature_counts(at: int, digit: str) -> None:
    forged = SIGNATURE[:at] + digit + SIGNATURE[at + 1 :]
    if forged != SIGNATURE:
        with pytest.raises(PolicyError):
            verify([SECRET], BODY, [forged])


@pytest.mark.parametrize("secrets", [[], [""], [SECRET, ""]])
def test_no_secret_lets_nobody_in(secrets: list[str]) -> None:
    with pytest.raises(SetupError):
        verify(secrets, BODY, [signed(BODY, "")])


# --- shapes ---


def test_what_a_delivery_says() -> None:
    labelled, comment, pressed, reviewed, ended, added, installed = (parse(event, raw_of(event)) for event in PAYLOADS)
    assert labelled is not None
    assert (labelled.action, labelled.issue, labelled.label, labelled.installation_id) == ("labeled", 42, "ostler", 5)
    assert labelled.repository is not None
    assert (labelled.repository.full_name, labelled.repository.id, labelled.sender.login) == ("octo/stable", 9, "mona")
    assert comment.comment is not None
    assert (comment.comment.id, comment.comment.author, comment.is_pull) == (3, "mona", True)
    assert pressed.check_run is not None
    assert (pressed.check_run.app_id, pressed.check_run.external_id, pressed.requested_action) == (77, "issue-42-x", "approve")
    assert pressed.check_run.pulls == (57,)
    assert reviewed is not None
    assert (reviewed.issue, reviewed.is_pull, reviewed.action) == (57, True, "submitted")
    assert ended is not None
    assert ended.workflow_run is not None
    assert (ended.workflow_run.id, ended.workflow_run.conclusion) == (6, "success")
    assert (added.repository, added.repositories) == (None, ("octo/stable",))
    assert (installed.repository, installed.installation_id) == (None, 5)


def test_other_events_are_none_of_ours() -> None:
    for event, raw in (
        ("star", b"not even JSON"),
        ("ping", b"{}"),
        ("issues", json.dumps({**PAYLOADS["issues"], "action": "pinned"}).encode()),
        ("issues", raw_of("issues").replace(b'"ostler"', b'"bug"')),
    ):
        assert ignored(event, raw)
    assert [ignored(event, raw_of(event)) for event in PAYLOADS] == [""] * len(PAYLOADS)


@pytest.mark.parametrize("event", PAYLOADS)
def test_what_is_kept_says_the_same_without_the_words(event: str) -> None:
    delivery = parse(event, raw_of(event))
    silent = replace(delivery.comment, body="") if delivery.comment else None
    assert parse(event, slim(delivery)) == replace(delivery, comment=silent)


def test_an_event_under_another_name_is_refused() -> None:
    """The name of the event is not signed."""
    for told in PAYLOADS:
        for real in PAYLOADS:
            if told != real and not {told, real} >= {"installation"}:
                with pytest.raises(BadInput):
                    parse(told, raw_of(real))
    with pytest.raises(BadInput):
        parse("installation", raw_of("issues"))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"action": NaN}',
        b'{"action": Infinity}',
        b'{"action": "\xff"}',
        b'{"action": "labeled", "issue": {"number": 1, "title": "\\ud800"}}',
        b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}",
        b"[" * 1_000_000,
        b'{"a":' * 500_000,
        b'{"n": ' + b"9" * 10_000 + b"}",
        b"x" * (MAX_BYTES + 1),
        b'"' + b'\\"' * 1_000_000,
        b"\xef\xbb\xbf{}",
        b"{}" * 2,
    ],
    ids=range(16),
)
def test_bad_json_is_refused(raw: bytes) -> None:
    with pytest.raises(BadInput):
        parse("issues", raw)


def test_brackets_in_text_are_not_depth() -> None:
    payload = {**PAYLOADS["issues"], "issue": {**ISSUE, "title": '[{"\\' * 200}}
    assert parse("issues", json.dumps(payload).encode()).issue == 42


@pytest.mark.parametrize("event", PAYLOADS)
def test_ten_thousand_bent_deliveries(event: str) -> None:
    """Cut, doubled, shuffled, overwritten: a Delivery or BadInput, and no other way out."""
    chance, raw = random.Random(event), raw_of(event)
    pieces = [
        b"null",
        b"{}",
        b"[]",
        b'""',
        b"0",
        b"true",
        b"-1",
        b"1e999",
        b'"\\udc00"',
        b",",
        b":",
        b'"',
        b"\\",
        b"\x00",
        b"\xf0",
    ]
    outcomes = {Delivery: 0, BadInput: 0}
    for _ in range(2_000):
        bent = bytearray(raw)
        for _ in range(chance.randint(1, 3)):
            start = chance.randrange(len(bent))
            bent[start : start + chance.choice((0, 1, 1, 4, 20))] = chance.choice(pieces)
        try:
            outcomes[type(parse(event, bytes(bent)))] += 1
        except BadInput:
            outcomes[BadInput] += 1
    assert outcomes[BadInput] > 1_000


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(PAYLOADS)), st.data())
def test_any_value_anywhere(event: str, data: st.DataObject) -> None:
    payload = json.loads(raw_of(event))
    part: Any = payload
    while isinstance(part, dict) and part:
        name = data.draw(st.sampled_from(sorted(part)))
        if not isinstance(part[name], dict) or data.draw(st.booleans()):
            part[name] = data.draw(values)
            break
        part = part[name]
    with contextlib.suppress(BadInput):
        parse(event, json.dumps(payload).encode())
