"""GitHub's expression language: `${{ needs.gate.outputs.go == 'true' && always() }}`.

Pure. `parse` knows which contexts and status functions exist where the expression stands and refuses others, so a misspelt one is
found before anything runs. Errors are BadInput; who knows the file and line puts them in front. hashFiles is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from bot.core.errors import BadInput
from bot.demo.runner import values
from bot.demo.runner.values import EvaluationError, Value

STATUS_FUNCTIONS = frozenset({"always", "success", "failure", "cancelled"})
MAX_LENGTH = 21_000
MAX_DEPTH = 50

_TOKEN = re.compile(
    r"""(?P<blank>\s+)
    | (?P<text>'(?:[^']|'')*')
    | (?P<operator>&&|\|\||==|!=|<=|>=|[()\[\],.!<>*])
    | (?P<name>[A-Za-z_][A-Za-z0-9_-]*)""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"[^\s()\[\],!<>=&|]+")  # dots belong to it
_NAME_END = re.compile(r"[\s()\[\],.!<>=&|]|\Z")
_WORDS: Mapping[str, Value] = {"true": True, "false": False, "null": None, "NaN": math.nan, "Infinity": math.inf}
_COMPARE: Mapping[str, Callable[[Value, Value], bool]] = {
    "==": values.equal,
    "!=": lambda left, right: not values.equal(left, right),
    "<": values.less,
    ">": lambda left, right: values.less(right, left),
    "<=": lambda left, right: values.equal(left, right) or values.less(left, right),
    ">=": lambda left, right: values.equal(left, right) or values.less(right, left),
}


class ExpressionError(BadInput):
    """An expression cannot be read."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may look at: contexts by name, status functions by lower-case name."""

    contexts: Mapping[str, Value]
    status: Mapping[str, Callable[[], bool]] = field(default_factory=dict)


# --- the tree ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Literal:
    value: Value

    def evaluate(self, scope: Scope) -> Value:
        return self.value


@dataclass(frozen=True, slots=True)
class Context:
    name: str

    def evaluate(self, scope: Scope) -> Value:
        return values.member(dict(scope.contexts), self.name)[1]


@dataclass(frozen=True, slots=True)
class Index:
    of: Node
    key: Node | None  # None is `*`

    def evaluate(self, scope: Scope) -> Value:
        container = self.of.evaluate(scope)
        return values.star(container) if self.key is None else values.index(container, self.key.evaluate(scope))


@dataclass(frozen=True, slots=True)
class Not:
    of: Node

    def evaluate(self, scope: Scope) -> Value:
        return not values.truthy(self.of.evaluate(scope))


@dataclass(frozen=True, slots=True)
class Compare:
    operator: str
    left: Node
    right: Node

    def evaluate(self, scope: Scope) -> Value:
        return _COMPARE[self.operator](self.left.evaluate(scope), self.right.evaluate(scope))


@dataclass(frozen=True, slots=True)
class Logical:
    """`&&` and `||` give the value that decided, not a boolean: hence `a && b || c`."""

    operator: str
    of: tuple[Node, ...]

    def evaluate(self, scope: Scope) -> Value:
        value = None
        for one in self.of:
            value = one.evaluate(scope)
            if values.truthy(value) == (self.operator == "||"):
                break
        return value


@dataclass(frozen=True, slots=True)
class Call:
    name: str  # lower case
    arguments: tuple[Node, ...]

    def evaluate(self, scope: Scope) -> Value:
        if self.name in STATUS_FUNCTIONS:
            return scope.status[self.name]()
        return values.FUNCTIONS[self.name][0](*(one.evaluate(scope) for one in self.arguments))


Node = Literal | Context | Index | Not | Compare | Logical | Call


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    match node:
        case Index(of, key):
            below: tuple[Node, ...] = (of,) if key is None else (of, key)
        case Not(of):
            below = (of,)
        case Compare(_, left, right):
            below = (left, right)
        case Logical(_, parts) | Call(_, parts):
            below = parts
        case _:
            below = ()
    for one in below:
        yield from walk(one)


def path(node: Node) -> tuple[str, ...]:
    """("needs", "gate", "outputs") for needs.gate.outputs; () where a part isn't fixed."""
    match node:
        case Context(name):
            return (name.lower(),)
        case Index(of, Literal(str() as key)):
            head = path(of)
            return (*head, key) if head else ()
    return ()


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Token:
    kind: str  # operator, name, literal, end
    text: str
    value: Value = None


