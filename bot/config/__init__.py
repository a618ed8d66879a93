"""Settings: the machine's from the environment (`OSTLER_*`), the repository's from `.github/ostler.yml` of the base commit."""

from bot.config.budget import Budget
from bot.config.environment import VENDORS, Settings, load_settings
from bot.config.repository import CONFIG_PATH, Models, RepoConfig, micro, parse_config, run_settings

__all__ = [
    "CONFIG_PATH",
    "VENDORS",
    "Budget",
    "Models",
    "RepoConfig",
    "Settings",
    "load_settings",
    "micro",
    "parse_config",
    "run_settings",
]
