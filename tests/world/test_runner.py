"""The demo's Actions runner, one job at a time: what its steps see, write and come to."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.demo.runner import commands
from bot.demo.runner.platform import JobRecord, StepRecord
from tests.world.runner_platform import MAIN, Small, small

PIN = "a" * 40
HEAD = "on: workflow_dispatch\njobs:\n  one:\n    runs-on: ubuntu-24.04\n"


@pytest.fixture
def github(tmp_path: Path) -> Iterator[Small]:
    with small(tmp_path) as platform:
        yield platform


def job(github: Small, body: str, **more: Any) -> JobRecord:
    """Run one job whose keys are `body`, indented by four."""
    done = github.go(HEAD + body, **more)
    assert github.end[1] != "startup_failure", github.end[2]
    return done["one"]


def conclusions(record: JobRecord) -> list[str | None]:
    return [step.conclusion for step in record.steps[1:]]


def step(record: JobRecord, name: str) -> StepRecord:
    return next(one for one in record.steps if one.name == name)


def test_outputs_environment_and_path(github: Small) -> None:
    record = job(
        github,
        """
    outputs: {all: "${{ steps.w.outputs.plain }}|${{ steps.w.outputs.many }}|${{ steps.r.outputs.seen }}"}
    env: {FROM_JOB: job, SHADOWED: job}
    steps:
      - id: w
        run: |
          echo plain=a=b >> "$GITHUB_OUTPUT"
          printf 'many<<END\\none\\n\\ntwo\\nEND\\n' >> "$GITHUB_OUTPUT"
          echo 'LATER<<X' >> "$GITHUB_ENV"; echo later >> "$GITHUB_ENV"; echo X >> "$GITHUB_ENV"
          echo GITHUB_REF=forged >> "$GITHUB_ENV"
          mkdir "$RUNNER_TEMP/bin"; printf '#!/bin/sh\\necho tool\\n' > "$RUNNER_TEMP/bin/tool"; chmod +x "$RUNNER_TEMP/bin/tool"
          echo "$RUNNER_TEMP/bin" >> "$GITHUB_PATH"
          echo '# Summary' >> "$GITHUB_STEP_SUMMARY"
          test -z "$LATER"
      - id: r
        env: {SHADOWED: step, EXPRESSION: "${{ env.LATER }}-${{ env.FROM_JOB }}"}
        run: |
          echo "seen=$LATER,$SHADOWED,$FROM_JOB,$EXPRESSION,$(tool),$GITHUB_REF" >> "$GITHUB_OUTPUT"
""",
    )
    assert record.conclusion == "success", record.log
    assert record.outputs["all"] == "a=b|one\n\ntwo|later,step,job,later-job,tool,refs/heads/main"
    assert record.summary == "# Summary\n"


def test_a_job_sees_nothing_of_the_machine_it_was_started_on(github: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARENT_ONLY", "leak")
    record = job(github, "    steps: [{id: e, run: \"env -0 | sort -z | tr '\\\\0' '\\\\n'; pwd; cat $GITHUB_EVENT_PATH\"}]\n")
    found = dict(line.partition("=")[::2] for line in record.steps[1].log.splitlines() if "=" in line)
    for name in ("PWD", "SHLVL", "_", "OLDPWD"):  # the shell's own
        found.pop(name, None)
    assert "PARENT_ONLY" not in found
    assert "leak" not in record.log
    assert not [name for name in found if name.startswith("ACTIONS_ID_TOKEN")]
    assert {name for name in found if not name.startswith(("GITHUB_", "RUNNER_"))} == {"CI", "HOME", "MACHINE", "PATH"}
    expected = {
        "GITHUB_ACTIONS": "true", "GITHUB_ACTOR": "ada", "GITHUB_TRIGGERING_ACTOR": "bob", "GITHUB_REPOSITORY": "ada/stable",
        "GITHUB_REPOSITORY_OWNER": "ada", "GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "branch", "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_API_URL": github.api_url, "GITHUB_SERVER_URL": github.server_url, "GITHUB_GRAPHQL_URL": github.graphql_url,
        "GITHUB_EVENT_NAME": "workflow_dispatch", "GITHUB_JOB": "one", "CI": "true", "MACHINE": "mine",
        "GITHUB_WORKFLOW_REF": f"ada/stable/{MAIN}@refs/heads/main",
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected
    assert found["HOME"].startswith(str(github.folder))
    assert '{"action": "labeled"}' in record.log
    assert not list((github.folder / "machines").iterdir()), "the machine is gone with its job"


def test_text_that_comes_by_env_is_not_executed(github: Small, tmp_path: Path) -> None:
    evil = f'"; touch {tmp_path}/owned; echo "$(touch {tmp_path}/owned)`touch {tmp_path}/owned` ${{{{ secrets.X }}}}'
    record = job(
        github,
        """
    outputs: {said: "${{ steps.s.outputs.said }}"}
    steps:
      - id: s
        env: {TITLE: "${{ github.event.issue.title }}"}
        run: echo "said=$TITLE" >> "$GITHUB_OUTPUT"