def _tokens(source: str) -> Iterator[Token]:
    if len(source) > MAX_LENGTH:
        raise ExpressionError(f"an expression may have {MAX_LENGTH} characters at most")
    place, last = 0, Token("operator", "(")
    while place < len(source):
        token, place = _token(source, place, last)
        if token.kind != "blank":
            last = token
            yield token
    yield Token("end", "end of expression")


def _token(source: str, place: int, last: Token) -> tuple[Token, int]:
    after_value = last.kind == "name" or last.text in (")", "]", "*")
    if source[place] in "+-0123456789" or (source[place] == "." and not after_value):
        return _number(source, place)
    found = _TOKEN.match(source, place)
    if not found or (found.lastgroup == "name" and not _NAME_END.match(source, found.end())):
        raise _unexpected(re.split(r"[\s()\[\],.]", source[place:], maxsplit=1)[0], source, place)
    return _plain(found[0], str(found.lastgroup), last), found.end()


def _plain(word: str, kind: str, last: Token) -> Token:
    if kind == "text":
        return Token("literal", word, word[1:-1].replace("''", "'"))
    if word in _WORDS and last.text != ".":
        return Token("literal", word, _WORDS[word])
    return Token(kind, word)


def _number(source: str, place: int) -> tuple[Token, int]:
    found = _NUMBER.match(source, place)
    word = found[0] if found else source[place]
    value = values.parse_number(word)
    if math.isnan(value):
        raise _unexpected(word, source, place)
    return Token("literal", word, value), place + len(word)


def _unexpected(word: str, source: str, place: int) -> ExpressionError:
    return ExpressionError(f"unexpected symbol '{word}' at position {place + 1} of the expression: {source.strip()}")


class _Parser:
    """Recursive descent, loosest operator first."""

    def __init__(self, source: str, contexts: Collection[str], status: Collection[str]) -> None:
        self._source = source
        self._tokens = list(_tokens(source))
        self._place = 0
        self._depth = 0
        self._contexts = {name.lower() for name in contexts}
        self._status = status

    def whole(self) -> Node:
        node = self._expression()
        if self._peek().kind != "end":
            raise self._refuse(self._peek())
        return node

    def _peek(self) -> Token:
        return self._tokens[self._place]

    def _take(self, *operators: str) -> str | None:
        token = self._peek()
        if token.kind == "operator" and token.text in operators:
            self._place += 1
            return token.text
        return None

    def _need(self, operator: str) -> None:
        if not self._take(operator):
            raise self._refuse(self._peek())

    def _refuse(self, token: Token) -> ExpressionError:
        return ExpressionError(f"unexpected '{token.text}' in the expression: {self._source.strip()}")

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"an expression may be {MAX_DEPTH} levels deep at most")
        node = self._logical("||", lambda: self._logical("&&", self._equality))
        self._depth -= 1
        return node

    def _logical(self, operator: str, tighter: Callable[[], Node]) -> Node:
        parts = [tighter()]
        while self._take(operator):
            parts.append(tighter())
        return parts[0] if len(parts) == 1 else Logical(operator, tuple(parts))

    def _equality(self) -> Node:
        node = self._comparison()
        while operator := self._take("==", "!="):
            node = Compare(operator, node, self._comparison())
        return node

    def _comparison(self) -> Node:
        node = self._unary()
        while operator := self._take("<", "<=", ">", ">="):
            node = Compare(operator, node, self._unary())
        return node

    def _unary(self) -> Node:
        bangs = 0
        while self._take("!"):
            bangs += 1
            if bangs + self._depth > MAX_DEPTH:
                raise ExpressionError(f"an expression may be {MAX_DEPTH} levels deep at most")
        node = self._indexed()
        for _ in range(bangs):
            node = Not(node)
        return node

    def _indexed(self) -> Node:
        literal = self._peek().kind == "literal"
        node, depth = self._primary(), self._depth
        while not literal and (operator := self._take("[", ".")):
            depth += 1
            if depth > MAX_DEPTH:
                raise ExpressionError(f"an expression may be {MAX_DEPTH} levels deep at most")
            node = Index(node, self._bracket() if operator == "[" else self._property())
        return node

    def _bracket(self) -> Node | None:
        key = None if self._take("*") else self._expression()
        self._need("]")
        return key

    def _property(self) -> Node | None:
        if self._take("*"):
            return None
        token = self._peek()
        if token.kind != "name":
            raise self._refuse(token)
        self._place += 1
        return Literal(token.text)

    def _primary(self) -> Node:
        if self._take("("):
            node = self._expression()
            self._need(")")
            return node
        token = self._peek()
        if token.kind not in ("literal", "name"):
            raise self._refuse(token)
        self._place += 1
        if token.kind == "literal":
            return Literal(token.value)
        return self._call(token.text) if self._take("(") else self._context(token.text)

    def _context(self, name: str) -> Node:
        if name.lower() not in self._contexts:
            raise ExpressionError(f"'{name}' is not available in the expression: {self._source.strip()}")
        return Context(name)

    def _call(self, name: str) -> Node:
        arguments: list[Node] = []
        while not self._take(")"):
            arguments.append(self._expression())
            if not (self._peek().kind == "operator" and self._peek().text == ")"):
                self._need(",")
        folded = name.lower()
        if folded in STATUS_FUNCTIONS and folded in self._status:
            fewest, most = 0, 0
        elif folded in values.FUNCTIONS:
            _, fewest, most = values.FUNCTIONS[folded]
        else:
            known = " (hashFiles is not supported here)" if folded == "hashfiles" else ""
            raise ExpressionError(f"the function '{name}' is not available{known} in the expression: {self._source.strip()}")
        if not fewest <= len(arguments) <= most or (folded == "case" and len(arguments) % 2 == 0):
            raise ExpressionError(f"'{name}' cannot take {len(arguments)} arguments in the expression: {self._source.strip()}")
        return Call(folded, tuple(arguments))


