"""The shells that complete, and what ours does otherwise than click's."""

import os
from collections.abc import Mapping
from typing import Final

from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

__all__ = ["COMPLETE_VARIABLE", "SHELLS"]

COMPLETE_VARIABLE: Final = "_NAVAI_COMPLETE"  # the scripts set it to ask for completions


@add_completion_class
class _Bash(BashComplete):
    """Click's, but for two things.

    Bash takes ``:`` and ``=`` for the ends of words, and URLs are full of them: the line is split here as the
    shell will split it. And no blank comes after the ``=`` of a parameter.
    """

    source_template = BashComplete.source_template.replace(
        "COMP_CWORD=$COMP_CWORD", 'COMP_CWORD=$COMP_CWORD COMP_LINE="$COMP_LINE" COMP_POINT=$COMP_POINT'
    ).replace("COMPREPLY+=($value)", "COMPREPLY+=($value); [[ $value == *= ]] && compopt -o nospace")

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
        words = split_arg_string(line)
        incomplete = "" if line[-1:].isspace() else words.pop()
        return words[1:], incomplete


SHELLS: Final[Mapping[str, type[ShellComplete]]] = {"bash": _Bash, "fish": FishComplete, "zsh": ZshComplete}
