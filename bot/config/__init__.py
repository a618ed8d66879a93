"""Settings: the machine's from the environment (`OSTLER_*`), the repository's from `.github/ostler.yml` of the base commit."""

from bot.config.budget import Budget
from bot.config.environment import VENDORS, Settings, load_settings
from bot.config.files import CONFIG_PATH, Configuration, File, combine, parse_config
from bot.config.repository import Models, RepoConfig, micro, run_settings

__all__ = [
    "CONFIG_PATH",
    "VENDORS",
    "Budget",
    "Configuration",
    "File",
    "Models",
    "RepoConfig",
    "Settings",
    "combine",
    "load_settings",
    "micro",
    "parse_config",
    "run_settings",
]
