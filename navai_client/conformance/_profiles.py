"""What each profile expects: the contract as it is, and where a published backend deviates from it."""

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from navai_client.conformance._rules import Rule, holds, refused, status


@frozen
class Deviation:
    """Where a profile expects something other than a requirement says.

    Attributes:
        sentence: What is expected instead; the reason, if nothing is expected.
        rule: Judges each outcome; None when nothing is expected.
    """

    sentence: str
    rule: Rule | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Profile:
    """A set of expectations.

    Attributes:
        name: Its name.
        sentence: Whose behaviour it describes.
        deviations: By the id of the requirement that is not expected to hold.
    """

    name: str
    sentence: str
    deviations: Mapping[str, Deviation] = field(factory=dict)


_MALFORMED: Final = Deviation("Malformed JSON goes to the error handler: 500 and a JSON error.", refused(500))
_OTHER_TYPE: Final = refused(400, text="function_name is required.")
_LIMIT: Final = Deviation(
    "express.json() accepts 100 KiB by default, and what is larger goes to the error handler: 500.",
    refused(500),
)

_EXPRESS: Final = {
    "EXEC-14": Deviation(
        "A function that throws goes to the error handler: 500 and the message as error.", refused(500)
    ),
    "EXEC-15": Deviation("The message is in error, and there are no details."),
    "EXEC-16": Deviation("Express does not know the header."),
    "EXEC-17": Deviation("Express does not know the header, and runs the function again."),
    "SECRET-08": Deviation("Express passes members of any type on to OpenAI."),
    "SECRET-09": _MALFORMED,
    "SECRET-10": Deviation("Express treats an array as an object without members, and mints.", status()),
    "SECRET-11": Deviation("Express treats a form as a missing body, and mints.", status()),
    "ERR-01": _MALFORMED,
    "ERR-03": Deviation(
        "A body of another type counts as missing: 400, function_name is required.", _OTHER_TYPE
    ),
    "ERR-04": Deviation("A form counts as a missing body: 400, function_name is required.", _OTHER_TYPE),
    "ERR-06": Deviation("An unknown path returns 404 and an HTML page of Express.", status(404)),
    "ERR-07": Deviation(
        "A method that a path does not support is treated like an unknown path: 404.", status(404)
    ),
    "CORS-04": Deviation("registerNavaiExpressRoutes leaves CORS to the application."),
    "LIMIT-02": _LIMIT,
    "LIMIT-03": _LIMIT,
    "SPEECH-01": Deviation("A blank text goes to the error handler: 500 and a JSON error.", refused(500)),
}


def _wordpress(status_code: int, code: str) -> Rule:
    """Require an error of WordPress: a status, and JSON with a code and a message."""
    return holds(
        lambda outcome: (
            outcome.status == status_code
            and outcome.record.get("code") == code
            and isinstance(outcome.record.get("message"), str)
        )
    )


_NO_NAME: Final = Deviation(
    "The error is one of WordPress: 400, navai_invalid_function_name.",
    _wordpress(400, "navai_invalid_function_name"),
)
_NO_BODY: Final = Deviation(
    "A body that is not a JSON object counts as missing: 400, navai_invalid_function_name.", _NO_NAME.rule
)
_NO_JSON: Final = Deviation(
    "The error is one of WordPress: 400, rest_invalid_json.", _wordpress(400, "rest_invalid_json")
)
_MINTS: Final = "The plugin treats a body that is not a JSON object as missing, and mints."
_ANY_ORIGIN: Final = Deviation(
    "WordPress itself allows every origin with credentials; it trusts a cookie only with its nonce."
)

_PLUGIN: Final = {
    "EXEC-04": _NO_NAME,
    "EXEC-05": _NO_NAME,
    "EXEC-06": Deviation(
        "A name that is not a string counts as missing, 400, or as unknown, 404.", status(400, 404)
    ),
    "EXEC-14": Deviation(
        "A function that throws returns 500, with ok: false, error and details.",
        holds(lambda outcome: outcome.status == 500 and outcome.record.get("ok") is False),  # noqa: PLR2004
    ),
    "EXEC-16": Deviation("The plugin does not know the header."),
    "EXEC-17": Deviation("The plugin does not know the header, and runs the function again."),
    "SECRET-08": Deviation("The plugin passes members of any type on to OpenAI."),
    "SECRET-09": _NO_JSON,
    "SECRET-10": Deviation(_MINTS, status()),
    "SECRET-11": Deviation(_MINTS, status()),
    "ERR-01": _NO_JSON,
    "ERR-02": _NO_BODY,
    "ERR-03": _NO_BODY,
    "ERR-04": _NO_BODY,
    "ERR-05": _NO_JSON,
    "ERR-06": Deviation("Outside of the API, an unknown path returns 404 and a page.", status(404)),
    "ERR-07": Deviation("A method that a path does not support returns 404, rest_no_route.", status(404)),
    "CORS-01": _ANY_ORIGIN,
    "CORS-03": _ANY_ORIGIN,
    "LIMIT-03": Deviation("WordPress itself has no limit; the web server and PHP have limits."),
}

PROFILES: Final[Mapping[str, Profile]] = {
    each.name: each
    for each in (
        Profile(name="contract", sentence="What Navai's documents say, and what the reference server does."),
        Profile(
            name="express",
            sentence="What @navai/voice-backend 0.1.3 does, behind express.json() and an error handler that "
            "returns JSON.",
            deviations=_EXPRESS,
        ),
        Profile(
            name="wordpress",
            sentence="What Navai's plugin for WordPress, NAVAI Voice 0.3.45, does on WordPress 6.1.",
            deviations=_PLUGIN,
        ),
    )
}
