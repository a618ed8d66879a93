"""The tools of the build phase, as data: the same bytes in every phase, because a changed tool list empties the cache.

Both vendors' models were trained on tools of their own for editing and for commands; those go out under the vendor's name.
`apply_patch` can't read, so OpenAI's models get `view` beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.core.errors import BugError
from bot.llm.model import Tool


def _schema(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(required), "additionalProperties": False}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _line(description: str) -> dict[str, Any]:
    return {"type": "integer", "description": description}


_PATH = _text("Path inside the repository, with forward slashes.")

TEXT_EDITOR = Tool(
    name="str_replace_based_edit_tool",
    description=(
        "View, create and edit text files. `view` shows a file with line numbers, or lists a directory; `create` writes a "
        "file; `str_replace` replaces `old_str`, which must occur exactly once; `insert` adds lines after `insert_line`."
    ),
    schema=_schema(
        {
            "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert"]},
            "path": _PATH,
            "file_text": _text("create: the whole content."),
            "old_str": _text("str_replace: what to replace, exactly as it stands in the file."),
            "new_str": _text("str_replace: what to put there instead."),
            "insert_line": _line("insert: the line after which to insert; 0 is the start of the file."),
            "insert_text": _text("insert: what to insert."),
            "view_range": {"type": "array", "items": {"type": "integer"}, "description": "view: first and last line."},
        },
        "command",
        "path",
    ),
    native="text_editor",
)

BASH = Tool(
    name="bash",
    description="Run a shell command in the sandbox, which has no network. `restart` starts with a fresh shell.",
    schema=_schema({"command": _text("The command."), "restart": {"type": "boolean"}}),
    native="bash",
)

APPLY_PATCH = Tool(
    name="apply_patch",
    description=(
        "Create, update or delete one file. `diff` has no line numbers: context lines begin with a space, removed ones "
        "with -, added ones with +, and `@@ def name` narrows down the place."
    ),
    schema=_schema(
        {
            "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
            "path": _PATH,
            "diff": _text("create_file and update_file: what to write."),
        },
        "type",
        "path",
    ),
    native="apply_patch",
)

SHELL = Tool(
    name="shell",
    description="Run shell commands one after the other in the sandbox, which has no network.",
    schema=_schema(
        {
            "commands": {"type": "array", "items": {"type": "string"}},
            "timeout_ms": _line("Milliseconds until the commands are stopped."),
            "max_output_length": _line("Characters of output to keep."),
        },
        "commands",
    ),
    native="shell",
)

VIEW = Tool(
    name="view",
    description="Show a file with line numbers, whole or from line `start` to line `end`. On a directory, list what is in it.",
    schema=_schema({"path": _PATH, "start": _line("First line, from 1."), "end": _line("Last line.")}, "path"),
)

SEARCH = Tool(
    name="search",
    description="Find lines that match a regular expression, in the whole repository or below `path`.",
    schema=_schema({"pattern": _text("A regular expression."), "path": _PATH}, "pattern"),
)

RUN_CHECKS = Tool(
    name="run_checks",
    description="Run the project's checks on what you have written so far, or only `tests`, and report what fails.",
    schema=_schema(
        {"tests": {"type": "array", "items": {"type": "string"}, "description": "Test files or test ids; all where left out."}}
    ),
)

_EDITING = {"anthropic": (TEXT_EDITOR,), "openai": (APPLY_PATCH, VIEW)}
_COMMANDS = {"anthropic": BASH, "openai": SHELL}


def tools_for(vendor: str, shell: bool) -> tuple[Tool, ...]:
    """What a model of `vendor` may use. `shell` says whether the sandbox is full: without one nobody gets commands."""
    if vendor not in _EDITING:
        raise BugError(f"no tools are written down for vendor {vendor}")
    return (*_EDITING[vendor], *((_COMMANDS[vendor],) if shell else ()), SEARCH, RUN_CHECKS)
