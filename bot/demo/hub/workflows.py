"""What starts workflow runs, lets them wait for each other, runs them again, and tells the Apps about it.

The workflow files of the default branch are read by the runner's own reader; events of a GITHUB_TOKEN start nothing. A file that
cannot be read makes a run that failed at the start, so that nobody waits for it in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bot.core.errors import BadInput
from bot.demo.hub import run_shapes
from bot.demo.hub.git import Signature
from bot.demo.hub.hub import Hub
from bot.demo.hub.oidc import Issuer
from bot.demo.hub.platform import HubPlatform, runner_run
from bot.demo.hub.refusals import Refusal, not_found
from bot.demo.hub.state import Repository, User, Workflow, WorkflowRun
from bot.demo.hub.webhooks import Event
from bot.demo.runner import contexts, workflow
from bot.demo.runner.contexts import Group
from bot.demo.runner.platform import JobRecord, Machine, RunConclusion
from bot.demo.runner.runner import Runner

FOLDER = ".github/workflows"
MOST_WAITING = 100
"""Runs that may be pending in one group with `queue: max`."""
STARTS = frozenset({"issues", "issue_comment", "pull_request_review"})
"""Events that start workflows by themselves; dispatches come by `dispatch`."""
_ACTIONS = {"queued": "requested", "in_progress": "in_progress", "completed": "completed"}


class Workflows:
    """One per hub. `runner` carries runs out; without one they stay queued."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.issuer = Issuer(hub.url, lambda: hub.now().timestamp())
        self.platform = HubPlatform(hub, self.issuer, self._changed)
        self.runner: Runner | None = None
        self._groups: dict[int, Group] = {}
        self._kept: dict[int, tuple[JobRecord, ...]] = {}

    def __call__(self, event: Event) -> None:
        """Listens to the hub's events."""
        if event.name in STARTS and not event.by_job and event.repository_id is not None:
            self.on_event(self.hub.state.repositories[event.repository_id], event.name, event.payload, event.actor)

    def busy(self) -> bool:
        """Whether a run is under way. Pending runs wait for one of those."""
        with self.hub.state.lock:
            homes = list(self.hub.state.repositories.values())
            return self.runner is not None and any(run.status != "completed" for home in homes for run in home.runs.values())

    # Files

    def known(self, home: Repository) -> list[Workflow]:
        """The workflows of the default branch; each file keeps its id."""
        bare = self.hub.bare(home)
        folder = bare.entry(home.default_branch, FOLDER)
        if folder is None or folder.type != "tree" or folder.sha is None:
            return []
        paths = [f"{FOLDER}/{one.path}" for one in bare.tree(folder.sha) if one.path.endswith((".yml", ".yaml"))]
        return [self._known(home, path, bare.file(home.default_branch, path) or b"") for path in paths]

    def _known(self, home: Repository, path: str, data: bytes) -> Workflow:
        try:
            name = workflow.read(data, path).name
        except BadInput:
            name = path
        with self.hub.state.lock:
            for one in home.workflows.values():
                if one.path == path:
                    one.name = name
                    return one
            made = Workflow(self.hub.state.next_id(), path, name, self.hub.now())
            home.workflows[made.id] = made
            return made

    def find(self, home: Repository, name: str) -> Workflow:
        """By id or file name, as the API takes it; 404 otherwise."""
        for one in self.known(home):
            if name in (str(one.id), one.path.rpartition("/")[2], one.path):
                return one
        raise not_found()

    # Starting

    def on_event(self, home: Repository, event: str, payload: Mapping[str, Any], actor: User) -> list[WorkflowRun]:
        """Runs of all workflows of the default branch that want the event."""
        bare, ref = self.hub.bare(home), f"refs/heads/{home.default_branch}"
        sha = bare.resolve(ref)
        if event == "pull_request_review":
            ref, sha = self._merged(home, payload["pull_request"]["number"])
        started = []
        for one in self.known(home) if sha else []:
            try:
                trigger = workflow.read(bare.file(sha or ref, one.path) or b"", one.path).on.get(event)
            except BadInput:
                started.append(self._start(home, one, event, payload, actor, ref, sha or "", {}))
                continue
            if trigger is not None and trigger.wants(payload, ref):
                started.append(self._start(home, one, event, payload, actor, ref, sha or "", {}))
        return started

    def _merged(self, home: Repository, number: int) -> tuple[str, str | None]:
        """What events of a pull request run on: a merge that nobody asked for. None where it conflicts; then nothing runs."""
        bare, pull, ref = self.hub.bare(home), home.issues[number].pull, f"refs/pull/{number}/merge"
        tree = bare.merged_tree(pull.base_sha, pull.head_sha) if pull else None
        if pull is None or tree is None:
            return ref, None
        who = Signature("GitHub", "noreply@localhost", self.hub.now())
        sha = bare.write_commit(tree, [pull.base_sha, pull.head_sha], who, who, f"Merge {pull.head_sha} into {pull.base_sha}\n")
        bare.set_ref(ref, sha, bare.ref(ref) or "0" * 40)
        return ref, sha

    def dispatch(self, home: Repository, name: str, ref: str, inputs: Mapping[str, Any], by: User) -> WorkflowRun:
        """A run of the file as it is on `ref` (branch or tag). 404 and 422 as GitHub gives them."""
        one, bare = self.find(home, name), self.hub.bare(home)
        full = next((full for full in (ref, f"refs/heads/{ref}", f"refs/tags/{ref}") if bare.ref(full)), None)
        sha = bare.resolve(full) if full else None
        if full is None or sha is None:
            raise Refusal(422, f"No ref found for: {ref}")
        data = bare.file(sha, one.path)
        try:
            flow = workflow.read(data or b"", one.path)
        except BadInput as error:
            raise Refusal(422, f"failed to parse workflow: {error}") from None
        trigger = flow.on.get("workflow_dispatch")
        if trigger is None:
            raise Refusal(422, "Workflow does not have 'workflow_dispatch' trigger")
        unknown = [key for key in inputs if key.lower() not in {known.lower() for known in trigger.inputs}]
        if unknown:
            raise Refusal(422, f"Unexpected inputs provided: {unknown}".replace("'", '"'))
        texts = {key: _text(value) for key, value in inputs.items()}
        try:
            contexts.dispatched(flow, texts, home.variables)
        except BadInput as error:
            raise Refusal(422, str(error)) from None
        payload = {"inputs": texts, "ref": full, "workflow": one.path}
        return self._start(home, one, "workflow_dispatch", payload, by, full, sha, texts)

    def _start(
        self, home: Repository, one: Workflow, event: str, payload: Mapping[str, Any], actor: User, ref: str, sha: str,
        inputs: Mapping[str, Any],
    ) -> WorkflowRun:  # fmt: skip
        now = self.hub.now()
        with self.hub.state.lock:
            number = 1 + sum(run.path == one.path for run in home.runs.values())
            run = WorkflowRun(
                self.hub.state.next_id(), number, one.id, one.name, one.path, ref, sha, event, dict(payload), actor, actor,
                now, now, now, dict(inputs),
            )  # fmt: skip
            run.display_title = payload.get("issue", {}).get("title") or one.name
            home.runs[run.id] = run
        try:
            flow = workflow.read(self.hub.bare(home).file(sha, one.path) or b"", one.path)
            group = contexts.group(flow, runner_run(home, run), home.variables, self.platform)
        except BadInput as error:
            self._changed(home, run, "completed", "startup_failure", str(error))
            return run
        if group is not None:
            self._groups[run.id] = group
        self._admit(home, run, ())
        return run

    def _admit(self, home: Repository, run: WorkflowRun, kept: tuple[JobRecord, ...]) -> None:
        """Start an attempt, or let it wait for others of its group."""
        group = self._groups.get(run.id)
        with self.hub.state.lock:
            self._kept[run.id] = kept
            others = [one for one in self._same_group(home, run) if one is not run]
            waiting = [one for one in others if one.status == "pending"]
            running = [one for one in others if one.status != "pending"]
            run.status = "pending" if others else "queued"
            room = (MOST_WAITING if group and group.queue == "max" else 1) - 1
            pushed = waiting[: len(waiting) - room] if others and len(waiting) > room else []
        self._tell(home, run, "requested")
        for one in pushed:
            self._changed(home, one, "completed", "cancelled", "a later run took its place in the queue")
        if group is not None and group.cancels and self.runner is not None:
            for one in running:
                self.runner.cancel(one.id)
        if run.status == "queued":
            self._run(home, run)

    def _same_group(self, home: Repository, run: WorkflowRun) -> list[WorkflowRun]:
        """Runs of the group that are not over, longest waiting first."""
        group = self._groups.get(run.id)
        if group is None:
            return []
        same = [
            one
            for one in home.runs.values()
            if one.status != "completed" and one.id in self._groups and self._groups[one.id].name.lower() == group.name.lower()
        ]
        return sorted(same, key=lambda one: (one.run_started_at, one.id))

    def _run(self, home: Repository, run: WorkflowRun) -> None:
        if self.runner is not None:
            self.runner.start(runner_run(home, run), kept=self._kept.pop(run.id, ()))

    def _changed(self, home: Repository, run: WorkflowRun, status: str, conclusion: RunConclusion | None, message: str) -> None:
        with self.hub.state.lock:
            if run.status == "completed" or (run.status, run.conclusion) == (status, conclusion):
                return
            run.status, run.conclusion, run.message, run.updated_at = status, conclusion, message, self.hub.now()
            same = self._same_group(home, run) if status == "completed" else []
            following = same[0] if same and all(one.status == "pending" for one in same) else None
            if following is not None:
                following.status = "queued"
        if status in _ACTIONS and status != "queued":
            self._tell(home, run, _ACTIONS[status])
        if following is not None:
            self._run(home, following)

    def _tell(self, home: Repository, run: WorkflowRun, action: str) -> None:
        known = home.workflows.get(run.workflow_id)
        payload = {
            "workflow_run": run_shapes.run(self.hub, home, run),
            "workflow": run_shapes.workflow(self.hub, home, known) if known else None,
        }
        self.hub.emit("workflow_run", action, home, payload, run.triggering_actor)

    # Again, and no more

    def rerun_failed(self, home: Repository, run: WorkflowRun, by: User) -> None:
        """Another attempt: what succeeded is kept with its outputs, and so are all artifacts."""
        if run.status != "completed":
            raise Refusal(403, "This workflow run is already running")
        before = tuple(run.records.get(run.attempt, {}).values())
        if run.conclusion == "success" or not before:
            raise Refusal(403, "This workflow run cannot be retried: no job of it failed")
        with self.hub.state.lock:
            run.attempt += 1
            run.status, run.conclusion, run.message, run.triggering_actor = "queued", None, "", by
            run.run_started_at = run.updated_at = self.hub.now()
            run.records[run.attempt] = {job.id: replace(job) for job in before if job.conclusion == "success"}
        self._admit(home, run, before)

    def cancel(self, home: Repository, run: WorkflowRun) -> None:
        if run.status == "completed":
            raise Refusal(409, "Cannot cancel a workflow run that is completed.")
        if run.status == "pending" or self.runner is None:
            self._changed(home, run, "completed", "cancelled", "")
        else:
            self.runner.cancel(run.id)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def of(hub: Hub) -> Workflows:
    """The workflows of a hub, which listen to its events from the first call on."""
    with hub.state.lock:
        for listener in hub.post.listeners:
            if isinstance(listener, Workflows):
                return listener
        made = Workflows(hub)
        hub.post.listeners.append(made)
        hub.busy.append(made.busy)
        return made


@contextmanager
def running(hub: Hub, machine: Machine) -> Iterator[Workflows]:
    """Carry out runs on `machine` until the block ends; what is left then is killed."""
    made = of(hub)
    made.runner = Runner(made.platform, machine)
    try:
        yield made
    finally:
        made.runner.close()
        made.runner = None
