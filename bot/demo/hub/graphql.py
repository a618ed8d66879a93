"""The part of GraphQL that REST has no word for: when an issue's or a comment's text was last edited.

One query operation, fields as listed in `_FIELDS`, arguments by variable or literal. Everything else is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bot.demo.hub import auth
from bot.demo.hub.hub import Hub
from bot.demo.hub.refusals import Refusal
from bot.demo.hub.routing import Call, Route
from bot.demo.hub.shapes import when
from bot.demo.hub.state import Comment, Issue, Repository, User, stamp

_TOKEN = re.compile(
    r"""\s*(?:,|\#[^\n]*)?\s*(?:([A-Za-z_]\w*)|(\$[A-Za-z_]\w*)|(-?\d+)|("(?:[^"\\\n]|\\.)*")|([{}():!=\[\]])|$)"""
)


class Wrong(Exception):
    """The query isn't one that is understood here."""


@dataclass(frozen=True, slots=True)
class Field:
    key: str  # alias or name
    name: str
    arguments: Mapping[str, Any]
    fields: tuple[Field, ...]


class _Reader:
    """Recursive descent over the tokens of one operation."""

    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self._tokens = _split(text)
        self._at = 0
        self._given = variables
        self._declared: set[str] = set()

    def operation(self) -> tuple[Field, ...]:
        if self._peek() == "query":
            self._next()
            if re.fullmatch(r"[A-Za-z_]\w*", self._peek()):
                self._next()
            if self._peek() == "(":
                self._declarations()
        fields = self._selection()
        if self._peek():
            raise Wrong(f"Unexpected {self._peek()} after the query")
        extra = set(self._given) - self._declared
        if extra:
            raise Wrong(f"Variables that the query doesn't declare: {', '.join(sorted(extra))}")
        return fields

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self, wanted: str = "") -> str:
        token = self._peek()
        if not token or (wanted and token != wanted):
            raise Wrong(f"Parse error on {token or 'the end'}: expected {wanted or 'more'}")
        self._at += 1
        return token

    def _declarations(self) -> None:
        self._next("(")
        while self._peek() != ")":
            name = self._next()[1:]
            self._next(":")
            kind = self._next()
            required = self._peek() == "!"
            if required:
                self._next()
            self._declared.add(name)
            _judge_variable(name, kind, required, self._given)
        self._next(")")

    def _selection(self) -> tuple[Field, ...]:
        self._next("{")
        fields = []
        while self._peek() != "}":
            fields.append(self._field())
        self._next("}")
        if not fields:
            raise Wrong("Parse error: an empty selection")
        return tuple(fields)

    def _field(self) -> Field:
        key = name = self._next()
        if self._peek() == ":":
            self._next()
            name = self._next()
        arguments = {}
        if self._peek() == "(":
            self._next()
            while self._peek() != ")":
                argument = self._next()
                self._next(":")
                arguments[argument] = self._value()
            self._next(")")
        return Field(key, name, arguments, self._selection() if self._peek() == "{" else ())

    def _value(self) -> Any:
        token = self._next()
        if token.startswith("$"):
            if token[1:] not in self._declared:
                raise Wrong(f"Variable {token} is used but not declared")
            return self._given.get(token[1:])
        if token.startswith('"') or token.lstrip("-").isdigit():
            return json.loads(token)
        raise Wrong(f"Parse error on {token}: expected a value")


