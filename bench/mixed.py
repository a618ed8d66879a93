"""Ten issues of one repository, from a docstring to a change that touches security: the mixed workload of B9.

How many of which size follows what annotators of SWE-bench Verified found of its 500 issues: 39 % take a person less than 15
minutes, 52 % up to an hour, 8 % up to four, 1 % more (OpenAI, August 2024). So four are Tiny to Ostler's triage, four Small, one
is Medium. The tenth is of high risk: more than there are, but there has to be one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.long_build import THOUGHT, Check, Look, Step, Whole, in_ostlers_tools
from bench.task import EDITS, SOURCE, TESTS, TICKET, Edit, Read, Task

UTILS = "sqlparse/utils.py"
FORMATTER = "sqlparse/formatter.py"
LAST_TEST = "def test_from_subquery():\n"


def _test(name: str, body: str) -> Edit:
    return Edit(TESTS, LAST_TEST, f"def {name}():\n    from sqlparse import utils\n{body}\n\n{LAST_TEST}")


def _refused(option: str, value: str, says: str) -> str:
    """A test's body: this value of an option is refused, and the message says so much."""
    raises = f"    with pytest.raises(sqlparse.exceptions.SQLParseError, match={says!r}):\n"
    return f"{raises}        sqlparse.format('select 1', {option}={value!r})\n"


@dataclass(frozen=True, slots=True)
class Issue:
    """A ticket, and what the builder does about it. `line` of `path` is what the auditor points at."""

    name: str
    ticket: str
    steps: tuple[Step, ...]
    path: str
    line: int
    bug: bool = True

    @property
    def rules(self) -> list[dict[str, Any]]:
        """The answers to everything but the build, for whichever model is asked."""
        files = list(dict.fromkeys(step.path for step in self.steps if isinstance(step, Edit))) or [self.path]
        plan = {
            "goal": self.ticket.partition("\n")[0],
            "is_bug": self.bug,
            "tasks": [{"id": "T1", "title": self.name, "files": files, "depends_on": []}],
            "criteria": [{"id": "C1", "text": "what the ticket says holds, and a test shows it where one can"}],
            "tests": [],
            "out_of_scope": ["everything beside it"],
            "risks": [],
        }
        audit = {
            "criteria": [{"id": "C1", "verdict": "met", "evidence": [f"{self.path}:{self.line}"]}],
            "findings": [],
            "not_checked": [],
        }
        approach = {"problem": self.name, "approach": "the smallest change that answers it", "purpose": "what the ticket asks"}
        spec = {"criteria": plan["criteria"], "definition_of_done": "the criterion is met"}
        cases = {"cases": [{"case": "nothing at all", "handling": "it stays as it is"}]}
        return [
            _says("# Phase STRATEGIZE", approach),
            _says("# Phase SPEC", spec),
            _says("# Phase PLAN: draft", plan, THOUGHT),
            _says("# Phase PLAN: review", {"verdict": "approve", "objections": []}),
            _says("# Phase THINK", cases, THOUGHT),
            _says("# Phase REVIEW: audit", audit),
        ]

    def script(self, task: Task) -> list[dict[str, Any]]:
        return [*self.rules, *in_ostlers_tools(task, self.steps)]


def _says(words: str, answer: Mapping[str, Any], thinking: str = "") -> dict[str, Any]:
    return {"when": {"contains": [words]}, "reply": {"json": answer, **({"thinking": thinking} if thinking else {})}}


LONG = Issue("the long build", TICKET, (), SOURCE, 380)
"""What is planned and audited around the build of 30 turns."""

