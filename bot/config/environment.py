"""What the environment says (`OSTLER_*`)."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from socket import inet_aton
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.config.base import Dollars
from bot.core.errors import SetupError

VENDORS = ("anthropic", "openai")


def _either(name: str) -> Any:
    """A setting under our own name or the vendor's."""
    return Field(validation_alias=AliasChoices(f"OSTLER_{name}", name))


class Settings(BaseSettings):
    """What the environment says. Keys may also be given under the vendors' own names."""

    model_config = SettingsConfigDict(env_prefix="OSTLER_", extra="ignore", populate_by_name=True, env_ignore_empty=True)

    anthropic_api_key: Annotated[SecretStr | None, _either("ANTHROPIC_API_KEY")] = None
    openai_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("OSTLER_OPENAI_API_KEY", "OPENAI_API_KEY")
    )
    anthropic_base_url: str | None = None
    openai_base_url: str | None = None
    streaming: bool = True
    state_dir: Path | None = None
    max_cost_per_day: Dollars | None = None

    def key(self, vendor: str) -> str:
        """The API key of `vendor`, or an empty string."""
        secret: SecretStr | None = getattr(self, f"{vendor}_api_key")
        return secret.get_secret_value().strip() if secret else ""

    @property
    def vendors(self) -> tuple[str, ...]:
        """The vendors whose key is set."""
        return tuple(vendor for vendor in VENDORS if self.key(vendor))

    @property
    def note(self) -> str:
        """What a reader has to know about where the answers come from: a server on this machine is no vendor."""
        places = sorted({url for url in (self.anthropic_base_url, self.openai_base_url) if url and _is_here(url)})
        if not places:
            return ""
        where = ", ".join(places)
        return f"Scripted run: the models' answers came from this machine ({where}), not from a vendor. All else is real."


def load_settings() -> Settings:
    """The environment's settings.

    Raises:
        SetupError: a variable has a value that does not fit.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper().removeprefix("OSTLER_")
        raise SetupError(f"OSTLER_{name}: {first['msg']}. Mend the variable or unset it.") from error
    for vendor in VENDORS:
        url = getattr(settings, f"{vendor}_base_url")
        if url and not _is_address(url):
            raise SetupError(
                f"OSTLER_{vendor.upper()}_BASE_URL: {url!r} is no address such as https://host/path. Mend or unset it."
            )
    return settings


def _is_here(url: str) -> bool:
    """Whether `url` leads to this machine, in whatever way its address is written."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host) if ":" in host else ip_address(inet_aton(host))
    except (OSError, ValueError):  # a name
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that are none
        return False
