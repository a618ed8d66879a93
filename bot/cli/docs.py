"""`ostler docs`: the parts of the documents that are made from the code, so that they cannot fall out of step.

Two documents are made as a whole. In the others a part stands between `<!-- made: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bot.config import RepoConfig
from bot.core import machines
from bot.core.errors import BugError, SetupError
from bot.core.phases import KINDS
from bot.core.summary import EXIT_CODES
from bot.render import render

ROOT = Path(__file__).resolve().parent.parent.parent
WITH_PARTS = ("README.md", "docs/github.md")
_PART = re.compile(r"(<!-- made: ([a-z-]+) -->\n)(?:(?!<!-- ).)*?(<!-- end -->)", re.DOTALL)
_JOB = re.compile(r"(?m)^  ([a-z]+):\n((?:    .*\n|\n|  #.*\n)*)")
_HELD = re.compile(r"(?m)^      ([a-z-]+): (read|write) # (.+)$")


def documents() -> dict[str, str]:
    """Path in the checkout to content."""
    diagrams = (
        ("Run", machines.diagram(machines.RUN)),
        ("Tier", machines.diagram(machines.TIER)),
        ("Phase", machines.diagram(machines.PHASE)),
    )
    values = {"diagrams": diagrams, "failures": machines.RUN_FAILURES, "kinds": KINDS.values(), "exits": EXIT_CODES}
    schema = RepoConfig.model_json_schema()
    return {
        "docs/states.md": render("pages/states.md.j2", **values),
        "docs/ostler.schema.json": json.dumps(schema, indent=2, sort_keys=True) + "\n",
    } | {name: _filled((ROOT / name).read_text("utf-8"), name) for name in WITH_PARTS}


def docs(*, check: bool) -> int:
    """Write the documents, or say which are out of step."""
    if not (ROOT / "docs").is_dir():
        raise SetupError(f"There is no folder {ROOT / 'docs'}: this command is for a checkout of Ostler itself.")
    made = documents()
    stale = [name for name, text in made.items() if not (ROOT / name).is_file() or (ROOT / name).read_text("utf-8") != text]
    if check:
        for name in stale:
            print(f"{name} is out of step: run `make docs`.")
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).write_text(made[name], "utf-8")
        print(f"{name} written")
    return 0


# --- parts of pages ---------------------------------------------------------------------------------------------------


def _filled(page: str, name: str) -> str:
    """`page` with its made parts as they have to be."""
    made = _parts()

    def part(match: re.Match[str]) -> str:
        if match[2] not in made:
            raise BugError(f"{name} wants a part {match[2]!r} that nobody makes")
        return f"{match[1]}{made[match[2]]}\n{match[3]}"

    return _PART.sub(part, page)


def _parts() -> dict[str, str]:
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    return {
        "caller-alone": _workflow("standalone.yml"),
        "caller-app": _workflow("app.yml"),
        "permissions": _permissions((ROOT / ".github/workflows/improve.yml").read_text("utf-8")),
        "action-inputs": _inputs(action["inputs"]),
        "action-outputs": _table(
            ("output", "holds"), ((f"`{n}`", about["description"]) for n, about in action["outputs"].items())
        ),
    }


def _workflow(name: str) -> str:
    return f"```yaml\n{(ROOT / 'docs/workflows' / name).read_text('utf-8').strip()}\n```"


def _inputs(inputs: Mapping[str, Any]) -> str:
    def default(about: Mapping[str, Any]) -> str:
        return "required" if about.get("required") else f"`{about['default']}`" if about.get("default") else "empty"

    return _table(
        ("input", "default", "means"), ((f"`{n}`", default(about), about["description"]) for n, about in inputs.items())
    )


def _permissions(text: str) -> str:
    """Every permission of every job, with the reason that stands beside it in the workflow."""
    return _table(("job", "permission", "why"), _held(text))


def _held(text: str) -> Iterator[tuple[str, str, str]]:
    for name, body in _JOB.findall(text.partition("\njobs:\n")[2]):
        found = _HELD.findall(body)
        for scope, level, why in found:
            yield f"`{name}`", f"`{scope}: {level}`", why
        if not found:
            yield f"`{name}`", "none", body.partition("permissions: {} # ")[2].partition("\n")[0]


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    ruler = "---|" * len(head)
    return "\n".join([f"| {' | '.join(head)} |", f"|{ruler}", *(f"| {' | '.join(row)} |" for row in rows)])
