"""The demo's Actions runner, whole runs: graphs of jobs, called workflows, re-runs, artifacts, and what it refuses."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bot.core.errors import BadInput
from bot.demo.runner import actions, contexts, workflow
from bot.demo.runner.groups import Groups
from bot.demo.runner.platform import JobRecord, StoredArtifact
from tests.world.runner_platform import MAIN, SECONDS, Small, git, next_attempt, small

PIN = "a" * 40
ON = "on: workflow_dispatch\njobs:\n"


@pytest.fixture
def github(tmp_path: Path) -> Iterator[Small]:
    with small(tmp_path) as platform:
        yield platform


def line(name: str, run: str = "echo", needs: str = "", when: str = "", more: str = "") -> str:
    """A job on one line."""
    parts = [f"needs: [{needs}]" if needs else "", f'if: "{when}"' if when else "", more]
    keys = ", ".join(["runs-on: ubuntu-24.04", *filter(None, parts)])
    return f"  {name}: {{{keys}, steps: [{{id: s, run: '{run}'}}]}}\n"


def came(done: Mapping[str, JobRecord]) -> dict[str, str | None]:
    return {key: one.conclusion for key, one in sorted(done.items())}


OUT = 'outputs: {x: "${{ steps.s.outputs.x }}"}'


def test_skips_and_failures_spread_as_on_github(github: Small) -> None:
    done = github.go(
        ON
        + line("bad", "echo x=kept >> $GITHUB_OUTPUT; false", more=OUT)
        + line("off", when="false")
        + line("after_bad", needs="bad")
        + line("after_off", needs="off")
        + line("always", "test ${{ needs.bad.result }}${{ needs.bad.outputs.x }} = failurekept", "bad", "always()")
        + line("repair", needs="bad", when="failure()")
        + line("no_repair", needs="off", when="failure()")
        + line("behind_always", needs="always")  # success() asks all jobs before it, not only those it names
        + line("behind_always_too", needs="always", when="!cancelled() && needs.always.result == 'success'")
    )
    assert came(done) == {
        "bad": "failure", "off": "skipped", "after_bad": "skipped", "after_off": "skipped", "always": "success",
        "repair": "success", "no_repair": "skipped", "behind_always": "skipped", "behind_always_too": "success",
    }  # fmt: skip
    assert [one[:2] for one in github.conclusions] == [("in_progress", None), ("completed", "failure")]


CALLED = """
on:
  workflow_call:
    inputs:
      issue: {type: number, required: true}
      note: {type: string, default: none}
      dry: {type: boolean}
    secrets: {KEY: {required: false}, OTHER: {}}
    outputs: {verdict: {value: "${{ jobs.gate.outputs.x }}/${{ jobs.end.result }}"}}
permissions: {}
env: {INNER: inner}
concurrency: {group: "inner-${{ inputs.issue }}", queue: max}
jobs:
  gate:
    runs-on: ubuntu-24.04
    permissions: {issues: read}
    outputs: {x: "${{ steps.s.outputs.x }}"}
    steps:
      - id: s
        env:
          ALL: ${{ inputs.issue }},${{ inputs.note }},${{ inputs.dry }},${{ github.event_name }},${{ env.OUTER }},${{ env.INNER }}
          KEY: ${{ secrets.KEY }}
          JOB: ${{ job.workflow_repository }} ${{ job.workflow_sha }}
        run: |
          test "$(printf %s "$KEY" | rev)" = yek && test -z "${{ secrets.OTHER }}${{ secrets.HIDDEN }}"
          test "$JOB" = "host/ostler $SHA"
          echo "x=$ALL" >> "$GITHUB_OUTPUT"
  end: {needs: gate, if: always(), runs-on: ubuntu-24.04, steps: [{run: echo}]}
"""
CALLER = """
on: {workflow_dispatch: {inputs: {issue: {type: number, required: true}}}}
permissions: {}
env: {OUTER: outer}
jobs:
  improve:
    permissions: {issues: write, contents: read}
    uses: host/ostler/.github/workflows/improve.yml@SHA
    with: {issue: "${{ inputs.issue }}"}
    secrets: {KEY: "${{ secrets.KEY }}"}
  after:
    needs: improve
    runs-on: ubuntu-24.04
    steps: [{run: "test ${{ needs.improve.outputs.verdict }} = WANT"}]
