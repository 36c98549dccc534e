"""The ``navai`` command: one file for each family of commands, and what they share. Start at ``_app.py``."""
