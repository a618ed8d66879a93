"""Find the Python that runs a repository's tests, looking at files outside and importing only inside the sandbox."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.core.errors import SetupError
from bot.workspace.sandbox import SAFE_PATH, Sandbox, own_interpreter
from bot.workspace.toolchains.reading import read_text

SECONDS = 30.0
CHECK = "import sys, importlib; [importlib.import_module(name) for name in sys.argv[1:]]; print(*sys.version_info[:2])"
PACKAGES = ("lib*/python3*/site-packages", "lib*/python3*/dist-packages", "local/lib*/python3*/dist-packages")
VENV_NAMES = (".venv", "venv", "env")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """`python` is run as it is written; `readonly` are the folders it needs; `path` is PATH inside the sandbox."""

    python: Path
    readonly: tuple[Path, ...]
    where: str

    @property
    def path(self) -> str:
        return f"{self.python.parent}:{SAFE_PATH}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the interpreter must be able to do."""

    modules: tuple[str, ...]
    lowest: tuple[int, int] | None


def choose(
    box: Sandbox, checkout: Path, wanted: Wanted, *, setting: str, virtual_env: str, path: str, known: str = ""
) -> tuple[Interpreter, tuple[str, ...]]:
    """The first interpreter that does what is wanted, and a sentence for it and for each one passed over.

    `known` is one that was tried before in the same run and is not tried again.

    Raises SetupError when even Ostler's own doesn't, or when the one that was set explicitly doesn't.
    """
    said: list[str] = []
    for where, python in _candidates(checkout, setting, virtual_env, path):
        found = _located(python, where, checkout)
        why = found if isinstance(found, str) else "" if str(python) == known else _try(box, found, wanted)
        if not why and isinstance(found, Interpreter):
            return found, (
                *said,
                f"{python}, because it is {where}" + (f" and has {', '.join(wanted.modules)}" if wanted.modules else ""),
            )
        said.append(f"not {python} ({where}): {why}")
        if setting:
            break
    raise SetupError(
        f"no Python here can run the tests: {'; '.join(said)}. Make .venv in the checkout and install the project in it"
    )


def _candidates(checkout: Path, setting: str, virtual_env: str, path: str) -> Iterator[tuple[str, Path]]:
    if setting:
        yield "the one set in the configuration", Path(setting) if os.path.isabs(setting) else checkout / setting
        return
    environments = _environments(checkout)
    yield from ((f"the checkout's {folder.name}", folder / "bin" / "python") for folder in environments)
    if virtual_env and Path(virtual_env) not in environments:
        yield "the active virtual environment", Path(virtual_env) / "bin" / "python"
    for folder in path.split(os.pathsep):
        if os.path.isabs(folder) and os.access(Path(folder, "python3"), os.X_OK):
            yield "the first python3 on PATH", Path(folder, "python3")
            break
    yield "Ostler's own", Path(sys.executable)


def _environments(checkout: Path) -> list[Path]:
    """Virtual environments at the checkout's root: the usual names first (uv and poetry make `.venv`), then any other."""
    try:
        found = sorted(path for path in checkout.iterdir() if (path / "pyvenv.cfg").is_file())
    except OSError:
        return []
    return sorted(found, key=lambda path: VENV_NAMES.index(path.name) if path.name in VENV_NAMES else len(VENV_NAMES))


def _located(python: Path, where: str, checkout: Path) -> Interpreter | str:
    """The interpreter with the folders to show in the sandbox, or why it isn't used.

    A repository may carry a `.venv` whose links name any folder of the machine, so a folder is shown only if it is an
    installation of Python.
    """
    if python == Path(sys.executable):
        return Interpreter(python, own_interpreter(), where)
    if not os.access(python, os.X_OK) or not python.is_file():
        return "it cannot be run"
    with python.open("rb") as file:
        if file.read(2) == b"#!":
            return "it is a script that starts some other Python"
    readonly: list[Path] = []
    environment = python.parent.parent
    if (environment / "pyvenv.cfg").is_file():
        if checkout.is_relative_to(environment.resolve()):
            return "the checkout lies in it"
        readonly += [environment, environment.resolve()]
        home = re.search(r"^home\s*=\s*(.+)$", read_text(environment, "pyvenv.cfg"), re.MULTILINE)
        prefixes = [Path(home[1].strip()).parent] if home else []
    else:
        prefixes = [environment]
    for prefix in dict.fromkeys([*prefixes, *(one.resolve() for one in prefixes), python.resolve().parent.parent]):
        if not any(prefix.glob("lib*/python3*/os.py")):
            return f"{prefix} is not an installation of Python"
        readonly.append(prefix)
    return Interpreter(python, tuple(dict.fromkeys(readonly)), where)


def _try(box: Sandbox, found: Interpreter, wanted: Wanted) -> str:
    """Import the modules inside the sandbox; answers with what is missing, empty if nothing is."""
    if _ours_does(found, wanted):
        return ""
    with tempfile.TemporaryDirectory(dir=box.scratch.folder, prefix="try-") as made:
        argv = [str(found.python), "-c", CHECK, *wanted.modules]
        ran = box.run(argv, work=Path(made), at="/work/try", readonly=found.readonly, env={"PATH": found.path}, seconds=SECONDS)
    if ran.exit != 0:
        return _last_line(ran.text) or ran.how
    version = tuple(int(word) for word in ran.text.split()[-2:])
    if wanted.lowest and version < wanted.lowest:
        return f"it is Python {version[0]}.{version[1]} and the project needs {wanted.lowest[0]}.{wanted.lowest[1]}"
    return ""


def _ours_does(found: Interpreter, wanted: Wanted) -> bool:
    """Whether `found` is the Python of this process, and does what is wanted. It runs in the sandbox, as the probes show, and a
    look for the modules where the sandbox shows them takes 1 ms; importing pytest there takes 300."""
    if found.python != Path(sys.executable) or (wanted.lowest and sys.version_info[:2] < wanted.lowest):
        return False
    origins = [spec.origin if (spec := importlib.util.find_spec(name)) else None for name in wanted.modules]
    return all(origin and any(Path(origin).is_relative_to(folder) for folder in found.readonly) for origin in origins)


def installed(found: Interpreter) -> tuple[tuple[str, int], ...]:
    """The interpreter and the packages beside it, each with when it last changed. A package that is installed, updated or removed
    changes its entry; an edit within one does not."""
    there = {found.python.resolve()}
    for folder in found.readonly:
        for packages in (path for pattern in PACKAGES for path in folder.glob(pattern)):
            there.update(packages.iterdir())
    return tuple(sorted((str(path), path.stat().st_mtime_ns) for path in there if path.exists() and path.name != "__pycache__"))


def has_module(box: Sandbox, found: Interpreter, module: str) -> bool:
    """True if the interpreter can import the module, tried inside the sandbox."""
    return not _try(box, found, Wanted((module,), None))


def _last_line(text: str) -> str:
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1] if lines else ""
