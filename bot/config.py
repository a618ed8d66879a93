"""Settings: the machine's from the environment (`OSTLER_*`), the repository's from `.github/ostler.yml` of the base commit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from socket import inet_aton
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.core.budget import MICRO, PriceTier, Rates
from bot.core.errors import BadInput, SetupError
from bot.core.selection import ModelClass, ModelId
from bot.core.strategy import Settings as RunSettings
from bot.llm.prices import long_write_factor

CONFIG_PATH = ".github/ostler.yml"
VENDORS = ("anthropic", "openai")

Dollars = Annotated[Decimal, Field(gt=0, le=10_000, allow_inf_nan=False)]


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


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassModels(_Part):
    """The model ids of one vendor by class."""

    fast: str
    balanced: str
    advanced: str


class Models(_Part):
    """Which model stands for which class, and how long a call may take."""

    anthropic: ClassModels = ClassModels(fast="claude-haiku-5-5", balanced="claude-sonnet-5-5", advanced="claude-opus-5-5")
    openai: ClassModels = ClassModels(fast="gpt-6-luna", balanced="gpt-6.1-terra", advanced="gpt-6.1-sol")
    prefer: Literal["anthropic", "openai"] = "anthropic"

    def available(self, vendors: tuple[str, ...]) -> tuple[ModelId, ...]:
        """The models whose vendor's key is set, the preferred vendor first."""
        order = sorted(vendors, key=lambda vendor: vendor != self.prefer)
        classes = (ModelClass.FAST, ModelClass.BALANCED, ModelClass.ADVANCED)
        return tuple(ModelId(vendor, getattr(getattr(self, vendor), str(name)), name) for vendor in order for name in classes)


class Budget(_Part):
    """Dollars: the cap of a run, and of one call."""

    money: Dollars = Decimal(2)
    call: Dollars | None = None


class Verify(_Part):
    """How tests are run: `tests` are the files or ids of the whole suite, `python` an interpreter of the repository's own."""

    tests: tuple[str, ...] = ()
    python: str = ""
    quick_seconds: int = Field(default=60, ge=1, le=3600)
    full_seconds: int = Field(default=180, ge=1, le=7200)


class Loop(_Part):
    """Limits of the build loop."""

    max_turns: int = Field(default=40, ge=1, le=500)


