"""Coverage maps of the trees whose suites ran here, kept between runs. A map that is lost only costs the time to make it."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import zlib
from pathlib import Path

from bot.core.coverage_map import CoverageMap, read_map
from bot.core.errors import PolicyError
from bot.workspace.toolchains.reading import read_plain

KEPT = 8
PACKED, UNPACKED = 32 * 1024 * 1024, 256 * 1024 * 1024


class Maps:
    """`<tree id>.json.gz` in `folder`, the newest few. A map is of one tree and of the interpreter that ran its tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, tree: str, runtime: str, notes: bytes) -> CoverageMap | None:
        """Keep the recorder's `notes`; None where they are none, or too long."""
        try:
            value = json.loads(notes)
            known = read_map(value)
        except (ValueError, RecursionError, PolicyError):
            return None
        packed = gzip.compress(json.dumps({"runtime": runtime, "notes": value}).encode(), 6, mtime=0)
        if len(packed) > PACKED:
            return None
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".new-", delete=False) as file:
            file.write(packed)
        os.replace(file.name, self._folder / f"{tree}.json.gz")
        for old in sorted(self._folder.glob("*.json.gz"), key=lambda path: path.stat().st_mtime_ns)[:-KEPT]:
            old.unlink(missing_ok=True)
        return known

    def load(self, tree: str, runtime: str) -> CoverageMap | None:
        """The map of `tree`; None where there is none of it that can be read and is of this interpreter."""
        packed = read_plain(self._folder, f"{tree}.json.gz", PACKED)
        try:
            unpacked = zlib.decompressobj(31).decompress(packed or b"", UNPACKED)
            value = json.loads(unpacked)
            return read_map(value["notes"]) if value["runtime"] == runtime else None
        except (ValueError, TypeError, KeyError, RecursionError, zlib.error, PolicyError):
            return None