def _split(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.end() == at:
            raise Wrong(f"Parse error near {text[at : at + 20]!r}")
        at = match.end()
        tokens += [group for group in match.groups() if group]
    return tokens


def _judge_variable(name: str, kind: str, required: bool, given: Mapping[str, Any]) -> None:
    types = {"String": str, "ID": str, "Int": int}
    if kind not in types:
        raise Wrong(f"{kind} isn't a defined input type (on ${name})")
    value = given.get(name)
    if value is None and required:
        raise Wrong(f"Variable ${name} of type {kind}! was provided invalid value")
    if value is not None and (not isinstance(value, types[kind]) or isinstance(value, bool)):
        raise Wrong(f"Variable ${name} of type {kind} was provided invalid value")


@dataclass(frozen=True, slots=True)
class Connection:
    """A list with `first`, shown whole or not at all."""

    nodes: list[Any]


class Absent(Exception):
    """Something that isn't there, or not for whoever asks: `kind` is GraphQL's word for it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def _repository(call: Call, _: Any, owner: str, name: str) -> Repository:
    found = call.hub.state.repository(f"{owner}/{name}")
    if found is None or not auth.sees(call.token, found):
        raise Absent("NOT_FOUND", f"Could not resolve to a Repository with the name '{owner}/{name}'.")
    return found


def _issue(call: Call, home: Repository, number: int) -> Issue:
    found = home.issues.get(number)
    if found is None or found.pull is not None:
        raise Absent("NOT_FOUND", f"Could not resolve to an Issue with the number of {number}.")
    return _readable(call, home, found, "issues:read")


def _pull_request(call: Call, home: Repository, number: int) -> Issue:
    found = home.issues.get(number)
    if found is None or found.pull is None:
        raise Absent("NOT_FOUND", f"Could not resolve to a PullRequest with the number of {number}.")
    return _readable(call, home, found, "pull_requests:read")


def _readable(call: Call, home: Repository, found: Issue, need: str) -> Issue:
    if call.token is None or not auth.may(call.token, home, need):
        raise Absent("FORBIDDEN", "Resource not accessible by integration")
    return found


def _comments(_: Call, issue: Issue, first: int = 0, last: int = 0) -> Connection:
    if not 1 <= max(first, last) <= 100 or (first and last):
        raise Wrong(
            "You must provide a `first` or `last` value between 1 and 100 to properly paginate the `comments` connection."
        )
    found = list(issue.comments.values())
    return Connection(found[:first] if first else found[-last:])


Resolver = Callable[..., Any]
_TEXT: dict[str, Resolver] = {
    "databaseId": lambda _, one: one.id,
    "body": lambda _, one: one.body or "",
    "author": lambda _, one: one.user,
    "createdAt": lambda _, one: stamp(one.created_at),
    "updatedAt": lambda _, one: stamp(one.updated_at),
}
_FIELDS: dict[type | None, dict[str, Resolver]] = {
    None: {"repository": _repository, "viewer": lambda call, _: call.user},
    Repository: {
        "id": lambda _, one: f"R_{one.id}",
        "databaseId": lambda _, one: one.id,
        "nameWithOwner": lambda _, one: one.full_name,
        "isPrivate": lambda _, one: one.private,
        "issue": _issue,
        "pullRequest": _pull_request,
    },
    Issue: _TEXT
    | {
        "id": lambda _, one: f"I_{one.id}",
        "number": lambda _, one: one.number,
        "title": lambda _, one: one.title,
        "state": lambda _, one: one.state.upper(),
        "lastEditedAt": lambda _, one: when(one.last_edited_at),
        "comments": _comments,
    },
    Comment: _TEXT
    | {
        "id": lambda _, one: f"IC_{one.id}",
        "lastEditedAt": lambda _, one: stamp(one.updated_at) if one.updated_at != one.created_at else None,
    },
    Connection: {"nodes": lambda _, one: one.nodes, "totalCount": lambda _, one: len(one.nodes)},
    # A Bot's login has no [bot] at the end here, other than in REST.
    User: {"login": lambda _, one: one.login.removesuffix("[bot]"), "__typename": lambda _, one: one.type},
}


def _resolved(
    call: Call, parent: Any, fields: tuple[Field, ...], path: list[str], errors: list[dict[str, Any]]
) -> dict[str, Any]:
    known = _FIELDS[None if parent is None else type(parent)]
    answer: dict[str, Any] = {}
    for field in fields:
        if field.name not in known:
            raise Wrong(f"Field '{field.name}' doesn't exist on type '{type(parent).__name__ if parent else 'Query'}'")
        here = [*path, field.key]
        try:
            value = known[field.name](call, parent, **field.arguments)
        except TypeError:
            raise Wrong(f"Field '{field.name}' has other arguments than those given") from None
        except Absent as absent:
            errors.append({"type": absent.kind, "path": here, "message": absent.message})
            value = None
        answer[field.key] = _shown(call, value, field, here, errors)
    return answer


def _shown(call: Call, value: Any, field: Field, path: list[str], errors: list[dict[str, Any]]) -> Any:
    if isinstance(value, list):
        return [_shown(call, one, field, path, errors) for one in value]
    composite = type(value) in _FIELDS
    if value is not None and composite != bool(field.fields):
        raise Wrong(f"Field '{field.name}' must{'' if composite else ' not'} have a selection of subfields")
    return _resolved(call, value, field.fields, path, errors) if composite and value is not None else value


def query(call: Call) -> dict[str, Any]:
    if call.token is None:
        raise Refusal(401, "This endpoint requires you to be authenticated.")
    errors: list[dict[str, Any]] = []
    try:
        fields = _Reader(call.body["query"], call.body.get("variables") or {}).operation()
        data = _resolved(call, None, fields, [], errors)
    except Wrong as wrong:
        call.hub.errors.append(f"GraphQL: {wrong}")
        return {"errors": [{"message": str(wrong)}]}
    return {"data": data} | ({"errors": errors} if errors else {})


def routes(_: Hub) -> list[Route]:
    body = {"query!": str, "variables?": dict, "operationName?": str}
    return [Route("POST", "/graphql", query, door="open", base="/api", body=body)]
