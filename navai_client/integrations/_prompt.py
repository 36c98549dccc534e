"""The instructions for a model: the lines of the JavaScript agent.

Left out on purpose: routes without ``navigate_to``, which the model could not open; rules about
``execute_app_function`` where it is not offered; and the line about food, which comes from a demonstration.
Arguments go by name where the parameters are known, as they never are to the JavaScript agent.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from navai_client.integrations._results import compact, to_jsonable
from navai_client.integrations.routes import NavaiRoute, route_prompt_lines
from navai_client.integrations.tools import Tool, ToolCall, ToolOutcome

BASE_INSTRUCTIONS: Final = "You are the main NAVAI voice agent embedded in a web app."
_NONE: Final = "- none"
_MANNER: Final = re.compile(r"Always reply in .+\.|Use a .+ (?:accent|tone) while speaking\.")


def function_lines(functions: Iterable[Tool]) -> list[str]:
    return [f"- {each.name}: {each.description}" for each in functions] or [_NONE]


def primary_instructions(
    base: str | None,
    *,
    routes: Iterable[NavaiRoute] | None,
    functions: Sequence[str],
    specialists: Sequence[str],
    generic: bool,
    named: Sequence[bool],
) -> str:
    """Return the instructions of the main agent.

    Args:
        base: Who the agent is; None for the JavaScript agent's text.
        routes: The routes that it may open, or None if it cannot navigate.
        functions: Lines from ``function_lines``.
        specialists: Lines about the agents that it can hand over to.
        generic: Whether it has ``execute_app_function``.
        named: For each function that this tool reaches, whether the names of its parameters are known.
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
        lines.append(
            "- Always include payload in execute_app_function. Use null when no arguments are needed."
        )
    if generic and all(named):
        lines.append("- For execute_app_function, pass arguments by their names in payload.")
    elif generic:
        others = " of functions whose parameters are not described" if any(named) else ""
        lines += [
            f"- For execute_app_function, pass arguments{others} using payload.args (array).",
            "- For class methods, pass payload.constructorArgs and payload.methodArgs.",
        ]
    lines += [
        "- Never invent routes or function names that are not listed.",
        "- If destination/action is unclear, ask a brief clarifying question.",
    ]
    return "\n".join(lines)


def approval_question(call: ToolCall) -> str:
    """Return what a model needs to know to ask a person for the approval of *call*."""
    arguments = compact(to_jsonable(call.arguments or {}))
    return f"The function {call.function_name} with the arguments {arguments} needs the person's approval."


def filler(text: str) -> str:
    """Return the instructions of a response that tells the person *text*, while calls run."""
    return f"Calls are still running. Say only this, in the language of the conversation: {text}"


def decision(call: ToolCall, outcome: ToolOutcome) -> str:
    """Return what a model is told of a *call* that waited for approval, and of its *outcome*."""
    arguments = compact(to_jsonable(call.arguments or {}))
    return (
        f"What came of the call of {call.function_name} with the arguments {arguments}, which waited for "
        f"approval: {outcome.to_json()} Tell the person."
    )


def manner_of_speech(instructions: str | None) -> list[str]:
    """Return the lines of a backend's *instructions* that each agent of a conversation has to keep.

    They are those that the contract appends for the language, the accent and the tone.
    """
    return [line for line in (instructions or "").splitlines() if _MANNER.fullmatch(line)]


def specialist_instructions(
    base: str, *, functions: Sequence[str], manner: Sequence[str], generic: bool
) -> str:
    """Return the instructions of an agent for tasks of one kind.

    Args:
        base: Who it is.
        functions: Lines from ``function_lines``.
        manner: Lines from ``manner_of_speech``.
        generic: Whether it has ``execute_app_function``.
    """
    calling = ["- Call the matching tool for app actions."]
    if generic:
        calling = [
            "- Always use execute_app_function for app actions.",
            "- When no arguments are needed, call execute_app_function with payload set to null.",
        ]
    return "\n".join(
        (
            base,
            *manner,
            "Allowed app functions:",
            *functions,
            "Rules:",
            *calling,
            "- Use only the functions available to this specialist agent.",
            "- Do not navigate unless one of your allowed functions explicitly does so.",
            "- Return a concise result to the main NAVAI agent.",
        )
    )
