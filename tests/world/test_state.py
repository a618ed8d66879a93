"""What outlives a job stands on GitHub: without database and machines a session goes on from check run, artifact and branch; and
what somebody else put there in their place is not believed.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bot.core.session import SessionState
from bot.demo.hub import artifacts
from bot.demo.hub.platform import HubPlatform
from bot.demo.hub.state import Artifact
from bot.demo.runner.platform import JobRecord
from bot.demo.stage import STATE_KEY
from bot.github.client import Client
from bot.store.envelope import Key, open_, seal
from tests.world.hostile import (
    NOTES,
    NOTES_BODY,
    NOTES_RULES,
    NOTES_TITLE,
    OLD_TEXT,
    chained,
    opened,
    packed,
    put,
    records,
    replaced,
    watched,
)
from tests.world.town import Town, town

pytestmark = pytest.mark.sampled(of=4)

CALLS = 5
"""What a session over NOTES asks models: draft, review, two turns of the build, audit."""
RIGHT, WRONG = Key.from_secret(STATE_KEY), Key.from_secret("another-state-key-of-somebody-else-0123456789")
DYING = """
from bot.loop.driver import Driver
mark = {mark!r}
def dies(self):
    open(mark, "w").close()
    os.kill(os.getpid(), 9)
if os.environ["OSTLER_JOB"] == "build" and not os.path.exists(mark):
    Driver.drive = dies
"""


@contextmanager
def forgetful(there: Town) -> Iterator[list[str]]:
    """After every job the App is killed, its database deleted, and an App that knows nothing takes its place."""
    real, done = HubPlatform.job_changed, []

    def changed(self: HubPlatform, job: JobRecord) -> None:
        real(self, job)
        if job.status == "completed" and job.runner_name:
            done.append(job.name.rpartition(" / ")[2])
            forget(there)

    HubPlatform.job_changed = changed  # type: ignore[method-assign]
    try:
        yield done
    finally:
        HubPlatform.job_changed = real  # type: ignore[method-assign]


def forget(there: Town) -> None:
    there.scene.end_app(signal.SIGKILL)
    for path in there.scene.database.parent.glob("app.db*"):
        path.unlink()
    there.scene.start_app()


def state_of(there: Town, number: int) -> SessionState:
    """The state in the check run of the session's head."""
    found = there.story(number).check
    return open_(found["output"]["text"], [RIGHT], repo_id=there.hub.found(there.name).id)


def stated(client: Client, state: SessionState, text: str) -> None:
    """Somebody's check run in the session's name."""
    output = {"title": "forged", "summary": "forged", "text": text}
    body = {"name": "ostler", "head_sha": state.anchor_sha, "external_id": state.session, "output": output}
    client.post("check-runs", {**body, "status": "completed", "conclusion": "success"})


def workflow_of_somebody(there: Town) -> Client:
    """A job of another workflow, which may write check runs."""
    home = there.hub.found(there.name)
    token = there.hub.job_token(home, {"checks": "write"}, name="other / job", run_id=1, job_id=1)
    return Client.token(token, there.hub.api_url, there.name, pause=0)


def app_of_somebody(there: Town) -> Client:
    made = there.hub.app("somebody", None)
    number = there.hub.install(made, there.name, {"checks": "write"})
    return Client.installation(str(made.app_id), made.private_key_pem, number, there.hub.api_url, there.name, pause=0)


def further(state: SessionState) -> SessionState:
    """What somebody would like it to be: approved, cheap, at its end."""
    return dataclasses.replace(
        state, seq=state.seq + 10, prev=state.digest, standing="working", next_job="publish", approved_digest=state.plan_digest,
        approved_by="ada", spent=0, issued_at="2099-01-01T00:00:00Z",
    )  # fmt: skip


def delivered(there: Town, number: int) -> None:
    """One honest result, and nothing paid twice."""
    told = there.story(number)
    (pull,) = told.pulls
    assert pull["draft"] is True
    assert (len(told.plan), len(told.status), len(told.audit)) == (1, 1, 1)
    assert told.state_labels == ["ostler:in-review"]
    assert there.hub.bare(there.hub.found(there.name)).file(pull["head"]["sha"], "notes.md") == OLD_TEXT
    assert len(there.scene.vendors.journal()) == CALLS
    assert there.hub.errors == []


