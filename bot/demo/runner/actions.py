"""Actions: what `uses:` may name, and composite actions as their action.yml says. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bot.core.errors import BadInput
from bot.demo.runner import document, fields, workflow
from bot.demo.runner.document import Part
from bot.demo.runner.fields import Field
from bot.demo.runner.workflow import Step

BUILT_IN = ("actions/checkout", "actions/upload-artifact", "actions/download-artifact", "actions/setup-python")
MAX_DEPTH = 10
"""Actions inside actions, as on GitHub."""
_REMOTE = re.compile(r"([A-Za-z0-9-]+/[A-Za-z0-9._-]+)((?:/[^@/]+)*)@(.+)")


@dataclass(frozen=True, slots=True)
class Local:
    folder: str  # beneath the workspace


@dataclass(frozen=True, slots=True)
class Remote:
    repository: str
    folder: str  # "" for the top
    sha: str


@dataclass(frozen=True, slots=True)
class BuiltIn:
    name: str
    sha: str


@dataclass(frozen=True, slots=True)
class Input:
    required: bool
    default: Field | None


@dataclass(frozen=True, slots=True)
class Action:
    """A composite action."""

    file: str
    inputs: Mapping[str, Input]
    outputs: Mapping[str, Field]
    steps: tuple[Step, ...]


def target(step: Step) -> Local | Remote | BuiltIn:
    """What a step's `uses` names. BadInput, with file and line, where it isn't pinned or not supported."""
    uses = step.uses or ""
    where = f"{step.file}:{step.line}: "
    if uses.startswith("./"):
        if ".." in uses.split("/"):
            raise BadInput(f"{where}'{uses}' leaves the workspace")
        return Local(uses.removeprefix("./"))
    if uses.startswith("docker://"):
        raise BadInput(f"{where}actions in containers are not supported: {uses}")
    found = _REMOTE.fullmatch(uses)
    if not found:
        raise BadInput(f"{where}'{uses}' is no action: write owner/repository@ and the 40 hex digits of a commit, or ./folder")
    if not re.fullmatch(r"[0-9a-f]{40}", found[3]):
        raise BadInput(f"{where}'{uses}' is not pinned: write the 40 hex digits of a commit after the @")
    if found[1].lower() in BUILT_IN and not found[2]:
        return BuiltIn(found[1].lower(), found[3])
    if found[1].lower().startswith("actions/"):
        raise BadInput(f"{where}'{found[1]}{found[2]}' is not supported; built in are {', '.join(BUILT_IN)}")
    return Remote(found[1], found[2].strip("/"), found[3])


def read(data: bytes, file: str) -> Action:
    """An action.yml. BadInput, with file and line, where it isn't a composite action of the kind supported."""
    root = document.read(data, file)
    keys = root.mapping({"name", "description", "author", "branding", "inputs", "outputs", "runs"}, "an action")
    if "runs" not in keys:
        root.refuse("an action needs 'runs'")
    using = keys["runs"].mapping(what="runs").get("using")
    if using is None or using.value != "composite":
        (using or keys["runs"]).refuse("only composite actions are supported")
    runs = keys["runs"].mapping({"using", "steps"}, "runs")
    if "steps" not in runs:
        keys["runs"].refuse("a composite action needs steps")
    action = Action(
        file=file,
        inputs={name: _input(name, part) for name, part in _named(keys, "inputs").items()},
        outputs={name: _output(name, part) for name, part in _named(keys, "outputs").items()},
        steps=tuple(workflow.steps(runs["steps"], "action.step")),
    )
    _check(action)
    return action


def _named(keys: Mapping[str, Part], key: str) -> Mapping[str, Part]:
    return keys[key].mapping(what=key) if key in keys else {}


def _input(name: str, part: Part) -> Input:
    keys = part.mapping({"description", "required", "default", "deprecationMessage"}, f"the input {name}")
    default = fields.field(keys["default"], "action.default", f"the default of {name}") if "default" in keys else None
    return Input(keys["required"].flag("required") if "required" in keys else False, default)


def _output(name: str, part: Part) -> Field:
    keys = part.mapping({"description", "value"}, f"the output {name}")
    if "value" not in keys:
        part.refuse(f"the output {name} needs a value")
    return fields.field(keys["value"], "action.outputs", f"the output {name}")


def _check(action: Action) -> None:
    names, ids = {name.lower() for name in action.inputs}, {step.id for step in action.steps if step.id}
    for place in workflow.step_places(action.steps, action.outputs.values()):
        workflow.check_known(place, "inputs", names, "input")
        workflow.check_known(place, "steps", ids, "step with the id")
