"""Measurements of Ostler beside others that do the same work: `make bench`. See `bench/README.md`."""
