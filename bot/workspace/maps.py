"""What runs of the suites of trees showed here, kept between runs: coverage maps and reports. What is lost only costs the time to
make it."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bot.core.coverage_map import CoverageMap, read_map
from bot.core.errors import PolicyError
from bot.core.reports import TestReport
from bot.workspace.toolchains.reading import read_plain

KEPT = 16
PACKED, UNPACKED = 32 * 1024 * 1024, 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Suite:
    """A report of a whole suite. `taken` is when an earlier run made it, UTC, ISO 8601; empty where this one did."""

    report: TestReport
    taken: str = ""


_SUITE = TypeAdapter(Suite)


class Maps:
    """In `folder`, the newest few: `<tree id>.json.gz`, a map of one tree and of the interpreter that ran its tests, and
    `<tree id>.suite.json.gz`, a report of its suite in one environment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, tree: str, runtime: str, notes: bytes) -> CoverageMap | None:
        """Keep the recorder's `notes`; None where they are none, or too long."""
        known = readable(notes)
        return known if known and self._write(tree, {"runtime": runtime, "notes": json.loads(notes)}) else None

    def load(self, tree: str, runtime: str) -> CoverageMap | None:
        """The map of `tree`; None where there is none of it that can be read and is of this interpreter."""
        value = self._read(tree)
        try:
            return read_map(value["notes"]) if value["runtime"] == runtime else None
        except (TypeError, KeyError, PolicyError):
            return None

    def keep_suite(self, tree: str, environment: str, suite: Suite) -> None:
        self._write(f"{tree}.suite", {"environment": environment, "suite": asdict(suite)})

    def suite(self, tree: str, environment: str) -> Suite | None:
        """The report of the suite of `tree` in `environment`; None where there is none that can be read."""
        value = self._read(f"{tree}.suite")
        try:
            return _SUITE.validate_python(value["suite"]) if value["environment"] == environment else None
        except (TypeError, KeyError, ValidationError):
            return None

    def forget_suite(self, tree: str) -> None:
        (self._folder / f"{tree}.suite.json.gz").unlink(missing_ok=True)

    def _write(self, name: str, value: dict[str, Any]) -> bool:
        """Whether it is short enough to be kept."""
        packed = gzip.compress(json.dumps(value).encode(), 6, mtime=0)
        if len(packed) > PACKED:
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".new-", delete=False) as file:
            file.write(packed)
        os.replace(file.name, self._folder / f"{name}.json.gz")
        for old in sorted(self._folder.glob("*.json.gz"), key=lambda path: path.stat().st_mtime_ns)[:-KEPT]:
            old.unlink(missing_ok=True)
        return True

    def _read(self, name: str) -> Any:
        packed = read_plain(self._folder, f"{name}.json.gz", PACKED)
        try:
            return json.loads(zlib.decompressobj(31).decompress(packed or b"", UNPACKED))
        except (ValueError, RecursionError, zlib.error):
            return None


def readable(notes: bytes) -> CoverageMap | None:
    """The map in the recorder's `notes`; None where they are none."""
    try:
        return read_map(json.loads(notes))
    except (ValueError, RecursionError, PolicyError):
        return None
