"""The classes of errors that tools and tests show, as data: how each is told, what mends it, what a model is told about it.

Codes and texts are those of CPython, ruff, mypy, pyright, tsc, eslint, Node, go, rustc, javac, pip, npm, cargo and Maven;
`tests/core/outputs` holds what they really wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

ErrorName = Literal[
    "environment", "config", "missing_dependency", "import", "undefined_name", "type", "attribute", "key", "value", "syntax",
    "lint", "format", "framework_rule", "merge_conflict", "timeout", "network", "test_failure", "unproven", "unmet", "no_change",
    "edit_format", "unknown",
]  # fmt: skip
"""`unproven`: nothing shows that a bug is gone. `unmet`: the audit found something. `no_change`: an attempt left no change;
`edit_format`: none of its edits fitted the files."""
OF_GATES: frozenset[ErrorName] = frozenset(("unproven", "unmet", "no_change", "edit_format", "unknown"))
"""Classes that no tool's words tell."""
Remedy = Literal["mechanical", "targeted_fix", "test_fix", "resolve_conflict", "ask", "stop"]
Language = Literal["python", "node", "go", "rust", "java", "any", "gate"]
"""Whose words a pattern reads; `gate` are Ostler's own."""
OWN, OWN_LINE, OWN_LENGTH = 4, 200, 200
"""Of a repository's patterns: how specific they are, how much of a line they see, how long they may be."""
OPEN, CHOICES = 3, 10
"""How many repeats without a near end (`*`, `+`, `{`), and how many choices (`?`, `|`), one of them may have: a search tries all
ways to share the line out among them."""
TOKENS = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?:P<\w+>|P=|[a-zA-Z-]*[:)]|[=!>]|<[=!])|\(|.",
    re.DOTALL,
)
"""An expression's parts: what is escaped, a set of characters, the beginning of a group, any other character."""
BEYOND = re.compile(r"\\[1-9]|\(\?P=|\(\?[a-z]*x[a-z]*[:)-]?")


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """`order` is the place in the order of mending, lowest first: what stands earlier often causes what stands later."""

    remedy: Remedy
    order: int
    hint: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A line in which `regex` is found is of class `name`, unless a more specific pattern is found there: 4 is a pattern of the
    repository's, 3 a tool's own code, 2 an exception's name, 1 a phrase. `hint` stands for the class's where there is one."""

    regex: re.Pattern[str]
    name: ErrorName
    specificity: int
    language: Language
    hint: str = ""

    def found_in(self, text: str) -> bool:
        """Whether it tells what `text` is; of a long one the repository's own patterns see the beginning."""
        return self.regex.search(text, 0, OWN_LINE if self.specificity == OWN else len(text)) is not None


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """A pattern of the repository's own as its configuration writes it."""

    regex: str
    name: ErrorName
    hint: str = ""


CLASSES: Mapping[ErrorName, ErrorClass] = {
    "environment": ErrorClass("stop", 0, "A tool of the machine is missing or broken; no change to the code mends that."),
    "config": ErrorClass("stop", 0, "A tool's configuration or a variable of the environment is missing."),
    "missing_dependency": ErrorClass("ask", 0, "A package is not installed, and only a person adds one: do without it."),
    "merge_conflict": ErrorClass("resolve_conflict", 0, "Take out the conflict markers and keep what both sides meant."),
    "import": ErrorClass(
        "targeted_fix", 1, "Check that what is imported exists: its path, its spelling, its export; avoid circular imports."
    ),
    "undefined_name": ErrorClass("targeted_fix", 2, "Define or import the name before its use, or correct its spelling."),
    "type": ErrorClass(
        "targeted_fix", 2, "Read both definitions and make them agree; do not cast the type away and do not switch the check off."
    ),
    "attribute": ErrorClass("targeted_fix", 2, "See which attributes and methods the object has, and whether it can be none."),
    "key": ErrorClass("targeted_fix", 2, "See which keys or positions there are, and handle the one that is missing."),
    "value": ErrorClass("targeted_fix", 2, "Check what is handed over before it is used, and handle what does not fit."),
    "syntax": ErrorClass("targeted_fix", 3, "Check brackets, quotes, commas, colons and indentation around the place named."),
    "framework_rule": ErrorClass("targeted_fix", 3, "Follow the framework's rule as its text says, rather than switch it off."),
    "lint": ErrorClass("mechanical", 4, "Take out what is unused, keep to the line length, and follow the rule that is named."),
    "format": ErrorClass("mechanical", 4, "Lay the files out as the formatter would."),
    "network": ErrorClass("targeted_fix", 5, "Checks run without a network: put something local in the place of what is called."),
    "timeout": ErrorClass("targeted_fix", 5, "Look for a loop, a wait or a lock that does not end; keep tests short."),
    "test_failure": ErrorClass(
        "test_fix", 5, "Mend the code, not the test: read the assertion, what it calls, and the edge case that it is about."
    ),
    "unproven": ErrorClass("test_fix", 6, "Add a test that fails without the change and passes with it."),
    "unmet": ErrorClass("targeted_fix", 6, "Do exactly what the criterion or the finding asks for, no more."),
    "no_change": ErrorClass("targeted_fix", 6, "Edit the files with your tools; words alone change nothing."),
    "edit_format": ErrorClass("targeted_fix", 6, "View a file before you edit it, and copy the text to replace exactly."),
    "unknown": ErrorClass("targeted_fix", 7, "First find out what is wrong: run the checks, and narrow it down to one place."),
}

