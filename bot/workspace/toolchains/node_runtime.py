"""Find the Node that runs a repository's tests: the first on PATH that is an installation and starts in the sandbox."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bot.workspace.sandbox import SAFE_PATH, Sandbox

LOWEST = (20, 0)
STRIPS_TYPES = ((22, 18), (23, 6))
"""Since 22.18 and 23.6 Node runs TypeScript by leaving its types out."""
STRIPS_WHEN_ASKED = (22, 6)
SECONDS = 30.0
SYSTEM = ("/usr", "/bin")


@dataclass(frozen=True, slots=True)
class Node:
    """`program` is run as it is written; `readonly` are the folders of the machine that it needs."""

    program: Path
    version: tuple[int, int]
    readonly: tuple[Path, ...]

    @property
    def path(self) -> str:
        return f"{self.program.parent}:{SAFE_PATH}"

    @property
    def typescript(self) -> str:
        """The option with which it runs TypeScript, `none` where it needs none, empty where it cannot."""
        low, high = STRIPS_TYPES
        if low <= self.version < (23, 0) or self.version >= high:
            return "none"
        return "--experimental-strip-types" if self.version >= STRIPS_WHEN_ASKED else ""


def find(box: Sandbox, path: str) -> tuple[Node | None, str]:
    """The Node to use and why, or why there is none."""
    said: list[str] = []
    for folder in dict.fromkeys(path.split(os.pathsep)):
        program = Path(folder, "node")
        if not os.path.isabs(folder) or not os.access(program, os.X_OK) or not program.is_file():
            continue
        found = _try(box, program)
        if isinstance(found, Node):
            version = ".".join(str(part) for part in found.version)
            return found, "; ".join([*said, f"{program} (Node {version}), because it is the first node on PATH"])
        said.append(f"not {program}: {found}")
    if said:
        return None, "; ".join(said)
    return None, "there is no node on PATH: install Node 20 or newer"


def _try(box: Sandbox, program: Path) -> Node | str:
    """Start it in the sandbox; a folder of the machine is shown only if it is an installation of Node."""
    real = program.resolve()
    with real.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return "it is a script that starts some other Node"
    prefixes = [] if str(real).startswith(SYSTEM) else list(dict.fromkeys((program.parent.parent, real.parent.parent)))
    for prefix in prefixes:
        if not (prefix / "include/node/node_version.h").is_file() and not (prefix / "lib/node_modules/npm").is_dir():
            return f"{prefix} is not an installation of Node"
    with tempfile.TemporaryDirectory(dir=box.scratch.folder, prefix="try-") as made:
        argv = (str(program), "--version")
        ran = box.run(argv, work=Path(made), at="/work/try", readonly=prefixes, seconds=SECONDS)
    version = re.fullmatch(r"v(\d+)\.(\d+)\.\d+\S*", ran.text.strip()) if ran.exit == 0 else None
    if version is None:
        return f"it does not start in the sandbox ({ran.how})"
    found = Node(program, (int(version[1]), int(version[2])), tuple(prefixes))
    return found if found.version >= LOWEST else f"it is Node {version[1]}.{version[2]}, and 20 is the oldest that is used"
