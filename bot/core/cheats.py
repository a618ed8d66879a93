"""Ways to make a test suite green without mending anything, found in a changeset by comparing each file before and after.

Deterministic nets: what gets through them meets the base's own tests, which run against the result (`validation`). What the
plan names may lift a rule in one file (`lifted_by`); a revert takes back the tests of what it reverts.
"""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from bot.core import reading_python, reading_text
from bot.core.answers import Plan
from bot.core.changeset import Changeset, added_lines, decoded, removed_lines
from bot.core.findings import Finding
from bot.core.policy import is_test, is_test_support
from bot.core.reading import Answer, Assertion, Case, Mock, Reading, Site, Strength, literals, spaced
from bot.core.reports import FileChange

Lifted = frozenset[tuple[str, str]]
"""Pairs of a rule and the path in which it may be broken; the path `*` is every path."""

NAMED, REVERT, NEVER = "a task of the plan names this file", "the change is a revert", ""

RULES: Mapping[str, str] = {
    "test-deleted": REVERT,
    "test-removed": REVERT,
    "test-skipped": REVERT,
    "test-weakened": REVERT,
    "test-cases-removed": REVERT,
    "tolerance-widened": REVERT,
    "limit-raised": REVERT,
    "mocked-subject": NEVER,
    "expectation-edited": NAMED,
    "snapshot-regenerated": NAMED,
    "test-configuration": NAMED,
    "test-hook": NEVER,
    "hard-coded-answer": NEVER,
    "runner-sniffed": NEVER,
    "error-swallowed": NEVER,
    "exit-added": NEVER,
    "check-silenced": NEVER,
}
"""Each rule and what lifts it; a revert lifts those about named files too."""

MINOR = frozenset(("check-silenced",))
"""Remarks: people do it in one bug fix of twenty, so it refuses nothing."""

CODE = frozenset(
    (".py", ".pyi", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".go", ".rs", ".java", ".kt", ".rb")
)  # fmt: skip

CONFIGURATION = (
    "conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "tox.toml", "noxfile.py", ".coveragerc",
    "jest.config.*", "vitest.config.*", "vitest.workspace.*", "karma.conf.*", ".mocharc*", "playwright.config.*",
    "cypress.config.*", "tsconfig*.json", "phpunit.xml*", ".rspec",
    ".gitlab-ci.yml", ".travis.yml", "azure-pipelines.yml", "appveyor.yml", ".appveyor.yml", "jenkinsfile",
)  # fmt: skip
"""Files that decide what is tested and how, by name. Of manifests only the parts in `_SECTIONS` do."""

SNAPSHOTS = ("*.snap", "*.ambr", "*.golden", "*.approved.*", "*__snapshots__/*", "*__image_snapshots__/*", "*snapshots/*")

_HOOK = re.compile(
    r"\b(?:pytest_(?:runtest|collect|ignore_collect|deselected|pyfunc|itemcollected|report|sessionfinish|sessionstart|exception|load|cmdline|unconfigure)\w*"
    r"|hookimpl|hookwrapper|collect_ignore\w*|_pytest|_exit)\b"
)
"""What lets a conftest.py leave out tests or rewrite their results."""

