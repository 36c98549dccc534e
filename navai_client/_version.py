"""The version, alone in a file so that the build and the User-Agent read the same one."""

__version__: str = "0.2.0"
