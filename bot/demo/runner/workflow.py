"""Workflow files: read, checked, and refused where they ask for what the runner does not do. Pure.

Unknown keys, unknown contexts, `needs` of jobs that don't exist and inputs nobody declared are refused before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bot.core.errors import BadInput
from bot.demo.runner import document, expressions, fields, triggers
from bot.demo.runner.document import Part, given
from bot.demo.runner.fields import Condition, Field
from bot.demo.runner.triggers import Trigger

_TOP = {"name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs"}
_JOB = {
    "name", "needs", "if", "permissions", "concurrency", "env", "defaults", "runs-on", "environment", "timeout-minutes",
    "outputs", "steps",
}  # fmt: skip
_CALL = {"name", "needs", "if", "permissions", "concurrency", "uses", "with", "secrets"}
_STEP = {"id", "name", "if", "uses", "with", "run", "shell", "env", "working-directory", "continue-on-error", "timeout-minutes"}
_REFUSED = {"strategy", "container", "services", "continue-on-error", "snapshot"}
_SCOPES = {
    "actions", "artifact-metadata", "attestations", "checks", "contents", "deployments", "discussions", "id-token", "issues",
    "models", "packages", "pages", "pull-requests", "security-events", "statuses",
}  # fmt: skip
_RANK = {"none": 0, "read": 1, "write": 2}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_CALLED = re.compile(r"([A-Za-z0-9-]+/[A-Za-z0-9._-]+)/(\.github/workflows/[^@/]+\.ya?ml)@([0-9a-f]{40})")
_LOCAL = re.compile(r"\./(\.github/workflows/[^@/]+\.ya?ml)")
SHELLS = ("bash", "sh", "python")

Permissions = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Concurrency:
    group: Field
    cancel: Field
    queue: Literal["single", "max"]


@dataclass(frozen=True, slots=True)
class Defaults:
    shell: str | None = None
    folder: Field | None = None


@dataclass(frozen=True, slots=True)
class Step:
    file: str
    line: int
    id: str
    name: Field | None
    condition: Condition
    uses: str | None
    run: Field | None
    with_: Mapping[str, Field]
    env: Mapping[str, Field]
    shell: str | None
    folder: Field | None
    goes_on: Field | None  # continue-on-error
    minutes: Field | None


@dataclass(frozen=True, slots=True)
class Target:
    """What a job's `uses` names. `repository` None: the one the file itself came from, at the same commit."""

    repository: str | None
    path: str
    sha: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """A job that is another workflow."""

    target: Target
    with_: Mapping[str, Field]
    secrets: Mapping[str, Field] | Literal["inherit"]


@dataclass(frozen=True, slots=True)
class Job:
    file: str
    line: int
    id: str
    name: Field | None
    needs: tuple[str, ...]
    condition: Condition
    permissions: Permissions | None  # None: as the workflow says
    concurrency: Concurrency | None
    call: Call | None
    runs_on: Field | None
    environment: Field | None
    env: Mapping[str, Field]
    defaults: Defaults
    minutes: Field | None
    outputs: Mapping[str, Field]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Workflow:
    file: str
    name: str
    on: Mapping[str, Trigger]
    permissions: Permissions | None
    env: Mapping[str, Field]
    concurrency: Concurrency | None
    defaults: Defaults
    jobs: Mapping[str, Job]

    def granted(self, job: Job, most: Permissions | None) -> Permissions:
        """What the job's token may do. `most` is what a calling job grants; asking for more is an error, as on GitHub.

        Where neither job nor workflow say anything, a called workflow gets what its caller grants, and any other gets nothing
        (GitHub: the repository's default, which this project never relies on).
        """
        asked = job.permissions if job.permissions is not None else self.permissions
        if most is None:
            return dict(asked or {})
        if asked is None:
            return dict(most)
        for scope, access in asked.items():
            if _RANK[access] > _RANK[most.get(scope, "none")]:
                raise BadInput(
                    f"{job.file}:{job.line}: the job '{job.id}' requests '{scope}: {access}', but its caller grants only"
                    f" '{scope}: {most.get(scope, 'none')}'"
                )
        return dict(asked)


