"""Every sentence Ostler says and every prompt is a template; a name that a template does not know is an error."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from bot.core.budget import dollars
from bot.core.paths import printable
from bot.core.policy import redact
from bot.core.run import short

_PACKAGED = Path(__file__).resolve().parent / "templates"
TEMPLATES = _PACKAGED if _PACKAGED.is_dir() else _PACKAGED.parents[1] / "templates"
"""Inside the installed package, else beside it in a checkout."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"dollars": dollars, "short": short, "duration": duration, "inline": inline}
    return environment


def render(name: str, /, **values: Any) -> str:
    """The template `name` (relative to the folder of templates) with `values`."""
    return _environment().get_template(name).render(**values)


def say(name: str, /, **values: Any) -> str:
    """Like `render`, for text that leaves the machine or is shown: no known form of secret, nothing that a reader can't see."""
    return printable(redact(render(name, **values)))


def duration(seconds: float) -> str:
    """`3m 12s`, `12s` or `0.4s`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def inline(text: str) -> str:
    """`text` on one line of a Markdown table or list: no pipes, no line breaks."""
    return " ".join(text.split()).replace("|", "\\|")
