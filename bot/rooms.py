"""Builds the rooms of a run from the settings: the one place where keys meet clients."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bot.config import RepoConfig, Settings
from bot.core.budget import Rates
from bot.core.effects import Deliver
from bot.core.events import Delivered
from bot.core.run import Run
from bot.llm import anthropic, lean, openai
from bot.llm.model import Model
from bot.llm.prices import rates
from bot.loop.perform import Ask, Publish, Rooms
from bot.store.session import SessionFolder, Sessions
from bot.workspace.checkout import Checkout
from bot.workspace.workplace import Workplace


def rooms(folder: SessionFolder, checkout: Checkout, settings: Settings, config: RepoConfig, ask: Ask | None) -> Rooms:
    """The rooms of the session in `folder`."""
    place = Workplace(folder.path, checkout)
    return Rooms(pricing(config), place, models(settings), ask, to_branch(place))


def to_branch(place: Workplace) -> Publish:
    """Delivery to a branch of the checkout that `place` works for."""

    def publish(run: Run, effect: Deliver) -> Delivered:
        return Delivered(
            effect.branch, place.deliver(effect.tree, run.request.base_sha, effect.branch, effect.message, utc_now())
        )

    return publish


def sessions(settings: Settings) -> Sessions:
    """This machine's sessions, under the state directory."""
    return Sessions(state_dir(settings))


def state_dir(settings: Settings) -> Path:
    """`OSTLER_STATE_DIR`, else where the XDG base directory specification puts state."""
    base = settings.state_dir or Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ostler"
    return base.expanduser().absolute()


def utc_now() -> str:
    """UTC, ISO 8601, with microseconds."""
    return datetime.now(UTC).isoformat()


def models(settings: Settings) -> dict[str, Model]:
    """A client for each vendor whose key is set. No SDK is loaded before the first call."""
    found: dict[str, Model] = {}
    if key := settings.key("anthropic"):
        url = settings.anthropic_base_url or anthropic.PUBLIC_URL
        found["anthropic"] = anthropic.AnthropicModel(key, url, streaming=settings.streaming)
    if key := settings.key("openai"):
        url = settings.openai_base_url or openai.PUBLIC_URL
        found["openai"] = openai.OpenAIModel(key, url, streaming=settings.streaming)
    return found


def warm(vendor: str) -> None:
    """Load the SDK of `vendor` beside the steps before its first call, which mostly wait for git and the sandbox."""
    load = lean.load if vendor == "anthropic" else lambda: importlib.import_module(vendor)
    threading.Thread(target=load, name=f"load {vendor}", daemon=True).start()


def pricing(config: RepoConfig) -> Callable[[str, str], Rates]:
    """Prices of the configuration first, then those of the bundled table."""
    own = {price.model: price.rates() for price in config.prices}

    def price(vendor: str, model: str) -> Rates:
        return own.get(model) or rates(vendor, model)

    return price
