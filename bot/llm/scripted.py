"""A model that answers from a record: for `replay --execute` and for tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bot.core.errors import BugError
from bot.llm.model import Reply, Request


class ScriptedModel:
    """Gives the recorded replies in order, one per request. `script` holds pairs of requested model id and reply.

    BugError where a request comes after the last reply or asks another model than the record did.
    """

    def __init__(self, script: Sequence[tuple[str, Reply]], vendor: str = "scripted") -> None:
        self.vendor = vendor
        self._left = deque(script)

    def send(self, request: Request) -> Reply:
        if not self._left:
            raise BugError(f"the script ended, and {request.model} was asked once more")
        model, reply = self._left.popleft()
        if model != request.model:
            raise BugError(f"the script has a reply of {model}, and {request.model} was asked")
        return reply

    def input_bound(self, request: Request) -> int:
        """What the next reply was billed for: nothing else will be."""
        return self._left[0][1].usage.prompt if self._left else 0
