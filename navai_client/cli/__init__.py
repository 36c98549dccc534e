"""The ``navai`` command: one file per command, and what they share. Start at ``app.py``."""

__all__: list[str] = []