def parse(source: str, contexts: Collection[str], status: Collection[str] = ()) -> Node:
    """The tree of an expression without its `${{ }}`. ExpressionError where it cannot be read."""
    return _Parser(source, contexts, status).whole()


# --- in text ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Template:
    """Text with `${{ }}` in it. One expression and nothing around it keeps the expression's type."""

    parts: tuple[str | Node, ...]

    def evaluate(self, scope: Scope) -> Value:
        if len(self.parts) == 1:
            only = self.parts[0]
            return only if isinstance(only, str) else only.evaluate(scope)
        return "".join(one if isinstance(one, str) else values.text(one.evaluate(scope)) for one in self.parts)

    def nodes(self) -> Iterator[Node]:
        for part in self.parts:
            if not isinstance(part, str):
                yield from walk(part)


def template(source: str, contexts: Collection[str], status: Collection[str] = ()) -> Template:
    """Read text that may hold expressions. ExpressionError where one cannot be read or is not closed."""
    parts: list[str | Node] = []
    rest = source
    while (start := rest.find("${{")) >= 0:
        if start:
            parts.append(rest[:start])
        end = _end(rest, start + 3)
        parts.append(parse(rest[start + 3 : end], contexts, status))
        rest = rest[end + 2 :]
    if rest or not parts:
        parts.append(rest)
    return Template(tuple(parts))


def _end(source: str, place: int) -> int:
    """Where the `}}` of an expression stands; those in text literals don't count."""
    quoted = False
    while place < len(source):
        if source[place] == "'":
            quoted = not quoted
        elif not quoted and source.startswith("}}", place):
            return place
        place += 1
    raise ExpressionError("an expression is not closed: `}}` is missing")


def condition(source: str, contexts: Collection[str], status: Collection[str] = STATUS_FUNCTIONS) -> Node:
    """An `if:`, with or without `${{ }}`. Where it calls no status function, success() must hold too."""
    stripped = source.strip()
    if "${{" in stripped:
        read = template(stripped, contexts, status)
        if len(read.parts) != 1 or isinstance(read.parts[0], str):
            raise ExpressionError(
                "an `if` with text around `${{ }}` is always true: put all of it inside, or leave `${{ }}` away"
            )
        node = read.parts[0]
    else:
        node = parse(stripped, contexts, status)
    if any(isinstance(one, Call) and one.name in STATUS_FUNCTIONS for one in walk(node)):
        return node
    return Logical("&&", (Call("success", ()), node))


__all__ = ["EvaluationError", "ExpressionError", "Scope", "Template", "condition", "parse", "path", "template", "walk"]
