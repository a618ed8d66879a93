"""What the stand-ins for both vendors share: the script they answer from, their prompt cache, and their journal.

An answer depends on the request alone and not on what was asked before, so a client that was killed and started again hears
the same things. Three things are remembered all the same: which prefixes are cached, how often a fault with `times` struck, and
what time it is. The clock is the script's: it stands still but for the seconds that an answer's `after` lets pass.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.core.errors import BadInput

_RULE_KEYS = {"when", "reply", "repeat", "times"}
_WHEN_KEYS = {"contains", "vendor", "turn"}
_REPLY_KEYS = {"text", "json", "tools", "thinking", "stop", "usage", "status", "body", "headers"} | {
    "delay",
    "cut",
    "garbage",
    "after",
}


class Refused(Exception):
    """The request is answered with an error: HTTP `status`, the vendor's error `kind`, and what it says."""

    def __init__(self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.headers = status, kind, message, dict(headers or {})


def malformed(message: str) -> Refused:
    return Refused(400, "invalid_request_error", message)


def need(condition: object, message: str) -> None:
    """Refuse the request as malformed unless `condition` holds."""
    if not condition:
        raise malformed(message)


# --- the script -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the script; see `read`."""

    contains: tuple[str, ...]
    vendor: str | None
    turn: int | None
    repeat: bool
    times: int | None
    reply: Mapping[str, Any]

    def fits(self, asked: Asked) -> bool:
        in_turn = self.turn is None or asked.turn == self.turn or (self.repeat and asked.turn > self.turn)
        ours = self.vendor in (None, asked.vendor)
        return in_turn and ours and all(word in asked.opening for word in self.contains)


def read(script: Sequence[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """The rules of a script: the first that fits a request answers it. BadInput for a key nobody knows.

    `{"when": {"contains": [..], "vendor": "anthropic" | "openai", "turn": n}, "reply": {..}, "repeat": bool, "times": n}`

    - `contains`: all of these stand in the system blocks or the first user message.
    - `turn`: as many assistant turns are in the request; with `repeat`, that many or more. Absent: any number.
    - `times`: the rule answers that many requests and is then out of the script; only for faults that pass.
    - `reply`: `text`, `json` (sent as text), `tools` (`[{"name", "arguments"}]`), `thinking`, `stop` (a `Reply.stop`),
      `usage` (false leaves it out); `status` with `body` and `headers`; and with any of these `delay` (seconds), `cut` (the
      connection drops halfway), `garbage` (a body that is no JSON), `after` (seconds on the stand-in's clock until the next
      request: a test run that nobody has to wait for).
    """
    rules = []
    for number, line in enumerate(script, 1):
        when, reply = (line.get("when", {}), line.get("reply", {})) if isinstance(line, Mapping) else (None, None)
        if not isinstance(when, Mapping) or not isinstance(reply, Mapping):
            raise BadInput(f"rule {number} of the script has to be an object, and so have its `when` and its `reply`")
        unknown = (set(line) - _RULE_KEYS) | (set(when) - _WHEN_KEYS) | (set(reply) - _REPLY_KEYS)
        if unknown:
            raise BadInput(f"rule {number} of the script has keys nobody knows: {', '.join(sorted(unknown))}")
        words = when.get("contains", ())
        contains = (words,) if isinstance(words, str) else tuple(words)
        rules.append(Rule(contains, when.get("vendor"), when.get("turn"), bool(line.get("repeat")), line.get("times"), reply))
    return tuple(rules)


# --- a request, as both vendors' readers leave it ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the prompt in cache order; `mark` is "" or the kept time of a breakpoint at its end (`short`, `long`)."""

    text: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that passed all checks. `opening` is where `contains` looks; `digest` names the prompt, and so the ids of the
    answer; `dropped` counts sealed blocks that were left out because something before them had changed."""

    vendor: str
    model: str
    opening: str
    first_user: str
    turn: int
    parts: tuple[Part, ...]
    limit: int
    stream: bool
    tools: frozenset[str]
    digest: str
    body: Mapping[str, Any]
    dropped: int = 0


def canonical(value: Any) -> str:
    """JSON with sorted keys and without cache marks, which change from call to call."""
    return json.dumps(_unmarked(value), sort_keys=True, ensure_ascii=False)


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _unmarked(v) for k, v in value.items() if k not in ("cache_control", "prompt_cache_breakpoint")}
    return [_unmarked(inner) for inner in value] if isinstance(value, list) else value


def digest(*values: Any) -> str:
    return hashlib.sha256(canonical(list(values)).encode("utf-8", "surrogatepass")).hexdigest()


def tokens(text: str) -> int:
    return -(-len(text) // 4)


# --- an answer --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says, in no vendor's format. `stop` is a `Reply.stop`."""

    thinking: str
    text: str
    calls: tuple[tuple[str, Mapping[str, Any]], ...]
    stop: str
    tokens: int


def answer(reply: Mapping[str, Any], asked: Asked) -> Answer:
    """The answer of a rule, cut to what the request allows. Refused where it uses a tool that wasn't offered."""
    text = json.dumps(reply["json"], ensure_ascii=False) if "json" in reply else str(reply.get("text", ""))
    calls = tuple((str(call["name"]), dict(call.get("arguments", {}))) for call in reply.get("tools", ()))
    for name, _ in calls:
        need(name in asked.tools, f"the script answers with the tool {name}, which the request doesn't offer")
    stop = str(reply.get("stop") or ("tool_use" if calls else "done"))
    thinking = str(reply.get("thinking", ""))
    cost = sum(tokens(piece) for piece in (thinking, text, *(json.dumps(given) + name for name, given in calls)))
    if cost <= asked.limit:
        return Answer(thinking, text, calls, stop, max(cost, 1))
    thinking = thinking[: asked.limit * 4]
    return Answer(thinking, text[: max(0, asked.limit - tokens(thinking)) * 4], (), "max_output", asked.limit)


# --- the books --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bill:
    """Tokens of one request; `input` leaves out what was cached."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_long: int = 0

    @property
    def prompt(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.cache_write_long


@dataclass(frozen=True, slots=True)
class Caching:
    """A vendor's terms. `smallest` is the tokens a prefix needs to be kept, `reach` how many parts before a mark a kept one is
    looked for, `kept` the seconds it is kept by the kind of its mark."""

    smallest: int
    reach: int
    kept: Mapping[str, float]


@dataclass(slots=True)
class Kept:
    """A prefix in the cache. A hit begins its `seconds` anew, for free."""

    seconds: float
    until: float


@dataclass(slots=True)
class Books:
    """Script, clock, cache and journal of a running stand-in."""

    rules: tuple[Rule, ...]
    journal: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    now: float = 0.0
    _used: Counter[int] = field(default_factory=Counter)
    _cached: dict[tuple[str, str], Kept] = field(default_factory=dict)

    def rule_for(self, asked: Asked) -> Rule:
        for number, rule in enumerate(self.rules):
            if rule.fits(asked) and (rule.times is None or self._used[number] < rule.times):
                self._used[number] += 1
                return rule
        raise malformed(f"no rule matches turn {asked.turn} of the request that begins: {asked.first_user[:200]}")

    def bill(self, asked: Asked, output: int, terms: Caching) -> Bill:
        """Charge for a prompt, and keep its marked prefixes.

        What lies between the part read and the last long mark is a long write, what follows up to the last mark a short one
        (platform.claude.com, prompt caching, "Mixing different TTLs").
        """
        ends = self._ends(asked)
        marks = [index for index, part in enumerate(asked.parts) if part.mark and ends[index][1] >= terms.smallest]
        total = ends[-1][1]
        found = [i for i, (key, _) in enumerate(ends) if self._holds(key) and any(m - terms.reach <= i <= m for m in marks)]
        read = ends[found[-1]][1] if found else 0
        self._keep(asked, ends, marks, found[-1] if found else -1, terms)
        last = ends[marks[-1]][1] if marks else 0
        last_long = max((ends[index][1] for index in marks if asked.parts[index].mark == "long"), default=0)
        long = max(0, last_long - read)
        short = max(0, last - read - long)
        return Bill(total - read - long - short, output, read, short, long)

    def _holds(self, key: tuple[str, str]) -> bool:
        return key in self._cached and self.now < self._cached[key].until

    def _keep(self, asked: Asked, ends: list[tuple[tuple[str, str], int]], marks: list[int], hit: int, terms: Caching) -> None:
        """Refresh what was read, then write what is new. What stands on a prefix that is kept for a shorter time is gone with
        it: the documentation leaves that open, and the stand-in takes the worse."""
        for key, _ in ends[: hit + 1]:
            if self._holds(key):
                self._cached[key].until = self.now + self._cached[key].seconds
        foundation = self._cached[ends[hit][0]].seconds if hit >= 0 else float("inf")
        for index in marks:
            if index > hit:
                foundation = min(foundation, terms.kept[asked.parts[index].mark])
                self._cached[ends[index][0]] = Kept(foundation, self.now + foundation)

    def _ends(self, asked: Asked) -> list[tuple[tuple[str, str], int]]:
        """For each part: what names the prefix up to its end, and how many tokens that has."""
        running, total, ends = hashlib.sha256(), 0, []
        for part in asked.parts:
            running.update(part.text.encode("utf-8", "surrogatepass") + b"\0")
            total += tokens(part.text)
            ends.append(((asked.model, running.hexdigest()), total))
        return ends

    def note(self, vendor: str, model: str, size: int, status: int, bill: Bill, dropped: int) -> None:
        self.journal.append(
            {
                "vendor": vendor,
                "model": model,
                "bytes": size,
                "input_tokens": bill.prompt,
                "output_tokens": bill.output,
                "status": status,
                "cache_read": bill.cache_read,
                "cache_write": bill.cache_write,
                "cache_write_long": bill.cache_write_long,
                "dropped": dropped,
            }
        )

    def totals(self) -> dict[str, dict[str, int]]:
        """What each model was billed for in all."""
        sums: dict[str, Counter[str]] = {}
        for line in self.journal:
            if line["output_tokens"]:
                counted = {name: line[name] for name in ("cache_read", "cache_write", "cache_write_long")}
                plain = line["input_tokens"] - sum(counted.values())
                total = sums.setdefault(line["model"], Counter())
                total.update({"requests": 1, "input": plain, "output": line["output_tokens"], **counted})
        return {model: dict(total) for model, total in sums.items()}
