"""Files that commands write."""

import os
from pathlib import Path

import click

from navai_client.cli.output import complain
from navai_client.cli.statuses import Status

__all__ = ["check_folder", "save"]


def check_folder(path: str, option: str) -> None:
    """Refuse a *path* whose folder cannot be written to, before anything is asked of a backend.

    Raises:
        click.UsageError: It cannot.
    """
    folder = Path(path).parent
    if not os.access(folder, os.W_OK):
        raise click.UsageError(f"{option} {path}: {folder} is no folder that can be written to.")


def save(path: str, content: bytes) -> Status:
    """Write *content* to the file *path*, or say why that cannot be."""
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        complain(f"{path} cannot be written: {error.strerror}.")
        return Status.FAILED
    return Status.OK
