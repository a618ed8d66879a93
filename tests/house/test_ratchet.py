"""Who holds what: permissions, secrets and environment of every job, exactly.

No linter notices a job that holds more than it needs: each change of the table is somebody's decision.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from bot.action.settings import ActionSettings
from bot.config import Settings
from bot.core.jobs import MODEL_JOBS, Job
from tests.house.tree import ROOT

IMPROVE, ACTION = ".github/workflows/improve.yml", "action.yml"
STANDALONE, SIMPLE = "docs/workflows/standalone.yml", "docs/workflows/simple.yml"
KEYS = frozenset({"ANTHROPIC_API_KEY", "OPENAI_API_KEY"})
STATE_KEY = frozenset({"OSTLER_STATE_KEY"})
READ = {"contents": "read"}


@dataclass(frozen=True)
class Holds:
    """What one job of improve.yml may hold. `token` is the job's GitHub token, given to Ostler's program."""

    permissions: Mapping[str, str]
    secrets: frozenset[str] = frozenset()
    environment: str | None = None
    token: bool = False
    checkout: bool = False
    minutes: int = 10


MODEL, STATE = "ostler-model", "ostler-state"
TABLE = {
    "gate": Holds(
        READ | {"issues": "read", "pull-requests": "read", "checks": "read", "actions": "read", "id-token": "write"},
        STATE_KEY,
        STATE,
        token=True,
    ),
    "plan": Holds(READ, KEYS, MODEL, checkout=True, minutes=30),
    "post": Holds({"contents": "write", "issues": "write", "checks": "write"}, token=True),
    "build": Holds(READ, KEYS, MODEL, checkout=True, minutes=60),
    "prove": Holds(READ, checkout=True, minutes=30),
    "audit": Holds({}, KEYS, MODEL, minutes=15),
    "confirm": Holds(READ, checkout=True, minutes=15),
    "publish": Holds({"contents": "write", "pull-requests": "write", "issues": "write"}, token=True),
    "conclude": Holds(
        READ | {"issues": "write", "pull-requests": "read", "checks": "write", "actions": "write", "id-token": "write"},
        STATE_KEY,
        STATE,
        token=True,
    ),
}
ALONE = dict.fromkeys(("contents", "pull-requests", "issues", "checks", "actions"), "write")
GRANTED: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    ".github/workflows/ci.yml": {"test": READ},
    STANDALONE: {"improve": ALONE | {"id-token": "write"}, "review": {"actions": "write"}},
    "docs/workflows/app.yml": {"improve": ALONE | {"id-token": "write"}},
    SIMPLE: {"improve": ALONE, "review": {"actions": "write"}},
}
"""What the jobs of the other workflow files may hold."""
UNTRUSTED = ("plan", "build", "prove", "audit", "confirm")
"""Jobs with untrusted code or a model in them: they change nothing on GitHub and cannot prove who they are."""
FORBIDDEN = (
    r"secrets\s*\[", r"tojson\(\s*secrets", r"secrets:\s*inherit", r"secrets\.GITHUB_TOKEN", r"actions/cache", r"write-all",
)  # fmt: skip
PINNED = re.compile(r"[\w.-]+(?:/[\w.-]+)+@[0-9a-f]{40}|\./\.ostler")
MACHINES = {
    "OSTLER_ONE_MACHINE", "OSTLER_JOBS_APP_ID", "OSTLER_JOBS_LOGIN", "OSTLER_GITHUB_PAUSE", "OSTLER_GITHUB_READS_PER_MINUTE",
}  # fmt: skip
"""Set on a machine, for GitHub Enterprise Server and for tests; no input of the action."""

Tree = Mapping[str, str]


def tree() -> dict[str, str]:
    """Every file that runs on GitHub, or that people copy there, by its path."""
    found = [*ROOT.glob(".github/workflows/*.y*ml"), *ROOT.glob("docs/workflows/*.y*ml"), ROOT / ACTION]
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted(found)}


# --- the check --------------------------------------------------------------------------------------------------------


def objections(files: Tree) -> list[str]:
    """Everything in `files` that is not as it has to be."""
    said = [f"{file}: {what}" for file, text in files.items() for what in (*_text(file, text), *_shape(yaml.safe_load(text)))]
    said += [f"{IMPROVE}: {what}" for what in _held(yaml.safe_load(files[IMPROVE]))]
    return said + [
        f"{file}: {job} holds {_permissions(about)}"
        for file, granted in GRANTED.items()
        for job, about in yaml.safe_load(files[file])["jobs"].items()
        if _permissions(about) != granted.get(job)
    ]


def _text(file: str, text: str) -> Iterator[str]:
    for pattern in FORBIDDEN:
        if found := re.search(pattern, text, re.IGNORECASE):
            yield f"has {found[0]!r}"
    for used in re.findall(r"uses:\s*(\S+)", text):
        if not PINNED.fullmatch(used):
            yield f"{used} is not pinned to a commit"
    if file != ACTION and "\npermissions: {}\n" not in text:
        yield "gives permissions to every job"


def _shape(document: Any) -> Iterator[str]:
    """By structure: steps, and time-outs of jobs that are not another workflow's."""
    for name, job in document.get("jobs", {"": document.get("runs", {})}).items():
        if name and "uses" not in job and not isinstance(job.get("timeout-minutes"), int):
            yield f"{name} has no time-out"
        if name and isinstance(job.get("environment"), str):
            yield f"{name} makes a deployment"
        for step in job.get("steps", []):
            given = step.get("with", {})
            if "${{" in step.get("run", ""):
                yield f"an expression in the script of {step['name']}"
            if any("cache" in key for key in given):
                yield f"{step['name']} caches"
            if step.get("uses", "").startswith("actions/checkout@") and given.get("persist-credentials") is not False:
                yield f"{step['name']} keeps the token"


