"""Configuration files: read, laid one over the other, and held to the limits of those beneath.

What the repository's own file leaves out is said by its owner's, then by the App's, then by the program. Settings in mappings are
laid over each other key by key; a list or a value takes the place of the one beneath. `HELD` is what a file may tighten and never
widen: of caps the least counts, and what may not change in any file may not change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from bot.config.repository import RepoConfig, micro
from bot.core.errors import SetupError
from bot.core.starts import SCOPES, SETTING
from bot.core.strategy import Source

CONFIG_PATH = ".github/ostler.yml"

CAPS = {"budget": ("money", "call", "session", "day"), SETTING: tuple(SCOPES)}
"""Sections and what in them is a cap."""
HELD = (*(f"{section}.{name}" for section, names in CAPS.items() for name in names), "paths.deny")


@dataclass(frozen=True, slots=True)
class File:
    """A configuration file as it was found: what people call it, its bytes, and the commit it is of, if it is of one."""

    name: str
    raw: bytes
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What files say together. `most` is what a run may cost at most by those beneath the repository's own, in dollars."""

    config: RepoConfig
    sources: tuple[Source, ...] = ()
    most: Decimal | None = None

    def bounded(self, max_cost: str | None) -> str | None:
        """`max_cost` of the workflow or the command line, as far as the files beneath let it be.

        Raises:
            BadInput: it is no amount.
        """
        if max_cost is None or self.most is None or micro(max_cost, "max_cost") <= micro(self.most, "budget.money"):
            return max_cost
        return str(self.most)

    def origin(self, key: str) -> str:
        """The file that says `key`, or a part of it; the uppermost of several, empty where none does."""
        inside = f"{key}."
        found = (source.name for source in reversed(self.sources) if any(f"{one}.".startswith(inside) for one in source.keys))
        return next(found, "")

    def kept(self) -> bytes:
        """All that was said, as one file."""
        said = self.config.model_dump(mode="json", exclude_unset=True)
        return yaml.safe_dump(said, sort_keys=False).encode()


def combine(own: File | None, defaults: Sequence[File] = ()) -> Configuration:
    """The repository's own file over `defaults`, the first of which lies undermost.

    Each file has to hold by itself with those beneath it, so that a mistake is told of the file that has it.

    Raises:
        SetupError: names file, line and reason.
    """
    whole: Any = {}
    config, most = RepoConfig(), None
    said: list[tuple[File, tuple[str, ...]]] = []
    for file in (*defaults, *([own] if own else [])):
        tree, value = _read(file)
        whole = _over(whole, value)
        config = _held(_checked(whole, tree, file.name), config, tree, file.name)
        said.append((file, tuple(_keys(value))))
        if file is not own and "money" in config.budget.model_fields_set:
            most = config.budget.money
    return Configuration(config, tuple(_sources(said)), most)


def parse_config(raw: bytes | None, where: str = CONFIG_PATH) -> RepoConfig:
    """One file's configuration; None, where there is no file, is all defaults.

    Raises:
        SetupError: names file, line and reason.
    """
    return RepoConfig() if raw is None else combine(File(where, raw)).config


def _over(beneath: Any, above: Any) -> Any:
    if not (isinstance(beneath, dict) and isinstance(above, dict)):
        return above
    return {**beneath, **{key: _over(beneath[key], value) if key in beneath else value for key, value in above.items()}}


def _held(config: RepoConfig, beneath: RepoConfig, tree: Any, where: str) -> RepoConfig:
    """`config` within what the files beneath allow."""
    held: dict[str, BaseModel] = {}
    for section, names in CAPS.items():
        under, over, caps = getattr(beneath, section), getattr(config, section), {}
        for name in names:
            least, wanted = getattr(under, name), getattr(over, name)
            if name in under.model_fields_set and least is not None and (wanted is None or wanted > least):
                caps[name] = least
        if caps:
            held[section] = over.model_copy(update=caps)
    deny = tuple(dict.fromkeys((*beneath.paths.deny, *config.paths.deny)))
    if deny != config.paths.deny:
        held["paths"] = config.paths.model_copy(update={"deny": deny})
    if not held:
        return config
    within = config.model_copy(update=held)
    return _checked(within.model_dump(exclude_unset=True), tree, where)


def _keys(value: Any, within: str = "") -> Iterator[str]:
    """What a file sets, as `section.name`."""
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _keys(inner, f"{within}{name}.")
        elif (key := f"{within}{name}") != "version":
            yield key


def _sources(said: Sequence[tuple[File, tuple[str, ...]]]) -> Iterator[Source]:
    """Each file with what it decides: what no file over it sets again, and limits, which all hold."""
    for number, (file, keys) in enumerate(said):
        above = {key for _, others in said[number + 1 :] for key in others}
        yield Source(file.name, file.commit, tuple(key for key in keys if key in HELD or key not in above))


def _read(file: File) -> tuple[Any, Any]:
    """The file's tree, for lines, and what it says; an empty file says nothing."""
    raw, where = file.raw, file.name
    try:
        text = raw.decode("utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_unreadable(tree, where)
        value = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise SetupError(f"{where}, line {raw[: error.start].count(10) + 1}: not UTF-8 text. Save the file as UTF-8.") from error
    except yaml.YAMLError as error:
        raise SetupError(_not_yaml(error, text, where)) from error
    except RecursionError as error:
        raise SetupError(f"{where}, line 1: the file is nested too deeply to be a configuration.") from error
    return tree, {} if value is None else value


def _checked(value: Any, tree: Any, where: str) -> RepoConfig:
    try:
        return RepoConfig.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        reason = _REASONS.get(first["type"], first["msg"].removeprefix("Value error, "))
        raise SetupError(f"{where}, line {_line(tree, first['loc'])}: {key}: {reason}.") from error


def _not_yaml(error: yaml.YAMLError, text: str, where: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"{where}, line {line}: not YAML (the character {error.character:#x} may not be in it)."
    mark = getattr(error, "problem_mark", None)
    return f"{where}, line {mark.line + 1 if mark else 1}: not YAML ({getattr(error, 'problem', None) or error})."


_REASONS = {
    "extra_forbidden": "there is no such setting",
    "model_type": "settings, as `name: value`, are expected here",
    "string_pattern_mismatch": "one line of shell is expected here, without a blank before it",
}
"""Where pydantic's own words are for programmers."""


def _refuse_unreadable(root: Any, where: str) -> None:
    """Refuse what PyYAML would take silently or trip over: a key given twice, a date or number that is none."""
    nodes, seen = [root] if root else [], set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            try:
                yaml.SafeLoader("").construct_object(node)
            except ValueError as error:
                raise SetupError(
                    f"{where}, line {node.start_mark.line + 1}: {node.value[:40]!r} is no value that can be read."
                ) from error
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
        else:
            names: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in names:
                    raise SetupError(f"{where}, line {key.start_mark.line + 1}: {key.value} is given twice: keep one.")
                names.add(str(key.value))
                nodes += (key, value)


def _line(node: Any, at: tuple[int | str, ...]) -> int:
    """The line of the deepest node on the way to `at` that exists."""
    line: int = node.start_mark.line + 1 if node else 1
    for part in at:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
