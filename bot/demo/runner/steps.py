"""Running steps: their conditions, scripts, actions and outcomes. One list at a time: that of a job, or of a composite action."""

from __future__ import annotations

import io
import shutil
import tarfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bot.core.errors import BadInput
from bot.demo.runner import actions, builtin, commands
from bot.demo.runner.actions import Action, BuiltIn, Local, Remote
from bot.demo.runner.builtin import Task
from bot.demo.runner.commands import Console
from bot.demo.runner.expressions import Scope, Template
from bot.demo.runner.process import Ended
from bot.demo.runner.values import Value
from bot.demo.runner.workflow import Defaults, Step
from bot.demo.runner.workplace import Frame, Outcome, Workplace

GRACE_SECONDS = 300.0
"""What always() steps get after the job's time is up, or after it was cancelled."""

_FILES = ("env", "output", "path", "state", "step_summary")
_ENDING = {"python": "py"}
_SHELLS: Mapping[str | None, tuple[str, ...]] = {
    None: ("bash", "-e"),
    "bash": ("bash", "--noprofile", "--norc", "-eo", "pipefail"),
    "sh": ("sh", "-e"),
    "python": ("python",),
}

Report = Callable[[int, str, Outcome | None], None]
"""Place of the step in its list, its name, and its conclusion; None while it is under way."""


class Cancelled(Exception):
    """The step was stopped because the job was cancelled, or because its time is up."""


def run_all(
    place: Workplace, frame: Frame, steps: Sequence[Step], consoles: Sequence[Console], defaults: Defaults, report: Report
) -> None:
    """Run the steps one after the other; `frame.status` says at the end what became of them."""
    for number, (step, console) in enumerate(zip(steps, consoles, strict=True)):
        if place.processes.lost:
            return
        if place.cancelled:
            frame.status = "cancelled"
        name = guess(step)
        try:
            env, scope = _surroundings(place, frame, step)
            name = step.name.text(scope) if step.name else name
            wanted = step.condition.holds(scope)
        except BadInput as error:
            console.fail(str(error))
            _keep(frame, step, "failure", "failure", {})
            report(number, name, "failure")
            continue
        if not wanted:
            _keep(frame, step, "skipped", "skipped", {})
            report(number, name, "skipped")
            continue
        report(number, name, None)
        outcome, outputs = _one(place, frame, step, console, env, scope, defaults)
        conclusion = "success" if outcome == "failure" and _goes_on(step, scope, console) else outcome
        _keep(frame, step, outcome, conclusion, outputs)
        report(number, name, conclusion)


def guess(step: Step) -> str:
    if step.uses:
        return f"Run {step.uses}"
    whole = step.run.of if step.run else ""
    parts = whole.parts if isinstance(whole, Template) else (str(whole),)
    source = "".join(part if isinstance(part, str) else "${{ ... }}" for part in parts).strip()
    return f"Run {source.splitlines()[0]}" if source else "Run"


def _surroundings(place: Workplace, frame: Frame, step: Step) -> tuple[dict[str, str], Scope]:
    outer = place.scope(frame, {})
    env = {name: one.text(outer) for name, one in step.env.items()}
    return env, place.scope(frame, env)


def _goes_on(step: Step, scope: Scope, console: Console) -> bool:
    if step.goes_on is None:
        return False
    try:
        return step.goes_on.flag(scope, "continue-on-error")
    except BadInput as error:
        console.fail(str(error))
        return False


def _keep(frame: Frame, step: Step, outcome: Outcome, conclusion: Outcome, outputs: Mapping[str, str]) -> None:
    if conclusion in ("failure", "cancelled") and frame.status != "cancelled":
        frame.status = conclusion
    if step.id:
        frame.steps[step.id] = {"outputs": dict(outputs), "outcome": outcome, "conclusion": conclusion}


def _one(
    place: Workplace, frame: Frame, step: Step, console: Console, env: dict[str, str], scope: Scope, defaults: Defaults
) -> tuple[Outcome, dict[str, str]]:
    """Run a step: its outcome and outputs. A failed step keeps the outputs it had written."""
    outputs: dict[str, str] = {}
    try:
        if step.run is not None:
            _script(place, frame, step, console, env, scope, defaults, outputs)
        else:
            _use(place, frame, step, console, env, scope, outputs)
    except Cancelled:
        place.cancelled = True
        console.fail("the operation was cancelled")
        return "cancelled", outputs
    except (BadInput, OSError) as error:
        if not place.processes.lost:
            console.fail(str(error))
        return "failure", outputs
    return "success", outputs


