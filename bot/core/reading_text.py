"""A file's `Reading` from patterns, for JavaScript, TypeScript, Go, Rust, Java and Ruby, and for Python that does not parse."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from bot.core.reading import LITERAL, Answer, Assertion, Case, Mock, Reading, Site, Strength, literals, spaced

_CASE = re.compile(
    r"^[ \t]*(?:x|f)?(?:it|test|specify)(?:\.\w+)*(?:\([^()\n]*\))?\s*\(\s*(?P<title>\"[^\"\n]*\"|'[^'\n]*'|`[^`\n]*`)"
    r"|^func (?P<go>Test\w+)\("
    r"|^[ \t]*#\[(?:\w+::)?test\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (?P<rust>\w+)"
    r"|^[ \t]*@(?:Test|ParameterizedTest)\b[^{;]{0,200}?\bvoid (?P<java>\w+)\s*\("
    r"|^[ \t]*(?:async )?def (?P<def>test\w*)"
    r"|^[ \t]*it (?P<ruby>\"[^\"\n]*\"|'[^'\n]*') do\b",
    re.MULTILINE,
)
_SKIP = re.compile(
    r"\b(?:it|test|describe|suite)\.(?:skip|todo|only|failing|skipIf|runIf)\b|\b[xf](?:it|test|describe)\s*\(|\bt\.Skip\w*\("
    r"|#\[ignore|@(?:Ignore|Disabled)\b|\bpending\b|^[ \t]*skip\b|\bmark\.(?:skip|xfail)\w*|\bpytest\.(?:skip|xfail)\(",
    re.MULTILINE,
)
_EACH = re.compile(r"\b(?:it|test|describe)\.each\s*(?=\()")
_ASSERTION = re.compile(
    r"\bexpect\s*(?=\()|\b(?:assert|require|chai\.assert)(?:\.\w+)?\s*(?=\()|\bassert\w*!?\s*(?=\()|\bt\.(?:Error|Fatal)\w*\s*(?=\()"
    r"|^[ \t]*(?:raise )?assert\b[^\n(]*",
    re.MULTILINE,
)
_EXACT = re.compile(
    r"\.(?:toBe|toEqual|toStrictEqual|toThrow\w*|toHaveBeenCalledWith|toMatch\w*Snapshot|eq|equal|eql)\((?!\s*\))"
    r"|^assert(?:\.(?:\w*[eE]qual|Equal\w*|throws|rejects|match)|_eq!|Equals|Same)|^require\.(?:Equal|Same)"
    r"|^t\.(?:Error|Fatal)"
)
_RANGE = re.compile(
    r"\.(?:toBeCloseTo|toContain\w*|toMatch\w*|toHaveLength|toBe(?:Greater|Less)\w*|toThrow\w*|closeTo|include\w*|match)\("
    r"|^assert\.(?:InDelta|Contains|Len|Greater|Less)"
)
_NOTHING = re.compile(
    r"^(?:expect|assert(?:\.ok|!|\.isTrue|\.True)?)\s*\(\s*(?:true|1|!false|t,\s*true)\s*\)|^expect\((?P<one>[^()]*)\)\.\w+\(\s*(?P=one)\s*\)"
    r"|^assert(?:\.\w*[eE]qual|_eq!|Equals)\((?P<same>[^(),]*), ?(?P=same)\)"
)
_MOCK = re.compile(
    r"\b(?:jest|vi)\.(?:mock|doMock)\(\s*[\"'](?P<module>[^\"']+)[\"']|\b(?:jest|vi|sinon)\.(?:spyOn|stub)\(\s*(?P<of>\w+),\s*[\"'](?P<name>\w+)"
    r"|^[ \t]*(?P<set>\w+\.\w+)\s*=\s*(?:jest|vi)\.fn",
    re.MULTILINE,
)
_SWALLOWED = re.compile(
    r"\bcatch\s*(?:\([^()]*\))?\s*\{\s*(?://[^\n]{0,200}\s*|/\*[^*]{0,200}\*/\s*){0,5}(?:return(?: \w{1,12})?)?[;\s]{0,40}\}"
    r"|\.catch\(\s*(?:\(\s*\w*\s*\)|\w+)\s*=>\s*(?:\{\s*\}|null|undefined|void 0)\s*\)"
    r"|\.catch\(\s*function\s*\(\w*\)\s*\{\s*\}\s*\)"
    r"|\brescue(?:\s+(?:Standard|)Error|\s+Exception)?(?:\s*=>\s*\w+)?\s*(?:nil\s*)?\n?\s*end\b|\brescue nil\b"
    r"|\bexcept(?:\s+(?:Base)?Exception[^:\n]*)?\s*:\s*(?:pass|\.\.\.|continue)\b"
    r"|\bsuppress\((?:Base)?Exception\b"
)
_EXIT = re.compile(
    r"\bprocess\.(?:exit|abort|reallyExit|kill)\(|\bDeno\.exit\(|\bos\.Exit\(|\bSystem\.exit\(|\bprocess::(?:exit|abort)\("
    r"|\b(?:sys\.exit|os\._exit)\(|\braise SystemExit\b|\bKernel\.exit\b|^[ \t]*exit!?[ \t]*$",
    re.MULTILINE,
)
_TOKEN = LITERAL.pattern.replace("(?P<text>", "(?:")
_ANSWER = re.compile(rf"\bif\b(?P<test>[^{{}}\n]{{0,200}}?)(?:\{{|\bthen\b)?\s*\breturn\s+(?P<given>{_TOKEN})\s*[;}}\n]")
_CHOICE = re.compile(rf"(?P<test>[\w.\[\]]{{1,80}}\s*===?\s*(?:{_TOKEN})[^?\n]{{0,120}})\?\s*(?P<given>{_TOKEN})\s*:")
_TABLE = re.compile(rf"\bcase\s+(?P<test>{_TOKEN})\s*:\s*return\s+(?P<given>{_TOKEN})")
_WHOLE = re.compile(
    rf"\bfunction\s*\w*\s*\([^)]{{0,200}}\)[^{{}}\n]{{0,80}}\{{\s*return\s+(?P<given>{_TOKEN})\s*;?\s*\}}|=>\s*\{{?\s*(?:return\s+)?(?P<arrow>{_TOKEN})\s*;?\s*\}}?\s*;?\s*$"
    rf"|\bfunc\s+(?:\([^)]{{0,80}}\)\s*)?\w+\([^)]{{0,200}}\)[^{{}}\n]{{0,80}}\{{\s*return\s+(?P<go>{_TOKEN})\s*\}}",
    re.MULTILINE,
)
_COMMENT = re.compile(r"^[ \t]*(?://|\*|/\*|#(?!\[|!\[)).*$", re.MULTILINE)
MOST = 4_000
"""Characters of one call that are read: more is not searched for its end."""


def read(text: str) -> Reading:
    """The reading of a file. Lines that are comments count as empty."""
    code = _COMMENT.sub("", text)
    return Reading(
        cases=tuple(_cases(code)),
        skips=tuple(_sites(_SKIP, code)),
        mocks=tuple(
            Mock(line, found["module"] or found["set"] or f"{found['of']}.{found['name']}", frozenset())
            for line, found in _found(_MOCK, code)
        ),
        swallowed=tuple(_sites(_SWALLOWED, code)),
        exits=tuple(_sites(_EXIT, code)),
        answers=tuple(_answers(code)),
    )


def _found(pattern: re.Pattern[str], text: str, line: int = 1) -> Iterator[tuple[int, re.Match[str]]]:
    """The matches of `pattern`, each with the line of its first character that is no space. `line` is where the text starts."""
    counted = 0
    for found in pattern.finditer(text):
        at = found.end() - len(found[0].lstrip())
        line += text.count("\n", counted, at)
        counted = at
        yield line, found


def _sites(pattern: re.Pattern[str], text: str) -> Iterator[Site]:
    return (Site(line, spaced(found[0])) for line, found in _found(pattern, text))


def _cases(text: str) -> Iterator[Case]:
    """A test reaches to where the next one begins."""
    starts = list(_found(_CASE, text))
    ends = [*(later.start() for _, later in starts[1:]), len(text)]
    seen: Counter[str] = Counter()
    for (line, found), end in zip(starts, ends, strict=False):
        title = next(part for part in found.groups() if part).strip("\"'`")
        seen[title] += 1
        name = title if seen[title] == 1 else f"{title} ({seen[title]})"
        body = text[found.end() - len(found[0].lstrip()) : end]
        yield Case(name, line, tuple(_assertions(body, line)), tuple(_rows(body, line)))


def _rows(body: str, line: int) -> Iterator[Site]:
    """The rows of the `.each([...])` that a test begins with."""
    if found := _EACH.match(body):
        table = balanced(body, found.end())
        for row in elements(table[1:-1].strip().removeprefix("[").removesuffix("]")):
            yield Site(line, spaced(row))


def _assertions(text: str, first: int) -> Iterator[Assertion]:
    for line, found in _found(_ASSERTION, text, first):
        about = balanced(text, found.end())
        end = found.end() + len(about)
        while chained := re.match(r"\s*\.\s*\w+\s*", text[end : end + 200]):
            end += chained.end()
            end += len(balanced(text, end))
        whole = spaced(text[found.start() : end])
        inner = [spaced(part) for part in elements(about[1:-1])] or [whole]
        computed = [part for part in inner if not LITERAL.fullmatch(part) and part != "t"] or inner
        yield Assertion(line, computed[0], whole, _strength(whole))


def _strength(whole: str) -> Strength:
    if _NOTHING.search(whole):
        return Strength.NOTHING
    if ".not." in whole or "assert.not" in whole:
        return Strength.TRUTH
    if _EXACT.search(whole):
        return Strength.EXACT
    return Strength.RANGE if _RANGE.search(whole) else Strength.TRUTH


def balanced(text: str, at: int) -> str:
    """What `text` holds from the bracket at `at` to the one that closes it; empty where there is none."""
    if text[at : at + 1] not in ("(", "[", "{"):
        return ""
    depth, quote, position = 0, "", at
    for position in range(at, min(len(text), at + MOST)):
        char = text[position]
        if quote:
            quote = "" if char == quote and text[position - 1] != "\\" else quote
        elif char in "\"'`":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                break
    return text[at : position + 1]


def elements(text: str) -> list[str]:
    """The parts of `text` between commas that stand in no bracket and no quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for position, char in enumerate(text[:MOST]):
        if quote:
            quote = "" if char == quote and text[position - 1] != "\\" else quote
        elif char in "\"'`":
            quote = char
        else:
            depth += (char in "([{") - (char in ")]}")
            if char == "," and depth == 0:
                parts.append(text[start:position])
                start = position + 1
    return [part.strip() for part in (*parts, text[start:]) if part.strip()]


def _answers(text: str) -> Iterator[Answer]:
    for pattern in (_ANSWER, _CHOICE, _TABLE):
        for line, found in _found(pattern, text):
            if pattern is not _ANSWER or "==" in found["test"]:
                yield Answer(line, spaced(found[0]), literals(found["test"]), found["given"].strip("\"'`"))
    for line, found in _found(_WHOLE, text):
        given = next(part for part in found.groups() if part)
        yield Answer(line, spaced(found[0]), frozenset(), given.strip("\"'`"))
