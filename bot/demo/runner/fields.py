"""Values in a workflow file that may hold expressions, and what each place of the file may look at.

The table is GitHub's (docs: "Contexts reference", context availability), without `matrix` and `strategy`, which are refused here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from bot.core.errors import BadInput
from bot.demo.runner import expressions, values
from bot.demo.runner.document import Part
from bot.demo.runner.expressions import STATUS_FUNCTIONS, Node, Scope, Template
from bot.demo.runner.values import Value

_JOB = ("github", "needs", "vars", "inputs")
_STEP = ("github", "needs", "job", "runner", "env", "vars", "steps", "inputs")
AVAILABLE: Mapping[str, Collection[str]] = {
    "run-name": ("github", "inputs", "vars"),
    "concurrency": ("github", "inputs", "vars"),
    "env": ("github", "secrets", "inputs", "vars"),
    "call.default": ("github", "inputs", "vars"),
    "call.outputs": ("github", "jobs", "vars", "inputs"),
    "job": _JOB,
    "job.env": (*_JOB, "secrets"),
    "job.secrets": (*_JOB, "secrets"),
    "job.outputs": (*_STEP, "secrets"),
    "step": (*_STEP, "secrets"),
    "step.if": _STEP,
    "action.step": ("github", "inputs", "steps", "runner", "env", "job"),
    "action.default": ("github", "runner", "env", "job"),
    "action.outputs": ("github", "inputs", "steps", "runner", "env", "job"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """A value of a file, to be computed when its contexts are there. Errors name file and line."""

    file: str
    line: int
    of: Template | Value

    def evaluate(self, scope: Scope) -> Value:
        if not isinstance(self.of, Template):
            return self.of
        try:
            return self.of.evaluate(scope)
        except BadInput as error:
            raise BadInput(f"{self.file}:{self.line}: {error}") from None

    def text(self, scope: Scope) -> str:
        return values.text(self.evaluate(scope))

    def flag(self, scope: Scope, what: str) -> bool:
        value = self.evaluate(scope)
        if not isinstance(value, bool):
            raise BadInput(f"{self.file}:{self.line}: {what} must be true or false, not {values.to_json(value)}")
        return value

    def number(self, scope: Scope, what: str) -> float:
        value = self.evaluate(scope)
        number = values.number(value)
        if value is None or not number > 0:
            raise BadInput(f"{self.file}:{self.line}: {what} must be a number above zero, not {values.to_json(value)}")
        return number

    def nodes(self) -> Iterator[Node]:
        if isinstance(self.of, Template):
            yield from self.of.nodes()


@dataclass(frozen=True, slots=True)
class Condition:
    """An `if:`; success() where none is written."""

    file: str
    line: int
    node: Node

    def holds(self, scope: Scope) -> bool:
        try:
            return values.truthy(self.node.evaluate(scope))
        except BadInput as error:
            raise BadInput(f"{self.file}:{self.line}: {error}") from None

    def nodes(self) -> Iterator[Node]:
        yield from expressions.walk(self.node)


def field(part: Part, place: str, what: str) -> Field:
    value = part.scalar(what)
    if not isinstance(value, str):
        return Field(part.file, part.line, value)
    try:
        return Field(part.file, part.line, expressions.template(value, AVAILABLE[place]))
    except BadInput as error:
        part.refuse(f"{what}: {error}")


def fields(part: Part | None, place: str, what: str) -> dict[str, Field]:
    if part is None:
        return {}
    return {name: field(one, place, f"{what}.{name}") for name, one in part.mapping(what=what).items()}


def condition(part: Part | None, place: str, where: Part) -> Condition:
    """The `if:` of a job or step at `where`."""
    source = "success()" if part is None else values.text(part.scalar("if"))
    if part is not None and not source.strip():
        part.refuse("if: the condition is empty")
    at = part or where
    try:
        return Condition(at.file, at.line, expressions.condition(source, AVAILABLE[place], STATUS_FUNCTIONS))
    except BadInput as error:
        at.refuse(f"if: {error}")