SOURCES: Mapping[str, ErrorName] = {
    "manifests": "syntax", "syntax": "syntax", "types": "type", "lint": "lint", "format": "format", "imports": "import",
    "tests": "test_failure", "review": "unmet",
}  # fmt: skip
"""The class of what a check says in words that no pattern knows: who says it tells enough."""


def _patterns(language: Language, specificity: int, *rows: tuple[ErrorName, str]) -> tuple[Pattern, ...]:
    return tuple(Pattern(re.compile(regex), name, specificity, language) for name, regex in rows)


PATTERNS: tuple[Pattern, ...] = (
    *_patterns(
        "python", 3,
        ("undefined_name", r"\bF(?:82[12]|405)\b|\[name-defined\]|\[used-before-def\]|\breportUndefinedVariable\b"),
        ("import", r"\[import-(?:not-found|untyped)\]|\breportMissing(?:Import|ModuleSource)s?\b"),
        ("import", r"Module .* has no attribute .*\[attr-defined\]"),
        ("attribute", r"has no attribute .*\[(?:attr-defined|union-attr)\]|\breportAttributeAccessIssue\b|\[union-attr\]"),
        ("syntax", r"\binvalid-syntax\b|\bE9\d\d\b|\[syntax\]"),
        ("type", r"error: .*\[[a-z]+(?:-[a-z]+)+\]$|\[(?:assignment|return-value|arg-type|override|index|operator)\]$"),
        ("lint", r": (?:\[\*\] )?[A-Z]{1,5}\d{3,4} "),
    ),
    *_patterns(
        "python", 2,
        ("import", r"\b(?:ModuleNotFoundError|ImportError): "),
        ("undefined_name", r"\b(?:NameError|UnboundLocalError): "),
        ("attribute", r"\bAttributeError: "),
        ("key", r"\b(?:KeyError|IndexError): "),
        ("value", r"\b(?:ValueError|UnicodeDecodeError|ZeroDivisionError|OverflowError): "),
        ("type", r"\bTypeError: (?!.* is not a (?:function|constructor)|Cannot read)"),
        ("syntax", r"\b(?:SyntaxError|IndentationError|TabError): (?!The requested module)"),
        ("timeout", r"\bTimeoutError\b"),
        ("network", r"\b(?:URLError|gaierror|ConnectionRefusedError|ConnectError)\b"),
        ("test_failure", r"^(?:E +)?(?:AssertionError\b|assert )|\bDID NOT RAISE\b| - assert "),
    ),
    *_patterns(
        "python", 1,
        ("environment", r"(?:^|/)python[\d.]*: No module named \w+$"),
        ("missing_dependency", r"Could not find a version that satisfies|No matching distribution found"),
    ),
    *_patterns(
        "node", 3,
        ("import", r"\bTS(?:2305|2306|2307|2614|2792|7016)\b"),
        ("undefined_name", r"\bTS(?:2304|2552|2503|18004)\b|\bno-undef\b"),
        ("attribute", r"\bTS(?:2339|2551|2532|2533|18047|18048)\b"),
        ("syntax", r"\bTS1\d{3}\b|Parsing error"),
        ("config", r"\bTS(?:5\d{3}|6053|18003)\b|Definition for rule .* not found"),
        ("type", r"\bTS(?:2\d{3}|7\d{3})\b"),
        ("framework_rule", r"\b(?:react-hooks|@next/next|react|vue|svelte|jsx-a11y)/[\w-]+"),
        ("missing_dependency", r"Cannot find package '[^'./][^']*'|\bERESOLVE\b|npm (?:ERR!|error) (?:code )?E?404\b"),
        ("import", r"\bMODULE_NOT_FOUND\b.*Cannot find module|does not provide an export named"),
    ),
    *_patterns(
        "node", 2,
        ("import", r"\bCannot find module\b"),
        ("undefined_name", r"\bReferenceError: "),
        ("attribute", r"\bTypeError: (?:Cannot read|.* is not a (?:function|constructor))"),
        ("key", r"\bRangeError: "),
        ("test_failure", r"\bAssertionError\b|\bERR_ASSERTION\b|\bexpect\(.*\)\.\w+"),
        ("network", r"\b(?:ENOTFOUND|ECONNREFUSED|EAI_AGAIN)\b"),
    ),
    *_patterns("node", 1, ("lint", r"^ +\d+:\d+ +error +.*  +[\w@/-]+$"), ("syntax", r"\bUnexpected token\b")),
    *_patterns(
        "go", 3,
        ("missing_dependency", r"no required module provides package|cannot find module providing package|missing go\.sum entry"),
        ("import", r"\bpackage \S+ is not in std\b|\bimport cycle not allowed\b"),
        ("lint", r"\.go:\d+:\d+: .*(?:imported and not used|declared and not used)"),
        ("undefined_name", r"\.go:\d+:\d+: undefined: \w+"),
        ("attribute", r"\.go:\d+:\d+: .* undefined \(type .* has no field or method"),
        ("syntax", r"\.go:\d+:\d+: syntax error"),
        ("type", r"\.go:\d+:\d+: (?:cannot use|invalid operation|not enough arg|too many arg|missing return|.*mismatched types)"),
        ("test_failure", r"^\s*--- FAIL: |_test\.go:\d+: "),
        ("key", r"panic: runtime error: index out of range|panic: assignment to entry in nil map"),
        ("attribute", r"panic: runtime error: invalid memory address"),
    ),
    *_patterns(
        "rust", 3,
        ("import", r"error\[E04(?:32|33)\]|error\[E0463\]"),
        ("undefined_name", r"error\[E04(?:12|22|23|25|26)\]"),
        ("attribute", r"error\[E0(?:560|599|609|610)\]"),
        ("type", r"error\[E0(?:023|053|061|106|107|277|282|283|308|369|37[23]|38[124]|49\d|50\d|515|59[67]|61[46]|716)\]"),
        ("missing_dependency", r"error: no matching package named|failed to select a version for"),
        ("syntax", r"^error: (?:this file contains an un|expected |unexpected |mismatched closing|unterminated)"),
        ("test_failure", r"^assertion .*failed|panicked at .*assertion"),
        ("key", r"^index out of bounds: |panicked at .*index out of bounds"),
        ("value", r"called `(?:Option|Result)::unwrap\(\)` on"),
    ),
    *_patterns(
        "java", 3,
        ("import", r"\.java:\[?\d+.*package \S+ does not exist"),
        ("undefined_name", r"\.java:\[?\d+.*cannot find symbol"),
        ("type", r"\.java:\[?\d+.*(?:incompatible types|cannot be applied to|no suitable|unreported exception)"),
        ("syntax", r"\.java:\[?\d+.*(?:expected$|illegal start|reached end of file|class, interface|not a statement|unclosed)"),
        ("missing_dependency", r"Could not (?:resolve dependencies|find artifact)|Could not resolve all (?:files|dependencies)"),
    ),
    *_patterns(
        "java", 2,
        ("attribute", r"\bjava\.lang\.NullPointerException\b|\bNoSuch(?:Method|Field)Error\b"),
        ("key", r"\b(?:ArrayIndexOutOfBounds|IndexOutOfBounds|NoSuchElement)Exception\b"),
        ("value", r"\b(?:IllegalArgument|NumberFormat|Arithmetic)Exception\b"),
        ("type", r"\bClassCastException\b"),
        ("import", r"\b(?:ClassNotFoundException|NoClassDefFoundError)\b"),
        ("network", r"\bjava\.net\.(?:UnknownHost|Connect)Exception\b"),
        ("test_failure", r"\b(?:AssertionFailedError|org\.opentest4j\.\w+|java\.lang\.AssertionError)\b"),
    ),
    *_patterns(
        "any", 3,
        ("merge_conflict", r"^CONFLICT \(|^(?:<{7}|>{7}) \S"),
        ("environment", r"\bcommand not found$|^(?:\S+: )*\d+: \S+: not found$|\bexec format error\b|No space left on device"),
    ),
    *_patterns(
        "gate", 3,
        ("unproven", r"^no test fails before the change"),
        ("edit_format", r"^nothing was changed: every edit was refused"),
        ("no_change", r"^nothing was changed$"),
        ("test_failure", r"were not collected|are skipped now|^the base has \d+ tests and the result none|are skipped: "),
    ),
)  # fmt: skip
"""All patterns. Of two in one line the more specific one counts, of two alike the first."""