# --- run: -------------------------------------------------------------------------------------------------------------


def _script(
    place: Workplace,
    frame: Frame,
    step: Step,
    console: Console,
    env: Mapping[str, str],
    scope: Scope,
    defaults: Defaults,
    outputs: dict[str, str],
) -> None:
    shell = step.shell or defaults.shell
    source = step.run.text(scope) if step.run else ""
    folder = step.folder or defaults.folder
    cwd = place.site.workspace / (folder.text(scope) if folder else "")
    if not cwd.is_dir():
        raise BadInput(f"{step.file}:{step.line}: the working directory {cwd} does not exist")
    script = place.site.temp / f"{uuid.uuid4()}.{_ENDING.get(shell or '', 'sh')}"
    script.write_text(source.replace("\r\n", "\n") + "\n", "utf-8")
    whole = _environment(place, frame, env)
    program, *options = _SHELLS[shell]
    found = shutil.which(program, path=whole["PATH"])
    if not found:
        raise BadInput(f"{step.file}:{step.line}: this machine has no {program}")
    files = _files(place)
    whole |= {f"GITHUB_{name.upper()}": str(path) for name, path in files.items()}
    console.say(f"##[group]{guess(step)}\nshell: {program} {' '.join([*options, '{0}'])}\n##[endgroup]")
    seconds = _seconds(place, step, scope)
    ended = place.processes.run([found, *options, str(script)], env=whole, cwd=cwd, seconds=seconds, line=console.line)
    try:
        _collect(place, console, files, outputs)
    finally:
        _judge(place, ended, console)


def _environment(place: Workplace, frame: Frame, env: Mapping[str, str]) -> dict[str, str]:
    """Everything a step's process sees. What Actions sets itself wins."""
    whole = {**place.machine.env, **place.env, **frame.env, **env}
    return {**whole, "PATH": place.search_path({**frame.env, **env}), **place.defaults(frame)}


def _files(place: Workplace) -> dict[str, Path]:
    folder, mark = place.site.temp / "_runner_file_commands", uuid.uuid4()
    files = {name: folder / f"{name}_{mark}" for name in _FILES}
    for path in files.values():
        path.touch()
    return files


def _seconds(place: Workplace, step: Step, scope: Scope) -> float:
    left = GRACE_SECONDS if place.cancelled else max(place.left(), 0.001)
    return min(left, step.minutes.number(scope, "timeout-minutes") * 60) if step.minutes else left


def _collect(place: Workplace, console: Console, files: Mapping[str, Path], outputs: dict[str, str]) -> None:
    """Take in what the step wrote to its files, and what its lines ordered. BadInput where that is malformed."""
    outputs |= console.outputs
    console.outputs.clear()
    text = {name: path.read_text("utf-8", "replace") if path.is_file() else "" for name, path in files.items()}
    if len(text["step_summary"].encode()) > commands.SUMMARY_BYTES:
        console.fail(f"the step summary has more than {commands.SUMMARY_BYTES} bytes: it is dropped")
    else:
        place.summary.append(place.masks.hide(text["step_summary"]))
    commands.pairs(text["state"], "GITHUB_STATE")
    outputs |= dict(commands.pairs(text["output"], "GITHUB_OUTPUT"))
    place.env |= commands.environment(text["env"])
    for line in commands.lines(text["path"]):
        if line:
            place.path.insert(0, line)
    if console.errors:
        raise BadInput("; ".join(console.errors))


def _judge(place: Workplace, ended: Ended, console: Console) -> None:
    if ended.cancelled:
        raise Cancelled
    if ended.timed_out and place.left() <= 0 and not place.cancelled:
        console.fail("the job has exceeded its maximum execution time")
        raise Cancelled
    if ended.timed_out:
        raise BadInput("the step has timed out")
    if ended.code != 0:
        raise BadInput(f"process completed with exit code {ended.code}")