"""


def hosted(github: Small, called: str = CALLED, caller: str = CALLER) -> str:
    """The caller, pinned to the called workflow."""
    sha = github.commit({".github/workflows/improve.yml": called.replace("$SHA", "${{ job.workflow_sha }}")}, "host/ostler")
    return caller.replace("SHA", sha)


def test_called_workflows(github: Small) -> None:
    github.secret[None] = {"KEY": "key", "HIDDEN": "never-handed-over"}
    done = github.go(hosted(github).replace("WANT", "7,none,false,workflow_dispatch,,inner/success"), issue="7")
    assert came(done) == {"after": "success", "improve/end": "success", "improve/gate": "success"}, done["improve/gate"].log
    granted = {one.name: dict(one.permissions) for one in github.identities.values()}
    assert granted == {"improve / gate": {"issues": "read"}, "improve / end": {}, "after": {}}
    gate = next(one for one in github.identities.values() if one.name == "improve / gate")
    assert gate.job_workflow_ref == f"host/ostler/.github/workflows/improve.yml@{gate.job_workflow_sha}"
    assert gate.workflow_ref == f"ada/stable/{MAIN}@refs/heads/main"


def test_secrets_inherit(github: Small) -> None:
    github.secret[None] = {"KEY": "key"}
    caller = CALLER.replace('secrets: {KEY: "${{ secrets.KEY }}"}', "secrets: inherit").replace("test ", "echo ")
    assert came(github.go(hosted(github, caller=caller), issue="7"))["improve/gate"] == "success"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "{issues: write, contents: read}",
            "{contents: read}",
            "requests 'issues: read', but its caller grants only 'issues: none'",
        ),
        ('{KEY: "${{ secrets.KEY }}"}', "{NOPE: x}", "no secret 'NOPE'"),
        ('{issue: "${{ inputs.issue }}"}', "{isue: 1}", "no input 'isue'"),
        ('    with: {issue: "${{ inputs.issue }}"}\n', "", "requires the input 'issue'"),
        ("@SHA", "@main", "40 hex digits"),
        ("@SHA", "@" + PIN, "there is no commit"),
        ("improve.yml@", "other.yml@", "has no .github/workflows/other.yml"),
    ],
)
def test_calls_that_cannot_start(github: Small, old: str, new: str, why: str) -> None:
    assert github.go(hosted(github, caller=CALLER.replace(old, new)), issue="7") == {}
    assert github.end[1] == "startup_failure"
    assert why in github.end[2]


def test_a_wrong_type_fails_the_call(github: Small) -> None:
    done = github.go(hosted(github, caller=CALLER.replace('"${{ inputs.issue }}"', "seven")), issue="7")
    assert came(done) == {"after": "skipped", "improve": "failure"}
    assert "'issue' must be a number" in done["improve"].annotations[0].message


def test_failures_inside_a_call_reach_its_caller(github: Small) -> None:
    caller = ON + "  call: {uses: ./.github/workflows/1.yml}\n" + line("after", needs="call")
    caller += line("always", "test ${{ needs.call.result }} = failure", "call", "always()")
    called = "on: workflow_call\njobs:\n" + line("a", "false") + line("b")
    assert came(github.go(caller, called)) == {"after": "skipped", "always": "success", "call/a": "failure", "call/b": "success"}


def test_rerun_of_failed_jobs_keeps_what_succeeded(github: Small, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    called = "on: {workflow_call: {outputs: {x: {value: '${{ jobs.good.outputs.x }}'}}}}\njobs:\n"
    called += line("good", "echo x=$GITHUB_RUN_ATTEMPT >> $GITHUB_OUTPUT", more=OUT) + line("flaky", f"test -e {flag}", "good")
    text = ON + "  call: {uses: ./.github/workflows/1.yml}\n" + line("side") + line("off", when="false")
    text += line("after", "test ${{ needs.call.outputs.x }}$GITHUB_RUN_ATTEMPT = 12", "call, off", "!cancelled()")
    sha = github.commit({MAIN: text, ".github/workflows/1.yml": called})
    run = github.make_run(sha)
    first = github.finish(run)
    assert came(first) == {
        "after": "failure",
        "call/flaky": "failure",
        "call/good": "success",
        "off": "skipped",
        "side": "success",
    }
    flag.touch()
    again = github.finish(next_attempt(run), list(first.values()))
    assert came(again) == {"after": "success", "call/flaky": "success"}
    assert github.end[1] == "success"


def test_groups_of_jobs_are_one_at_a_time(github: Small, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    body = f"mkdir {lock} && sleep 0.1 && rmdir {lock}"
    group = "concurrency: {group: g, queue: max}"
    done = github.go(ON + "".join(line(f"j{number}", body, more=group) for number in range(4)))
    assert set(came(done).values()) == {"success"}
    done = github.go(ON.replace("jobs:", "concurrency: G\njobs:") + line("one", more="concurrency: g"))
    assert "is held by what this job is part of" in done["one"].annotations[0].message


def test_checkout_and_artifacts(github: Small) -> None:
    text = (
        ON
        + f"""
  make:
    runs-on: ubuntu-24.04
    outputs: {{id: "${{{{ steps.up.outputs.artifact-id }}}}", digest: "${{{{ steps.up.outputs.artifact-digest }}}}"}}
    steps:
      - {{id: co, uses: actions/checkout@{PIN}, with: {{path: repo, persist-credentials: false, submodules: false, lfs: false}}}}
      - run: |
          test "${{{{ steps.co.outputs.commit }}}}" = "$GITHUB_SHA" && test "$(cat repo/a.txt)" = a
          test "$(git -C repo rev-list --count HEAD)" = 1 && ! grep -ri auth repo/.git/config
          mkdir -p out/deep && echo 1 > out/one && echo 2 > out/deep/two && echo 3 > out/.hidden
      - {{id: up, uses: actions/upload-artifact@{PIN}, with: {{name: pack, path: out/, retention-days: 14}}}}
      - {{uses: actions/upload-artifact@{PIN}, continue-on-error: true, name: twice, with: {{name: pack, path: out/one}}}}
      - {{id: none, uses: actions/upload-artifact@{PIN}, with: {{name: n, path: nowhere, if-no-files-found: ignore}}}}
      - {{run: 'test -z "${{{{ steps.none.outputs.artifact-id }}}}"'}}
      - {{uses: actions/upload-artifact@{PIN}, name: strict, with: {{name: n, path: nowhere, if-no-files-found: error}}}}
  take:
    needs: make
    if: always()
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/download-artifact@{PIN}
        with: {{artifact-ids: "${{{{ needs.make.outputs.id }}}}", path: "${{{{ runner.temp }}}}/in"}}
      - run: test "$(cat in/one in/deep/two | tr -d '[:space:]')" = 12 && test ! -e in/.hidden
        working-directory: ${{{{ runner.temp }}}}
      - {{uses: actions/setup-python@{PIN}, id: py, with: {{python-version: "3"}}}}
      - run: |
          python3 -c "import yaml"
          test "$(command -v python)" = "${{{{ steps.py.outputs.python-path }}}}"
      - {{uses: actions/download-artifact@{PIN}, with: {{name: pack}}, name: by name}}
