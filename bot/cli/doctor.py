"""`ostler doctor`: what a run needs, looked at one by one, each with how to mend it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from bot.cli.run import repo_config
from bot.config import VENDORS, RepoConfig, Settings, load_settings, run_settings
from bot.core.errors import UserError
from bot.core.reports import Profile
from bot.core.selection import ModelClass
from bot.llm.prices import TABLE_DATED, stale
from bot.rooms import experience_of, pricing, sessions
from bot.workspace.checkout import Checkout
from bot.workspace.sandbox import Sandbox
from bot.workspace.workplace import look

SYMBOLS = {"ok": "✔", "warn": "!", "bad": "✘"}


@dataclass(frozen=True, slots=True)
class Item:
    """One thing looked at. `bad` stops a run, `warn` limits it."""

    name: str
    state: Literal["ok", "warn", "bad"]
    detail: str


def doctor(path: Path, *, as_json: bool) -> int:
    """Print what was found; 5 if anything would stop a run."""
    items = list(_items(path))
    if as_json:
        print(json.dumps([asdict(item) for item in items]))
    else:
        console = Console(highlight=False)
        styles = {"ok": "green", "warn": "yellow", "bad": "bold red"}
        for item in items:
            console.print(f"[{styles[item.state]}]{SYMBOLS[item.state]}[/] {item.name:<10} {escape(item.detail)}", soft_wrap=True)
    return 5 if any(item.state == "bad" for item in items) else 0


def _items(path: Path) -> Iterator[Item]:
    yield _git()
    yield _sandbox()
    try:
        settings = load_settings()
    except UserError as error:
        yield Item("settings", "bad", str(error))
        return
    yield from _keys(settings)
    yield _state(settings)
    yield from _checkout(path, settings)


def _git() -> Item:
    found = shutil.which("git")
    return Item("git", "ok", found) if found else Item("git", "bad", "not found: install git 2.38 or newer")


def _sandbox() -> Item:
    with tempfile.TemporaryDirectory(prefix="ostler-doctor-") as made:
        report = Sandbox(Path(made)).probe()
    if report.full:
        return Item("sandbox", "ok", f"{report.tier}, all {len(report.probes)} probes held")
    return Item("sandbox", "bad", report.advice)


def _keys(settings: Settings) -> Iterator[Item]:
    for vendor in VENDORS:
        where = getattr(settings, f"{vendor}_base_url") or "the vendor's own address"
        if settings.key(vendor):
            yield Item(vendor, "ok", f"key set, asked at {where}")
        else:
            yield Item(
                vendor, "warn", f"no key: set {vendor.upper()}_API_KEY" + (" for a second opinion" if settings.vendors else "")
            )
    if not settings.vendors:
        yield Item("models", "warn", 'without a key only the mechanical fixers work, for example --issue "Remove unused imports"')


def _state(settings: Settings) -> Item:
    root = sessions(settings).root
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=root):
            return Item("state", "ok", str(root))
    except OSError as error:
        return Item("state", "bad", f"{root} cannot be written ({error.strerror}): set OSTLER_STATE_DIR to a folder that can")


def _checkout(path: Path, settings: Settings) -> Iterator[Item]:
    try:
        checkout = Checkout.open(path)
        config = repo_config(checkout)
    except UserError as error:
        yield Item("checkout", "bad", str(error))
        return
    dirty = checkout.dirty()
    where = f"{checkout.root} at {checkout.head[:12]} ({checkout.branch or 'detached HEAD'})"
    yield Item(
        "checkout",
        "warn" if dirty else "ok",
        f"{where}, {len(dirty)} paths not committed: commit or stash them" if dirty else where,
    )
    yield from _prices(settings, config)
    yield _memory(settings, str(checkout.root))
    try:
        profile = look(checkout, run_settings(settings, config, None))
    except UserError as error:
        yield Item("toolchain", "bad", str(error))
        return
    yield from _toolchain(profile)


def _toolchain(profile: Profile) -> Iterator[Item]:
    """What was found, then each stage with its command or why it isn't run."""
    yield Item("toolchain", "ok" if profile.runtime else "warn", f"{profile.language}: {'; '.join(profile.why)}")
    for stage in profile.stages:
        if stage.name == "tests" and profile.test_runner is None:
            yield Item("tests", "warn", f"none run: changes stay 'not verified' ({stage.reason})")
        elif stage.name == "tests":
            yield Item("tests", "ok", f"{stage.command} ({stage.reason})")
        else:
            yield Item(stage.name, "ok", f"{stage.command} ({stage.reason})" if stage.command else stage.reason)


def _memory(settings: Settings, repo: str) -> Item:
    """What earlier runs used. A database that is damaged stops every run: nothing is spent that no account tells of."""
    try:
        found = experience_of(settings, repo)
    except UserError as error:
        return Item("memory", "bad", f"{error} Sessions are not in it: each has its own journal.")
    return Item("memory", "ok", f"{len(found.runs)} finished runs")


def _prices(settings: Settings, config: RepoConfig) -> Iterator[Item]:
    price = pricing(config)
    for model in config.models.available(settings.vendors):
        try:
            price(model.vendor, model.model)
        except UserError as error:
            yield Item("prices", "bad", str(error))
            return
    names = ", ".join(
        model.model for model in config.models.available(settings.vendors) if model.model_class is not ModelClass.MECHANICAL
    )
    old = stale(datetime.now(UTC).date())
    yield Item("prices", "warn" if old else "ok", old or f"table of {TABLE_DATED}" + (f": {names}" if names else ""))
