"""B9: what prompts cost that vendors' caches match, beside no cache at all, and beside a loop that appends everything.

Real `ostler run`s and a real plain loop against the stand-ins of `bot.demo.vendors`, which match prefixes, count writes, reads
and expiry as the vendors document it. Every request is priced by genai-prices, apart from Ostler's own ledger, and has to come
to the same. See bench/README.md for what is scripted and what is not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench import append, long_build
from bench.mixed import ISSUES, LONG, Issue
from bench.task import TESTS, TICKET, Task, prepare
from bot.core.selection import triage
from bot.core.ticket import freeze
from bot.demo.vendors import Vendors, serve

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"
ROOT = BUILD.parent.parent
Say = Callable[[str], None]
Line = Mapping[str, Any]
BUILDERS = ("claude-haiku-5-5", "claude-sonnet-5-5")
TARGETS: Mapping[str, tuple[str, str, float]] = {
    "cost_ratio_to_uncached": ("at most 0.25", "", 0.25),
    "cost_ratio_to_append_everything": ("at most 0.5", "", 0.5),
    "mixed_cost_ratio_to_always_advanced": ("at most 0.30", "", 0.30),
}
LOOP, UNCACHED, UNCACHED_LOOP, ALWAYS = "append everything", "no cache", "append everything, no cache", "always advanced"
QUICK = (ISSUES[0], ISSUES[-1])
"""Of the mixed workload one Tiny issue, and the one of high risk. What the mixture costs they don't tell."""
ADVANCED = (
    "models:\n  anthropic: {fast: claude-opus-5-5, balanced: claude-opus-5-5, advanced: claude-opus-5-5}\n"
    "  openai: {fast: gpt-6.1-sol, balanced: gpt-6.1-sol, advanced: gpt-6.1-sol}\n"
)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a harness asked: the stand-in's journal, line by line, and which lines are the build's."""

    lines: Sequence[Line]
    build: Sequence[Line]
    result: Mapping[str, Any]

    @property
    def builder(self) -> str:
        return str(self.build[0]["model"])


def run(*, quick: bool, say: Say) -> dict[str, dict[str, Any]]:
    """Run the long build with each builder, then the mixed workload twice (`quick`: the default rule's builder, two issues).

    Raises:
        RuntimeError: a run did not do the script's work, or its ledger says something else than the vendors' bills.
    """
    task = prepare(BUILD / "task")
    scratch = BUILD / "b9"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    figures: dict[str, dict[str, Any]] = {}
    for number, builder in enumerate(BUILDERS[: 1 if quick else None]):
        with ThreadPoolExecutor(1) as pool:
            beside = pool.submit(_plain, task, scratch / f"plain-{number}", builder, say)
            ours, plain = _long(task, scratch / f"ostler-{number}", builder, say), beside.result()
        if number == 0 and ours.builder != builder:
            raise RuntimeError(f"the default rule picks {ours.builder} for the long build and not {builder}")
        figures |= _build_figures(ours, plain, "" if number == 0 else f"_{builder.split('-')[1]}")
    return figures | _mixed(task, scratch, QUICK if quick else ISSUES, say)


# --- the long build ---------------------------------------------------------------------------------------------------


def _long(task: Task, folder: Path, builder: str, say: Say) -> Ran:
    """`ostler run` on the long build. The suite is told to take seven minutes, and time passes accordingly."""
    models = (
        "" if builder == BUILDERS[0] else f"models:\n  anthropic: {{fast: {builder}, balanced: {builder}, advanced: {builder}}}\n"
    )
    repository = _repository(task, folder, f"verify: {{full_seconds: 900}}\nloop: {{max_turns: 40}}\n{models}")
    rules = [*LONG.rules, *long_build.in_ostlers_tools(task)]
    ran = _ostler(repository, folder, TICKET, rules, ("bench.slow", str(long_build.SUITE_SECONDS)))
    _check(ran, repository, long_build.after(task), folder)
    _tell(say, f"ostler, {builder}: build", ran.build)
    if len(ran.build) != long_build.TURNS:
        raise RuntimeError(f"the build took {len(ran.build)} turns and not {long_build.TURNS}")
    return ran


def _plain(task: Task, folder: Path, model: str, say: Say) -> Ran:
    """The plain loop on the same script."""
    repository = _repository(task, folder, "")
    with serve(long_build.in_shell(task, append.MARK)) as vendors:
        append.solve(vendors.anthropic_url, model, TICKET, repository, _environment(folder, vendors))
        lines = vendors.journal()
    if wrong := long_build.problems(repository, long_build.after(task)):
        raise RuntimeError(f"the plain loop: {'; '.join(wrong)}")
    _tell(say, f"append everything, {model}", lines)
    return Ran(lines, lines, {})


def _build_figures(ours: Ran, plain: Ran, suffix: str) -> dict[str, dict[str, Any]]:
    cost, whole = _price(ours.build), _price(ours.lines)
    return {
        f"cost_ratio_to_uncached{suffix}": _ratio(cost, _price(ours.build, cached=False), UNCACHED),
        f"cost_ratio_to_append_everything{suffix}": _ratio(cost, _price(plain.lines), LOOP),
        f"cost_ratio_to_append_everything_uncached{suffix}": _ratio(cost, _price(plain.lines, cached=False), UNCACHED_LOOP),
        f"whole_run_ratio_to_uncached{suffix}": _ratio(whole, _price(ours.lines, cached=False), f"{UNCACHED}, whole run"),
        f"build_cost{suffix}": {"value": round(float(cost), 6), "unit": "$", "beside": {}, "ratio": {}},
        f"build_hit_rate{suffix}": {
            "value": round(_hits(ours.build), 3),
            "unit": "of input tokens",
            "beside": {LOOP: round(_hits(plain.lines), 3)},
            "ratio": {},
        },
    }


# --- the mixed workload -----------------------------------------------------------------------------------------------


def _mixed(task: Task, scratch: Path, issues: Sequence[Issue], say: Say) -> dict[str, dict[str, Any]]:
    """Every issue with the default models and with the advanced ones, by the same script, both at once."""
    ours, theirs = Decimal(0), Decimal(0)
    with ThreadPoolExecutor(1) as pool:
        for number, issue in enumerate(issues):
            beside = pool.submit(_one, task, scratch / f"advanced-{number}", issue, ADVANCED)
            default, advanced = _one(task, scratch / f"default-{number}", issue, ""), beside.result()
            _tell(say, f"{issue.name}, default models", default.lines)
            _tell(say, f"{issue.name}, advanced models", advanced.lines)
            cost, most = _price(default.lines), _price(advanced.lines)
            say(f"{issue.name}, {triage(freeze(issue.ticket, issue.name)).scope}: {cost / most:.3f} of always advanced")
            ours, theirs = ours + cost, theirs + most
    ratio = {"mixed_cost_ratio_to_always_advanced": _ratio(ours, theirs, ALWAYS)} if issues == ISSUES else {}
    return {
        **ratio,
        "mixed_solved": {"value": len(issues), "unit": "issues", "beside": {ALWAYS: len(issues)}, "ratio": {}},
    }


def _one(task: Task, folder: Path, issue: Issue, models: str) -> Ran:
    repository = _repository(task, folder, f"verify: {{tests: [{TESTS}]}}\n{models}")
    ran = _ostler(repository, folder, issue.ticket, issue.script(task), ("bot",))
    _check(ran, repository, long_build.after(task, issue.steps), folder)
    return ran


# --- running ----------------------------------------------------------------------------------------------------------


def _repository(task: Task, folder: Path, config: str) -> Path:
    folder.mkdir()
    repository = task.copy(folder / "repository")
    if config:
        (repository / ".github").mkdir(exist_ok=True)
        (repository / ".github" / "ostler.yml").write_text(config)
        for arguments in (("add", "--all", "--force"), ("commit", "--quiet", "--message=Configure Ostler")):
            subprocess.run(["git", "-C", str(repository), *arguments], check=True, env=_environment(folder, None))
    return repository


def _environment(folder: Path, vendors: Vendors | None) -> dict[str, str]:
    """A path, a home, and where the models answer; nothing of the caller's."""
    plain = {
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
        "VIRTUAL_ENV": sys.prefix,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if vendors is None:
        return plain
    keys = {f"OSTLER_{vendor}_API_KEY": "scripted" for vendor in ("ANTHROPIC", "OPENAI")}
    where = {"OSTLER_ANTHROPIC_BASE_URL": vendors.anthropic_url, "OSTLER_OPENAI_BASE_URL": vendors.openai_url}
    return {**plain, **keys, **where, "OSTLER_STATE_DIR": str(folder / "state")}


def _ostler(repository: Path, folder: Path, ticket: str, rules: Sequence[Line], module: tuple[str, ...]) -> Ran:
    """`ostler run` to its end."""
    issue = folder / "issue.md"
    issue.write_text(ticket)
    arguments = ["run", str(repository), "--issue", str(issue), "--approve", "--max-cost", "5", "--json"]
    with serve(rules) as vendors:
        done = subprocess.run(
            [sys.executable, "-m", *module, *arguments], cwd=ROOT, env=_environment(folder, vendors), check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        lines, asked = vendors.journal(), vendors.books.asked
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    if done.returncode or len(lines) != len(asked):
        raise RuntimeError(f"ostler run did not end well: {(done.stdout + done.stderr).strip()[-1000:]}")
    build = [line for line, one in zip(lines, asked, strict=True) if "# Phase IMPLEMENT" in one.first_user]
    return Ran(lines, build, json.loads(done.stdout.splitlines()[-1]))


def _check(ran: Ran, repository: Path, wanted: Mapping[str, str], folder: Path) -> None:
    """The branch holds the script's edits, and the ledger holds what the vendors billed."""
    branch = str(ran.result["branch"])
    for path, text in wanted.items():
        show = ["git", "-C", str(repository), "show", f"{branch}:{path}"]
        if subprocess.run(show, check=True, capture_output=True, env=_environment(folder, None)).stdout.decode() != text:
            raise RuntimeError(f"{path} on the branch is not as the script leaves it")
    billed, told = _price(ran.lines), Decimal(str(ran.result["cost_usd"]))
    if abs(billed - told) > Decimal(len(ran.lines)) / 1_000_000:
        raise RuntimeError(f"the vendors' bills come to ${billed} and Ostler's ledger to ${told}")


# --- money ------------------------------------------------------------------------------------------------------------


def _price(lines: Iterable[Line], *, cached: bool = True) -> Decimal:
    """Dollars, by genai-prices; not `cached`: the same requests with every input token at the plain price."""
    import genai_prices  # 20,000 lines that the other benches don't need

    total = Decimal(0)
    for line in lines:
        if line["vendor"] == "openai" and line["cache_write_long"]:
            raise RuntimeError("genai-prices has no price for what OpenAI keeps for 12 hours")
        kept = {
            "cache_read_tokens": line["cache_read"],
            "cache_write_tokens": line["cache_write"] + line["cache_write_long"],
            "cache_write_1h_tokens": line["cache_write_long"],
        }
        usage = genai_prices.Usage(
            input_tokens=line["input_tokens"], output_tokens=line["output_tokens"], **(kept if cached else {})
        )
        total += genai_prices.calc_price(usage, line["model"], provider_id=line["vendor"]).total_price
    return total


def _hits(lines: Sequence[Line]) -> float:
    read, everything = (sum(int(line[name]) for line in lines) for name in ("cache_read", "input_tokens"))
    return read / everything


def _ratio(ours: Decimal, theirs: Decimal, name: str) -> dict[str, Any]:
    ratio = round(float(ours / theirs), 4)
    return {"value": ratio, "unit": "x", "beside": {name: round(float(theirs), 6)}, "ratio": {name: ratio}}


def _tell(say: Say, what: str, lines: Sequence[Line]) -> None:
    """What went in and what it cost, so that the figures can be followed."""
    sums = {name: sum(line[name] for line in lines) for name in ("input_tokens", "output_tokens", "cache_read")}
    writes = sum(line["cache_write"] for line in lines), sum(line["cache_write_long"] for line in lines)
    largest = max(line["input_tokens"] for line in lines)
    models = ", ".join(dict.fromkeys(str(line["model"]) for line in lines))
    say(
        f"{what}: {len(lines)} requests, {sums['input_tokens']:,} tokens in (largest {largest:,}; {sums['cache_read']:,} read, "
        f"{writes[0]:,} + {writes[1]:,} written short + long), {sums['output_tokens']:,} out: ${_price(lines):.4f}, "
        f"uncached ${_price(lines, cached=False):.4f} ({models})"
    )
