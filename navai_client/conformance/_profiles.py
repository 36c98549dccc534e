"""What each profile expects: the contract as it is, and where a published backend deviates from it."""

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from navai_client.conformance._rules import Rule, refused, status


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
    "SECRET-10": Deviation("Express takes an array for an object without members, and mints.", status()),
    "SECRET-11": Deviation("Express reads a form as no body, and mints.", status()),
    "ERR-01": _MALFORMED,
    "ERR-03": Deviation(
        "A body of another type is read as no body: 400, function_name is required.", _OTHER_TYPE
    ),
    "ERR-04": Deviation("A form is read as no body: 400, function_name is required.", _OTHER_TYPE),
    "ERR-06": Deviation("An unknown path returns 404 and an HTML page of Express.", status(404)),
    "ERR-07": Deviation(
        "A method that a path does not support is treated like an unknown path: 404.", status(404)
    ),
    "CORS-04": Deviation("registerNavaiExpressRoutes leaves CORS to the application."),
    "LIMIT-02": _LIMIT,
    "LIMIT-03": _LIMIT,
    "SPEECH-01": Deviation("A blank text goes to the error handler: 500 and a JSON error.", refused(500)),
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
    )
}
