"""The Actions door: `python -I -m bot action` does the part of the work that the environment names.

The only broad catch is the command line's; what a person can mend is one sentence, as an annotation of the job.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from bot.action.outputs import Outputs, write
from bot.action.settings import ActionSettings, load, scrub
from bot.config import Settings, load_settings
from bot.core.errors import BadInput, OstlerError, UserError
from bot.core.jobs import Job
from bot.core.paths import printable
from bot.core.policy import redact

if TYPE_CHECKING:
    from bot.github.client import Client

PR_SET_DUMPABLE = 4

Work = Callable[[ActionSettings, Settings], Outputs]


def main() -> int:
    """Run the job; its exit code: 0, or that of the error."""
    harden()
    given: ActionSettings | None = None
    try:
        given, environment = load(), load_settings()
        scrub()
        outputs = job_for(given.job)(given, environment)
    except UserError as error:
        return _refuse(given, str(error), error.exit_code)
    except OstlerError as error:
        _refuse(None, str(error), error.exit_code)
        raise
    write(given.outputs, outputs)
    return 0


def harden() -> None:
    """No process of the same user may read this one's memory or environment (prctl(2), PR_SET_DUMPABLE)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def job_for(name: str) -> Work:
    """What does the job `name`. Each loads only what it uses.

    Raises:
        BadInput: there is no such job.
    """
    known: dict[str, Work] = {
        Job.GATE: _gate, Job.PLAN: _work, Job.POST: _post, Job.BUILD: _work, Job.PROVE: _work, Job.AUDIT: _work,
        Job.CONFIRM: _work, Job.PUBLISH: _publish, Job.CONCLUDE: _conclude, "all": _everything,
    }  # fmt: skip
    if name not in known:
        raise BadInput(f"There is no job {name!r}: there are {', '.join(known)}.")
    return known[name]


def _gate(given: ActionSettings, environment: Settings) -> Outputs:
    from bot.action.gate import gate  # noqa: PLC0415

    return gate(given, environment, _client(given))


def _work(given: ActionSettings, environment: Settings) -> Outputs:
    from bot.action.work import work  # noqa: PLC0415

    return work(given, environment)


def _post(given: ActionSettings, _: Settings) -> Outputs:
    from bot.action.post import post  # noqa: PLC0415

    return post(given, _client(given))


def _publish(given: ActionSettings, _: Settings) -> Outputs:
    from bot.action.publish import publish  # noqa: PLC0415

    return publish(given, _client(given))


def _conclude(given: ActionSettings, _: Settings) -> Outputs:
    from bot.action.conclude import conclude  # noqa: PLC0415

    return conclude(given, _client(given))


def _everything(given: ActionSettings, environment: Settings) -> Outputs:
    from bot.action.everything import everything  # noqa: PLC0415

    return everything(given, environment)


def _client(given: ActionSettings) -> Client:
    from bot.github.client import Client  # noqa: PLC0415

    token = given.github_token.get_secret_value()
    pause, reads = given.github_pause, given.github_reads_per_minute
    return Client.token(token, given.api_url, given.repository, pause=pause, reads=reads)


def _refuse(given: ActionSettings | None, sentence: str, code: int) -> int:
    """One sentence as an annotation; the last job tells it on the issue."""
    said = printable(redact(" ".join(sentence.split())))
    print(f"::error::{said.replace('%', '%25')}", flush=True)
    if given is not None:
        write(given.outputs, {"refused": said})
    return code