_SNIFFED = re.compile(
    r"PYTEST_(?:CURRENT_TEST|VERSION|XDIST_WORKER)|JEST_WORKER_ID|\bVITEST(?:_\w+)?\b|\bTOX_ENV_NAME\b"
    r"|\bsys\.modules\b.*[\"']_?(?:pytest|unittest)\b|[\"']_?(?:pytest|unittest)[\"']\s+(?:not\s+)?in\s+(?:sys\.)?modules\b"
    r"|(?:environ|getenv|process\.env|env::var|Getenv|ENV)\b\W{1,6}(?:get\W{1,3})?(?:CI|GITHUB_ACTIONS|CONTINUOUS_INTEGRATION)\b"
    r"|[\"'](?:CI|GITHUB_ACTIONS)[\"']\s+(?:not\s+)?in\s+(?:os\.)?environ|\bNODE_ENV\b.*[\"']test[\"']|[\"']pytest[\"'].*sys\.argv"
    r"|sys\.argv.*[\"'](?:py\.?test|pytest)[\"']|\bstack\(\).*[\"']_?(?:py)?test|[\"']_?(?:py)?test\w*[\"'].*\bstack\(\)|\btesting\.Testing\(\)"
)
_SILENCED = re.compile(
    r"#\s*noqa\b|#\s*type:\s*ignore|#\s*(?:pyright|mypy|pylint|ruff):\s*(?:ignore|disable|noqa)|pragma:\s*no\s*cover"
    r"|\beslint-disable|@ts-(?:ignore|expect-error|nocheck)|\bistanbul ignore|\bc8 ignore|\bv8 ignore|//\s*nolint|#\[allow\("
)
_TOLERANCE = re.compile(
    r"\b(?P<more>abs|rel|delta|\w*tol(?:erance)?|eps(?:ilon)?)\s*[=:]\s*|\babs\(.{0,200}?\)\s*<=?\s*"
    r"|(?P<less>\b(?:places|decimals?|precision)\s*=\s*|\.toBeCloseTo\([^,()]*(?:\([^()]*\))?[^,()]*,\s*)",
    re.IGNORECASE,
)
_TOLERATED = re.compile(rf"(?:{_TOLERANCE.pattern})[\d._eE+-]+", re.IGNORECASE)
_LIMIT = re.compile(
    r"\b\w*(?:timeout|retries|reruns|max_?runs|max_?attempts|deadline)\w*(?:\s*[=:(,]\s*|[\"']\s*:\s*)", re.IGNORECASE
)
_AGAIN = re.compile(r"@(?:pytest\.mark\.)?flaky\b|\bretryTimes\(|\bthis\.retries\(|\breruns\s*=|@retry\b|\bretry:\s*\d")
_NUMBER = re.compile(r"(?<![\w.])\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?")
_CONDITION = re.compile(r"skipif|skipIf|skipUnless|importorskip|condition=|runIf")
MOST_LINE = 1_000
"""Characters of a line that are looked at."""
_TRIVIAL = frozenset(("", "0", "1", "-1", "True", "False", "None", "true", "false", "null"))


@dataclass(frozen=True, slots=True)
class Compared:
    """One file, read before and after."""

    change: FileChange
    before: Reading
    after: Reading


def lifted_by(plan: Plan | None, named: Iterable[str] = (), *, mechanical: bool = False, reverts: bool = False) -> Lifted:
    """The rules that the plan as approved lifts: some in the files that its tasks or people name; those everywhere for a
    deterministic fixer, which aims at no test; and for a revert all about tests."""
    files = ["*"] if mechanical else [*named, *(name for task in (plan.tasks if plan else ()) for name in task.files)]
    some = {(rule, name) for rule, how in RULES.items() if how == NAMED for name in files}
    return frozenset(some | {(rule, "*") for rule, how in RULES.items() if reverts and how in (NAMED, REVERT)})


def yielding(plan: Plan) -> tuple[str, ...]:
    """The files named by the plan's tasks in which it lifts a rule: what the person who approves has to see."""
    names = dict.fromkeys(name for task in plan.tasks for name in task.files)
    return tuple(name for name in names if is_test(name) or _is_snapshot(name) or _is_configuration(name))


def cheats_in(changeset: Changeset, lifted: Lifted = frozenset(), failing: Iterable[str] = ()) -> tuple[Finding, ...]:
    """What in `changeset` could turn tests green without mending anything: one finding a rule and file, majors block.

    `failing` are messages of tests that fail on the base: what they expect may not be pasted into the sources.
    """
    compared = [_compared(change) for change in changeset.files]
    tests = [one for one in compared if is_test(one.change.path)]
    sources = [one for one in compared if is_source(one.change.path)]
    new = _new_cases(tests)
    found = [
        *(finding for change in changeset.files for finding in _by_path(change)),
        *(finding for one in tests for finding in _in_tests(one, new)),
        *_mocked_subjects(tests, sources),
        *_in_sources(sources),
        *_hard_coded(sources, tests, failing),
    ]
    once: dict[tuple[str, str], Finding] = {}
    for finding in found:
        path = re.sub(r":\d+\Z", "", finding.place)
        if not {(finding.rule, path), (finding.rule, "*")} & lifted:
            once.setdefault((finding.rule, path), finding)
    return tuple(once.values())


