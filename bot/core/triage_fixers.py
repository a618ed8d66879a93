"""Which tickets a mechanical fixer answers whole, so that no model is asked.

Conservative on purpose: every part of the title and every line of the body has to be understood. One word more than
that, a place, a condition, a second wish, and the ticket goes to the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.core.reports import FixerCall

SPACE = re.compile(r"\s+")
PREFIX = re.compile(
    r"^(\[[\w -]{1,20}\]\s*|(chore|style|refactor|lint|cleanup|ci|fix|docs)(\([\w ,/-]{1,30}\))?!?:\s*"
    r"|(ostler|please|can you|could you)[,:]?\s+)"
)
ARTICLES = re.compile(r"\b(the|all|any|our|every|existing|remaining|please)\s+")
SPLIT = re.compile(r"\s*(?:,\s*and\s+|,\s*then\s+|,|;|&|\+|\band then\b|\bthen\b|\band\b)\s*")
BULLET = re.compile(r"^(?:[-*+]\s+(?:\[[ xX]\]\s+)?|\d+[.)]\s+)")
WHOLE = (
    r"(?: (?:in|from|across|throughout|of) (?:(?:whole|entire) )?(?:python )?"
    r"(?:code ?base|code|repo|repository|project|package|files|source files|sources?|tree)| everywhere)?"
)

REMOVE = r"(?:remove|delete|drop|prune|strip|clean ?up|clean|fix|get rid of)"
MEND = r"(?:fix|resolve|address|clean ?up|correct|autofix|auto-fix)"
FOUND = r"(?:errors?|issues?|warnings?|violations?|findings?|problems?|complaints?)"
CODE = r"(?:f|e|w|i|b|up|ruf|sim|c4|pie|ret|pt|c|d|n|q|s|t20|flp|furb|perf|ptw|isc|rse|tid|tch|tc|ex|em|pgh|pl[cerw])\d{1,4}"
# Codes that are nobody's bug number: named without their tool they still mean ruff.
PLAIN_CODE = r"(?:f401|f841|f541|f811|i001|up\d{3})"

UNUSED_IMPORTS = re.compile(rf"{REMOVE} unused (?:python )?imports?(?: \(f401\))?(?: (?:with|using) ruff)?{WHOLE}")
SORT_IMPORTS = re.compile(
    rf"(?:(?:sort|organi[sz]e|order|reorder|re-order) (?:python )?imports?(?: (?:with|using) (?:ruff|isort))?"
    rf"(?: alphabetically)?{WHOLE}"
    r"|run isort|fix import (?:order|sorting|ordering))"
)
FORMAT = re.compile(
    r"(?:(?:re)?-?format (?:python )?(?:code ?base|code|files|repo|repository|project|sources?)"
    r"(?: (?:with|using) (?:ruff format|ruff|black))?"
    rf"|(?:run|apply) (?:ruff format(?:ting)?|black(?: formatting)?|ruff formatter){WHOLE}|(?:re)?format with (?:ruff|black))"
)
SPELLING = re.compile(
    rf"(?:{MEND} (?:spelling|typos|misspellings|spelling (?:mistakes|errors)|misspelled words|typing mistakes){WHOLE}"
    r"|run codespell)"
)
MODERN = re.compile(
    r"(?:(?:moderni[sz]e|upgrade|update|bump) (?:python )?syntax (?:to|for) python ?3\.(?P<a>\d{1,2})\+?"
    r"|use (?:modern )?python ?3\.(?P<b>\d{1,2})\+? syntax|run pyupgrade(?: --py3(?P<c>\d{1,2})-plus))"
    rf"{WHOLE}"
)
MODERN_ANY = re.compile(rf"moderni[sz]e (?:python )?syntax(?: (?:with|using) ruff)?{WHOLE}")
REVERT = re.compile(r"revert (?P<word>commit )?`?(?P<sha>[0-9a-f]{7,40})`?")
REVERTS = re.compile(r"this reverts commit `?(?P<sha>[0-9a-f]{7,40})`?")
REVERT_TITLE = re.compile(r'revert ".{1,200}"')
CODES = re.compile(
    rf"(?:{MEND}|remove) (?:(?P<tool>ruff|linter|lint|linting)(?: rules?| codes?)? (?:{FOUND} )?"
    rf"(?P<codes>{CODE}(?:(?:/|, ?| )+{CODE})*)"
    rf"|(?P<plain>{PLAIN_CODE}))(?: {FOUND})?{WHOLE}"
)
LINT = re.compile(rf"{MEND} (?:ruff|lint|linting|linter|ruff lint)(?: {FOUND})?(?: (?:with|using) ruff)?{WHOLE}")
RUN_RUFF = re.compile(r"(?:run |apply |`)*ruff check(?: --select[ =](?P<codes>[a-z0-9,]+))? --fix(?: \.)?`?")

MANY = r"(?:\d+|many|several|some|a few|lots of|a lot of)"
DEFECTS = r"(?:unused imports|typos|unsorted imports|lint errors|spelling mistakes|findings|errors|issues)"
FILLER = re.compile(
    r"(?:thanks|thank you|thanks in advance|cheers|nothing else"
    r"|no (?:functional|behaviou?r|behaviou?ral|other) changes?(?: intended)?"
    r"|(?:this is )?(?:a )?(?:pure|simple|mechanical)? ?clean-?up"
    r"|#+ ?(?:summary|description|what|why|goal|task|context|details|motivation)"
    rf"|(?:ruff|codespell) (?:reports|finds|found|shows) {MANY} {DEFECTS}"
    rf"|there are {MANY} {DEFECTS}{WHOLE})"
)
OLDEST, NEWEST = 6, 14
WHOLE_SHA = 40


def fixers_for(title: str, body: str) -> tuple[FixerCall, ...]:
    """The fixers that do all a ticket asks for, in its order and each once; empty when anything is left over."""
    lines = list(_lines(body))
    whole = _plain(title)
    if REVERT_TITLE.fullmatch(whole):
        return _revert_of(lines)
    found = _goals(whole)
    if not found:
        return ()
    for line in lines:
        more = () if FILLER.fullmatch(line) else _goals(line)
        if not more and not FILLER.fullmatch(line):
            return ()
        found = (*found, *more)
    return tuple({(call.name, call.args): call for call in reversed(found)}.values())[::-1]


def _goals(text: str) -> tuple[FixerCall, ...]:
    """A fixer for each part of a sentence, empty if one part is none."""
    if whole := _goal(text):
        return (whole,)
    found = [_goal(part) for part in SPLIT.split(text)]
    return tuple(call for call in found if call) if all(found) else ()


def _goal(text: str) -> FixerCall | None:
    simple = (
        (UNUSED_IMPORTS, "ruff", ("F401",), "asks to remove unused imports"),
        (SORT_IMPORTS, "ruff", ("I",), "asks to sort imports"),
        (FORMAT, "ruff-format", (), "asks to format the code"),
        (SPELLING, "codespell", (), "asks to fix spelling"),
        (MODERN_ANY, "ruff", ("UP",), "asks to modernise syntax"),
        (LINT, "ruff", (), "asks to fix lint errors"),
    )
    for pattern, name, args, reason in simple:
        if pattern.fullmatch(text):
            return FixerCall(name, args, f"the ticket only {reason}")
    return _modern(text) or _codes(text) or _revert(text)


def _modern(text: str) -> FixerCall | None:
    found = MODERN.fullmatch(text)
    if not found:
        return None
    minor = int(found["a"] or found["b"] or found["c"])
    if not OLDEST <= minor <= NEWEST:
        return None
    return FixerCall("pyupgrade", (f"3.{minor}",), f"the ticket only asks for the syntax of Python 3.{minor}")


def _codes(text: str) -> FixerCall | None:
    if found := RUN_RUFF.fullmatch(text):
        codes = tuple(code.upper() for code in (found["codes"] or "").split(",") if code)
        return FixerCall("ruff", codes, "the ticket only asks to run ruff")
    found = CODES.fullmatch(text)
    if not found:
        return None
    codes = tuple(code.upper() for code in re.findall(CODE, found["codes"] or found["plain"]))
    return FixerCall("ruff", codes, f"the ticket only asks to fix {', '.join(codes)}")


def _revert(text: str) -> FixerCall | None:
    found = REVERT.fullmatch(text)
    if not found:
        return None
    sha = found["sha"]
    # Digits alone may be an issue's number and letters alone a word; both together are a commit.
    mixed = any(char.isdigit() for char in sha) and any(char.isalpha() for char in sha)
    if not (found["word"] or len(sha) == WHOLE_SHA or mixed):
        return None
    return FixerCall("revert", (sha,), f"the ticket only asks to revert {sha[:12]}")


def _revert_of(lines: list[str]) -> tuple[FixerCall, ...]:
    """GitHub's own form: the title quotes the commit's, the body names it."""
    named = [found["sha"] for line in lines if (found := REVERTS.fullmatch(line))]
    known = all(REVERTS.fullmatch(line) or FILLER.fullmatch(line) for line in lines)
    if len(named) != 1 or not known:
        return ()
    return (FixerCall("revert", (named[0],), f"the ticket only asks to revert {named[0][:12]}"),)


def _plain(text: str) -> str:
    """Lower case, one space, no prefix such as `chore:`, no articles, no full stop."""
    text = SPACE.sub(" ", text.strip().lower()).rstrip(".!").strip()
    while (shorter := PREFIX.sub("", text)) != text:
        text = shorter
    return ARTICLES.sub("", text).strip()


def _lines(body: str) -> Iterator[str]:
    """Sentences and list items, plain."""
    for line in body.splitlines():
        for sentence in re.split(r"(?<=[.!])\s+", BULLET.sub("", line.strip())):
            if plain := _plain(sentence):
                yield plain