def read(data: bytes, file: str) -> Workflow:
    """A workflow file. BadInput, beginning with file and line, for everything that cannot be run as written."""
    root = document.read(data, file)
    keys = root.mapping(_TOP, "a workflow")
    for needed in ("on", "jobs"):
        if needed not in keys:
            root.refuse(f"a workflow needs '{needed}'")
    if "run-name" in keys:
        fields.field(keys["run-name"], "run-name", "run-name")
    defaults = _defaults(keys.get("defaults"), "env")
    jobs = {name: _job(name, part, defaults) for name, part in keys["jobs"].mapping(what="jobs").items()}
    if not jobs:
        keys["jobs"].refuse("a workflow needs a job")
    workflow = Workflow(
        file=file,
        name=keys["name"].text("name") if "name" in keys else file,
        on=triggers.read(keys["on"]),
        permissions=_permissions(keys["permissions"]) if "permissions" in keys else None,
        env=fields.fields(keys.get("env"), "env", "env"),
        concurrency=_concurrency(keys["concurrency"], "concurrency") if "concurrency" in keys else None,
        defaults=defaults,
        jobs=jobs,
    )
    _check(workflow)
    return workflow


def _permissions(part: Part) -> Permissions:
    if isinstance(part.value, str):
        if part.value not in ("read-all", "write-all"):
            part.refuse("permissions must be a mapping, read-all or write-all")
        access = part.value.removesuffix("-all")
        return {scope: access for scope in sorted(_SCOPES) if not (scope == "id-token" and access == "read")}
    found = {}
    for scope, one in part.mapping(_SCOPES, "permissions").items():
        access = one.text(f"permissions.{scope}")
        if access not in _RANK or (scope == "id-token" and access == "read"):
            one.refuse(f"permissions.{scope} cannot be '{access}'")
        if access != "none":
            found[scope] = access
    return found


def _concurrency(part: Part, place: str) -> Concurrency:
    if isinstance(part.value, str):
        return Concurrency(fields.field(part, place, "concurrency"), Field(part.file, part.line, False), "single")
    keys = part.mapping({"group", "cancel-in-progress", "queue"}, "concurrency")
    if "group" not in keys:
        part.refuse("concurrency needs a group")
    queue = keys["queue"].text("queue") if "queue" in keys else "single"
    if queue not in ("single", "max"):
        keys["queue"].refuse("queue must be single or max")
    cancel = keys.get("cancel-in-progress")
    if cancel and cancel.value is not False and queue == "max":
        cancel.refuse("cancel-in-progress does not go with queue: max")
    never = Field(part.file, part.line, False)
    stop = fields.field(cancel, place, "cancel-in-progress") if cancel else never
    return Concurrency(fields.field(keys["group"], place, "group"), stop, "max" if queue == "max" else "single")


def _defaults(part: Part | None, place: str) -> Defaults:
    if part is None:
        return Defaults()
    run = part.mapping({"run"}, "defaults").get("run")
    if run is None:
        return Defaults()
    keys = run.mapping({"shell", "working-directory"}, "defaults.run")
    folder = fields.field(keys["working-directory"], place, "working-directory") if "working-directory" in keys else None
    return Defaults(shell(keys["shell"]) if "shell" in keys else None, folder)


def shell(part: Part) -> str:
    name = part.text("shell")
    if name not in SHELLS:
        part.refuse(f"the shell '{name}' is not supported; known are {', '.join(SHELLS)}")
    return name


def _job_keys(name: str, part: Part) -> dict[str, Part]:
    for key, one in part.mapping(what="a job").items():
        if key in _REFUSED:
            one.refuse(f"'{key}' of a job is not supported")
    if "uses" in part.mapping(what="a job"):
        return part.mapping(_CALL, "a job that calls a workflow")
    keys = part.mapping(_JOB, "a job")
    if not ("runs-on" in keys and "steps" in keys):
        part.refuse(f"the job '{name}' needs runs-on and steps")
    return keys