def _finding(rule: str, change: FileChange, line: int, claim: str) -> Finding:
    """Every finding says what would lift its rule."""
    how = f"allowed only where {RULES[rule]}" if RULES[rule] else "no plan allows it"
    place = f"{change.path}:{line}" if line else change.path
    return Finding("policy", "minor" if rule in MINOR else "major", rule, place, claim if rule in MINOR else f"{claim} ({how})")


def _compared(change: FileChange) -> Compared:
    """Both sides are read the same way: a syntax tree where both parse, else patterns."""
    texts = [(decoded(content) or "").removeprefix("\ufeff") for content in (change.before, change.after)]
    if _suffix(change.path) not in CODE:
        return Compared(change, Reading(), Reading())
    if _suffix(change.path) in (".py", ".pyi"):
        try:
            before, after = (reading_python.read(text, tests=is_test(change.path)) for text in texts)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            pass
        else:
            return Compared(change, before, after)
    return Compared(change, *(reading_text.read(text) for text in texts))


def _suffix(path: str) -> str:
    return "." + path.rpartition("/")[2].rpartition(".")[2].casefold()


def _stem(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]


def is_source(path: str) -> bool:
    """Code that is neither a test nor an example of how to use it."""
    folders = path.casefold().split("/")[:-1]
    return _suffix(path) in CODE and not is_test_support(path) and not {"docs", "doc", "examples", "benchmarks"} & set(folders)


# --- files whose change says enough -----------------------------------------------------------------------------------


def _is_snapshot(path: str) -> bool:
    return any(fnmatchcase(path.casefold(), pattern) for pattern in SNAPSHOTS)


def _is_configuration(path: str) -> bool:
    folded = path.casefold()
    name = folded.rpartition("/")[2]
    return name in _SECTIONS or ".circleci/" in folded or any(fnmatchcase(name, pattern) for pattern in CONFIGURATION)


def _by_path(change: FileChange) -> Iterator[Finding]:
    name = change.path.rpartition("/")[2].casefold()
    if change.before is not None and _is_snapshot(change.path):
        yield _finding("snapshot-regenerated", change, 0, "a recorded expectation of the base was written anew or deleted")
    if name == "conftest.py" and (hooks := [(line, hook) for line, text in added_lines(change) for hook in _HOOK.findall(text)]):
        named = ", ".join(sorted({hook for _, hook in hooks}))
        yield _finding("test-hook", change, hooks[0][0], f"an added hook can leave out tests or rewrite results: {named}")
    if name not in _SECTIONS and _is_configuration(change.path):
        yield _finding("test-configuration", change, 0, "this file decides what is tested and how")
    elif name in _SECTIONS and (_section(name, change.before) != _section(name, change.after)):
        yield _finding("test-configuration", change, 0, "its part that decides what is tested and how was changed")
    for line, text in added_lines(change) if _suffix(change.path) in CODE else ():
        if silenced := _SILENCED.search(text[:MOST_LINE]):
            yield _finding("check-silenced", change, line, f"an added comment switches a check off: {silenced[0]}")


def _pyproject(text: str) -> object:
    tool = tomllib.loads(text).get("tool", {})
    return [tool.get(name) for name in ("pytest", "coverage", "tox", "nox")] if isinstance(tool, dict) else tool


def _setup(text: str) -> object:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections() if name.startswith(("tool:pytest", "coverage:", "tox"))}


def _package(text: str) -> object:
    value: Any = json.loads(text)
    scripts = {name: line for name, line in value.get("scripts", {}).items() if "test" in name}
    return [scripts, *(value.get(name) for name in ("jest", "vitest", "mocha", "ava", "nyc", "c8"))]


