"""B1: edits of real files, quoted a little wrong: how many come out as meant, are refused, or are silently wrong."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import Minimum, corpus, ladders, peers
from bench.damages import AMBIGUOUS, DAMAGES, LOCATABLE, UNDAMAGED, Case, cases, solid

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"
SEED = 20261123
EACH, QUICK = 500, 50
"""Blocks of each of the eleven damages."""
TOOLS = ("str_replace", "apply_patch")
TARGETS: Mapping[str, tuple[str, str, float]] = {
    "undamaged_ok_percent": ("100 %", "", Minimum(100)),
    "damaged_ok_percent": ("at least 95 %", "", Minimum(95)),
    "silent_wrong_percent": ("at most 0.5 %", "", 0.5),
    "ambiguous_wrong": ("0", "", 0.0),
    "median_ms": ("under 5 ms", "", 5.0),
}

Applier = Callable[[Case], tuple[str | None, float]]
"""What became of the file's text, None where it was refused, and the CPU seconds that took."""


@dataclass(slots=True)
class Books:
    """How the edits of one applier came out, by damage."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: {damage: Counter() for damage in DAMAGES})
    seconds: list[float] = field(default_factory=list)

    def note(self, case: Case, text: str | None, seconds: float) -> None:
        row = self.outcomes[case.damage]
        meant = text is not None and case.wanted is not None and solid(text) == solid(case.wanted)
        row["rejected" if text is None else "ok" if meant else "wrong"] += 1
        row["to the byte"] += meant and text == case.wanted
        self.seconds.append(seconds)

    def percent(self, outcome: str, damage: str) -> float:
        """Of the edits with this damage."""
        row = self.outcomes[damage]
        return 100 * row[outcome] / (row["ok"] + row["rejected"] + row["wrong"])

    def mean(self, outcome: str) -> float:
        """Of the damages after which the place can still be told, each with the same weight; in percent."""
        return statistics.mean(self.percent(outcome, damage) for damage in LOCATABLE if damage != UNDAMAGED)


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Ostler's two tools together, and beside them three others on the same blocks.

    Raises:
        RuntimeError: the sources cannot be had, or aider ended early.
    """
    sources, each = corpus.prepare(BUILD / "sources"), QUICK if quick else EACH
    say(f"{sum(map(len, sources))} files of {len(sources)} releases; {each} blocks for each of {len(DAMAGES)} damages")
    with _appliers(say) as appliers:
        books = {name: Books() for name in appliers}
        for damage in DAMAGES:
            for case in islice(cases(damage, sources, SEED), each):
                for name, apply in appliers.items():
                    books[name].note(case, *apply(case))
            say(f"{damage}: {', '.join(f'{name} {_said(book, damage)}' for name, book in books.items())}")
    return _figures(books)


@contextmanager
def _appliers(say: Callable[[str], None]) -> Iterator[dict[str, Applier]]:
    """Ostler's tools and the others by their names; aider only where it can be installed."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-b1-")))
        found: dict[str, Applier] = {tool: ladders.Ostler(folder / tool, tool) for tool in TOOLS}
        found |= {"exact-unique": _timed(ladders.exact_unique), "first-match": _timed(ladders.first_match)}
        peer = next(peer for peer in peers.PEERS if peer.name == peers.AIDER)
        try:
            found[peer.name] = stack.enter_context(ladders.aider(peer.install(BUILD / "peers")))
        except LookupError as error:
            say(f"Note: {error}")
        yield found


def _timed(apply: Callable[[Case], str | None]) -> Applier:
    def timed(case: Case) -> tuple[str | None, float]:
        began = time.process_time()
        text = apply(case)
        return text, time.process_time() - began

    return timed


def _said(book: Books, damage: str) -> str:
    return "/".join(f"{book.percent(outcome, damage):.1f}" for outcome in ("ok", "rejected", "wrong"))


def _figures(books: Mapping[str, Books]) -> dict[str, dict[str, Any]]:
    """The five figures, then both tools apart, then each damage."""
    ostler = Books()
    for tool in TOOLS:
        ostler.seconds += books[tool].seconds
        for damage in DAMAGES:
            ostler.outcomes[damage] += books[tool].outcomes[damage]
    others = {name: book for name, book in books.items() if name not in TOOLS}

    def figure(measure: Callable[[Books], float], unit: str = "%", of: Books = ostler) -> dict[str, Any]:
        beside = {name: round(measure(book), 2) for name, book in others.items()} if of is ostler else {}
        return {"value": round(measure(of), 2), "unit": unit, "beside": beside, "ratio": {}}

    figures = {
        "undamaged_ok_percent": figure(lambda book: book.percent("ok", UNDAMAGED)),
        "damaged_ok_percent": figure(lambda book: book.mean("ok")),
        "silent_wrong_percent": figure(lambda book: max(book.percent("wrong", damage) for damage in DAMAGES)),
        "ambiguous_wrong": figure(lambda book: book.percent("wrong", AMBIGUOUS)),
        "median_ms": figure(lambda book: 1000 * statistics.median(book.seconds), "ms"),
        "damaged_to_the_byte_percent": figure(lambda book: book.mean("to the byte")),
    }
    for tool in TOOLS:
        figures[f"{tool}: damaged_ok_percent"] = figure(lambda book: book.mean("ok"), of=books[tool])
    for damage in DAMAGES:
        figures[f"{damage}: ok"] = figure(partial(Books.percent, outcome="ok", damage=damage))
        figures[f"{damage}: wrong"] = figure(partial(Books.percent, outcome="wrong", damage=damage))
    return figures