""",
        event={"issue": {"title": evil}},
    )
    assert record.outputs == {"said": evil}
    assert not (tmp_path / "owned").exists()


def test_the_same_text_in_a_script_is(github: Small, tmp_path: Path) -> None:
    """The runner is as open to injection as GitHub's: otherwise the test above would prove nothing."""
    job(
        github,
        '    steps: [{run: "echo ${{ github.event.issue.title }}"}]\n',
        event={"issue": {"title": f"$(touch {tmp_path}/owned)"}},
    )
    assert (tmp_path / "owned").exists()


def test_outcome_and_conclusion(github: Small) -> None:
    record = job(
        github,
        """
    outputs:
      seen: ${{ steps.soft.outcome }} ${{ steps.soft.conclusion }} ${{ steps.off.outcome }}
      kept: ${{ steps.hard.outputs.x }}
    steps:
      - {id: soft, run: exit 3, continue-on-error: true}
      - {id: off, if: failure(), run: echo never}
      - {id: on, if: "success() && steps.soft.outcome == 'failure'", run: echo yes}
      - {id: hard, run: "echo x=1 >> $GITHUB_OUTPUT; false"}
      - {run: echo implied success}
      - {if: always(), run: "test ${{ job.status }} = failure"}
      - {if: "failure() && !cancelled()", run: echo after}
""",
    )
    assert conclusions(record) == ["success", "skipped", "success", "failure", "skipped", "success", "success"]
    assert record.conclusion == "failure"
    assert record.outputs == {"seen": "failure success skipped", "kept": "1"}
    assert [note.message for note in record.annotations] == [f"process completed with exit code {code}" for code in (3, 1)]


def test_shells_and_working_directory(github: Small) -> None:
    record = job(
        github,
        """
    defaults: {run: {working-directory: sub}}
    steps:
      - {run: mkdir sub, working-directory: .}
      - {run: "basename $PWD; false | true; echo on", name: plain}
      - {run: "false | true; echo on", shell: bash, name: bash, continue-on-error: true}
      - {run: "false; echo on", shell: sh, name: sh, continue-on-error: true}
      - run: import os; print('in', os.path.basename(os.getcwd()))
        shell: python
        name: python
        working-directory: ${{ 'sub' }}
      - {run: echo never, working-directory: nowhere, name: nowhere}
""",
    )
    assert "sub\non" in step(record, "plain").log
    assert "##[error]process completed" in step(record, "bash").log
    assert "##[error]process completed" in step(record, "sh").log
    assert "in sub" in step(record, "python").log
    assert conclusions(record) == ["success"] * 5 + ["failure"]


def test_secrets_are_masked_in_every_form(github: Small) -> None:
    github.secret[None] = {"KEY": "s3cr3t/value", "LINES": "first-line\nsecond-line"}
    record = job(
        github,
        """
    outputs: {leak: "${{ steps.s.outputs.leak }}", fine: fine}
    steps:
      - id: s
        env: {KEY: "${{ secrets.KEY }}", LINES: "${{ secrets.LINES }}"}
        run: |
          echo "now $KEY and $(printf %s "$KEY" | base64) and s3cr3t%2Fvalue"; echo "$LINES"
          echo "::add-mask::made-up-later"; echo "made-up-later"; echo "::error::with $KEY"
          echo "leak=$KEY" >> "$GITHUB_OUTPUT"; echo "$KEY" >> "$GITHUB_STEP_SUMMARY"
          echo ${{ github.token }}
""",
    )
    shown = json.dumps([str(one) for one in github.history])
    for word in ("s3cr3t/value", "czNjcjN0L3ZhbHVl", "s3cr3t%2F", "first-line", "second-line", "made-up-later", "ghs_"):
        assert word not in shown.replace("add-mask", "").replace("${{ github.token }}", ""), word
    assert "now *** and *** and ***" in record.log
    assert record.outputs == {"fine": "fine"}
    assert any("may contain a secret" in note.message for note in record.annotations)