class Paths(_Part):
    """Glob patterns: where given, only `allow` may change; `deny` never may."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


PerMillion = Annotated[Decimal, Field(ge=0, le=10_000, allow_inf_nan=False)]
"""Dollars per million tokens."""


class Prices(_Part):
    """What tokens cost. An unstated cache price is the input price, one for a long write at least twice that."""

    input: PerMillion
    output: PerMillion
    cache_read: PerMillion | None = None
    cache_write: PerMillion | None = None
    cache_write_long: PerMillion | None = None

    def tier(self, model: str, above: int) -> PriceTier:
        read, write = (self.input if price is None else price for price in (self.cache_read, self.cache_write))
        long = max(write, self.input * long_write_factor(model)) if self.cache_write_long is None else self.cache_write_long
        return PriceTier(above, *(_whole(price) for price in (self.input, self.output, read, write, long)))

    def stated(self) -> Iterator[tuple[str, Decimal]]:
        """The prices that are written down, by key."""
        for name in Prices.model_fields:
            price = getattr(self, name)
            if price is not None:
                yield name, price


class Tier(Prices):
    """What all tokens of a call cost whose prompt is longer than `above` tokens."""

    above: int = Field(gt=0, le=100_000_000, strict=True)


class Price(Prices):
    """The prices of one exact model id, where the bundled table does not know it or has others. `free` is a model that costs
    nothing, such as one on a machine of one's own."""

    model: str = Field(min_length=1)
    dated: date
    tiers: tuple[Tier, ...] = ()
    free: bool = False

    @field_validator("dated")
    @classmethod
    def _not_to_come(cls, dated: date) -> date:
        if dated > (datetime.now(UTC) + _EARLIEST_ZONE).date():
            raise _wrong(f"{dated} is in the future: give the day on which these prices were looked up")
        return dated

    @field_validator("tiers")
    @classmethod
    def _ascending(cls, tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
        for number, (low, high) in enumerate(pairwise(tiers), start=1):
            if high.above <= low.above:
                raise _wrong(f"{high.above} does not come after {low.above}: put the tiers in ascending order", number, "above")
        return tiers

    @model_validator(mode="after")
    def _free_or_not(self) -> Price:
        """A price of 0 is a slip that no cap would ever notice, so that it has to be meant."""
        places: list[tuple[Prices, tuple[str | int, ...]]] = [(self, ())]
        places += [(tier, ("tiers", number)) for number, tier in enumerate(self.tiers)]
        for part, at in places:
            for name, price in part.stated():
                if self.free and price:
                    raise _wrong(f"{price} is no price of a free model: write 0, or leave `free` out", *at, name)
                if not self.free and not price:
                    raise _wrong("a price has to be more than 0; a model that costs nothing needs `free: true`", *at, name)
        return self

    def rates(self) -> Rates:
        """As the ledger wants them."""
        tiers = (self.tier(self.model, 0), *(tier.tier(self.model, tier.above) for tier in self.tiers))
        return Rates(self.model, self.dated.isoformat(), tiers)


_EARLIEST_ZONE = timedelta(hours=14)
"""Where the day begins first, and a date may be written that UTC has not reached."""


def _whole(dollars: Decimal) -> int:
    """Micro-dollars, rounded up."""
    return int((dollars * MICRO).to_integral_value(ROUND_CEILING))


def _wrong(reason: str, *at: str | int) -> ValidationError:
    """What a validator raises that found the mistake deeper than where it stands."""
    fault = InitErrorDetails(type=PydanticCustomError("wrong", "{reason}", {"reason": reason}), loc=at, input=None)
    return ValidationError.from_exception_data("configuration", [fault])


class RepoConfig(_Part):
    """`.github/ostler.yml`. Every key may be left out."""

    version: Literal[1] = 1
    approval: Literal["high-risk", "always", "never"] = "high-risk"
    budget: Budget = Budget()
    models: Models = Models()
    verify: Verify = Verify()
    loop: Loop = Loop()
    paths: Paths = Paths()
    prices: tuple[Price, ...] = ()

    @field_validator("prices")
    @classmethod
    def _once_each(cls, prices: tuple[Price, ...]) -> tuple[Price, ...]:
        seen: set[str] = set()
        for number, price in enumerate(prices):
            if price.model in seen:
                raise _wrong(f"{price.model} is priced twice: keep one", number, "model")
            seen.add(price.model)
        return prices


def run_settings(
    environment: Settings,
    config: RepoConfig,
    max_cost: float | str | None,
    *,
    preapproved_by: str = "",
    vendors: tuple[str, ...] | None = None,
    repeat_proof: bool = False,
) -> RunSettings:
    """Everything the doors decide, frozen for a run. `vendors` are those whose key is set, where the environment cannot say.

    Raises:
        BadInput: `max_cost` is no amount.
    """
    given = Decimal(str(max_cost)) if isinstance(max_cost, float) else max_cost
    cap = micro(config.budget.money if given is None else given, "--max-cost")
    return RunSettings(
        max_cost=cap,
        call_cap=micro(config.budget.call, "budget.call") if config.budget.call else cap,
        models=config.models.available(environment.vendors if vendors is None else vendors),
        approval=config.approval,
        preapproved_by=preapproved_by,
        max_turns=config.loop.max_turns,
        tests=config.verify.tests,
        python=config.verify.python,
        quick_seconds=config.verify.quick_seconds,
        full_seconds=config.verify.full_seconds,
        allowed_paths=config.paths.allow,
        denied_paths=config.paths.deny,
        repeat_proof=repeat_proof,
        note=environment.note,
    )


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


def parse_config(raw: bytes | None, where: str = CONFIG_PATH) -> RepoConfig:
    """The repository's configuration; None, where there is no file, is all defaults.

    Raises:
        SetupError: names file, line and reason.
    """
    if raw is None:
        return RepoConfig()
    try:
        text = raw.decode("utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_unreadable(tree, where)
        value = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise SetupError(f"{where}, line {raw[: error.start].count(10) + 1}: not UTF-8 text. Save the file as UTF-8.") from error
    except yaml.YAMLError as error:
        raise SetupError(_not_yaml(error, text, where)) from error
    except RecursionError as error:
        raise SetupError(f"{where}, line 1: the file is nested too deeply to be a configuration.") from error
    if value is None:
        return RepoConfig()
    try:
        return RepoConfig.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        reason = _REASONS.get(first["type"], first["msg"])
        raise SetupError(f"{where}, line {_line(tree, first['loc'])}: {key}: {reason}.") from error


def _not_yaml(error: yaml.YAMLError, text: str, where: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"{where}, line {line}: not YAML (the character {error.character:#x} may not be in it)."
    mark = getattr(error, "problem_mark", None)
    return f"{where}, line {mark.line + 1 if mark else 1}: not YAML ({getattr(error, 'problem', None) or error})."


_REASONS = {"extra_forbidden": "there is no such setting", "model_type": "settings, as `name: value`, are expected here"}
"""Where pydantic's own words are for programmers."""


def _refuse_unreadable(root: Any, where: str) -> None:
    """Refuse what PyYAML would take silently or trip over: a key given twice, a date or number that is none."""
    nodes, seen = [root] if root else [], set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            try:
                yaml.SafeLoader("").construct_object(node)
            except ValueError as error:
                raise SetupError(
                    f"{where}, line {node.start_mark.line + 1}: {node.value[:40]!r} is no value that can be read."
                ) from error
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
        else:
            names: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in names:
                    raise SetupError(f"{where}, line {key.start_mark.line + 1}: {key.value} is given twice: keep one.")
                names.add(str(key.value))
                nodes += (key, value)


def _line(node: Any, at: tuple[int | str, ...]) -> int:
    """The line of the deepest node on the way to `at` that exists."""
    line: int = node.start_mark.line + 1
    for part in at:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def micro(amount: Decimal | float | str, what: str) -> int:
    """Dollars as micro-dollars.

    Raises:
        BadInput: not a positive, finite amount.
    """
    try:
        value = Decimal(str(amount))
    except ArithmeticError as error:
        raise BadInput(f"{what}: {amount!r} is no amount in dollars.") from error
    if not value.is_finite() or not 1 <= value * MICRO <= 10_000 * MICRO:
        raise BadInput(f"{what}: {amount} is no amount between 0 and 10,000 dollars.")
    return int(value * MICRO)
