"""What a tree is written in, and how its checks and tests are run."""

from __future__ import annotations

from bot.workspace.toolchains.python import Toolchain, detect

__all__ = ["Toolchain", "detect"]