"""
    )
    github.commit({"old": ""})
    done = github.go(text, files={"a.txt": "a"})
    made, taken = done["make"], done["take"]
    assert [step.conclusion for step in made.steps[1:]] == ["success"] * 6 + ["failure"], made.log
    assert "already has an artifact" in next(step.log for step in made.steps if step.name == "twice")
    ((_, artifact),) = github.stored.values()
    assert (str(artifact.id), artifact.digest) == (made.outputs["id"], made.outputs["digest"])
    assert zipfile.ZipFile(io.BytesIO(artifact.data)).namelist() == ["deep/two", "one"]
    assert [step.conclusion for step in taken.steps[1:]] == ["success"] * 4 + ["failure"], taken.log
    assert "by artifact-ids" in taken.steps[-1].log


def packed(**files: str) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "../"), text)
    return whole.getvalue()


@pytest.mark.parametrize(
    ("owner", "digest", "data", "why"),
    [
        (1, "", packed(a="1"), "this run has no artifact 5"),
        (0, "0" * 64, packed(a="1"), "does not have the digest"),
        (0, "", packed(__owned="1"), "holds a file outside of it: ../owned"),
        (0, "", b"PK not a zip", "is no zip"),
    ],
)
def test_artifacts_that_are_refused(github: Small, owner: int, digest: str, data: bytes, why: str) -> None:
    step = f"{{uses: actions/download-artifact@{PIN}, with: {{artifact-ids: 5}}}}"
    run = github.make_run(github.commit({MAIN: f"{ON}  one: {{runs-on: ubuntu-24.04, steps: [{step}]}}\n"}))
    found = StoredArtifact(5, "pack", digest or hashlib.sha256(data).hexdigest(), data)
    github.stored[5] = (owner or run.id, found)
    assert why in github.finish(run)["one"].log


def test_checkout_of_branches_tags_and_other_repositories(github: Small) -> None:
    there = github.commit({"b.txt": "b"}, "eve/other")
    git(github.folder / "repositories/eve/other.git", "tag", "v1")
    steps = [
        f"{{uses: actions/checkout@{PIN}, with: {{path: own, ref: main, fetch-depth: 0}}}}",
        f"{{uses: actions/checkout@{PIN}, with: {{path: tag, repository: eve/other, ref: v1, persist-credentials: false}}}}",
        f"{{uses: actions/checkout@{PIN}, with: {{path: sha, repository: eve/other, ref: {there}, persist-credentials: false}}}}",
        f"{{uses: actions/checkout@{PIN}, with: {{path: head, repository: eve/other, persist-credentials: false}}}}",
        "{run: 'git -C own symbolic-ref HEAD; git -C own config --get-regexp extraheader; cat tag/b.txt sha/b.txt head/b.txt'}",
        f"{{uses: actions/checkout@{PIN}, with: {{path: bad, submodules: true}}, continue-on-error: true}}",
        f"{{uses: actions/checkout@{PIN}, with: {{path: ../out}}}}",
    ]
    done = github.go(f"{ON}  one: {{runs-on: ubuntu-24.04, steps: [{', '.join(steps)}]}}\n", files={"a.txt": "a"})["one"]
    assert [step.conclusion for step in done.steps[1:]] == ["success"] * 6 + ["failure"], done.log
    assert "refs/heads/main\n" in done.steps[5].log
    assert "AUTHORIZATION: basic ***\nbbb" in done.steps[5].log
    assert "'submodules' can only be 'false'" in done.steps[6].log
    assert "outside of the workspace" in done.steps[7].log


def test_who_waits_in_a_group_is_pushed_out_by_the_next() -> None:
    groups, pushed = Groups(), []
    single = contexts.Group("g", cancels=False, queue="single")
    first = groups.enter("a/b", single, lambda: None, lambda: False)
    assert first is not None

    def wait() -> None:
        pushed.append(groups.enter("A/B", single, lambda: None, lambda: False))

    second = threading.Thread(target=wait)
    second.start()
    stopped = threading.Event()
    given_up = groups.enter("a/b", contexts.Group("G", cancels=True, queue="single"), stopped.set, lambda: True)
    assert given_up is None
    groups.leave(first)
    second.join(SECONDS)
    assert len(pushed) == 1


REFUSED = [
    ("jobs: {}", 1, "needs 'on'"),
    ("on: push\njobs: {}", 2, "needs a job"),
    ("on: deployment\njobs: {a: {runs-on: x, steps: []}}", 1, "'deployment' is not supported"),
    ("on: {issues: {types: [labelled]}}\njobs: {a: {runs-on: x, steps: []}}", 1, "no type 'labelled'"),
    (ON + "  a:\n    runs-on: x\n    strategy: {matrix: {x: [1]}}\n    steps: []", 5, "'strategy' of a job is not supported"),
    (ON + "  a:\n    runs-on: x\n    container: c\n    steps: []", 5, "'container'"),
    (ON + "  a:\n    runs-on: x\n    stepz: []", 5, "no key 'stepz'"),
    (ON + "  a:\n    runs-on: x\n    runs-on: y\n    steps: []", 5, "there twice"),
    (ON + "  a:\n    runs-on: x\n    needs: b\n    steps: []", 3, "needs 'b', which does not exist"),
    (ON + "  a: {runs-on: x, needs: b, steps: []}\n  b: {runs-on: x, needs: a, steps: []}", 1, "in a circle"),
    (ON + "  a: {runs-on: x, steps: [{}]}", 3, "either uses or run"),
    (ON + "  a:\n    runs-on: x\n    steps:\n      - run: ${{ nope.x }}", 6, "'nope' is not available"),
    (ON + "  a:\n    runs-on: x\n    steps:\n      - run: echo\n        if: secrets.X != ''", 7, "'secrets' is not available"),
    (ON + "  a:\n    runs-on: x\n    steps:\n      - run: ${{ hashFiles('x') }}", 6, "hashFiles is not supported"),
    (ON + "  a:\n    runs-on: x\n    steps:\n      - run: ${{ inputs.typo }}", 6, "no input 'typo'"),
    (ON + "  a:\n    runs-on: x\n    steps:\n      - run: ${{ steps.typo.outputs.x }}", 6, "no step with the id 'typo'"),
    (ON + "  a:\n    runs-on: x\n    steps:\n      - run: ${{ needs.b.result }}", 6, "without needing it"),
    (ON + line("b") + "  a: {runs-on: x, needs: b, if: needs.b.outputs.typo == '1', steps: []}", 4, "no output 'typo'"),
    (ON + "  a: {runs-on: x, permissions: {issues: admin}, steps: []}", 3, "cannot be 'admin'"),
    (ON + "  a: {runs-on: x, permissions: {everything: read}, steps: []}", 3, "no key 'everything'"),
    (ON + "  a: {runs-on: x, steps: [{run: x, shell: fish}]}", 3, "shell 'fish'"),
    (ON + "  a: {runs-on: x, steps: [{run: x, id: s}, {run: y, id: s}]}", 3, "two steps have the id"),
    ("a: [", 1, ""),
]


@pytest.mark.parametrize(("text", "number", "why"), REFUSED)
def test_what_is_not_supported_is_refused_by_line(text: str, number: int, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        workflow.read(text.encode(), MAIN)
    assert str(refused.value).startswith(f"{MAIN}:{number}: ")
    assert why in str(refused.value)


@pytest.mark.parametrize("uses", ["actions/checkout@v4", "actions/cache@" + PIN, "docker://alpine", "actions/checkout", "./../x"])
def test_actions_that_are_refused(uses: str) -> None:
    flow = workflow.read(f"{ON}  a: {{runs-on: x, steps: [{{uses: {uses}}}]}}".encode(), MAIN)
    with pytest.raises(BadInput, match=f"^{MAIN}:3: "):
        actions.target(flow.jobs["a"].steps[0])


def test_triggers_and_inputs() -> None:
    text = """