def test_commands_on_output(github: Small) -> None:
    record = job(
        github,
        """
    steps:
      - name: say
        id: say
        run: |
          echo '::warning file=a.py,line=3,title=T%3A%2C::careful%0Athere'
          echo 'text ##[error]old form'
          echo ' ::error::not at the start'
          echo '::notice::noted'
          echo '::group::Inside'; echo in; echo '::endgroup::'
          echo '::stop-commands::pause'; echo '::error::not now'; echo '::add-mask::in'; echo '::pause::'
          echo '::set-output name=old::value%25'
          echo '::unknown::left alone'
      - run: test "${{ steps.say.outputs.old }}" = "value%"
      - {run: "echo '::set-env name=A::b'", name: forbidden, continue-on-error: true}
      - {run: "echo '::stop-commands::error'", name: bad word}
""",
    )
    told = [(note.level, note.message, note.title, note.file, note.line) for note in record.annotations]
    assert told[:3] == [
        ("warning", "careful\nthere", "T:,", "a.py", 3),
        ("error", "old form", "", "", 0),
        ("notice", "noted", "", "", 0),
    ]
    log = step(record, "say").log
    assert "::error::not now" in log
    assert "##[group]Inside\nin\n##[endgroup]" in log
    assert "::unknown::left alone" in log
    assert conclusions(record) == ["success", "success", "success", "failure"]
    assert "write to GITHUB_ENV instead" in step(record, "forbidden").log


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("OUTPUT", "no equals sign", "invalid format"),
        ("OUTPUT", "x<<END\\nvalue", "matching delimiter not found 'END'"),
        ("OUTPUT", "=x", "name is empty"),
        ("ENV", "x<<\\nvalue", "delimiter after << is empty"),
        ("ENV", "node_options=--require", "NODE_OPTIONS"),
        ("STATE", "oops", "invalid format"),
    ],
)
def test_malformed_files_fail_the_step(github: Small, file: str, text: str, why: str) -> None:
    record = job(github, f"    steps: [{{run: \"printf '{text}\\\\n' >> $GITHUB_{file}\"}}]\n".replace("\\n", "\\n"))
    assert record.conclusion == "failure"
    assert why in record.steps[1].log


def test_only_line_feeds_end_a_line() -> None:
    assert commands.pairs("a=1\u2028b=2\x0bc=3\r\nd=4\n", "GITHUB_OUTPUT") == [("a", "1\u2028b=2\x0bc=3"), ("d", "4")]


def test_environment_secrets_win_and_stay_in_their_jobs(github: Small) -> None:
    github.secret = {
        None: {"KEY": "from-repository", "ONLY": "repository-only"},
        "vault": {"KEY": "from-vault", "DEEP": "in-vault"},
    }
    github.variable = {None: {"V": "r"}, "vault": {"V": "e"}}
    text = """
on: workflow_dispatch
jobs:
  inside: {runs-on: ubuntu-24.04, environment: {name: vault, deployment: false}, steps: [{env: &e {}, run: x}]}
"""
    assert github.go(text) == {}
    assert github.end[1:] == ("startup_failure", f"{MAIN}:4: anchors and aliases are not supported")
    env = '{K: "${{ secrets.KEY }}", D: "${{ secrets.DEEP }}", V: "${{ vars.V }}"}'
    steps = f"""steps: [{{env: {env}, run: 'echo "$K:$D:$V" | rev; env | rev'}}]"""
    done = github.go(
        "on: workflow_dispatch\njobs:\n"
        f"  inside:\n    runs-on: ubuntu-24.04\n    environment: {{name: vault, deployment: false}}\n    {steps}\n"
        f"  outside:\n    runs-on: ubuntu-24.04\n    {steps}\n"
    )
    assert "from-vault:in-vault:e"[::-1] in done["inside"].log
    assert "from-repository::r"[::-1] in done["outside"].log
    assert "repository-only"[::-1] not in done["inside"].log, "a secret that no step asks for reaches no step"
    assert done["inside"].environment == "vault"


