"""Loads Anthropic's SDK without the parts that Ostler never calls.

`import anthropic` loads 2,900 modules: models of every beta, of the administration API and of other clouds. They are three
quarters of its time and half of its memory (measured: 1.1 s and 74 MB, without them 0.3 s and 44 MB; `make bench BENCH=H1` shows
what that is worth). The packages named here are hollow in this process: any name in them is an empty type that pydantic takes
for "anything". The SDK's version is pinned, and the client tests run real requests through it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

HOLLOW = frozenset(
    f"anthropic.{name}"
    for name in (
        *("types.beta", "types.organization", "resources.beta", "resources.organization"),
        *("lib.aws", "lib.bedrock", "lib.foundry", "lib.threads", "lib.tools", "lib.vertex"),
    )
)


def load() -> ModuleType:
    """The SDK. Where something else has loaded it before, that is what there is."""
    if "anthropic.resources.messages" not in sys.modules:
        finder = _HollowFinder()
        sys.meta_path.insert(0, finder)
        try:
            importlib.import_module("anthropic.resources.messages")  # the client would load it at its first call
        finally:
            sys.meta_path.remove(finder)
    importlib.import_module("anthropic.resources.messages")  # waits where another thread is loading it
    return sys.modules["anthropic"]


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
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if ".".join(fullname.split(".")[:3]) in HOLLOW:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = _HollowModule(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: it is hollow."""