_SECTIONS: Mapping[str, Callable[[str], object]] = {"pyproject.toml": _pyproject, "setup.cfg": _setup, "package.json": _package}
"""Manifests and how the part of them about tests is read."""


def _section(name: str, content: bytes | None) -> object:
    """What a manifest says about tests; all of it where it can't be read, and nothing else than nothing where it is absent."""
    text = decoded(content)
    try:
        return _SECTIONS[name](text if text is not None else "{}" if name == "package.json" else "")
    except (ValueError, AttributeError, configparser.Error, RecursionError):
        return text


# --- tests that were there --------------------------------------------------------------------------------------------


def _in_tests(one: Compared, new: list[Counter[str]]) -> Iterator[Finding]:
    """How a file of tests may not change. `new` is what the changeset's new tests assert: what moved is not gone."""
    change = one.change
    if change.before is None:
        return
    left = {case.name for case in one.after.cases}
    gone = [case for case in one.before.cases if case.name not in left and not _moved(case, new)]
    if change.after is None:
        if gone or not one.before.cases:
            yield _finding("test-deleted", change, 0, "an existing test file was deleted")
        return
    if gone:
        names = ", ".join(sorted(case.name for case in gone)[:5])
        yield _finding("test-removed", change, gone[0].line, f"existing tests are gone: {names}")
    if added := _surplus(one.after.skips, one.before.skips):
        yield _finding("test-skipped", change, added[0].line, f"tests were marked to be skipped: {added[0].text[:80]}")
    old = {case.name: case for case in one.before.cases}
    for case in one.after.cases:
        if case.name in old:
            yield from _in_case(change, old[case.name], case)
        elif case.skips and not all(_CONDITION.search(skip.text) for skip in case.skips):
            yield _finding("test-skipped", change, case.skips[0].line, f"the new test {case.name} is skipped or expected to fail")
    yield from _in_lines(change)


def _new_cases(tests: list[Compared]) -> list[Counter[str]]:
    """What each new test asserts, of those that a runner finds."""
    known = {(one.change.path, case.name) for one in tests for case in one.before.cases}
    return [
        _asserted(case)
        for one in tests
        for case in one.after.cases
        if (one.change.path, case.name) not in known and not case.skips
        if all("test" in part.casefold() for part in case.name.split(".")[:-1])
    ]


def _asserted(case: Case) -> Counter[str]:
    return Counter(assertion.text for assertion in case.assertions if assertion.strength > Strength.NOTHING)


def _moved(case: Case, new: list[Counter[str]]) -> bool:
    """Whether a new test asserts all that `case` did: the test has another name or place."""
    wanted = _asserted(case)
    return bool(wanted) and any(wanted <= held for held in new)


def _asking(cases: Iterable[Case]) -> int:
    return sum(assertion.strength > Strength.NOTHING for case in cases for assertion in case.assertions)


def _surplus(sites: Iterable[Site], other: Iterable[Site]) -> list[Site]:
    """Those of `sites` that occur more often than among `other`."""
    known = Counter(site.text for site in other)
    found = []
    for site in sites:
        known[site.text] -= 1
        if known[site.text] < 0:
            found.append(site)
    return found


def _in_case(change: FileChange, old: Case, new: Case) -> Iterator[Finding]:
    """One test that stands in both: its marks, its rows, its assertions."""
    if added := _surplus(new.skips, old.skips):
        yield _finding(
            "test-skipped", change, added[0].line, f"{new.name} was marked to be skipped or to fail: {added[0].text[:80]}"
        )
    yield from _in_rows(change, old, new)
    removed = _left(old.assertions, new.assertions)
    added_ = _left(new.assertions, old.assertions)
    for before in removed:
        if after := _successor(before, added_):
            added_.remove(after)
            yield from _in_assertion(change, new, before, after)
    if _asking([new]) < _asking([old]):
        yield _finding("test-weakened", change, new.line, f"{new.name} holds fewer assertions than before")


