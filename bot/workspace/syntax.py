"""Whether a file still parses: the check before an edit is written. Python, JSON and TOML, by their names."""

from __future__ import annotations

import ast
import json
import tomllib
import warnings
from pathlib import PurePosixPath

# Files called .json that their tools read with comments.
_COMMENTED = ("tsconfig", "jsconfig", ".eslintrc", "devcontainer", "api-extractor", "tslint")
_COMMENTED_FOLDERS = (".vscode", ".devcontainer")


def syntax_problem(path: str, data: bytes) -> str | None:
    """One clause that says what does not parse and in which line, or None if it does or isn't of a known kind."""
    name = PurePosixPath(path)
    if name.suffix in (".py", ".pyi"):
        return _python(data)
    if name.suffix == ".json" and not name.name.startswith(_COMMENTED) and name.parent.name not in _COMMENTED_FOLDERS:
        return _json(data)
    return _toml(data) if name.suffix == ".toml" else None


def _python(data: bytes) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in a string is the project's matter
            ast.parse(data)
    except SyntaxError as error:
        return f"{error.msg} in line {error.lineno}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"Python can't read it ({type(error).__name__})"
    return None


def _json(data: bytes) -> str | None:
    try:
        json.loads(data)
    except json.JSONDecodeError as error:
        return f"{error.msg} in line {error.lineno}"
    except (UnicodeDecodeError, RecursionError) as error:
        return f"JSON can't be read ({type(error).__name__})"
    return None


def _toml(data: bytes) -> str | None:
    try:
        tomllib.loads(data.decode().replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        return str(error)
    except (UnicodeDecodeError, RecursionError) as error:
        return f"TOML can't be read ({type(error).__name__})"
    return None
