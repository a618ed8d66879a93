"""`python -I -m bot`: the same doors as the console script, without the current folder on the import path.

`action` is for Actions jobs alone and so no command that people are shown.
"""

from __future__ import annotations

import sys


def main() -> None:
    if sys.argv[1:] == ["action"]:
        from bot.action.main import main as action  # noqa: PLC0415 - jobs need no command line, people no jobs

        sys.exit(action())
    from bot.cli.main import main as cli  # noqa: PLC0415

    cli()


if __name__ == "__main__":
    main()