def _successor(old: Assertion, added: list[Assertion]) -> Assertion | None:
    """The added assertion on the same subject, else a weaker one that holds the subject somewhere."""
    same = (one for one in added if one.subject == old.subject)
    return next(same, None) or next((one for one in added if one.strength < old.strength and old.subject in one.text), None)


def _left(ours: Iterable[Assertion], others: Iterable[Assertion]) -> list[Assertion]:
    known = Counter((one.text, one.strength) for one in others)
    left = []
    for one in ours:
        known[one.text, one.strength] -= 1
        if known[one.text, one.strength] < 0:
            left.append(one)
    return left


def _in_assertion(change: FileChange, case: Case, old: Assertion, new: Assertion) -> Iterator[Finding]:
    """The same thing asked about, before and after."""
    near = re.search(r"approx|[cC]loseTo|[aA]lmost|allclose|isclose|InDelta", new.text)
    more = len(_TOLERANCE.findall(new.text)) > len(_TOLERANCE.findall(old.text))
    if (near and new.strength < old.strength) or (more and new.strength <= old.strength):
        yield _finding("tolerance-widened", change, new.line, f"{case.name} takes more values than before: {new.text[:80]}")
    elif new.strength < old.strength:
        yield _finding("test-weakened", change, new.line, f"{case.name} asks for less than before: {new.text[:80]}")
    elif _exact_part(new.text) == _exact_part(old.text):
        if _grew(_TOLERANCE, old.text, new.text):
            yield _finding("tolerance-widened", change, new.line, f"{case.name} takes more values than before: {new.text[:80]}")
    elif new.strength == old.strength:
        yield _finding("expectation-edited", change, new.line, f"{case.name} expects something else than before: {new.text[:80]}")


def _in_rows(change: FileChange, old: Case, new: Case) -> Iterator[Finding]:
    removed, added = _surplus(old.rows, new.rows), _surplus(new.rows, old.rows)
    if len(removed) > len(added):
        yield _finding("test-cases-removed", change, new.line, f"{new.name} has fewer cases: {removed[0].text[:80]} is gone")
    for row in removed:
        if other := next((one for one in added if _inputs(one.text) == _inputs(row.text)), None):
            said = f"{new.name} expects something else of a case than before: {other.text[:80]}"
            yield _finding("expectation-edited", change, other.line, said)


def _inputs(row: str) -> str:
    """All of a row but its last value, which is what is expected as a rule."""
    parts = reading_text.elements(row.strip()[1:-1]) if row[:1] in "([" else [row]
    return ", ".join(parts[:-1]) or row


def _masked(text: str) -> str:
    return _NUMBER.sub("0", text)


def _exact_part(text: str) -> str:
    """`text` without the numbers of its tolerances."""
    return _TOLERATED.sub("", text)


def _grew(pattern: re.Pattern[str], old: str, new: str) -> bool:
    """Whether a number after `pattern` is larger in `new`, or smaller where less takes more. The texts differ in numbers only."""
    for before, after in zip(pattern.finditer(old), pattern.finditer(new), strict=False):
        one, other = (_NUMBER.match(text, found.end()) for text, found in ((old, before), (new, after)))
        if one and other:
            step = float(other[0]) - float(one[0])
            if step < 0 if before.groupdict().get("less") else step > 0:
                return True
    return False


def _in_lines(change: FileChange) -> Iterator[Finding]:
    """Numbers that grew in lines which are otherwise the same, and new orders to try again."""
    removed = {_masked(text[:MOST_LINE]).strip(): text[:MOST_LINE] for _, text in removed_lines(change)}
    again = any(_AGAIN.search(text) for text in removed.values())
    for line, whole in added_lines(change):
        text = whole[:MOST_LINE]
        same, said = removed.get(_masked(text).strip(), ""), text.strip()[:80]
        if _AGAIN.search(text) and not again:
            yield _finding("limit-raised", change, line, f"tests are tried again until they pass: {said}")
        elif same and _grew(_LIMIT, same, text):
            yield _finding("limit-raised", change, line, f"a limit of time or tries was raised: {said}")
        elif same and _grew(_TOLERANCE, same, text):
            yield _finding("tolerance-widened", change, line, f"more values are taken than before: {said}")