on:
  issues: {types: [labeled]}
  issue_comment:
  push: {branches: [main, "rel/**"]}
  pull_request:
  schedule: [{cron: "0 0 * * *"}]
  workflow_dispatch:
    inputs:
      n: {type: number, required: true}
      b: {type: boolean, default: true}
      c: {type: choice, options: [x, y], default: x}
      s: {}
jobs: {a: {runs-on: x, steps: []}}
"""
    flow = workflow.read(text.encode(), MAIN)
    assert flow.on["issues"].wants({"action": "labeled"}, "refs/heads/main")
    assert not flow.on["issues"].wants({"action": "opened"}, "refs/heads/main")
    assert flow.on["issue_comment"].wants({"action": "deleted"}, "refs/heads/main")
    assert [flow.on["push"].wants({}, f"refs/heads/{name}") for name in ("main", "rel/1/2", "dev")] == [True, True, False]
    assert not flow.on["pull_request"].wants({"action": "labeled"}, "refs/heads/main")
    assert contexts.dispatched(flow, {"n": "7"}, {}) == {"n": 7, "b": True, "c": "x", "s": ""}
    for bad in ({}, {"n": "x"}, {"n": "1", "b": "maybe"}, {"n": "1", "c": "z"}, {"n": "1", "zz": "1"}):
        with pytest.raises(BadInput):
            contexts.dispatched(flow, bad, {})


def test_closing_kills_what_runs(github: Small) -> None:
    run = github.make_run(github.commit({MAIN: ON + line("a", "sleep 300") + line("b", needs="a", when="always()")}))
    github.runner.start(run)
    github.step_under_way(run, "Run sleep 300")
    with pytest.raises(BadInput, match="is under way"):
        github.runner.start(run)
    github.runner.close()
    assert github.runner.wait_idle(SECONDS)
    assert {one.key: one.conclusion for one in github.records.values()} == {"a": "failure", "b": "cancelled"}
