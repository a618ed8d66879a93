"""Files of a repository as GitHub has them, without a checkout: configuration, of the repository itself and of its owner."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import quote

from bot.core.errors import SetupError
from bot.github.client import Client, NotFound, quoted

DEFAULTS = ".github", "ostler.yml"
"""Repository and file with an owner's defaults. Not `.github/ostler.yml`: that is the configuration of that repository itself."""


def content(client: Client, path: str, ref: str, home: str = "") -> bytes | None:
    """The bytes of a file at `ref`, None where it is not there. `home` is another repository's path, such as /repos/acme/web.

    Raises:
        SetupError: there is something else, or more than GitHub hands out (1 MB).
    """
    try:
        found = client.get(f"{home}/contents/{quote(path)}" if home else f"contents/{quote(path)}", ref=ref)
    except NotFound:
        return None
    try:
        if found["encoding"] == "base64":
            return base64.b64decode(found["content"])
    except (KeyError, TypeError, binascii.Error):
        pass
    raise SetupError(f"{path} is no file of less than 1 MB: it holds Ostler's configuration, or is not there.")


def defaults_of(client: Client, owner: str) -> tuple[str, bytes, str] | None:
    """Name, bytes and commit of the file with an owner's defaults, as its default branch has it now. None where there is none, or
    where whoever asks may not read it: GitHub makes no difference."""
    repository, path = DEFAULTS
    home = f"/repos/{owner}/{repository}"
    try:
        branch = str(client.get(home)["default_branch"])
        commit = str(client.get(f"{home}/commits/{quoted(branch)}")["sha"])
    except NotFound:
        return None
    raw = content(client, path, commit, home)
    return None if raw is None else (f"{owner}/{repository}/{path}", raw, commit)
