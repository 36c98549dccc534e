"""The instructions for a model: the lines of the JavaScript agent.

Two things are left out on purpose: routes without ``navigate_to``, which the model could not open, and the
line about food, which comes from a demonstration. The line about named parameters is an addition.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from navai_client.integrations.routes import NavaiRoute, route_prompt_lines
from navai_client.integrations.tools import Tool

BASE_INSTRUCTIONS: Final = "You are the main NAVAI voice agent embedded in a web app."
_NONE: Final = "- none"


def function_lines(functions: Iterable[Tool]) -> list[str]:
    """Return one line for each function."""
    return [f"- {each.name}: {each.description}" for each in functions] or [_NONE]


def primary_instructions(
    base: str | None,
    *,
    routes: Iterable[NavaiRoute] | None,
    functions: Sequence[str],
    specialists: Sequence[str],
    generic: bool,
    named: bool,
) -> str:
    """Return the instructions of the main agent.

    Args:
        base: Who the agent is; None for the JavaScript agent's text.
        routes: The routes that it may open, or None if it cannot navigate.
        functions: Lines from ``function_lines``.
        specialists: Lines about the agents that it can hand over to.
        generic: Whether it has ``execute_app_function``.
        named: Whether at least one function has a schema with named parameters.
    """
    lines = [BASE_INSTRUCTIONS if base is None else base]
    if routes is not None:
        lines += ["Allowed routes:", *route_prompt_lines(routes)]
    lines += ["Allowed app functions:", *functions]
    lines += ["Available specialist agents:", *(specialists or [_NONE]), "Rules:"]
    if routes is not None:
        lines.append("- If user asks to go/open a section, always call navigate_to.")
    lines += [
        "- If user asks to run an internal action that belongs to you, call "
        + ("execute_app_function or the matching direct function tool." if generic else "the matching tool."),
        "- If the task clearly belongs to a specialist agent, hand off to that specialist agent.",
    ]
    if generic:
        lines += [
            "- Always include payload in execute_app_function. Use null when no arguments are needed.",
            "- For execute_app_function, pass arguments using payload.args (array).",
            "- For class methods, pass payload.constructorArgs and payload.methodArgs.",
        ]
    if generic and named:
        lines.append("- For functions whose parameters have names, pass these names in payload instead.")
    lines += [
        "- Never invent routes or function names that are not listed.",
        "- If destination/action is unclear, ask a brief clarifying question.",
    ]
    return "\n".join(lines)


def specialist_instructions(base: str, *, functions: Sequence[str]) -> str:
    """Return the instructions of an agent for tasks of one kind."""
    return "\n".join(
        (
            base,
            "Allowed app functions:",
            *functions,
            "Rules:",
            "- Always use execute_app_function for app actions.",
            "- When no arguments are needed, call execute_app_function with payload set to null.",
            "- Use only the functions available to this specialist agent.",
            "- Do not navigate unless one of your allowed functions explicitly does so.",
            "- Return a concise result to the main NAVAI agent.",
        )
    )