def _job(name: str, part: Part, defaults: Defaults) -> Job:
    if not _NAME.fullmatch(name):
        part.refuse(f"'{name}' cannot be the id of a job")
    calls, keys = "uses" in part.mapping(what="a job"), _job_keys(name, part)
    own = _defaults(keys.get("defaults"), "job")
    return Job(
        file=part.file,
        line=part.line,
        id=name,
        name=_optional(keys, "name", "job"),
        needs=tuple(given(keys, "needs", lambda part: part.words("needs")) or ()),
        condition=fields.condition(keys.get("if"), "job", part),
        permissions=given(keys, "permissions", _permissions),
        concurrency=given(keys, "concurrency", lambda part: _concurrency(part, "job")),
        call=_call(keys) if calls else None,
        runs_on=given(keys, "runs-on", _runs_on),
        environment=given(keys, "environment", _environment),
        env=fields.fields(keys.get("env"), "job.env", "env"),
        defaults=Defaults(own.shell or defaults.shell, own.folder or defaults.folder),
        minutes=_optional(keys, "timeout-minutes", "job"),
        outputs=fields.fields(keys.get("outputs"), "job.outputs", "outputs"),
        steps=given(keys, "steps", lambda part: tuple(steps(part, "step"))) or (),
    )


def _optional(keys: Mapping[str, Part], key: str, place: str) -> Field | None:
    return fields.field(keys[key], place, key) if key in keys else None


def _runs_on(part: Part) -> Field:
    if isinstance(part.value, dict):
        part.refuse("runs-on by group is not supported")
    if isinstance(part.value, list) and len(part.value) != 1:
        part.refuse("runs-on must name exactly one label")
    return fields.field(part.value[0] if isinstance(part.value, list) else part, "job", "runs-on")


def _environment(part: Part) -> Field:
    if not isinstance(part.value, dict):
        return fields.field(part, "job", "environment")
    keys = part.mapping({"name", "url", "deployment"}, "environment")
    if "name" not in keys:
        part.refuse("environment needs a name")
    if "url" in keys:
        fields.field(keys["url"], "step.if", "environment.url")
    if "deployment" in keys:
        keys["deployment"].flag("deployment")
    return fields.field(keys["name"], "job", "environment")


def _call(keys: Mapping[str, Part]) -> Call:
    uses = keys["uses"].text("uses")
    if local := _LOCAL.fullmatch(uses):
        target = Target(None, local[1], None)
    elif found := _CALLED.fullmatch(uses):
        target = Target(found[1], found[2], found[3])
    else:
        keys["uses"].refuse(
            f"'{uses}' cannot be called: write ./.github/workflows/NAME.yml or owner/repository/.github/workflows/NAME.yml@"
            "and the 40 hex digits of a commit"
        )
    secrets = keys.get("secrets")
    if secrets is not None and isinstance(secrets.value, str):
        if secrets.value != "inherit":
            secrets.refuse("secrets must be a mapping or inherit")
        return Call(target, fields.fields(keys.get("with"), "job", "with"), "inherit")
    return Call(target, fields.fields(keys.get("with"), "job", "with"), fields.fields(secrets, "job.secrets", "secrets"))


def steps(part: Part, place: str) -> Iterator[Step]:
    """The steps of a job (`place` "step") or of a composite action ("action.step")."""
    seen: set[str] = set()
    for one in part.items("steps"):
        step = _step(one, place)
        if step.id in seen:
            one.refuse(f"two steps have the id '{step.id}'")
        if step.id:
            seen.add(step.id)
        yield step


def _step_keys(part: Part, action: bool) -> dict[str, Part]:
    keys = part.mapping(_STEP - {"timeout-minutes"} if action else _STEP, "a step of an action" if action else "a step")
    if ("uses" in keys) == ("run" in keys):
        part.refuse("a step needs either uses or run")
    for key in ("shell", "working-directory") if "uses" in keys else ("with",):
        if key in keys:
            keys[key].refuse(f"'{key}' does not go with {'uses' if 'uses' in keys else 'run'}")
    if action and "run" in keys and "shell" not in keys:
        part.refuse("a step of an action with run needs a shell")
    return keys


def _step_id(part: Part) -> str:
    if not _NAME.fullmatch(part.text("id")):
        part.refuse(f"'{part.text('id')}' cannot be the id of a step")
    return part.text("id")