# --- uses: ------------------------------------------------------------------------------------------------------------


def _use(
    place: Workplace, frame: Frame, step: Step, console: Console, env: Mapping[str, str], scope: Scope, outputs: dict[str, str]
) -> None:
    given = {name: one.text(scope) for name, one in step.with_.items()}
    found = actions.target(step)
    if isinstance(found, BuiltIn):
        outputs |= _built_in(place, frame, step, found, given, console, env, scope)
        return
    if frame.depth >= actions.MAX_DEPTH:
        raise BadInput(f"{step.file}:{step.line}: actions use each other more than {actions.MAX_DEPTH} deep")
    folder, action = _local(place, step, found) if isinstance(found, Local) else _remote(place, step, found)
    about = {"path": str(folder)}
    if isinstance(found, Remote):
        about |= {"repository": found.repository, "ref": found.sha}
    inner = Frame(env={**frame.env, **env}, action=about, depth=frame.depth + 1)
    inner.inputs = _inputs(place, inner, step, action, given)
    consoles = [Console(place.masks, console.log, annotations=console.annotations) for _ in action.steps]
    run_all(place, inner, action.steps, consoles, Defaults(), lambda number, name, done: None)
    after = place.scope(inner, {})
    outputs |= {name: one.text(after) for name, one in action.outputs.items()}
    if inner.status == "cancelled":
        raise Cancelled
    if inner.status == "failure":
        raise BadInput(f"{step.file}:{step.line}: a step of the action {step.uses} failed")


def _built_in(
    place: Workplace,
    frame: Frame,
    step: Step,
    found: BuiltIn,
    given: Mapping[str, str],
    console: Console,
    env: Mapping[str, str],
    scope: Scope,
) -> dict[str, str]:
    seconds = _seconds(place, step, scope)

    def run(args: Sequence[str], cwd: Path, more: Mapping[str, str]) -> None:
        """One process of the action, with the job's PATH and HOME and `more`."""
        clean = {"PATH": place.search_path(), "HOME": str(place.site.home), **more}
        _judge(place, place.processes.run(args, env=clean, cwd=cwd, seconds=seconds, line=console.say), console)

    return builtin.run(found.name, Task(place, given, console, f"{step.file}:{step.line}: ", run))


def _local(place: Workplace, step: Step, found: Local) -> tuple[Path, Action]:
    folder = place.site.workspace / found.folder
    return folder, _read(folder, step, f"./{found.folder}")


def _remote(place: Workplace, step: Step, found: Remote) -> tuple[Path, Action]:
    """Fetch the action's repository at that commit, once per job."""
    top = place.site.actions / found.repository / found.sha
    if not top.is_dir():
        if place.platform.resolve(found.repository, found.sha) != found.sha:
            raise BadInput(f"{step.file}:{step.line}: there is no commit {found.sha} in {found.repository}")
        top.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(place.platform.archive(found.repository, found.sha))) as archive:
            archive.extractall(top, filter="data")
    folder = top / found.folder
    return folder, _read(folder, step, "/".join(filter(None, (found.repository, found.folder))))


def _read(folder: Path, step: Step, name: str) -> Action:
    for file in ("action.yml", "action.yaml"):
        if (folder / file).is_file():
            return actions.read((folder / file).read_bytes(), f"{name}/{file}")
    raise BadInput(f"{step.file}:{step.line}: there is no action.yml in {name}; was the repository checked out before?")


def _inputs(place: Workplace, inner: Frame, step: Step, action: Action, given: Mapping[str, str]) -> dict[str, Value]:
    """The inputs of an action: text, all of it. Unknown and missing ones are refused; GitHub only warns of unknown ones."""
    known = {name.lower(): name for name in action.inputs}
    for name in given:
        if name.lower() not in known:
            raise BadInput(f"{step.file}:{step.line}: the action {step.uses} has no input '{name}'")
    named = {known[name.lower()]: value for name, value in given.items()}
    scope = place.scope(inner, {})
    for name, one in action.inputs.items():
        if name in named:
            continue
        if one.required and one.default is None:
            raise BadInput(f"{step.file}:{step.line}: the action {step.uses} requires the input '{name}'")
        named[name] = one.default.text(scope) if one.default else ""
    return dict(named)
