"""W1: webhooks over HTTP, Ostler beside probot: the same payloads, recorded from GitHub, signed alike, with the same decisions.

Both servers run the whole time and are asked in turns, so that what else the machine does meets both. Deliveries that Ostler
accepts are on disk before it answers, and counted there afterwards; probot keeps nothing. GitHub is out of reach, so that the
work that follows on a delivery, which GitHub's limits pace, is not measured.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from bench import Minimum
from bench.receivers import OSTLER, PROBOT, SECRET, Receiver, install, start
from bot.core.errors import BadInput
from bot.github.webhook import ignored, parse
from bot.web.intake import unasked

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = (1, 8, 64)
SHOWN = 8
ROUNDS, SECONDS = 5, 3.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 1.5
WARM_UP = 1.0
KINDS = ("ignored", "heard", "accepted")
"""What asks nothing, of all events; what asks nothing, of the events that the App is sent; what asks for something."""
HEARD = ("issues", "issue_comment", "check_run", "workflow_run", "installation", "installation_repositories")

TARGETS = {
    "ignored_rps": ("at least 1.8 times probot", PROBOT, Minimum(1.8)),
    "ignored_p99_ms": ("less than probot", PROBOT, 1.0),
    "accepted_rps": ("at least 0.8 of probot, which keeps nothing", PROBOT, Minimum(0.8)),
    "rss_mb": ("less than half of probot", PROBOT, 0.5),
}

Say = Callable[[str], None]
Figures = dict[str, dict[str, Any]]
Payloads = list[tuple[str, str]]


def run(*, quick: bool, say: Say) -> Figures:
    """The figures of both.

    Raises:
        RuntimeError: something cannot be installed or started, or answered otherwise than it has to.
    """
    build = ROOT / "build" / "bench"
    try:
        packages = install(build / "peers" / PROBOT)
    except LookupError as error:
        raise RuntimeError(str(error)) from error
    kinds = payloads(packages)
    say(f"W1: {', '.join(f'{len(kinds[kind])} payloads {kind}' for kind in KINDS)}")
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    seen: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        receivers = [stack.enter_context(started) for started in start(packages, build / "W1")]
        for number in range(rounds + 1):  # the first is to warm up
            for kind in KINDS:
                for connections in CONNECTIONS:
                    for receiver in receivers:
                        series = f"{number}-{kind}-{connections}"
                        said = _load(receiver, kinds[kind], connections, seconds if number else WARM_UP, series)
                        _check(receiver, kind, said["statuses"])
                        said["cpu_us"] = receiver.look() / sum(said["statuses"].values()) * 1e6
                        if number:
                            seen.setdefault((receiver.name, kind, connections), []).append(said)
        _kept(receivers[0])
        return _figures(seen, {receiver.name: receiver.most / 1e6 for receiver in receivers})


def payloads(packages: Path) -> dict[str, Payloads]:
    """The recorded payloads as JSON texts with their events, by kind."""
    told = json.loads((packages / "node_modules/@octokit/webhooks-examples/api.github.com/index.json").read_text("utf-8"))
    every = [(event["name"], example) for event in told for example in event["examples"]]
    quiet = [(event, json.dumps(example)) for event, example in every if not _asks(event, json.dumps(example))]
    asking = [(event, text) for event, example in every if _asks(event, text := json.dumps(_asking(event, example)))]
    return {"ignored": quiet, "heard": [one for one in quiet if one[0] in HEARD], "accepted": asking}


def _asks(event: str, text: str) -> bool:
    raw = text.encode()
    try:
        return not ignored(event, raw) and not unasked(parse(event, raw), 0)
    except BadInput as error:
        raise RuntimeError(f"a recorded payload of {event} is refused: {error}") from error


def _asking(event: str, example: dict[str, Any]) -> dict[str, Any]:
    """The payload as it would be if a person had asked Ostler for something."""
    asked = {**example, "installation": {"id": 7}, "sender": {**example.get("sender", {}), "type": "User"}}
    if event == "issues" and example.get("label"):
        asked["label"] = {**example["label"], "name": "ostler"}
    elif event == "issue_comment":
        asked["comment"] = {**example["comment"], "body": "/ostler status\n" + example["comment"]["body"]}
    return asked


def _load(receiver: Receiver, given: Payloads, connections: int, seconds: float, series: str) -> dict[str, Any]:
    plan = {
        "port": receiver.port, "path": receiver.path, "secret": SECRET, "connections": connections, "seconds": seconds,
        "series": series, "deliveries": given,
    }  # fmt: skip
    command = [sys.executable, "-m", "bench.load"]
    ran = subprocess.run(command, input=json.dumps(plan), check=False, capture_output=True, text=True, cwd=ROOT)
    if ran.returncode:
        raise RuntimeError(f"{receiver.name} does not answer: {ran.stderr.strip()[-300:]}")
    return dict(json.loads(ran.stdout))


def _check(receiver: Receiver, kind: str, statuses: dict[str, int]) -> None:
    wanted = "200" if receiver.name == PROBOT else "202" if kind == "accepted" else "204"
    if set(statuses) != {wanted}:
        raise RuntimeError(f"{receiver.name} answers {kind} deliveries with {statuses}")
    if wanted == "202":
        receiver.accepted += statuses[wanted]


def _kept(receiver: Receiver) -> None:
    """Every delivery that was acknowledged is there."""
    with closing(sqlite3.connect(f"file:{receiver.database}?mode=ro", uri=True)) as database:
        (count,) = database.execute("select count(*) from deliveries").fetchone()
    if count != receiver.accepted:
        raise RuntimeError(f"{receiver.accepted} deliveries were acknowledged and {count} are on disk")


def _figures(seen: dict[tuple[str, str, int], list[dict[str, Any]]], memory: dict[str, float]) -> Figures:
    figures = {}
    for kind in KINDS:
        for connections in (SHOWN, *(other for other in CONNECTIONS if other != SHOWN)):
            for name, unit in (("rps", "requests/s"), ("p99_ms", "ms"), ("cpu_us", "us a request")):
                of = {who: _median(seen[who, kind, connections], name) for who in (OSTLER, PROBOT)}
                end = "" if connections == SHOWN else f"_{connections}"
                figures[f"{kind}_{name}{end}"] = _figure(of, unit)
    return figures | {"rss_mb": _figure(memory, "MB")}


def _median(rounds: Sequence[dict[str, Any]], name: str) -> float:
    return float(statistics.median(one[name] for one in rounds))


def _figure(of: dict[str, float], unit: str) -> dict[str, Any]:
    digits = 1 if unit in ("ms", "MB") else 0
    return {
        "value": round(of[OSTLER], digits),
        "unit": unit,
        "beside": {PROBOT: round(of[PROBOT], digits)},
        "ratio": {PROBOT: round(of[OSTLER] / of[PROBOT], 2)},
    }