def test_token_and_oidc_follow_the_permissions(github: Small) -> None:
    done = github.go("""
on: workflow_dispatch
permissions: {}
jobs:
  none: {runs-on: ubuntu-24.04, steps: [{run: 'test -z "$ACTIONS_ID_TOKEN_REQUEST_URL"'}]}
  some:
    runs-on: ubuntu-24.04
    permissions: {issues: write, contents: read, checks: none, id-token: write}
    steps:
      - run: test -n "$ACTIONS_ID_TOKEN_REQUEST_TOKEN" && echo "$ACTIONS_ID_TOKEN_REQUEST_URL" && test -z "$GITHUB_TOKEN"
""")
    assert {one.conclusion for one in done.values()} == {"success"}
    granted = {one.name: dict(one.permissions) for one in github.identities.values()}
    assert granted == {"none": {}, "some": {"issues": "write", "contents": "read", "id-token": "write"}}


def test_a_killed_step_fails_and_always_steps_run(github: Small) -> None:
    record = job(
        github,
        """
    steps:
      - {name: dies, id: dies, run: "echo x=1 >> $GITHUB_OUTPUT; kill -9 $$"}
      - {run: echo never}
      - {if: always(), run: "test ${{ steps.dies.outputs.x }}${{ steps.dies.outcome }} = 1failure"}
""",
    )
    assert "exit code 137" in step(record, "dies").log
    assert conclusions(record) == ["failure", "skipped", "success"]


def test_a_kill_from_outside_finds_the_process(github: Small) -> None:
    sha = github.commit({MAIN: HEAD + "    steps: [{name: sleeps, run: sleep 300}, {if: always(), run: echo after}]\n"})
    run = github.make_run(sha)
    github.runner.start(run)
    github.step_under_way(run, "sleeps")
    ((pid, token),) = github.processes.items()
    assert github.identities[token].name == "one"
    os.killpg(pid, signal.SIGKILL)
    assert github.runner.wait_idle(60)
    (record,) = github.records.values()
    assert conclusions(record) == ["failure", "success"]


def test_a_lost_machine_runs_no_further_step(github: Small) -> None:
    sha = github.commit({MAIN: HEAD + "    steps: [{name: sleeps, run: sleep 300}, {if: always(), run: echo after}]\n"})
    run = github.make_run(sha)
    github.runner.start(run)
    github.step_under_way(run, "sleeps")
    assert not github.runner.kill_job(run.id, "other")
    assert github.runner.kill_job(run.id, "one")
    assert github.runner.wait_idle(60)
    (record,) = github.records.values()
    assert (record.conclusion, conclusions(record)) == ("failure", ["failure", "skipped"])
    assert "lost its connection" in record.annotations[-1].message
    assert not github.runner.kill_job(run.id, "one")


def test_cancelled_jobs_still_do_their_always_steps(github: Small) -> None:
    sha = github.commit(
        {
            MAIN: HEAD
            + """    steps:
      - {name: sleeps, run: sleep 300}
      - {run: echo never}
      - {if: failure(), run: echo never}
      - {if: cancelled(), run: "test ${{ job.status }} = cancelled"}
      - {if: always(), run: echo after}
  next: {needs: one, runs-on: ubuntu-24.04, steps: [{run: echo never}]}
  last: {needs: next, if: always(), runs-on: ubuntu-24.04, steps: [{run: "test ${{ needs.next.result }} = skipped"}]}
"""
        }
    )
    run = github.make_run(sha)
    github.runner.start(run)
    github.step_under_way(run, "sleeps")
    github.runner.cancel(run.id)
    assert github.runner.wait_idle(60)
    done = {one.key: one for one in github.records.values()}
    assert conclusions(done["one"]) == ["cancelled", "skipped", "skipped", "success", "success"]
    assert [done[key].conclusion for key in ("one", "next", "last")] == ["cancelled", "skipped", "success"]
    assert github.end[1] == "cancelled"


