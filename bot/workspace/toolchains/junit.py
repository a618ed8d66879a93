"""Test reports as pytest and Ostler's unittest runner write them, read as what they are: files made by untrusted code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from bot.core.reports import CaseOutcome, TestCase
from bot.workspace.toolchains.reading import read_plain

CAP = 32 * 1024 * 1024
MAX_CASES = 100_000
MESSAGE = 400
RANK: dict[CaseOutcome, int] = {"passed": 0, "skipped": 1, "failed": 2, "error": 3}

ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
NUMBER = re.compile(r"\d+")
PATH = re.compile(r"(?:/[\w.@+-]+)+/([\w.@+-]+)")
LOCATION = re.compile(r"^([^\s:]+:\d+): ", re.MULTILINE)
FRAME = re.compile(r'^ *File "([^"\n]+)", line (\d+)', re.MULTILINE)


def read(folder: Path, name: str = "junit.xml") -> tuple[TestCase, ...] | str:
    """The cases of a report, one per id with its worst outcome, sorted by id; or why there is none."""
    data = read_plain(folder, name, CAP)
    if data is None:
        return "the tests left no report"
    try:
        root = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, RecursionError) as error:
        return f"the test report cannot be read ({type(error).__name__})"
    return merged(_cases(root))


def merged(cases: Iterable[TestCase]) -> tuple[TestCase, ...] | str:
    """One case per id with its worst outcome, sorted by id; or that there are too many."""
    found: dict[str, TestCase] = {}
    for case in cases:
        if case.id not in found or RANK[case.outcome] > RANK[found[case.id].outcome]:
            found[case.id] = case
        if len(found) > MAX_CASES:
            return f"the test report holds more than {MAX_CASES} tests"
    return tuple(found[name] for name in sorted(found))


def signature(text: str) -> str:
    """The first line of an error without what differs between runs: addresses, numbers, folders."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return NUMBER.sub("N", PATH.sub(r"\1", ADDRESS.sub("0xN", line)))[:MESSAGE]


def _cases(root: Element) -> Iterator[TestCase]:
    for element in root.iter("testcase"):
        outcome: CaseOutcome = "passed"
        message = ""
        for child in element:
            if child.tag in ("failure", "error"):
                outcome = "failed" if child.tag == "failure" else "error"
                message = _message(child, element.get("file", ""))
                break
            if child.tag == "skipped":
                outcome, message = "skipped", child.get("message", "")
        yield TestCase(_id(element), outcome, signature(message) if outcome in ("failed", "error") else "", message[:MESSAGE])


def _message(child: Element, file: str) -> str:
    """The error line, then the place: pytest puts the place on the last line of the text, Python where the root can be told."""
    said = child.get("message", "").strip()
    text = child.text or ""
    if said in ("", "collection failure"):
        errors = [line[2:].strip() for line in text.splitlines() if line.startswith("E ")]
        said = errors[-1] if errors else next((line for line in reversed(text.splitlines()) if line.strip()), said).strip()
    places = LOCATION.findall(text) or _frames(text, file)
    return said[: MESSAGE - 80] + (f"\n({places[-1][:70]})" if places else "")


def _frames(text: str, file: str) -> list[str]:
    """Places in Python's own traceback that are below the folder that holds the test's `file`."""
    frames = FRAME.findall(text)
    root = next((path.removesuffix(file) for path, _ in frames if file and path.endswith(f"/{file}")), "")
    return [f"{path.removeprefix(root)}:{line}" for path, line in frames if root and path.startswith(root)]


def _id(element: Element) -> str:
    """A pytest node id: file::Class::name, stable between runs and good as a selection; a file that broke is the file."""
    file, owner, name = element.get("file", ""), element.get("classname", ""), element.get("name", "")
    if not file:
        return "::".join(part for part in (owner, name) if part)
    module = file.removesuffix(".py").replace("/", ".")
    if name == module and not owner:
        return file
    rest = owner.removeprefix(module).strip(".") if owner.startswith(module) else owner.rpartition(".")[2]
    return "::".join([file, *(part for part in rest.split(".") if part), name])
