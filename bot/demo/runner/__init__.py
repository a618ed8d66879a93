"""A small, strict GitHub Actions runner: real workflow files, real processes, each job in folders of its own.

What it does not support it refuses with a sentence that names file and line; it never guesses.
"""