def test_time_outs(github: Small) -> None:
    record = job(
        github,
        """
    timeout-minutes: 0.05
    steps:
      - {name: slow, run: sleep 300, timeout-minutes: 0.005, continue-on-error: true}
      - {run: sleep 300 & sleep 300}
      - {run: echo never}
      - {if: always(), run: echo after}
""",
    )
    assert "the step has timed out" in step(record, "slow").log
    assert conclusions(record) == ["success", "cancelled", "skipped", "success"]
    assert record.conclusion == "cancelled"


def test_what_a_step_leaves_behind_ends_with_the_job(github: Small, tmp_path: Path) -> None:
    record = job(
        github, f"    steps: [{{run: 'setsid sleep 300 & echo $! > {tmp_path}/pid'}}, {{run: 'kill -0 $(cat {tmp_path}/pid)'}}]\n"
    )
    assert record.conclusion == "success", record.log
    pid = int((tmp_path / "pid").read_text())
    status = Path(f"/proc/{pid}/stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] in "ZX"


COMPOSITE = """
    name: Try
    inputs:
      needed: {required: true}
      other: {default: "d-${{ github.repository }}"}
    outputs:
      joined: {value: "${{ steps.a.outputs.x }}+${{ steps.b.outcome }}"}
    runs:
      using: composite
      steps:
        - id: a
          shell: bash
          run: echo "x=$N,$OUTER" >> "$GITHUB_OUTPUT"; echo BY_ACTION=1 >> "$GITHUB_ENV"
          env: {N: "${{ inputs.needed }}/${{ inputs.other }}"}
        - id: b
          shell: bash
          run: |
            test "${{ inputs.needed }}" != fail
            test "$GITHUB_ACTION_PATH" = "${{ github.action_path }}"
        - {shell: bash, if: "always() && inputs.needed == 'fail'", run: echo cleaned up}
        - {shell: bash, run: echo not after a failure}
"""


def test_composite_actions(github: Small) -> None:
    github.commit({"act/action.yml": COMPOSITE}, "eve/actions")
    sha = github.resolve("eve/actions", "main")
    record = job(
        github,
        f"""
    outputs: {{remote: "${{{{ steps.r.outputs.joined }}}}", failed: "${{{{ steps.f.outputs.joined }}}}"}}
    steps:
      - {{id: r, uses: eve/actions/act@{sha}, with: {{needed: yes}}, env: {{OUTER: o}}}}
      - {{run: 'test "$BY_ACTION" = 1'}}
      - {{uses: actions/checkout@{PIN}, with: {{persist-credentials: false}}}}
      - {{id: f, uses: ./local, with: {{NEEDED: fail}}, name: fails, continue-on-error: true}}
      - {{uses: ./local, name: missing, continue-on-error: true}}
      - {{uses: ./local, name: unknown, with: {{needed: 1, extra: 2}}, continue-on-error: true}}
      - {{uses: ./nowhere, name: nowhere}}
""",
        files={"local/action.yml": COMPOSITE},
    )
    assert record.outputs == {"remote": "yes/d-ada/stable,o+success", "failed": "fail/d-ada/stable,+failure"}
    log = step(record, "fails").log
    assert "cleaned up" in log
    assert "not after a failure\n" not in log.replace("Run echo not after a failure", "")
    assert "requires the input 'needed'" in step(record, "missing").log
    assert "has no input 'extra'" in step(record, "unknown").log
    assert "no action.yml in ./nowhere" in step(record, "nowhere").log


def test_jobs_share_nothing_and_run_at_once(github: Small) -> None:
    """Each waits for a word of the other, so they must run side by side."""
    spot = github.folder / "spot"
    spot.mkdir()
    text = "on: workflow_dispatch\njobs:\n"
    for own, other in (("a", "b"), ("b", "a")):
        wait = f"for i in $(seq 300); do test -e {spot}/{other} && exit 0; sleep 0.1; done; exit 1"
        text += f"  {own}:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: touch {spot}/{own} mine; {wait}\n"
        text += "      - run: test $(ls | wc -l) = 1\n"
    done = github.go(text)
    assert {key: one.conclusion for key, one in done.items()} == {"a": "success", "b": "success"}
