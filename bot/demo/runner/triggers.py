"""What starts a workflow (`on:`), the inputs it takes, and what it hands back when it is called. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.core.errors import BadInput
from bot.demo.runner import fields, values
from bot.demo.runner.document import Part, given
from bot.demo.runner.expressions import Scope, Template
from bot.demo.runner.fields import Field

_ISSUE_TYPES = (
    "opened edited deleted transferred pinned unpinned closed reopened assigned unassigned labeled unlabeled locked unlocked"
    " milestoned demilestoned typed untyped"
)
_PULL_TYPES = (
    "assigned unassigned labeled unlabeled opened edited closed reopened synchronize converted_to_draft locked unlocked enqueued"
    " dequeued milestoned demilestoned ready_for_review review_requested review_request_removed auto_merge_enabled"
    " auto_merge_disabled"
)
# Activity types of each event, and those that start a workflow when none is named (None: all).
_TYPES: Mapping[str, tuple[frozenset[str], frozenset[str] | None]] = {
    "issues": (frozenset(_ISSUE_TYPES.split()), None),
    "issue_comment": (frozenset({"created", "edited", "deleted"}), None),
    "pull_request": (frozenset(_PULL_TYPES.split()), frozenset({"opened", "synchronize", "reopened"})),
    "pull_request_review": (frozenset({"submitted", "edited", "dismissed"}), None),
}
_KEYS: Mapping[str, frozenset[str]] = {
    "issues": frozenset({"types"}),
    "issue_comment": frozenset({"types"}),
    "pull_request": frozenset({"types", "branches", "branches-ignore"}),
    "pull_request_review": frozenset({"types"}),
    "push": frozenset({"branches", "branches-ignore", "tags"}),
    "schedule": frozenset(),
    "workflow_dispatch": frozenset({"inputs"}),
    "workflow_call": frozenset({"inputs", "secrets", "outputs"}),
}
_INPUT_KEYS = {"description", "required", "default", "type", "options", "deprecationMessage"}
_INPUT_TYPES = {
    "workflow_dispatch": {"string", "number", "boolean", "choice", "environment"},
    "workflow_call": {"string", "number", "boolean"},
}
_EMPTY: Mapping[str, Any] = {"string": "", "number": 0, "boolean": False, "choice": "", "environment": ""}


@dataclass(frozen=True, slots=True)
class Input:
    name: str
    type: str
    required: bool
    default: Field | None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trigger:
    event: str
    types: frozenset[str] | None = None
    branches: tuple[str, ...] = ()
    branches_ignore: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    inputs: Mapping[str, Input] = field(default_factory=dict)
    secrets: Mapping[str, bool] = field(default_factory=dict)  # name -> required
    outputs: Mapping[str, Field] = field(default_factory=dict)

    def wants(self, payload: Mapping[str, Any], ref: str) -> bool:
        """Whether an event of this kind starts the workflow. `ref`: refs/heads/..., of a pull request its base."""
        if not self._has_type(payload):
            return False
        if ref.startswith("refs/tags/"):
            return _any(self.tags, ref.removeprefix("refs/tags/")) or not (self.tags or self.branches)
        if self.tags and not (self.branches or self.branches_ignore):
            return False
        branch = ref.removeprefix("refs/heads/")
        return (not self.branches or _any(self.branches, branch)) and not _any(self.branches_ignore, branch)

    def _has_type(self, payload: Mapping[str, Any]) -> bool:
        if self.event not in _TYPES:
            return True
        types = self.types if self.types is not None else _TYPES[self.event][1]
        return types is None or payload.get("action") in types


def _any(patterns: tuple[str, ...], name: str) -> bool:
    return any(re.fullmatch(_regular(pattern), name) for pattern in patterns)


def _regular(pattern: str) -> str:
    pieces = re.split(r"(\*\*|\*)", pattern)
    return "".join({"**": ".*", "*": "[^/]*"}.get(piece, re.escape(piece)) for piece in pieces)


def read(part: Part) -> dict[str, Trigger]:
    """The `on:` of a workflow, by event."""
    if isinstance(part.value, str | list):
        return {name: _trigger(name, Part(part.file, part.line, None)) for name in part.words("on")}
    return {name: _trigger(name, one) for name, one in part.mapping(what="on").items()}


def _trigger(event: str, part: Part) -> Trigger:
    if event not in _KEYS:
        part.refuse(f"on: the event '{event}' is not supported; known are {', '.join(sorted(_KEYS))}")
    if event == "schedule":
        _schedule(part)
        return Trigger(event)
    keys = part.mapping(_KEYS[event], f"on.{event}")
    return Trigger(
        event,
        types=_types(event, keys["types"]) if "types" in keys else None,
        branches=_patterns(keys.get("branches")),
        branches_ignore=_patterns(keys.get("branches-ignore")),
        tags=_patterns(keys.get("tags")),
        inputs=_inputs(event, keys.get("inputs")),
        secrets=_secrets(keys.get("secrets")),
        outputs=_outputs(keys.get("outputs")),
    )


def _schedule(part: Part) -> None:
    for one in part.items("on.schedule"):
        one.mapping({"cron", "timezone"}, "on.schedule")["cron"].text("cron")


def _types(event: str, part: Part) -> frozenset[str]:
    known = _TYPES[event][0]
    for word in part.words("types"):
        if word not in known:
            part.refuse(f"on.{event} has no type '{word}'")
    return frozenset(part.words("types"))


def _patterns(part: Part | None) -> tuple[str, ...]:
    if part is None:
        return ()
    for word in part.words("branches"):
        if re.search(r"[?+\[\]!]", word):
            part.refuse(f"the pattern '{word}' is not supported: only names, * and **")
    return tuple(part.words("branches"))


def _inputs(event: str, part: Part | None) -> dict[str, Input]:
    if part is None:
        return {}
    return {name: _input(event, name, one) for name, one in part.mapping(what="inputs").items()}


def _input(event: str, name: str, part: Part) -> Input:
    keys = part.mapping(_INPUT_KEYS, f"the input {name}")
    if "type" not in keys and event == "workflow_call":
        part.refuse(f"the input {name} needs a type")
    kind = given(keys, "type", lambda part: part.text("type")) or "string"
    if kind not in _INPUT_TYPES[event]:
        keys["type"].refuse(f"the input {name} cannot have the type '{kind}'")
    options = given(keys, "options", lambda part: tuple(values.text(one.scalar("option")) for one in part.items("options"))) or ()
    if bool(options) != (kind == "choice"):
        part.refuse(f"the input {name}: options belong to the type choice, and to it alone")
    required = given(keys, "required", lambda part: part.flag("required")) or False
    default = given(keys, "default", lambda part: fields.field(part, "call.default", f"the default of {name}"))
    if default is not None and not isinstance(default.of, Template) and default.of is not None:
        _typed(Input(name, kind, False, None, options), default.of, f"{part.file}:{part.line}: the default of ")
    return Input(name, kind, required, default, options)


def _secrets(part: Part | None) -> dict[str, bool]:
    if part is None:
        return {}
    found = {}
    for name, one in part.mapping(what="secrets").items():
        keys = one.mapping({"description", "required"}, f"the secret {name}")
        found[name] = keys["required"].flag("required") if "required" in keys else False
    return found


def _outputs(part: Part | None) -> dict[str, Field]:
    if part is None:
        return {}
    found = {}
    for name, one in part.mapping(what="outputs").items():
        keys = one.mapping({"description", "value"}, f"the output {name}")
        if "value" not in keys:
            one.refuse(f"the output {name} needs a value")
        found[name] = fields.field(keys["value"], "call.outputs", f"the output {name}")
    return found


def take(inputs: Mapping[str, Input], given: Mapping[str, Any], scope: Scope, where: str, *, strings: bool) -> dict[str, Any]:
    """The `inputs` context from what was given. BadInput, beginning with `where`, where one is unknown, missing or wrong.

    `strings` says that values come as text even for booleans and numbers, as workflow_dispatch has them.
    """
    for name in given:
        if values.member(dict(inputs), name)[0] is False:
            raise BadInput(f"{where}unexpected input '{name}'; there are {', '.join(inputs) or 'none'}")
    taken = {}
    for name, one in inputs.items():
        there, value = values.member(dict(given), name)
        if there and strings:
            value = _from_text(one, value)
        elif not there:
            value = _left_out(one, scope, where)
        taken[name] = _EMPTY[one.type] if value is None else _typed(one, value, where)
    return taken


def _left_out(one: Input, scope: Scope, where: str) -> Any:
    if one.default is not None:
        return one.default.evaluate(scope)
    if one.required:
        raise BadInput(f"{where}the input '{one.name}' is required")
    return None


def _from_text(one: Input, given: Any) -> Any:
    if not isinstance(given, str) or one.type not in ("boolean", "number"):
        return given
    if one.type == "boolean":
        return {"true": True, "false": False}.get(given, given)
    number = values.parse_number(given)
    return given if given == "" or number != number else number


def _typed(one: Input, value: Any, where: str) -> Any:
    if one.type == "boolean":
        right = isinstance(value, bool)
    elif one.type == "number":
        right = values.is_number(value)
    else:
        right, value = values.is_primitive(value), values.text(value)
    if one.type == "choice" and value not in one.options:
        raise BadInput(f"{where}the input '{one.name}' must be one of {', '.join(one.options)}, not '{value}'")
    if not right:
        raise BadInput(f"{where}the input '{one.name}' must be a {one.type}, not {values.to_json(value)}")
    return value