ISSUES = (
    Issue(
        "docstring",
        "The docstring of get_real_name leaves open which part of a name it is\n\nOf a.b.c it is c: the docstring has to say so.",
        (Look("get_real_name"), Read(SOURCE, 1, 60), EDITS[1], Check((TESTS,))),
        SOURCE,
        20,
        bug=False,
    ),
    Issue(
        "long names",
        TICKET,
        (
            Look("get_real_name"),
            Read(SOURCE, 1, 120),
            Read(SOURCE, 360, 420),
            Read(TESTS, 440, 510),
            *EDITS,
            Check((TESTS,)),
        ),
        SOURCE,
        20,
    ),
    Issue(
        "one quote",
        "remove_quotes makes nothing of a single quote\n\n`remove_quotes(\"'\")` gives `''`, but there is no pair to remove: it "
        "should give back what it got.",
        (
            Look("remove_quotes"),
            Read(UTILS, 48, 64),
            Edit(UTILS, "    if val[0] in (", "    if len(val) > 1 and val[0] in ("),
            _test("test_one_quote_is_no_pair", '    assert utils.remove_quotes("\'") == "\'"\n'),
            Check((TESTS,)),
        ),
        UTILS,
        56,
    ),
    Issue(
        "output formats",
        "Say which output formats there are\n\nThe message about an unknown output format repeats what was given. It should also "
        "name the three that exist.",
        (
            Look("Unknown output format"),
            Read(FORMATTER, 1, 60),
            Edit(
                FORMATTER,
                "        raise SQLParseError('Unknown output format: '\n                            '{!r}'.format(ofrmt))\n",
                "        raise SQLParseError('Unknown output format: '\n"
                "                            '{!r}, not sql, python or php'\n"
                "                            .format(ofrmt))\n",
            ),
            _test("test_output_formats_are_named", _refused("output_format", "xml", "sql, python or php")),
            Check((TESTS,)),
        ),
        FORMATTER,
        28,
        bug=False,
    ),
    Issue(
        "empty quotes",
        "remove_quotes raises IndexError for an empty string\n\n`remove_quotes('')` should return `''`. Keep it fast: it is "
        "called for every name.",
        (
            Look("remove_quotes"),
            Whole(UTILS),
            Read(SOURCE, 1, 60),
            Edit(
                UTILS, "    if val is None:\n        return\n    if val[0]", "    if not val:\n        return val\n    if val[0]"
            ),
            _test("test_remove_quotes_of_nothing", "    assert utils.remove_quotes('') == ''\n"),
            Check((TESTS,)),
            Read(UTILS, 48, 64),
        ),
        UTILS,
        52,
    ),
    Issue(
        "no statement",
        "split_unquoted_newlines(None) returns ['None']\n\nA missing statement is taken for the word None, and that ends up in "
        "our reports. It should be one empty line. This is what we found in them, from the first to the last:\n\n"
        + "".join(f"report {number:03}, statement 4 of 9: 1 line, 4 characters: None\n" for number in range(1, 36)),
        (
            Look("split_unquoted_newlines"),
            Whole(UTILS),
            Read("sqlparse/filters/others.py", 1, 20),
            Edit(UTILS, "    text = str(stmt)\n", "    text = '' if stmt is None else str(stmt)\n"),
            _test("test_no_statement_is_an_empty_line", "    assert utils.split_unquoted_newlines(None) == ['']\n"),
            Check((TESTS,)),
            Read(UTILS, 34, 54),
        ),
        UTILS,
        40,
    ),
    Issue(
        "consume all",
        "Optimize consume where everything is consumed\n\nWithout a count it goes through islice for nothing.",
        (
            Look("consume"),
            Whole(UTILS),
            Read(SOURCE, 1, 60),
            Edit(
                UTILS,
                "    deque(itertools.islice(iterator, n), maxlen=0)\n",
                "    deque(iterator if n is None else itertools.islice(iterator, n),\n          maxlen=0)\n",
            ),
            _test(
                "test_consume_all",
                "    letters = iter('abc')\n    utils.consume(letters, None)\n    assert next(letters, None) is None\n",
            ),
            Check((TESTS,)),
            Read(UTILS, 100, 118),
        ),
        UTILS,
        108,
        bug=False,
    ),
    Issue(
        "fail fast",
        "Fail fast and say why when truncate_strings is too small\n\nThe message repeats the value and leaves open what is wrong "
        "with it: it has to be above 1.",
        (
            Look("truncate_strings"),
            Whole(FORMATTER),
            Read("sqlparse/filters/tokens.py", 1, 60),
            Edit(
                FORMATTER,
                "        if truncate_strings <= 1:\n            raise SQLParseError('Invalid value for truncate_strings: '\n"
                "                                '{!r}'.format(truncate_strings))\n",
                "        if truncate_strings <= 1:\n            raise SQLParseError('Invalid value for truncate_strings: '\n"
                "                                '{!r}, it has to be above 1'\n"
                "                                .format(truncate_strings))\n",
            ),
            _test("test_truncating_to_one_says_why", _refused("truncate_strings", "1", "above 1")),
            Check((TESTS,)),
            Read(FORMATTER, 45, 62),
        ),
        FORMATTER,
        54,
        bug=False,
    ),
    Issue(
        "one line",
        "Optimize the performance of split_unquoted_newlines for text of one line\n\nText without a newline needs no splitting "
        "by the large pattern.",
        (
            Look("split_unquoted_newlines"),
            Whole(UTILS),
            Look("LINE_MATCH|SPLIT_REGEX"),
            Whole("sqlparse/filters/output.py"),
            Whole("sqlparse/filters/others.py"),
            Whole("sqlparse/filters/reindent.py"),
            Read(TESTS, 1, 80),
            Edit(
                UTILS,
                "    text = str(stmt)\n",
                "    text = str(stmt)\n    if LINE_MATCH.search(text) is None:\n        return [text]\n",
            ),
            _test("test_one_line_is_not_split", "    assert utils.split_unquoted_newlines('select 1') == ['select 1']\n"),
            Check((TESTS,)),
            Read(UTILS, 34, 54),
            Check((TESTS, "tests/test_split.py")),
        ),
        UTILS,
        43,
        bug=False,
    ),
    Issue(
        "refusal",
        "Security: consume must refuse a negative count\n\nA negative count that comes from outside must not pass unnoticed; "
        "`consume` should raise ValueError with a message that says so.",
        (
            Look("consume"),
            Whole(UTILS),
            Read(SOURCE, 120, 330),
            Whole("sqlparse/engine/statement_splitter.py"),
            Read(TESTS, 1, 80),
            Edit(
                UTILS,
                "    deque(itertools.islice(iterator, n), maxlen=0)\n",
                "    if n is not None and n < 0:\n        raise ValueError('consume takes no negative count')\n"
                "    deque(itertools.islice(iterator, n), maxlen=0)\n",
            ),
            _test(
                "test_consume_refuses_a_negative_count",
                "    with pytest.raises(ValueError, match='no negative count'):\n        utils.consume(iter('abc'), -1)\n",
            ),
            Check((TESTS,)),
            Read(UTILS, 100, 118),
            Look("islice"),
            Check((TESTS, "tests/test_split.py")),
        ),
        UTILS,
        110,
    ),
)
