"""Builds the rooms of a run from the settings: the one place where keys meet clients."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bot.config import VENDORS, RepoConfig, Settings
from bot.core.budget import MICRO, Rates
from bot.core.effects import Deliver
from bot.core.events import BaseMoved, Delivered
from bot.core.experience import Experience
from bot.core.record import taught
from bot.core.run import Run
from bot.llm import anthropic, lean, openai
from bot.llm.model import Model
from bot.llm.prices import rates
from bot.loop.perform import Ask, Publish, Rooms
from bot.store.session import SessionFolder, Sessions
from bot.store.shares import Alone, Shares
from bot.workspace.checkout import Checkout
from bot.workspace.workplace import Workplace

ACCOUNTS = "accounts.db"

if TYPE_CHECKING:
    from bot.store.accounts import Accounts
    from bot.store.purse import Purse


def rooms(folder: SessionFolder, checkout: Checkout, settings: Settings, config: RepoConfig, ask: Ask | None) -> Rooms:
    """The rooms of the session in `folder`."""
    place = Workplace(folder.path, checkout, maps=state_dir(settings) / "coverage", earlier_runs=True)
    purse = shared_purse(settings, config, str(checkout.root)) or alone(config)
    return Rooms(pricing(config), purse, place, models(settings), ask, to_branch(place))


def alone(config: RepoConfig) -> Alone:
    """The limits of a machine that works on one run, or of one without limits that runs share."""
    return Alone(config.breaker.breaker(), config.rate_limits.buckets(), time.time)


def shared_purse(settings: Settings, config: RepoConfig, repo: str) -> Purse | None:
    """The limits that all runs of this machine share; None where none is set, so that nobody waits for a database then."""
    shares = shares_of(settings, config, repo)
    if not shares.limited:
        return None
    from bot.store.purse import Purse  # noqa: PLC0415 - it brings the database along, which most runs don't need

    return Purse(accounts(settings), shares, config.rate_limits.buckets(), config.breaker.breaker(), time.time)


def shares_of(settings: Settings, config: RepoConfig, repo: str) -> Shares:
    """The limits that are set for all runs of `repo`, and of this machine."""
    budget, quotas = config.budget, config.quotas
    session, day, installation = (
        int(amount * MICRO) if amount else 0 for amount in (budget.session, budget.day, settings.max_cost_per_day)
    )
    weekly = {vendor: quota.weekly_tokens for vendor in VENDORS if (quota := getattr(quotas, vendor))}
    return Shares(repo, "this machine", session, day, installation, weekly)


def accounts(settings: Settings) -> Accounts:
    """This machine's accounts, under the state directory."""
    from bot.store.accounts import Accounts  # noqa: PLC0415 - as above
    from bot.store.database import Database  # noqa: PLC0415

    return Accounts(Database.open(f"sqlite:///{state_dir(settings) / ACCOUNTS}"))


def to_branch(place: Workplace) -> Publish:
    """Delivery to a branch of the checkout that `place` works for."""

    def publish(run: Run, effect: Deliver) -> Delivered | BaseMoved:
        if moved := place.follow(run, effect.branch):
            return moved
        return Delivered(effect.branch, place.deliver(effect.tree, run.base_sha, effect.branch, effect.message, utc_now()))

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
    threading.Thread(target=lean.load, args=(vendor,), name=f"load {vendor}", daemon=True).start()


def pricing(config: RepoConfig) -> Callable[[str, str], Rates]:
    """Prices of the configuration first, then those of the bundled table."""
    own = {price.model: price.rates() for price in config.prices}

    def price(vendor: str, model: str) -> Rates:
        return own.get(model) or rates(vendor, model)

    return price


def experience_of(settings: Settings, repo: str) -> Experience:
    """What this machine knows of earlier runs of `repo`; nothing, and no database, before there was one."""
    if not (state_dir(settings) / ACCOUNTS).is_file():
        return Experience()
    return accounts(settings).experience(repo)


def remember(settings: Settings, repo: str, run: Run) -> None:
    """Keep what `run`, which is over, adds to the experience of `repo`. One that asked no model adds nothing."""
    found = taught(run)
    if found.runs:
        accounts(settings).learn(repo, f"{run.request.session}/{run.request.run}", found, utc_now()[:10])
