"""The App's settings, from the environment (`OSTLER_*`): what it is, where it listens, whom it trusts."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.config import parse_config
from bot.core.errors import SetupError
from bot.core.queue import LEASE_SECONDS
from bot.github.limits import READS
from bot.github.plain import is_loopback

NEEDED = {
    "app_id": "the number on the App's settings page",
    "app_private_key": "the App's private key: the PEM text, or the file that holds it",
    "webhook_secret": "the secret on the App's settings page",
    "state_key": "a secret of at least 32 characters, made with `openssl rand -base64 48`",
    "public_url": "the address under which GitHub and its runners reach this App, such as https://ostler.example.com",
    "workflow_ref_prefix": "the workflow whose jobs are trusted, such as owner/ostler/.github/workflows/improve.yml@",
}
APPS = "the App's defaults"
"""What people call the file that `defaults` names."""
SHORTEST_SECRET, SHORTEST_KEY = 16, 32


class AppSettings(BaseSettings):
    """What `ostler serve` needs to know. `load_app_settings` fills in and checks it."""

    model_config = SettingsConfigDict(env_prefix="OSTLER_", extra="ignore", env_ignore_empty=True)

    app_id: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")] = ""
    app_private_key: SecretStr = SecretStr("")
    webhook_secret: SecretStr = SecretStr("")
    webhook_secret_old: SecretStr = SecretStr("")
    state_key: SecretStr = SecretStr("")
    database_url: str = ""
    state_dir: Path | None = None
    github_api_url: str = "https://api.github.com"
    github_pause: Annotated[float, Field(ge=0, le=60)] = 1.0
    github_reads_per_minute: Annotated[int, Field(ge=0, le=100_000)] = READS
    public_url: str = ""
    oidc_issuer: str = "https://token.actions.githubusercontent.com"
    workflow_file: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+\.ya?ml$")] = "ostler.yml"
    workflow_ref_prefix: Annotated[str, Field(pattern=r"^([^/@\s]+/[^/@\s]+/\.github/workflows/[^/@\s]+\.ya?ml@[^\s]*)?$")] = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    sweep_minutes: Annotated[float, Field(gt=0, le=1440)] = 10.0
    poll_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    smart_queue: bool = True
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = LEASE_SECONDS
    api_token: SecretStr = SecretStr("")
    defaults: str = ""
    max_cost_per_day: Annotated[Decimal, Field(gt=0, le=10_000, allow_inf_nan=False)] | None = None

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        both = (self.webhook_secret.get_secret_value(), self.webhook_secret_old.get_secret_value())
        return tuple(secret for secret in both if secret)

    @property
    def origin(self) -> str:
        """Scheme and host of the App: what identity tokens of jobs have to be made out to."""
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"


def read_app_settings(env_file: Path | None = None) -> AppSettings:
    """The settings of the environment, and of `env_file` where that has none, whatever may be missing.

    Raises:
        SetupError: one does not fit; one sentence says which variable.
    """
    if env_file and not env_file.is_file():
        raise SetupError(f"There is no file {env_file}: `ostler app create` makes one.")
    try:
        return AppSettings(_env_file=env_file)  # type: ignore[call-arg] # every settings class takes it
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper().removeprefix("OSTLER_")
        raise SetupError(f"OSTLER_{name}: {first['msg']}. Mend the variable.") from error


def load_app_settings(env_file: Path | None = None) -> AppSettings:
    """The settings, with the private key and the defaults read and the database's place filled in.

    Raises:
        SetupError: something is missing or does not fit; one sentence says which variable.
    """
    given = read_app_settings(env_file)
    for name, what in NEEDED.items():
        value = getattr(given, name)
        if not (value.get_secret_value() if isinstance(value, SecretStr) else value).strip():
            raise SetupError(f"OSTLER_{name.upper()} is not set: it is {what}.")
    for secret in given.webhook_secrets:
        if len(secret) < SHORTEST_SECRET:
            raise SetupError(f"OSTLER_WEBHOOK_SECRET is too short: {SHORTEST_SECRET} characters or more.")
    if len(given.state_key.get_secret_value()) < SHORTEST_KEY:
        raise SetupError(f"OSTLER_STATE_KEY is too short: {NEEDED['state_key']}.")
    if 0 < len(given.api_token.get_secret_value()) < SHORTEST_KEY:
        raise SetupError(f"OSTLER_API_TOKEN is too short: {SHORTEST_KEY} characters or more, made with `openssl rand -hex 32`.")
    for name in ("public_url", "github_api_url", "oidc_issuer"):
        _check_address(name, getattr(given, name))
    return given.model_copy(
        update={
            "app_private_key": SecretStr(_private_key(given.app_private_key.get_secret_value())),
            "defaults": _defaults(given.defaults),
            "database_url": given.database_url or f"sqlite:///{_state_dir(given) / 'ostler.db'}",
            "public_url": given.public_url.rstrip("/"),
            "oidc_issuer": given.oidc_issuer.rstrip("/"),
        }
    )


def _check_address(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        fine = bool(parts.hostname) and not parts.query and not parts.fragment and parts.port != 0 and not parts.username
    except ValueError:
        fine = False
    if not fine or not (url.startswith("https://") or (url.startswith("http://") and is_loopback(url))):
        raise SetupError(f"OSTLER_{name.upper()}: {url!r} is no https address. Mend the variable.")


def _private_key(given: str) -> str:
    """The PEM text, with real line breaks where the environment only took `\\n`; or the file's."""
    if "-----BEGIN" in given:
        return given.replace("\\n", "\n")
    try:
        text = Path(given).expanduser().read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SetupError(f"OSTLER_APP_PRIVATE_KEY is neither a PEM key nor a file that can be read ({reason}).") from None
    if "-----BEGIN" not in text:
        raise SetupError("OSTLER_APP_PRIVATE_KEY names a file that holds no PEM key; download it from GitHub again.")
    return text


def _defaults(path: str) -> str:
    """The text of the file with defaults of all repositories: one that holds."""
    if not path:
        return ""
    where = Path(path).expanduser()
    try:
        raw = where.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path"
        raise SetupError(f"OSTLER_DEFAULTS names a file that can't be read ({reason}): {path}.") from None
    parse_config(raw, f"OSTLER_DEFAULTS: {path}")
    return raw.decode()


def _state_dir(given: AppSettings) -> Path:
    base = given.state_dir or Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ostler"
    return base.expanduser().absolute()