def _held(document: Any) -> Iterator[str]:
    """Against the table, and against what holds whatever the table says."""
    if document["jobs"].keys() != TABLE.keys():
        yield "has other jobs"
    for name, job in document["jobs"].items():
        wanted, text = TABLE.get(name), yaml.safe_dump(job, width=1000)
        environment = job.get("environment") or {"name": None, "deployment": False}
        held = Holds(
            permissions=_permissions(job),
            secrets=frozenset(re.findall(r"secrets\.(\w+)", text)),
            environment=environment["name"],
            token="github.token" in text,
            checkout="path: checkout" in text,
            minutes=job.get("timeout-minutes", 0),
        )
        if held != wanted:
            yield f"{name} holds {held}, not {wanted}"
        if environment["deployment"] is not False:
            yield f"{name} makes a deployment"
        if name in UNTRUSTED and ("write" in held.permissions.values() or held.token):
            yield f"{name} can write"
        if "secrets" in text.replace("secrets.", ""):
            yield f"{name} takes more than single secrets"


def _permissions(job: Any) -> Any:
    return job.get("permissions", "what the repository gives")


def test_everybody_holds_what_the_table_says() -> None:
    assert objections(tree()) == []


def test_the_table_keeps_secrets_untrusted_work_and_write_access_apart() -> None:
    assert set(TABLE) == {str(job) for job in Job}
    for name, holds in TABLE.items():
        assert (holds.secrets == KEYS) == (name in MODEL_JOBS)
        assert not (holds.checkout and holds.token)
        assert not (holds.secrets and "write" in holds.permissions.values()) or holds.secrets == STATE_KEY


def gets(job: str, line: str) -> tuple[str, str, str]:
    """One more input for the program in `job`."""
    return IMPROVE, f"job: {job}\n", f"job: {job}\n          {line}\n"