def _step(part: Part, place: str) -> Step:
    action = place == "action.step"
    keys = _step_keys(part, action)
    return Step(
        file=part.file,
        line=part.line,
        id=given(keys, "id", _step_id) or "",
        name=_optional(keys, "name", place),
        condition=fields.condition(keys.get("if"), "action.step" if action else "step.if", part),
        uses=given(keys, "uses", lambda part: part.text("uses")),
        run=_optional(keys, "run", place),
        with_=fields.fields(keys.get("with"), place, "with"),
        env=fields.fields(keys.get("env"), place, "env"),
        shell=given(keys, "shell", shell),
        folder=_optional(keys, "working-directory", place),
        goes_on=_optional(keys, "continue-on-error", place),
        minutes=_optional(keys, "timeout-minutes", place),
    )


# --- what only the whole file can tell --------------------------------------------------------------------------------


def _check(workflow: Workflow) -> None:
    _no_circle(workflow)
    inputs = {name.lower() for trigger in workflow.on.values() for name in trigger.inputs}
    for place, own in _places(workflow):
        check_known(place, "inputs", inputs, "input")
        if own is None:
            continue
        check_known(place, "steps", {step.id for step in own.steps if step.id}, "step with the id")
        for node in place.nodes():
            where = expressions.path(node)
            if where[:1] == ("needs",):
                _check_need(workflow, place, own, where)


def check_known(place: Field | Condition, context: str, known: Collection[str], what: str) -> None:
    """BadInput where the place looks at context.NAME and NAME isn't known."""
    for node in place.nodes():
        where = expressions.path(node)
        if where[:1] == (context,) and len(where) > 1 and where[1].lower() not in {name.lower() for name in known}:
            raise BadInput(f"{place.file}:{place.line}: there is no {what} '{where[1]}'")


def _no_circle(workflow: Workflow) -> None:
    done: set[str] = set()
    while len(done) < len(workflow.jobs):
        ready = [job for job in workflow.jobs.values() if job.id not in done and done.issuperset(job.needs)]
        for job in workflow.jobs.values():
            for need in job.needs:
                if need not in workflow.jobs:
                    raise BadInput(f"{job.file}:{job.line}: the job '{job.id}' needs '{need}', which does not exist")
        if not ready:
            stuck = ", ".join(name for name in workflow.jobs if name not in done)
            raise BadInput(f"{workflow.file}:1: these jobs need each other in a circle: {stuck}")
        done.update(job.id for job in ready)


def _check_need(workflow: Workflow, place: Field | Condition, job: Job, where: tuple[str, ...]) -> None:
    if len(where) > 1 and where[1] not in job.needs:
        raise BadInput(f"{place.file}:{place.line}: the job '{job.id}' looks at needs.{where[1]} without needing it")
    if len(where) > 2 and where[2] not in ("result", "outputs"):
        raise BadInput(f"{place.file}:{place.line}: needs.{where[1]} has result and outputs, no '{where[2]}'")
    if len(where) > 3 and where[2] == "outputs":
        needed = workflow.jobs[where[1]]
        if needed.call is None and where[3] not in needed.outputs:
            raise BadInput(f"{place.file}:{place.line}: the job '{where[1]}' has no output '{where[3]}'")


def _places(workflow: Workflow) -> Iterator[tuple[Field | Condition, Job | None]]:
    """Every value with expressions, and the job it belongs to."""
    yield from ((one, None) for one in workflow.env.values())
    for job in workflow.jobs.values():
        yield job.condition, job
        for one in _fields(job):
            yield one, job
        yield from ((one, job) for one in step_places(job.steps, ()))


def step_places(steps: Iterable[Step], more: Iterable[Field]) -> Iterator[Field | Condition]:
    """Every value with expressions in these steps, and some more."""
    yield from more
    for step in steps:
        yield step.condition
        yield from _fields(step)


def _fields(holder: Job | Step | Call | Concurrency) -> Iterator[Field]:
    """The fields of a job or step and of what it holds."""
    for name in type(holder).__slots__:
        value: Any = getattr(holder, name)
        if isinstance(value, Field):
            yield value
        elif isinstance(value, Mapping):
            yield from (one for one in value.values() if isinstance(one, Field))
        elif isinstance(value, Call | Concurrency):
            yield from _fields(value)
