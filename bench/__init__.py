"""Measurements of Ostler beside others that do the same work: `make bench`. See `bench/README.md`."""


class Minimum(float):
    """A target that a figure has to reach, where others are the most that it may be."""
