"""What the models are asked to answer, as dataclasses: the JSON schema sent and the reader of the answer have one source."""

from __future__ import annotations

import json
import re
import types
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

Answer = TypeVar("Answer")


class AnswerError(ValueError):
    """A model's answer is not what was asked for; the text says where, for the model to read."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """A condition that can be checked; `id` is how later answers refer to it."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Task:
    """A node of the plan's graph. `files` are the paths it may touch; see `policy.outside`."""

    id: str
    title: str
    files: tuple[str, ...]
    depends_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Approach:
    """STRATEGIZE."""

    problem: str
    approach: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Spec:
    """SPEC."""

    criteria: tuple[Criterion, ...]
    definition_of_done: str


@dataclass(frozen=True, slots=True)
class Plan:
    """PLAN, drafted."""

    goal: str
    is_bug: bool
    tasks: tuple[Task, ...]
    criteria: tuple[Criterion, ...]
    tests: tuple[str, ...]
    out_of_scope: tuple[str, ...]
    risks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Objection:
    """One gap the reviewer of a plan sees."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class PlanReview:
    """PLAN, reviewed by the other vendor's model."""

    verdict: Literal["approve", "suggest_improvements"]
    objections: tuple[Objection, ...]


@dataclass(frozen=True, slots=True)
class ObjectionAnswer:
    """What the planner did about one objection."""

    objection: str
    answer: str


@dataclass(frozen=True, slots=True)
class RefinedPlan:
    """PLAN, refined: every objection answered."""

    plan: Plan
    answers: tuple[ObjectionAnswer, ...]


@dataclass(frozen=True, slots=True)
class EdgeCase:
    """A case that could go wrong and how it is met."""

    case: str
    handling: str


@dataclass(frozen=True, slots=True)
class EdgeCases:
    """THINK."""

    cases: tuple[EdgeCase, ...]


@dataclass(frozen=True, slots=True)
class CriterionVerdict:
    """REVIEW of one criterion. Evidence is `path:line`, a test id or the name of a check."""

    id: str
    verdict: Literal["met", "unmet", "unverifiable"]
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """What fails if a finding is true: the text of a test file, or a shell command that then exits with another code than 0."""

    kind: Literal["none", "test", "command"]
    body: str


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """A defect the auditor claims; without evidence that resolves it is dropped, and a major one is what its check shows."""

    severity: Literal["minor", "major"]
    category: Literal["correctness", "regression", "security", "scope", "test-integrity", "style"]
    place: str
    claim: str
    evidence: tuple[str, ...]
    check: AuditCheck
    confidence: Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class Audit:
    """REVIEW."""

    criteria: tuple[CriterionVerdict, ...]
    findings: tuple[AuditFinding, ...]
    not_checked: tuple[str, ...]


_SIMPLE: dict[Any, str] = {str: "string", int: "integer", bool: "boolean"}
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields by name. To work them out takes longer than to read an answer by them."""
    return get_type_hints(kind)


def schema_of(kind: Any) -> dict[str, Any]:
    """JSON schema of an answer: every property required and no other allowed, as both vendors' strict modes want it."""
    if kind in _SIMPLE:
        return {"type": _SIMPLE[kind]}
    if get_origin(kind) is Literal:
        return {"type": "string", "enum": list(get_args(kind))}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": schema_of(get_args(kind)[0])}
    hints = _hints(kind)
    properties = {field.name: schema_of(hints[field.name]) for field in fields(kind)}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read(kind: type[Answer], text: str) -> Answer:
    """The answer in `text`, which may stand in one code fence.

    Raises:
        AnswerError: not JSON, or not of the asked-for shape.
    """
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"the answer is not JSON ({error})") from error
    shaped: Answer = _shaped(kind, value, "answer")
    return shaped


def _shaped(kind: Any, value: Any, at: str) -> Any:
    if kind in _SIMPLE:
        if type(value) is not kind:
            raise AnswerError(f"{at} has to be a {_SIMPLE[kind]}")
        if kind is str and any("\ud800" <= char <= "\udfff" for char in value):
            raise AnswerError(f"{at} holds half a character, which no file can hold")
        return value
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise AnswerError(f"{at} has to be one of {', '.join(get_args(kind))}")
        return value
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise AnswerError(f"{at} has to be a list")
        return tuple(_shaped(get_args(kind)[0], item, f"{at}[{number}]") for number, item in enumerate(value))
    return _record(kind, value, at)


def _record(kind: Any, value: Any, at: str) -> Any:
    if not is_dataclass(kind) or isinstance(kind, types.GenericAlias) or not isinstance(value, dict):
        raise AnswerError(f"{at} has to be an object")
    made: Any = kind
    hints = _hints(made)
    missing = [name for name in hints if name not in value]
    unknown = [name for name in value if name not in hints]
    if missing or unknown:
        raise AnswerError(f"{at} lacks {missing}" if missing else f"{at} has unknown {unknown}")
    return made(**{name: _shaped(hint, value[name], f"{at}.{name}") for name, hint in hints.items()})
