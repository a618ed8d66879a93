"""Where imports of ECMAScript modules lead: a file of the tree, a package, or nowhere. By names alone, nothing is executed.

Bundlers accept more than Node does, so what any of the usual rules would find counts as there.
"""

from __future__ import annotations

import posixpath
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

SOURCES = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx")
ENDS = ("", *SOURCES, ".d.ts", ".json", ".vue", ".svelte", ".css", ".node")
TYPED = {".js": (".ts", ".tsx", ".d.ts"), ".jsx": (".tsx",), ".mjs": (".mts",), ".cjs": (".cts",)}
"""TypeScript is imported by the name that its output will have."""
ALIAS_FILES = re.compile(r"(^|/)([jt]sconfig[\w.-]*\.json|package\.json|[\w.-]*\.config\.[cm]?[jt]s|deno\.jsonc?)$")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a specifier may stand for besides files: built-in modules, the text of configurations that name aliases, whether a
    package is installed as seen from a folder, and whether packages are installed at all."""

    builtins: Collection[str]
    aliases: str
    installed: Callable[[str, str], bool]
    has_packages: bool
    own_name: str = ""


def resolve(importer: str, name: str, there: Callable[[str], bool]) -> str | None:
    """The file that a relative specifier means, None if there is none; `there` says whether the tree holds a path."""
    plain = name.partition("?")[0]
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(importer), plain))
    stem, end = posixpath.splitext(whole)
    tries = [whole + each for each in ENDS] + [stem + each for each in TYPED.get(end, ())]
    tries += [posixpath.normpath(f"{whole}/index{each}") for each in SOURCES] + [posixpath.normpath(f"{whole}/package.json")]
    return next((path for path in tries if there(path)), None)


def missing(importer: str, names: Iterable[str], there: Callable[[str], bool], around: Surroundings) -> list[str]:
    """The specifiers that lead nowhere."""
    return [name for name in dict.fromkeys(names) if not _leads(importer, name, there, around)]


def _leads(importer: str, name: str, there: Callable[[str], bool], around: Surroundings) -> bool:
    if name.startswith("."):
        return resolve(importer, name, there) is not None
    if name.startswith(("/", "#", "~", "$", "@/", "virtual:", "data:", "http:", "https:")) or "!" in name:
        return True  # an alias or a loader's: only its bundler knows
    bare = name.removeprefix("node:")
    parts = bare.split("/")
    package = "/".join(parts[:2]) if bare.startswith("@") else parts[0]
    if bare in around.builtins or parts[0] in around.builtins or ":" in name or package == around.own_name:
        return True
    if not around.has_packages or around.installed(package, posixpath.dirname(importer)):
        return True
    return f'"{parts[0]}/' in around.aliases or f'"{package}' in around.aliases or "baseUrl" in around.aliases


def related(changed: Collection[str], tests: Sequence[str], reaches: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The tests that are in `changed` or reach one of them through relative imports."""
    files = {*reaches, *changed}
    importers: dict[str, set[str]] = {}
    for importer, names in reaches.items():
        for name in names:
            if name.startswith(".") and (found := resolve(importer, name, files.__contains__)):
                importers.setdefault(found, set()).add(importer)
    seen, queue = set(changed), deque(changed)
    while queue:
        for importer in importers.get(queue.popleft(), ()):
            if importer not in seen:
                seen.add(importer)
                queue.append(importer)
    return tuple(name for name in tests if name in seen)