MUTATIONS = {
    "a job that asks models may write": (IMPROVE, "(name: plan\n.*?contents): read", r"\1: write"),
    "a job with untrusted code may prove who it is": (
        IMPROVE,
        "(name: build\n.*?contents: read)",
        r"\1\n      id-token: write",
    ),
    "prove gets a key": gets("prove", "openai_api_key: ${{ secrets.OPENAI_API_KEY }}"),
    "confirm gets a key": gets("confirm", "anthropic_api_key: ${{ secrets.ANTHROPIC_API_KEY }}"),
    "publish gets the key of the state": gets("publish", "state_key: ${{ secrets.OSTLER_STATE_KEY }}"),
    "build gets the token": gets("build", "github_token: ${{ github.token }}"),
    "all secrets at once": gets("audit", "needs: ${{ toJSON(secrets) }}"),
    "a secret by a computed name": gets("audit", "needs: ${{ secrets[inputs.session] }}"),
    "audit may read the repository": (IMPROVE, r"permissions: \{\} # it", "permissions:\n      contents: read # it"),
    "every job may write": (IMPROVE, r"\npermissions: \{\}\n", "\npermissions: write-all\n"),
    "keys without an environment": (IMPROVE, r"environment:\n      name: ostler-model[^\n]*\n      deployment: false\n    ", ""),
    "another environment": (IMPROVE, "name: ostler-model", "name: ostler-state"),
    "a deployment": (IMPROVE, "deployment: false", "deployment: true"),
    "no time-out": (IMPROVE, "    timeout-minutes: 60\n", ""),
    "one job more": (IMPROVE, "\njobs:\n", "\njobs:\n  more:\n    runs-on: ubuntu-24.04\n    steps: []\n"),
    "the token stays in the checkout": (IMPROVE, "persist-credentials: false", "persist-credentials: true"),
    "an action by its tag": (IMPROVE, "checkout@[0-9a-f]{40}", "checkout@v7"),
    "an action by its branch": (ACTION, "setup-python@[0-9a-f]{40}", "setup-python@main"),
    "a cache": (ACTION, 'python-version: "3.11"', 'python-version: "3.11"\n        cache: pip'),
    "an expression in a script": (ACTION, r'cd "\$RUNNER_TEMP"', "cd ${{ runner.temp }}"),
    "a caller that hands over everything": (STANDALONE, r"secrets: #.*", "secrets: inherit"),
    "a caller of a branch": (STANDALONE, r"improve\.yml@0+", "improve.yml@main"),
    "an example of a branch": (SIMPLE, "ostler@0+", "ostler@main"),
    "an example that can prove who it is": (SIMPLE, "checks: write", "id-token: write\n      checks: write"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_check_objects(name: str) -> None:
    file, old, new = MUTATIONS[name]
    files = tree()
    changed, times = re.subn(old, new, files[file], count=1, flags=re.DOTALL)
    assert times == 1, "the mutation no longer fits the file"
    assert objections(files | {file: changed}) != []


def test_what_people_copy_is_pinned() -> None:
    """In prose and templates too: nothing to copy follows a branch or a tag."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("templates/**/*.*")]
    used = {(page.name, found) for page in pages for found in re.findall(r"uses:\s*([\w./-]+@?\S*)", page.read_text("utf-8"))}
    assert {(page, found) for page, found in used if not PINNED.fullmatch(found)} == set()


# --- in step ----------------------------------------------------------------------------------------------------------


def test_a_job_tells_what_a_later_one_asks_for_and_nothing_else() -> None:
    text = tree()[IMPROVE]
    asked = set(re.findall(r"needs\.(\w+)\.outputs\.(\w+)", text))
    told = {(name, output) for name, job in yaml.safe_load(text)["jobs"].items() for output in job.get("outputs", {})}
    assert told == asked


def test_jobs_and_action_agree_on_inputs_and_outputs() -> None:
    files = tree()
    action, jobs = yaml.safe_load(files[ACTION]), yaml.safe_load(files[IMPROVE])["jobs"]
    for name, job in jobs.items():
        given = job["steps"][-1]["with"]
        assert given["job"] == name
        assert given.keys() <= action["inputs"].keys()
        assert job.get("outputs", {}).keys() <= action["outputs"].keys()
    given_once = {key for job in jobs.values() for key in job["steps"][-1]["with"]}
    assert action["inputs"].keys() == given_once


def test_the_action_sets_what_the_program_reads() -> None:
    text = tree()[ACTION]
    (step,) = (step for step in yaml.safe_load(text)["runs"]["steps"] if step.get("id") == "ostler")
    aliases = {name: field.validation_alias for name, field in ActionSettings.model_fields.items()}
    read = {str(alias or f"OSTLER_{name.upper()}") for name, alias in aliases.items()}
    keys = {f"OSTLER_{name.upper()}" for name in Settings.model_fields if name.endswith("_api_key")}
    ours = {name for name in read if name.startswith("OSTLER_")}
    assert set(step["env"]) == (ours - MACHINES) | keys | {"OSTLER_PYTHON"}
