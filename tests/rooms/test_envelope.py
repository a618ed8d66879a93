"""The signed state: what `seal` wrote is read, and nothing that anybody else wrote."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.changeset import canonical
from bot.core.errors import BugError, PolicyError, SetupError
from bot.core.session import SessionState
from bot.store.envelope import DOMAIN, MAX_CHARACTERS, Key, choose, open_, seal

KEY, OTHER = Key.from_secret("k" * 32), Key.from_secret("o" * 32)
SESSION = "issue-42-3f9a1c2b_20261121_113431"
STATE = SessionState(9, 42, SESSION, 5, "mona", "ostler/issue-42-x-3f9a1c2b", seq=3, spent=120, issued_at="2026-11-21T10:00:00Z")
TEXT = seal(KEY, STATE)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=._- \n\0é"


def read(text: str, *keys: Key, **more: Any) -> SessionState:
    return open_(text, keys or (KEY,), repo_id=more.pop("repo_id", 9), **more)


def forged(payload: bytes, key: Key = KEY, *, domain: bytes = DOMAIN, kid: str = "") -> str:
    """An envelope around anything, signed with the right key: for what a signature alone must not let through."""
    assert key.signer is not None
    named = kid or key.kid
    signature = key.signer.sign(b"\0".join((domain, named.encode(), payload)))
    return f"{base64.b64encode(payload).decode()}.{named}.{base64.b64encode(signature).decode()}"


def payload_with(**changes: Any) -> bytes:
    return canonical({**json.loads(STATE.payload), **changes})


def test_it_comes_back() -> None:
    assert read(TEXT) == STATE
    assert read(TEXT, OTHER, KEY, issue=42, session=SESSION) == STATE
    assert read(TEXT, Key.from_public(KEY.public.hex())) == STATE
    assert seal(KEY, STATE) == TEXT
    assert Key.from_secret(" " + "k" * 32 + "\n") == KEY


def test_the_secret_is_nowhere() -> None:
    assert "k" * 32 not in repr(KEY) + TEXT
    assert hashlib.sha256(b"k" * 32).hexdigest()[:16] not in KEY.kid


def test_keys_that_are_none() -> None:
    for secret in ("", "k" * 31, " " * 40):
        with pytest.raises(SetupError):
            Key.from_secret(secret)
    for public in ("", "00", "x" * 64, KEY.public.hex() + "00"):
        with pytest.raises(SetupError):
            Key.from_public(public)
    with pytest.raises(BugError):
        seal(Key.from_public(KEY.public.hex()), STATE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        TEXT + "\n",
        " " + TEXT,
        TEXT + ".",
        TEXT.replace(".", "..", 1),
        TEXT.replace(f".{KEY.kid}.", f".{OTHER.kid}."),
        TEXT.replace(f".{KEY.kid}.", f".{KEY.kid.upper()}."),
        forged(STATE.payload, domain=b"ostler/state/2"),
        forged(STATE.payload, OTHER),
        forged(STATE.payload, OTHER, kid=KEY.kid),
        forged(STATE.payload + b" "),
        forged(b" " + STATE.payload),
        forged(STATE.payload.replace(b":", b": ", 1)),
        forged(STATE.payload.replace(b"{", b'{"seq":9,', 1)),
        forged(STATE.payload.replace(b"mona", b"m\\u006fna")),
        forged(b"\xff"),
        forged(b"[]"),
        forged(b"null"),
        forged(b"[" * 20_000),
        forged(payload_with(extra=1)),
        forged(payload_with(spent="120")),
        forged(payload_with(spent=120.0)),
        forged(payload_with(spent=True)),
        forged(payload_with(v=2)),
        forged(payload_with(standing="paid")),
        forged(canonical({key: value for key, value in json.loads(STATE.payload).items() if key != "spent"})),
        "A" * (MAX_CHARACTERS + 1),
    ],
    ids=range(30),
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        read(text)


def test_moved_elsewhere_it_is_worth_nothing() -> None:
    for more in ({"repo_id": 8}, {"issue": 41}, {"session": SESSION + "0"}, {"issue": 0}, {"session": ""}):
        with pytest.raises(PolicyError, match="another repository"):
            read(TEXT, **more)
    with pytest.raises(PolicyError, match="not known"):
        read(TEXT, OTHER)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.sampled_from(ALPHABET), st.sampled_from(("replace", "insert", "delete")))
def test_no_other_spelling_is_read(at: int, char: str, how: str) -> None:
    """The last characters of base64 hold bits that mean nothing: several texts decode to the same bytes."""
    bent = TEXT[:at] + ("" if how == "delete" else char) + TEXT[at + (how != "insert") :]
    if bent != TEXT:
        with pytest.raises(PolicyError):
            read(bent)


def test_every_last_character_counts() -> None:
    for part in (0, 2):
        parts = TEXT.split(".")
        last = len(parts[part].rstrip("=")) - 1
        for char in ALPHABET:
            if char != parts[part][last]:
                bent = [*parts]
                bent[part] = parts[part][:last] + char + parts[part][last + 1 :]
                with pytest.raises(PolicyError):
                    read(".".join(bent))


# --- order ---


def after(state: SessionState, **changes: Any) -> SessionState:
    return replace(state, seq=state.seq + 1, prev=state.digest, **changes)


def test_time_goes_one_way() -> None:
    following = after(STATE, spent=200)
    assert read(seal(KEY, following), known=STATE) == following
    assert read(TEXT, known=STATE) == STATE
    for late, known, words in (
        (STATE, following, "older"),
        (replace(STATE, spent=0), STATE, "Two different"),
        (replace(following, prev="0" * 64), STATE, "does not follow"),
        (replace(STATE, session=SESSION + "0"), STATE, "another session"),
    ):
        with pytest.raises(PolicyError, match=words):
            read(seal(KEY, late), known=known)


def chosen(*texts: str, **more: Any) -> SessionState | None:
    return choose(texts, [KEY], **{"repo_id": 9, "issue": 42, "session": SESSION, **more})


def test_the_latest_is_chosen() -> None:
    second = after(STATE, spent=200)
    noise = ["", "junk", forged(payload_with(seq=99), OTHER), seal(KEY, replace(STATE, issue=7, seq=99)), TEXT[:-1]]
    assert chosen(*noise, seal(KEY, second), TEXT, TEXT) == second
    assert chosen(*noise) is None
    assert chosen() is None
    assert chosen(TEXT, session=SESSION + "0") is None


def test_two_truths_are_an_alarm() -> None:
    with pytest.raises(PolicyError, match="Two different states"):
        chosen(TEXT, seal(KEY, replace(STATE, spent=0)))
    with pytest.raises(PolicyError, match="Two different states"):
        chosen(TEXT, seal(KEY, replace(STATE, spent=0)), seal(KEY, after(STATE)))


def test_a_state_that_could_not_be_read_again_is_not_written() -> None:
    with pytest.raises(BugError, match="characters"):
        seal(KEY, replace(STATE, budget_line="x" * MAX_CHARACTERS))
