"""The checks of a Node tree: files parse and imports resolve, tsc, eslint and prettier where the repository uses them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.core.reports import Check, Ran
from bot.workspace.toolchains import modules
from bot.workspace.toolchains.checks import Finding, Mender, Pair, RunTool, compared, finished, listed, neutral
from bot.workspace.toolchains.node_profile import NodeFacts
from bot.workspace.toolchains.reading import read_text

LINTED = (*modules.SOURCES, ".vue", ".svelte", ".astro")
TYPED = (".ts", ".mts", ".cts", ".tsx", ".vue", ".svelte", ".js", ".jsx", ".mjs", ".cjs", ".json")
TSC_LINE = re.compile(r"^(?P<file>[^\s(][^(\n]*)\((?P<line>\d+),\d+\): error (?P<code>TS\d+): (?P<text>.*)$", re.MULTILINE)
TSC_WHOLE = re.compile(r"^error (?P<code>TS\d+): (?P<text>.*)$", re.MULTILINE)
UNREAD = re.compile(r"^\[error\] (?P<file>[^:\s]+): (?P<text>\w*Error: .*)$", re.MULTILINE)
PRETTIER_ERRORS = 2
NOTHING = "no JavaScript or TypeScript file changed"
Inspected = dict[str, Any]


def syntax_and_imports(pair: Pair, run: RunTool, argv: Sequence[str], facts: NodeFacts) -> tuple[Check, ...]:
    """Changed files parse, and what they import at the top is there; nothing of them is executed."""
    files = pair.named(*modules.SOURCES)
    if not files:
        return (*neutral("syntax", NOTHING), *neutral("imports", NOTHING))
    ran, head = run(pair.head, argv, {"files": files})
    if not isinstance(head, dict):
        why = f"the files could not be inspected: {ran.how}: {ran.text.strip()[-300:]}"
        return (finished("syntax", "fail", why, ran, argv[:2]), *neutral("imports", why))
    _, answer = run(pair.base, argv, {"files": files})
    base: Inspected = answer if isinstance(answer, dict) else {"syntax": {}, "imports": {}, "builtins": []}
    wrong = [f"{file}: {error}" for file, error in head["syntax"].items() if file not in base["syntax"]]
    lost, known = _missing(pair.head, head, facts), _missing(pair.base, base, facts)
    missing = [f"{file}: {name}" for file, names in lost.items() for name in names if name not in known.get(file, ())]
    unread = f"; {len(head['unread'])} need TypeScript or @babel/parser to be read" if head["unread"] else ""
    read = len(files) - len(head["unread"])
    if not read:
        return (*neutral("syntax", f"nothing here parses {', '.join(files[:5])}"), *neutral("imports", "no file was parsed"))
    seen = f"{read} files parse ({head['parser']}){unread}"
    bare = "" if facts.modules else " among the files; packages were not looked for, because " + facts.modules_why
    return (
        finished("syntax", "fail" if wrong else "pass", listed(wrong) or seen, ran, argv[:2]),
        finished("imports", "fail" if missing else "pass", listed(missing) or f"all imports resolve{bare}", ran, argv[:2]),
    )


def _missing(root: Path, inspected: Inspected, facts: NodeFacts) -> dict[str, list[str]]:
    def there(path: str) -> bool:
        return not path.startswith("..") and (root / path).is_file()

    aliases = "\n".join(read_text(root, name) for name in sorted(facts.files) if modules.ALIAS_FILES.search(name))

    def installed(package: str, folder: str) -> bool:
        places = [folder, *(str(parent) for parent in Path(folder).parents)] if folder else ["."]
        typed = f"@types/{package.removeprefix('@').replace('/', '__')}"
        top = facts.modules.parent if facts.modules else root
        return any((top / place / "node_modules" / name).exists() for place in (*places, ".") for name in (package, typed))

    around = modules.Surroundings(
        frozenset(inspected["builtins"]), aliases, installed, facts.modules is not None, str(facts.package.get("name", ""))
    )
    found = {file: modules.missing(file, names, there, around) for file, names in inspected["imports"].items()}
    return {file: names for file, names in found.items() if names}


def types(pair: Pair, run: RunTool, argv: Sequence[str]) -> tuple[Check, ...]:
    """Tsc reports nothing new; it looks at what its configuration names."""
    if not pair.named(*TYPED):
        return neutral("types", "nothing changed that types could depend on")
    return compared("types", "tsc", pair, run, argv, (), _tsc, whole=True)


def lint(pair: Pair, run: RunTool, argv: Sequence[str]) -> tuple[Check, ...]:
    """Eslint finds no new error in the changed files, counted per file and rule; warnings don't count."""
    files = pair.named(*LINTED)
    return compared("lint", "eslint", pair, run, argv, files, _eslint) if files else neutral("lint", NOTHING)


def layout(pair: Pair, run: RunTool, argv: Sequence[str]) -> tuple[Check, ...]:
    """The changed files are laid out as prettier would, but for those that weren't before."""
    if not pair.changed:
        return neutral("format", "no file changed")
    return compared("format", "prettier", pair, run, argv, pair.changed, _prettier)


def menders(tools: Mapping[str, tuple[str, ...]]) -> dict[str, Mender]:
    """Eslint and prettier, those that are there, as they mend what they find."""
    found = {"lint": (("--format=json",), ("--fix",), _eslint), "format": (("--list-different",), ("--write",), _prettier)}
    return {
        name: Mender(tools[name], (*(word for word in tools[name] if word not in (*finds, "--")), *mends, "--"), read)
        for name, (finds, mends, read) in found.items()
        if name in tools
    }


def _tsc(ran: Ran) -> list[Finding] | None:
    rows = [
        Finding(found["file"], kind := f"{found['code']}: {found['text']}", kind, f"{found['file']}:{found['line']}")
        for found in TSC_LINE.finditer(ran.text)
    ]
    rows += [Finding("tsconfig", found["code"], f"{found['code']}: {found['text']}") for found in TSC_WHOLE.finditer(ran.text)]
    return rows if ran.exit == 0 or (ran.ended and rows) else None


def _eslint(ran: Ran) -> list[Finding] | None:
    start = ran.text.find("[{") if "[{" in ran.text else ran.text.find("[]")
    if ran.exit not in (0, 1) or start < 0 or ran.truncated:
        return None
    try:
        rows = json.JSONDecoder().raw_decode(ran.text[start:])[0]
        return [_eslint_row(row["filePath"], message) for row in rows for message in row["messages"] if message["severity"] > 1]
    except (json.JSONDecodeError, KeyError, TypeError):
        return None


def _eslint_row(file: str, message: dict[str, Any]) -> Finding:
    rule = str(message.get("ruleId") or "syntax")
    return Finding(file, rule, f"{rule} {message['message']}", f"{file}:{message.get('line', 1)}")


def _prettier(ran: Ran) -> list[Finding] | None:
    names = [line.strip() for line in ran.text.splitlines() if line.strip() and not line.startswith("[")]
    rows = [Finding(name, "layout", "is not laid out as prettier would") for name in names]
    unread = [
        Finding(found["file"], "syntax", f"prettier cannot read it: {found['text']}") for found in UNREAD.finditer(ran.text)
    ]
    return [*rows, *unread] if ran.exit in (0, 1) or (ran.exit == PRETTIER_ERRORS and unread) else None
