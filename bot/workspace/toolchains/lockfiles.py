"""A lockfile that says something else than its manifest: the next install would change it, or refuse.

Read as text, nothing is resolved. Sources: npm's package-lock.json (lockfileVersion 2 and 3), pnpm-lock.yaml (5 to 9), yarn.lock
(classic and berry), uv.lock, poetry.lock.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

NODE_LOCKS = {
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "bun.lock": "bun",
    "bun.lockb": "bun",
}
KINDS = ("dependencies", "devDependencies", "optionalDependencies")
MAX_WORKSPACES = 200
_YARN_ENTRY = re.compile(r'^"?([^\s#][^\n]*?)"?:$', re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Read = Callable[[str], str]


def disagreements(read: Read) -> Iterator[str]:
    """One line for each thing that a lockfile at the root says otherwise; `read` gives a file's text, or nothing."""
    package = table(read("package.json"), json.loads)
    if package:
        yield from _node(package, read)
    project = table(read("pyproject.toml"), tomllib.loads)
    if project:
        yield from _python(project, read)


def node_manager(package: Mapping[str, Any], files: frozenset[str]) -> tuple[str, str]:
    """The package manager of a repository and why; the `packageManager` field comes before lockfiles. Empty: nothing says."""
    said = package.get("packageManager")
    if isinstance(said, str) and (name := said.partition("@")[0]) in set(NODE_LOCKS.values()):
        return name, f"{name}, because packageManager in package.json says so"
    locks = [lock for lock in NODE_LOCKS if lock in files]
    if not locks:
        return "", "no lockfile and no packageManager name a package manager"
    name = NODE_LOCKS[locks[0]]
    others = [lock for lock in locks if NODE_LOCKS[lock] != name]
    return name, f"{name}, because there is {locks[0]}" + (f" (there is {', '.join(others)} too)" if others else "")


# --- Node -------------------------------------------------------------------------------------------------------------


def _node(package: Mapping[str, Any], read: Read) -> Iterator[str]:
    there = frozenset(lock for lock in NODE_LOCKS if read(lock))
    manager, _ = node_manager(package, there)
    for lock in NODE_LOCKS:
        if lock in there and NODE_LOCKS[lock] != manager:
            yield f"{lock}: the lockfile of another package manager than {manager}"
    for lock in ("package-lock.json", "npm-shrinkwrap.json"):
        if lock in there:
            yield from _npm(package, lock, read)
    if "pnpm-lock.yaml" in there:
        yield from _pnpm(package, read)
    if "yarn.lock" in there:
        yield from _yarn(package, read("yarn.lock"))


def _npm(package: Mapping[str, Any], lock: str, read: Read) -> Iterator[str]:
    packages = inner(table(read(lock), json.loads), "packages")
    root = inner(packages, "")
    if not root:
        return  # lockfileVersion 1 does not repeat what the manifest says
    for key in ("name", "version"):
        if package.get(key) != root.get(key) and root.get(key) is not None:
            yield f"{lock}: {key} is {root.get(key)!r} and in package.json {package.get(key)!r}"
    yield from _ranges(lock, "package.json", package, root)
    for folder in [name for name in packages if name and "node_modules" not in name][:MAX_WORKSPACES]:
        there = table(read(f"{folder}/package.json"), json.loads)
        if there:
            yield from _ranges(lock, f"{folder}/package.json", there, inner(packages, folder))


def _pnpm(package: Mapping[str, Any], read: Read) -> Iterator[str]:
    lock = table(read("pnpm-lock.yaml"), yaml.safe_load)
    importers = inner(lock, "importers") or {".": lock}
    for folder in list(importers)[:MAX_WORKSPACES]:
        manifest = "package.json" if folder == "." else f"{folder}/package.json"
        said = package if folder == "." else table(read(manifest), json.loads)
        entry = inner(importers, folder)
        old = inner(entry, "specifiers")
        locked = {
            kind: {name: old.get(name) or _specifier(value) for name, value in inner(entry, kind).items()} for kind in KINDS
        }
        if said:
            yield from _ranges("pnpm-lock.yaml", manifest, said, locked)


def _specifier(value: Any) -> Any:
    return value.get("specifier") if isinstance(value, dict) else value


def _ranges(lock: str, manifest: str, said: Mapping[str, Any], locked: Mapping[str, Any]) -> Iterator[str]:
    """Where the ranges of two tables differ. `catalog:` and the like stand for a range that is written elsewhere."""
    for kind in KINDS:
        wanted, got = inner(said, kind), inner(locked, kind)
        if kind == "dependencies":  # npm lists an optional one twice
            wanted = {name: spec for name, spec in wanted.items() if name not in inner(said, "optionalDependencies")}
        for name in sorted({*wanted, *got}):
            here, there = wanted.get(name), got.get(name)
            if here == there or str(here).startswith(("catalog:", "workspace:")):
                continue
            if here is None and name in {**inner(said, "optionalDependencies"), **inner(said, "peerDependencies")}:
                continue
            yield f"{lock}: {name} is {there or 'missing'} and in {manifest} {here or 'missing'}"


def _yarn(package: Mapping[str, Any], text: str) -> Iterator[str]:
    keys = {part.strip().strip('"') for found in _YARN_ENTRY.findall(text) for part in found.split(", ")}
    plain = {re.sub(r"@npm:", "@", key) for key in keys}
    for kind in KINDS:
        for name, spec in inner(package, kind).items():
            local = str(spec).startswith(("workspace:", "file:", "link:", "portal:", "patch:", "catalog:"))
            if not local and f"{name}@{spec}" not in keys | plain and f"{name}@{str(spec).removeprefix('npm:')}" not in plain:
                yield f"yarn.lock: {name}@{spec} of package.json is missing"


# --- Python -----------------------------------------------------------------------------------------------------------


def _python(project: Mapping[str, Any], read: Read) -> Iterator[str]:
    declared = inner(project, "project")
    named = declared.get("dependencies")
    wanted = {_normal(spec) for spec in named if isinstance(spec, str)} if isinstance(named, list) else set()
    for lock in ("uv.lock", "poetry.lock"):
        locked = table(read(lock), tomllib.loads)
        rows = locked.get("package")
        if not isinstance(rows, list):
            continue
        there = {_normal(str(row.get("name"))) for row in rows if isinstance(row, dict)}
        poetry = (
            set(inner(inner(inner(project, "tool"), "poetry"), "dependencies")) - {"python"} if lock == "poetry.lock" else set()
        )
        for name in sorted((wanted | {_normal(each) for each in poetry}) - there - {_normal(str(declared.get("name")))}):
            yield f"{lock}: {name} of pyproject.toml is missing"


def _normal(spec: str) -> str:
    """The name in a requirement, as PEP 503 compares it."""
    found = _NAME.match(spec.strip())
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else spec


# --- tables -----------------------------------------------------------------------------------------------------------


def table(text: str, parse: Callable[[str], Any]) -> Mapping[str, Any]:
    """The table in a text, empty where it doesn't parse: the check of syntax says so."""
    try:
        found = parse(text) if text else None
    except (ValueError, RecursionError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def inner(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The table under `name`, empty where there is none."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}