# --- the unit under test ----------------------------------------------------------------------------------------------


def _mocked_subjects(tests: list[Compared], sources: list[Compared]) -> Iterator[Finding]:
    """Stand-ins for what the change is about, or for what the same test asserts on."""
    changed = {(_stem(one.change.path), name) for one in sources for name, _ in _new_definitions(one)}
    modules = {_stem(one.change.path) for one in sources if _suffix(one.change.path) not in (".py", ".pyi")}
    for one in tests:
        known = Counter(mock.target for mock in one.before.mocks)
        for mock in one.after.mocks:
            known[mock.target] -= 1
            if known[mock.target] < 0 and _is_subject(mock, changed, modules | {_stem(one.change.path)}):
                yield _finding(
                    "mocked-subject", one.change, mock.line, f"a stand-in takes the place of what is tested: {mock.target}"
                )


def _new_definitions(one: Compared) -> set[tuple[str, str]]:
    return set(one.after.definitions) - set(one.before.definitions)


def _is_subject(mock: Mock, changed: set[tuple[str, str]], modules: set[str]) -> bool:
    if "/" in mock.target:
        return mock.target.rpartition("/")[2].partition(".")[0] in modules
    owner, _, name = mock.target.rpartition(".")
    parts = owner.split(".")
    if any(stem in (*parts, "__init__") and defined in (name, f"{parts[-1]}.{name}") for stem, defined in changed):
        return True
    return parts[0] in modules or bool({name, mock.target} & mock.asserted)


# --- sources ----------------------------------------------------------------------------------------------------------


def _in_sources(sources: list[Compared]) -> Iterator[Finding]:
    """Errors that go nowhere, programs that end, code that looks whether it is being tested. What moved or was rewritten is not
    new: there have to be more of them than before."""
    quieter = sum(len(one.after.swallowed) - len(one.before.swallowed) for one in sources) > 0
    ending = sum(len(one.after.exits) - len(one.before.exits) for one in sources) > 0
    for one in sources:
        for site in _surplus(one.after.swallowed, one.before.swallowed) if quieter else ():
            yield _finding("error-swallowed", one.change, site.line, f"an error goes nowhere: {spaced(site.text)[:80]}")
        for site in _surplus(one.after.exits, one.before.exits) if ending else ():
            if not one.change.path.endswith("__main__.py"):
                yield _finding("exit-added", one.change, site.line, f"the code ends the program: {site.text[:80]}")
        for line, text in added_lines(one.change):
            if (sniffed := _SNIFFED.search(text[:MOST_LINE])) and not text.lstrip().startswith(("#", "//", "*")):
                yield _finding("runner-sniffed", one.change, line, f"the code looks whether it is being tested: {sniffed[0]}")


def _hard_coded(sources: list[Compared], tests: list[Compared], failing: Iterable[str]) -> Iterator[Finding]:
    """Sources that give a test's expected literal back for the literals that the test puts in."""
    told = [assertion.text for one in tests for case in one.after.cases for assertion in case.assertions]
    told += [row.text for one in tests for case in one.after.cases for row in case.rows] + list(failing)
    expected = [(text, literals(text)) for text in dict.fromkeys(told)]
    for one in sources:
        known = {answer.text for answer in one.before.answers}
        for answer in one.after.answers:
            if answer.text not in known and one.change.before is not None and _is_pasted(answer, expected):
                said = f"the code gives back what a test expects: {answer.text[:80]}"
                yield _finding("hard-coded-answer", one.change, answer.line, said)


def _is_pasted(answer: Answer, expected: list[tuple[str, frozenset[str]]]) -> bool:
    for text, held in expected:
        if answer.given not in held and not (answer.given[:1] in "([{" and answer.given in text):
            continue
        if not answer.asked and answer.given not in _TRIVIAL:
            return True
        if answer.asked <= held and not answer.asked <= _TRIVIAL:
            return True
    return False