def test_without_database_and_machines_a_session_goes_on(tmp_path: Path) -> None:
    """Deleted after every job, while a plan waits for approval, and between a job that died and the next try."""
    mark = tmp_path / "died"
    watch = watched(tmp_path / "watch", before=DYING.format(mark=str(mark)))
    asked = "approval: always\n"
    with town(tmp_path, "app", NOTES, NOTES_RULES, config=asked, python=watch.python) as there, forgetful(there) as done:
        number = there.ask(NOTES_TITLE, NOTES_BODY)
        there.settle()
        assert done == ["gate", "plan", "post", "conclude"]
        assert list((there.scene.folder / "machines").iterdir()) == []
        state = state_of(there, number)
        for somebody in (workflow_of_somebody(there), app_of_somebody(there)):  # even with the right key it is not the App's
            stated(somebody, state, seal(RIGHT, further(state)))
        forget(there)
        there.settle()
        there.say(number, f"/ostler approve {there.digest(number)}")
        there.settle()
        assert mark.exists()
        assert done[4:] == ["gate", "post", "build", "conclude", "gate", "post", "build", "prove", "audit", "publish", "conclude"]
        delivered(there, number)
        for heard in watch.heard():
            assert not heard.env.get("OSTLER_STATE_KEY"), "beside an App no job has the key"


def test_what_somebody_puts_in_place_of_the_state_is_not_believed(tmp_path: Path) -> None:
    """Without an App: check runs of other Apps, of another key, and an older state again; and artifacts of all sorts."""
    with town(tmp_path, "alone", NOTES, NOTES_RULES, config="approval: always\n") as there:
        number = there.ask(NOTES_TITLE, NOTES_BODY)
        there.settle()
        state, digest = state_of(there, number), there.digest(number)
        assert list((there.scene.folder / "machines").iterdir()) == []
        workflow = workflow_of_somebody(there)
        old = seal(RIGHT, state)
        stated(workflow, state, seal(WRONG, further(state)))
        stated(workflow, state, old[:40] + ("A" if old[40] != "A" else "B") + old[41:])
        stated(app_of_somebody(there), state, seal(RIGHT, further(state)))
        forged_artifacts(there, number, state, digest)
        there.say(number, "/ostler retry")
        there.settle()
        there.say(number, f"/ostler approve {digest}")
        there.settle()
        delivered(there, number)
        stated(workflow, state, old)  # of when the plan waited
        there.say(number, f"/ostler approve {digest}")
        there.say(number, "/ostler retry")
        there.settle()
        for run in there.runs()[:2]:
            assert [name for name, end in there.jobs(run["id"]).items() if end == "success"] == ["gate", "post"]
        delivered(there, number)


def altered(there: Town, artifact: Artifact) -> None:
    files = opened(artifact)
    found = replaced(records(files), "The sums", "planted")
    put(artifact, packed({**files, "journal.jsonl": chained(found)}))


def endless_and_leading_out(there: Town, artifact: Artifact) -> None:
    """300 megabytes in some 300 kilobytes, and names that lead elsewhere."""
    put(artifact, packed({"journal.jsonl": bytes(300_000_000), "../../../planted": b"x", "/tmp/planted": b"x"}))


def of_another_run(there: Town, artifact: Artifact) -> None:
    """By its id it is one that another workflow run uploaded under the same name."""
    artifact.run_id = min(run["id"] for run in there.runs() if run["id"] != artifact.run_id)


def expired(there: Town, artifact: Artifact) -> None:
    artifacts.expire(there.hub, artifact.id)


FORGERIES: tuple[tuple[Callable[[Town, Artifact], None], str], ...] = (
    (altered, "The artifact is not the one that was uploaded: its digest differs."),
    (endless_and_leading_out, "The artifact is not the one that was uploaded: its digest differs."),
    (of_another_run, "was not made by workflow run"),
    (expired, "The session's artifact is gone, so it cannot go on: take the label off and put it on again to start anew."),
)


def forged_artifacts(there: Town, number: int, state: SessionState, digest: str) -> None:
    """Each is refused with one sentence before anything is spent, and with the true one back the session goes on."""
    artifact = there.hub.found(there.name).artifacts[state.artifact]
    true, whose = artifact.data, artifact.run_id
    calls, command = len(there.scene.vendors.journal()), f"/ostler approve {digest}"
    for forge, why in FORGERIES:
        forge(there, artifact)
        there.say(number, command)
        there.settle()
        told = there.story(number)
        (status,) = told.status
        assert why in status["body"], (why, status["body"])
        assert (told.state_labels, told.pulls) == (["ostler:needs-human"], [])
        assert len(there.scene.vendors.journal()) == calls
        ran = there.jobs(there.runs()[0]["id"])
        assert [name for name, end in ran.items() if end == "success"] == ["gate", "conclude"]
        put(artifact, true)
        artifact.run_id, artifact.expired = whose, False
        command = "/ostler retry"
