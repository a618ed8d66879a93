"""What a step tells the runner: lines like `::add-mask::x` on its output, and the files behind GITHUB_ENV, OUTPUT and PATH.

The rules are those of actions/runner (ActionCommand.cs, FileCommandManager.cs): `::name::` counts at the start of a line, the old
form `##[name]` anywhere in it.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from bot.core.errors import BadInput
from bot.demo.runner.platform import Annotation

SUMMARY_BYTES = 1024 * 1024
_LEVELS = {"notice", "warning", "error"}
_SILENT = {"debug", "echo", "add-matcher", "remove-matcher"}
_FORBIDDEN = {"set-env": "GITHUB_ENV", "add-path": "GITHUB_PATH"}
_NO_STOP = {"pause-logging"}
_KNOWN = {"add-mask", "group", "endgroup", "stop-commands", "set-output", "save-state", *_LEVELS, *_SILENT, *_FORBIDDEN}


class Masks:
    """Words that no log may show. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._words: tuple[str, ...] = ()

    def add(self, secret: str) -> None:
        """Hide the secret, each of its lines, and its usual disguises: base64, URL and JSON form."""
        words = {secret, secret.strip(), *lines(secret)}
        words |= {form for word in words if word.strip() for form in _disguises(word)}
        with self._lock:
            self._words = tuple(sorted({*self._words, *(word for word in words if word.strip())}, key=len, reverse=True))

    def hide(self, text: str) -> str:
        for word in self._words:
            text = text.replace(word, "***")
        return text

    def found_in(self, text: str) -> bool:
        return any(word in text for word in self._words)


def _disguises(word: str) -> Iterator[str]:
    yield json.dumps(word)[1:-1]
    yield quote(word, safe="")
    if len(word) >= 4:  # shorter ones would hide half of every log
        yield base64.b64encode(word.encode()).decode()


def lines(text: str) -> list[str]:
    """Lines end with a line feed, or carriage return and line feed; with nothing else, whatever Unicode says."""
    found = [line.removesuffix("\r") for line in text.split("\n")]
    return found if found[-1] else found[:-1]


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    properties: Mapping[str, str]
    data: str


def parse(line: str) -> Command | None:
    """The command in a line of output; None where there is none."""
    if line.startswith("::") and (end := line.find("::", 2)) > 2:
        return _command(line[2:end], line[end + 2 :], ",", _unescape)
    start = line.find("##[")
    if start >= 0 and (end := line.find("]", start)) > start + 3:
        return _command(line[start + 3 : end], line[end + 1 :], ";", _unescape_old)
    return None


def _command(head: str, data: str, separator: str, unescape: _Unescape) -> Command | None:
    name, _, rest = head.strip().partition(" ")
    if name.lower() not in _KNOWN:
        return None
    pairs = (pair.partition("=") for pair in rest.strip().split(separator) if "=" in pair)
    return Command(name.lower(), {key.strip(): unescape(value, True) for key, _, value in pairs}, unescape(data, False))


class _Unescape:
    """Undo the percent signs of a command; a property hides more characters than the data."""

    def __init__(self, data: Mapping[str, str], properties: Mapping[str, str]) -> None:
        self._data, self._properties = data, properties

    def __call__(self, text: str, is_property: bool) -> str:
        for code, character in {**self._data, **(self._properties if is_property else {}), "%25": "%"}.items():
            text = text.replace(code, character)
        return text


_unescape = _Unescape({"%0D": "\r", "%0A": "\n"}, {"%3A": ":", "%2C": ","})
_unescape_old = _Unescape({"%0D": "\r", "%0A": "\n", "%3B": ";", "%5D": "]"}, {})


@dataclass(slots=True)
class Console:
    """One step's output: lines in, a masked log out; what the lines ordered is kept beside it."""

    masks: Masks
    log: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    annotations: list[Annotation] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)  # orders that make the step fail
    _token: str | None = None  # what ends ::stop-commands::

    def text(self) -> str:
        return "".join(self.log)

    def say(self, text: str) -> None:
        """The runner's own words: masked, never read as a command."""
        self.log.extend(f"{self.masks.hide(line)}\n" for line in lines(text))

    def fail(self, message: str) -> None:
        """Say an error and annotate the job with it."""
        self.say(f"##[error]{message}")
        self.annotations.append(Annotation("error", self.masks.hide(message)))

    def line(self, line: str) -> None:
        """A line of the step's process, without its end."""
        if self._token is not None:
            if line.strip() == f"::{self._token}::":
                self._token = None
            else:
                self.say(line)
            return
        command = parse(line)
        if command is None:
            self.say(line)
        else:
            self._obey(command)

    def _obey(self, command: Command) -> None:
        if command.name in _LEVELS:
            self._annotate(command)
        elif command.name == "add-mask":
            if command.data.strip():
                self.masks.add(command.data)
        elif command.name in ("group", "endgroup", "debug"):
            self.say(f"##[{command.name}]{command.data}")
        elif command.name == "stop-commands":
            self._stop(command.data)
        elif command.name == "set-output":
            self.outputs[command.properties.get("name", "")] = command.data
        elif command.name in _FORBIDDEN:
            self.errors.append(f"the command '{command.name}' is disabled: write to {_FORBIDDEN[command.name]} instead")

    def _annotate(self, command: Command) -> None:
        level = next(level for level in ("notice", "warning", "error") if level == command.name)
        told = command.properties
        line = told.get("line", "")
        place = int(line) if line.isdecimal() else 0
        message, title = self.masks.hide(command.data), self.masks.hide(told.get("title", ""))
        self.annotations.append(Annotation(level, message, title, told.get("file", ""), place))
        self.say(f"##[{level}]{command.data}")

    def _stop(self, token: str) -> None:
        if not token.strip() or token.lower() in _KNOWN or token in _NO_STOP:
            self.errors.append(f"'{token}' cannot be the word that ends stop-commands")
        else:
            self._token = token


def pairs(text: str, variable: str) -> list[tuple[str, str]]:
    """The names and values of a GITHUB_ENV, OUTPUT or STATE file. BadInput names the variable and what is wrong."""
    found, rest = [], iter(lines(text))
    for line in rest:
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        if heredoc >= 0 and (equals < 0 or heredoc < equals):
            name, delimiter = line[:heredoc], line[heredoc + 2 :]
            value = _heredoc(rest, delimiter, variable)
        elif equals >= 0:
            name, value = line[:equals], line[equals + 1 :]
        else:
            raise BadInput(f"unable to process {variable}: invalid format '{line}'")
        if not name:
            raise BadInput(f"unable to process {variable}: invalid format '{line}': the name is empty")
        found.append((name, value))
    return found


def _heredoc(rest: Iterator[str], delimiter: str, variable: str) -> str:
    if not delimiter:
        raise BadInput(f"unable to process {variable}: the delimiter after << is empty")
    inside: list[str] = []
    for line in rest:
        if line == delimiter:
            return "\n".join(inside)
        inside.append(line)
    raise BadInput(f"unable to process {variable}: invalid value, matching delimiter not found '{delimiter}'")


def environment(text: str) -> dict[str, str]:
    """GITHUB_ENV: as `pairs`, without NODE_OPTIONS; names the runner sets itself are ignored, as on GitHub."""
    found = dict(pairs(text, "GITHUB_ENV"))
    if any(name.upper() == "NODE_OPTIONS" for name in found):
        raise BadInput("unable to process GITHUB_ENV: NODE_OPTIONS cannot be set there")
    return {name: value for name, value in found.items() if not name.upper().startswith(("GITHUB_", "RUNNER_"))}
