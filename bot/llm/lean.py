"""Loads the vendors' SDKs without the parts that Ostler never calls.

`import anthropic` loads 2,900 modules and `import openai` 800: models of every answer of every API, and clients for other clouds.
Of all that Ostler needs the client and its errors, because it sends JSON and reads JSON (measured: 1.4 s and 0.6 s, without them
0.1 s each, and 0.6 s more in `openai` at the first answer, for its types; `make bench BENCH=H1` shows what that is worth). The
packages named here are hollow in this process: any name in them is an empty type that pydantic takes for "anything". The SDKs'
versions are pinned, and the client tests run real requests through them.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_CLOUDS = ("lib.aws", "lib.bedrock", "lib.foundry", "lib.threads", "lib.tools", "lib.vertex")
HOLLOW = {"anthropic": ("types", "resources", *_CLOUDS), "openai": ("types", "resources", "lib.azure", "lib.bedrock")}
_ERRORS = {"anthropic": "anthropic.types.shared.error_details", "openai": "openai"}
"""What the SDK would load with its first error, when nothing is hollow any more."""


def load(vendor: str) -> ModuleType:
    """The SDK of `vendor`. Where something else has loaded it before, that is what there is."""
    if vendor not in sys.modules:
        finder = _HollowFinder(vendor)
        sys.meta_path.insert(0, finder)
        try:
            importlib.import_module(_ERRORS[vendor])
        finally:
            sys.meta_path.remove(finder)
    return importlib.import_module(vendor)  # waits where another thread is loading it


class _Anything:
    """Stands for a type that is never used."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # noqa: PLC0415 - loaded with the SDK

        return core_schema.any_schema()


class _HollowModule(ModuleType):
    """A package in which every name is an empty type and every module is another such package."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (_Anything,), {})
        setattr(self, name, made)
        return made


class _HollowFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, vendor: str) -> None:
        self._hollow = tuple(f"{vendor}.{name}." for name in HOLLOW[vendor])

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if f"{fullname}.".startswith(self._hollow):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = _HollowModule(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: it is hollow."""