@lru_cache(maxsize=16)
def patterns(rows: tuple[ErrorRow, ...]) -> tuple[Pattern, ...]:
    """All patterns and those of `rows`, which come first."""
    return (*(Pattern(re.compile(row.regex), row.name, OWN, "any", row.hint) for row in rows), *PATTERNS)


def unfit(regex: str) -> str:
    """Why a repository's pattern is not taken; empty where it is. What may take a search past all bounds is not: a group that
    repeats, a reference back, many repeats or choices."""
    try:
        compiled = re.compile(regex)
    except (re.error, OverflowError, RecursionError) as error:
        return f"it is no regular expression ({error})"
    if len(regex) > OWN_LENGTH:
        return f"it is longer than {OWN_LENGTH} characters"
    if compiled.search(""):
        return "it is found in every line"
    parts = TOKENS.findall(regex)
    if any(one == ")" and after in ("*", "+", "{") for one, after in pairwise(parts)):
        return "it repeats a group, which can take for ever"
    if any(BEYOND.fullmatch(one) for one in parts):
        return "it refers back to a group, or ignores blanks"
    if sum(one in ("*", "+", "{") for one in parts) > OPEN or sum(one in ("?", "|") for one in parts) > CHOICES:
        return f"it has more than {OPEN} of * + {{ or more than {CHOICES} of ? |, which can take for ever"
    return ""
