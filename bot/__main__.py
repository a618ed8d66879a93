"""`python -I -m bot`: the same doors as the console script, without the current folder on the import path."""

from bot.cli.main import main

if __name__ == "__main__":
    main()
