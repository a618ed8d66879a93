"""The signed state, `base64(payload).kid.base64(signature)`: what a check run holds can be believed whoever wrote it there.

Ed25519 over domain, kid and payload with NUL between them. The payload is the canonical JSON of a SessionState. Only exactly what
`seal` writes is read: base64 that decodes to the same bytes in another spelling is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from bot.core.changeset import canonical
from bot.core.errors import BugError, PolicyError, SetupError
from bot.core.session import SessionState, read_state

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DOMAIN = b"ostler/state/1"
_SEED_DOMAIN = b"ostler/state-key/1"
MAX_CHARACTERS = 60_000
"""A check run's text takes about 65,535."""
LEAST_SECRET = 32
_KID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair, or with `signer` None its public half. `kid` names it and `public` is its 32 bytes."""

    kid: str
    public: bytes
    signer: Ed25519PrivateKey | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_secret(cls, text: str) -> Self:
        """The pair that belongs to a secret; the same one for the same text.

        Raises:
            SetupError: fewer than 32 characters.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - only signers need it

        text = text.strip()
        if len(text) < LEAST_SECRET:
            raise SetupError(f"the state key has fewer than {LEAST_SECRET} characters; make one with `openssl rand -hex 32`")
        signer = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(_SEED_DOMAIN + b"\0" + text.encode()).digest())
        public = signer.public_key().public_bytes_raw()
        return cls(_kid_of(public), public, signer)

    @classmethod
    def from_public(cls, text: str) -> Self:
        """The public half, from its 64 hex digits. Raises SetupError."""
        try:
            public = bytes.fromhex(text.strip())
        except ValueError:
            public = b""
        if len(public) != 32:
            raise SetupError("a public state key is 64 hex digits")
        return cls(_kid_of(public), public)


def _kid_of(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()[:16]


def seal(key: Key, state: SessionState) -> str:
    """`state`, signed. BugError where it would be too long to be read again."""
    if key.signer is None:
        raise BugError("a public key signs nothing")
    payload = state.payload
    text = f"{_encode(payload)}.{key.kid}.{_encode(key.signer.sign(_signed(key.kid, payload)))}"
    if len(text) > MAX_CHARACTERS:
        raise BugError(f"the state is {len(text):,} characters long, more than {MAX_CHARACTERS:,}")
    return text


def open_(
    text: str,
    keys: Sequence[Key],
    *,
    repo_id: int,
    issue: int | None = None,
    session: str | None = None,
    known: SessionState | None = None,
) -> SessionState:
    """The state in `text`, if one of `keys` signed it for this repository (and issue, and session).

    With `known`, the latest state that the caller has seen, an older one is refused, and a next one that does not follow it.

    Raises:
        PolicyError: anything else.
    """
    state = read_state(_payload(text, keys))
    if state.repo_id != repo_id or issue not in (None, state.issue) or session not in (None, state.session):
        raise PolicyError("The signed state belongs to another repository, issue or session.")
    if known is not None:
        _check_follows(state, known)
    return state


def choose(texts: Iterable[str], keys: Sequence[Key], *, repo_id: int, issue: int, session: str) -> SessionState | None:
    """The latest valid state among `texts`; what is not valid counts for nothing.

    Raises:
        PolicyError: two states that are both signed and say different things at the same place: somebody has the key.
    """
    valid: dict[int, SessionState] = {}
    for text in texts:
        try:
            state = open_(text, keys, repo_id=repo_id, issue=issue, session=session)
        except PolicyError:
            continue
        if valid.setdefault(state.seq, state) != state:
            raise PolicyError(
                f"Two different states number {state.seq} of {session} are signed: replace the state key and look who had it."
            )
    return valid[max(valid)] if valid else None


def _check_follows(state: SessionState, known: SessionState) -> None:
    if (state.repo_id, state.session) != (known.repo_id, known.session):
        raise PolicyError("The signed state belongs to another session than the known one.")
    if state.seq < known.seq:
        raise PolicyError("The signed state is older than the one that is known.")
    if state.seq == known.seq and state != known:
        raise PolicyError(f"Two different states number {state.seq} are signed.")
    if state.seq == known.seq + 1 and state.prev != known.digest:
        raise PolicyError("The signed state does not follow the one that is known.")


def _payload(text: str, keys: Sequence[Key]) -> Any:
    """The decoded JSON, after everything that can be checked without knowing what it says."""
    if len(text) > MAX_CHARACTERS:
        raise PolicyError("The signed state is too long.")
    parts = text.split(".")
    if len(parts) != 3 or not _KID.fullmatch(parts[1]):
        raise PolicyError("The signed state does not have its three parts.")
    payload, signature = _decode(parts[0]), _decode(parts[2])
    key = next((key for key in keys if key.kid == parts[1]), None)
    if key is None:
        raise PolicyError("The state is signed with a key that is not known here.")
    _check_signature(key, payload, signature)
    try:
        value = json.loads(payload)
        same = canonical(value) == payload
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise PolicyError("The signed state is not canonical JSON.")
    return value


def _check_signature(key: Key, payload: bytes, signature: bytes) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - as above

    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, _signed(key.kid, payload))
    except InvalidSignature:
        raise PolicyError("The state's signature does not match it.") from None


def _signed(kid: str, payload: bytes) -> bytes:
    return b"\0".join((DOMAIN, kid.encode(), payload))


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes:
    """Strict: Python's own decoder takes several spellings for the same bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise PolicyError("The signed state is not base64.") from None
    if _encode(data) != text:
        raise PolicyError("The signed state is not canonical base64.")
    return data
