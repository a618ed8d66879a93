"""How a request becomes a call and a call an answer: the frame that every route module of the stand-in fills.

A route module exports `routes(hub) -> list[Route]`. Starlette's own routes may be among them, for what speaks HTTP itself (git,
pages, identity tokens): they find out who asks with `hub.asker(request)`; faults and the log hold for them all the same.

A handler is a plain function `Call -> JSON value | Page | Answer`; it runs in a thread with the state's lock held (`locked=False`
where it runs long) and raises `Refusal` to say no. Strictness comes from the route: permission, path, query and body are checked
against what it declares before the handler runs.

    Route("POST", "/repos/{owner}/{repo}/issues/{number:int}/comments", comment, needs="issues:write", body={"body!": str})

Path: begins after `/api/v3`, unless `base=""` (then the whole path). `{x:int}` is digits, `{x:rest}` may hold slashes.
Needs: "permission:level"; several with `|` are alternatives; "" means that seeing the repository is enough.
Schemas: `key!` must be there, `key?` may be null; a value is a type, a frozenset of words, `[one]` for a list, a nested mapping,
a tuple of alternatives, or `object` for anything. Query values are texts; int and bool there mean texts that read so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.requests import Request

from bot.demo.hub import auth
from bot.demo.hub.hub import Hub
from bot.demo.hub.refusals import Refusal, not_found
from bot.demo.hub.state import Repository, Token, User

Schema = Mapping[str, Any]
PAGED: dict[str, Any] = {"per_page": int, "page": int}


@dataclass(slots=True)
class Answer:
    """What a handler answers when a 200 with JSON isn't it. `body` bytes go out as they are, None is no body, else JSON."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Page:
    """A list to be cut by per_page and page. With `key`, the answer is {"total_count": n, key: [...]}.

    A `stale` fault hides the items with the greatest `id`, or the last ones where they have none.
    """

    items: list[Any]
    key: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # further keys beside total_count


@dataclass(slots=True)
class Call:
    """One request, seen and checked. `token` is None on routes for Apps (`app_id` is set) and for everybody."""

    hub: Hub
    request: Request
    path: dict[str, Any]
    query: dict[str, Any]
    body: dict[str, Any]
    token: Token | None = None
    app_id: int | None = None  # the App of a JWT, or of the token
    found: Repository | None = None
    raw: bytes = b""

    @property
    def repository(self) -> Repository:
        if self.found is None:
            raise not_found()
        return self.found

    @property
    def user(self) -> User:
        """Who acts."""
        if self.token is None:
            raise Refusal(401, "Requires authentication")
        return self.token.user

    def may(self, need: str) -> bool:
        """Whether who acts has the permission, or the role that people need for it."""
        return self.token is not None and auth.may(self.token, self.repository, need)

    def must_as_app(self, need: str) -> None:
        """403 for an App or job without the permission; people were judged by their role before."""
        if self.token is not None and self.token.permissions is not None and not self.may(need):
            raise auth.not_accessible()


Handler = Callable[[Call], Any]
Door = Literal["token", "app", "open", "person"]  # open: with a token or without


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: Handler
    needs: str = ""
    query: Schema = field(default_factory=dict)
    body: Schema | None = None
    door: Door = "token"
    locked: bool = True
    base: str = "/api/v3"
    anyone: bool = False  # a person needs no role for it beyond seeing the repository; the handler decides further


_KINDS = {"int": r"\d+", "rest": r".+", "": r"[^/]+"}


def pattern(path: str) -> tuple[re.Pattern[str], frozenset[str]]:
    """The path as an expression, and which of its parameters are numbers."""
    numbers = set()

    def one(match: re.Match[str]) -> str:
        if match[2] == "int":
            numbers.add(match[1])
        return f"(?P<{match[1]}>{_KINDS[match[2] or '']})"

    parts = re.split(r"(\{\w+(?::\w+)?\})", path)
    text = "".join(re.sub(r"\{(\w+)(?::(\w+))?\}", one, part) if part.startswith("{") else re.escape(part) for part in parts)
    return re.compile(text + r"\Z"), frozenset(numbers)


def checked_query(schema: Schema, given: list[tuple[str, str]]) -> dict[str, Any]:
    """The query's values in the types of `schema`; 422 for keys nobody knows and for texts that don't read so."""
    values: dict[str, Any] = {}
    known = {key.rstrip("!?"): (key, kind) for key, kind in schema.items()}
    for name, text in given:
        if name not in known:
            raise Refusal(422, f"Unknown query parameter: {name}")
        if name in values:
            raise Refusal(422, f"Query parameter given twice: {name}")
        values[name] = _from_text(name, known[name][1], text)
    for name, (key, _) in known.items():
        if key.endswith("!") and name not in values:
            raise Refusal(422, f"Missing query parameter: {name}")
    return values


def _from_text(name: str, kind: Any, text: str) -> Any:
    if kind is int and re.fullmatch(r"\d{1,18}", text):
        return int(text)
    if kind is bool and text in ("true", "false", "True", "False"):
        return text.lower() == "true"
    if kind is str or (isinstance(kind, frozenset) and text in kind):
        return text
    raise Refusal(422, f"Invalid query parameter {name}: {text}")


def checked_body(schema: Schema | None, raw: bytes) -> dict[str, Any]:
    """The body's object; 400 when it isn't JSON, 422 when it isn't what `schema` says."""
    if schema is None:
        if raw.strip() not in (b"", b"{}", b"null"):
            raise Refusal(422, "Invalid request.\n\nThis endpoint takes no body.")
        return {}
    try:
        value = json.loads(raw) if raw.strip() else {}
    except ValueError:
        raise Refusal(400, "Problems parsing JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "Body should be a JSON object")
    check(schema, value, "")
    return value


def check(schema: Any, value: Any, where: str) -> None:
    """422 unless `value` is of `schema`; `where` names it in the refusal."""
    if isinstance(schema, Mapping):
        _check_mapping(schema, value, where)
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise _wrong(where, value, "an array")
        for index, item in enumerate(value):
            check(schema[0], item, f"{where}/{index}")
    elif not _fits(schema, value, where):
        words = sorted(schema) if isinstance(schema, frozenset) else getattr(schema, "__name__", "one of the accepted kinds")
        raise _wrong(where, value, str(words))


def _check_mapping(schema: Schema, value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise _wrong(where, value, "an object")
    known = {key.rstrip("!?"): (key, kind) for key, kind in schema.items()}
    for name, item in value.items():
        if name not in known:
            raise Refusal(422, f'Invalid request.\n\n"{name}" is not a permitted key.')
        key, kind = known[name]
        if item is None and key.endswith("?"):
            continue
        check(kind, item, f"{where}/{name}".lstrip("/"))
    for name, (key, _) in known.items():
        if key.endswith("!") and name not in value:
            raise Refusal(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')


def _fits(schema: Any, value: Any, where: str) -> bool:
    if isinstance(schema, tuple):
        return any(_fits(one, value, where) for one in schema)
    if isinstance(schema, frozenset):
        return isinstance(value, str) and value in schema
    if isinstance(schema, type):
        return isinstance(value, schema) and not (schema is int and isinstance(value, bool))
    try:
        check(schema, value, where)
    except Refusal:
        return False
    return True


def _wrong(where: str, value: Any, wanted: str) -> Refusal:
    return Refusal(422, f"Invalid request.\n\nFor '{where}', {json.dumps(value)[:80]} is not {wanted}.")
