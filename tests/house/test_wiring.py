"""Every module is reached from a door: what isn't, doesn't exist yet."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house.tree import modules

DOORS = ("bot.__main__", "bot.cli.main")


def test_every_door_exists() -> None:
    assert set(DOORS) - modules().keys() == set()


def test_every_module_is_reached_from_a_door() -> None:
    known = modules()
    unreached = known.keys() - reached(known)
    assert not unreached, "no door reaches " + ", ".join(sorted(unreached))


def reached(known: dict[str, Path]) -> set[str]:
    seen: set[str] = set()
    pending = [door for door in DOORS if door in known]
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending.extend(target for target in imports(name, known[name]) if target in known)
            pending.extend(parent for parent in [name.rpartition(".")[0]] if parent)
    return seen


def imports(name: str, path: Path) -> Iterator[str]:
    """Names that `path` imports anywhere in it; `from a import b` may mean the module `a.b`, so both are named."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                start = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*start, base] if base else start)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
