"""Names of the caller's environment by which tools are found; every job keeps them, few of them load a toolchain."""

VARIABLES = ("PATH", "HOME", "VIRTUAL_ENV", "CARGO_HOME", "RUSTUP_HOME", "GOMODCACHE", "GRADLE_USER_HOME")
"""What of the environment says where the tools are and where they keep packages."""
