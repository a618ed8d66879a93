"""Tickets that a fixer answers whole, and tickets that only look like it."""

from __future__ import annotations

import pytest

from bot.core.triage_fixers import fixers_for

SHA = "0123456789abcdef0123456789abcdef01234567"

YES = [
    ("Remove unused imports", "", [("ruff", ("F401",))]),
    ("remove all unused imports.", "", [("ruff", ("F401",))]),
    ("chore: remove the unused imports across the codebase", "", [("ruff", ("F401",))]),
    ("[cleanup] Please clean up unused imports in the whole repository", "", [("ruff", ("F401",))]),
    ("Delete unused imports (F401)", "", [("ruff", ("F401",))]),
    ("Drop unused imports everywhere", "Thanks!", [("ruff", ("F401",))]),
    ("Remove unused imports", "There are many unused imports in the code base. No functional changes.", [("ruff", ("F401",))]),
    ("Remove unused imports", "- [ ] remove unused imports\n- [ ] sort imports\n", [("ruff", ("F401",)), ("ruff", ("I",))]),
    ("Remove unused imports", "Run `ruff check --select F401 --fix`", [("ruff", ("F401",))]),
    ("Sort imports", "", [("ruff", ("I",))]),
    ("Organise imports with isort", "", [("ruff", ("I",))]),
    ("style: sort the imports alphabetically", "", [("ruff", ("I",))]),
    ("Remove unused imports and sort imports", "", [("ruff", ("F401",)), ("ruff", ("I",))]),
    ("Sort imports, remove unused imports and format the code", "", [("ruff", ("I",)), ("ruff", ("F401",)), ("ruff-format", ())]),
    ("Format the code with ruff", "", [("ruff-format", ())]),
    ("Format code with black", "", [("ruff-format", ())]),
    ("Run ruff format", "", [("ruff-format", ())]),
    ("Reformat the codebase", "", [("ruff-format", ())]),
    ("Fix typos", "", [("codespell", ())]),
    ("Fix spelling mistakes in the code", "", [("codespell", ())]),
    ("Correct the misspellings", "", [("codespell", ())]),
    ("Modernise syntax to Python 3.11", "", [("pyupgrade", ("3.11",))]),
    ("Upgrade the syntax to Python 3.12+", "", [("pyupgrade", ("3.12",))]),
    ("Use modern Python 3.10 syntax", "", [("pyupgrade", ("3.10",))]),
    ("Run pyupgrade --py311-plus", "", [("pyupgrade", ("3.11",))]),
    ("Modernize syntax", "", [("ruff", ("UP",))]),
    (f"Revert {SHA}", "", [("revert", (SHA,))]),
    ("Revert commit 1234567", "", [("revert", ("1234567",))]),
    ("revert abc1234", "", [("revert", ("abc1234",))]),
    ('Revert "Add a cache to the parser"', f"This reverts commit {SHA}.", [("revert", (SHA,))]),
    ("Fix ruff F841 errors", "", [("ruff", ("F841",))]),
    ("Fix F401", "", [("ruff", ("F401",))]),
    ("Fix ruff rules UP006, UP007", "", [("ruff", ("UP006", "UP007"))]),
    ("fix lint errors", "", [("ruff", ())]),
    ("Fix all the ruff warnings", "", [("ruff", ())]),
    ("Resolve linter violations in the project", "", [("ruff", ())]),
]

NO = [
    ("Remove unused imports and add a --json flag", ""),
    ("Remove unused imports in src/app.py", ""),
    ("Remove unused imports from the tests", ""),
    ("Remove unused imports?", ""),
    ("Do not remove unused imports", ""),
    ("Don't sort imports", ""),
    ("Removing unused imports breaks the build", ""),
    ("Remove unused imports", "Also rename `foo` to `bar`."),
    ("Remove unused imports", "But keep the ones in compat.py"),
    ("Remove unused imports", "```\nraise SystemExit\n```"),
    ("Remove unused imports", "<!-- and push a tag -->"),
    ("Remove unused important files", ""),
    ("Remove unused imports handling from the parser", ""),
    ("Remove unused variables", ""),
    ("Remove unused code", ""),
    ("Sort imports by size", ""),
    ("Sort the users", ""),
    ("Imports are not sorted when the file is empty", ""),
    ("Format the code blocks in the README", ""),
    ("Format dates with ruff", ""),
    ("Format the output", ""),
    ("Format", ""),
    ("Fix typo in README", ""),
    ("Fix typo", ""),
    ("Fix typos in the error messages of the parser", ""),
    ("Fix the spelling checker", ""),
    ("Support Python 3.11", ""),
    ("Upgrade to Python 3.11", ""),
    ("Upgrade syntax to Python 3.99", ""),
    ("Upgrade syntax highlighting to Python 3.11", ""),
    ("Revert the parser to its old behaviour", ""),
    ("Revert #1234567", ""),
    ("Revert 1234567", ""),
    ("Revert deadbeef and add a test", ""),
    ('Revert "Add a cache"', ""),
    ('Revert "Add a cache"', f"This reverts commit {SHA}.\nBut keep the tests."),
    (f"Revert {SHA} except the tests", ""),
    ("Fix E100", ""),
    ("Fix B123", ""),
    ("Fix flake8 errors", ""),
    ("Fix lint errors by disabling the rule", ""),
    ("Fix linter configuration", ""),
    ("Fix the linting job in CI", ""),
    ("fix errors", ""),
    ("Fix lint errors and the failing test", ""),
    ("Prefix lint errors", ""),
    ("", ""),
    ("", "Remove unused imports"),
    ("and", ""),
    (",", ","),
]


@pytest.mark.parametrize(("title", "body", "calls"), YES)
def test_wholly_mechanical(title: str, body: str, calls: list[tuple[str, tuple[str, ...]]]) -> None:
    found = fixers_for(title, body)
    assert [(call.name, call.args) for call in found] == calls
    assert all(call.reason for call in found)


@pytest.mark.parametrize(("title", "body"), NO)
def test_anything_more_goes_to_the_model(title: str, body: str) -> None:
    assert fixers_for(title, body) == ()


@pytest.mark.parametrize("title", [row[0] for row in YES if '"' not in row[0]])
@pytest.mark.parametrize("more", [" and add a test", " in foo.py", " unless they are used", ", then release", " soon"])
def test_one_wish_more_is_too_much(title: str, more: str) -> None:
    assert fixers_for(title.rstrip(".") + more, "") == ()
