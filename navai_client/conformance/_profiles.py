"""What is expected of whom: the contract as it is, and where a published backend deviates from it."""

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from navai_client.conformance._requirement import Rule
from navai_client.conformance._rules import refused, status
from navai_client.errors import NavaiConfigError


@frozen(kw_only=True)
class Deviation:
    """Where a profile expects something else than a requirement says.

    Attributes:
        sentence: What is expected instead; for what is not asked, the reason.
        rule: Judges each answer; None when nothing is asked.
    """

    sentence: str
    rule: Rule | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Profile:
    """What is expected.

    Attributes:
        name: What it is called.
        sentence: What it stands for.
        deviations: By the id of the requirement that is not expected to hold.
    """

    name: str
    sentence: str
    deviations: Mapping[str, Deviation] = field(factory=dict)


_OWN_CORS: Final = Deviation(sentence="registerNavaiExpressRoutes leaves CORS to the application.")
_LIMIT: Final = "express.json() takes 100 KiB by default, and what is larger goes to the error handler: 500."

_EXPRESS: Final = {
    "EXEC-14": Deviation(
        sentence="A function that throws goes to the error handler: 500 and the message as error.",
        rule=refused(500),
    ),
    "EXEC-15": Deviation(sentence="The message is in error, and there are no details."),
    "SECRET-08": Deviation(sentence="Express passes members of any type on to OpenAI."),
    "SECRET-09": Deviation(
        sentence="Malformed JSON goes to the error handler: 500 and a JSON error.", rule=refused(500)
    ),
    "SECRET-10": Deviation(
        sentence="Express takes an array for an object without members, and mints.", rule=status()
    ),
    "SECRET-11": Deviation(sentence="Express reads a form as no body, and mints.", rule=status()),
    "ERR-01": Deviation(
        sentence="Malformed JSON goes to the error handler: 500 and a JSON error.", rule=refused(500)
    ),
    "ERR-03": Deviation(
        sentence="A body of another type is read as no body: 400, function_name is required.",
        rule=refused(400, text="function_name is required."),
    ),
    "ERR-04": Deviation(
        sentence="A form is read as no body: 400, function_name is required.",
        rule=refused(400, text="function_name is required."),
    ),
    "ERR-06": Deviation(
        sentence="A path that there is not is answered with 404 and a page of Express.", rule=status(404)
    ),
    "ERR-07": Deviation(
        sentence="A method that a path does not have is answered like a path that there is not: 404.",
        rule=status(404),
    ),
    "CORS-04": _OWN_CORS,
    "LIMIT-02": Deviation(sentence=_LIMIT, rule=refused(500)),
    "LIMIT-03": Deviation(sentence=_LIMIT, rule=refused(500)),
    "SPEECH-01": Deviation(
        sentence="A text that is blank goes to the error handler: 500 and a JSON error.", rule=refused(500)
    ),
}

PROFILES: Final[Mapping[str, Profile]] = {
    each.name: each
    for each in (
        Profile(name="contract", sentence="What the documents of Navai say, and the reference server does."),
        Profile(
            name="express",
            sentence="What @navai/voice-backend 0.1.3 does, behind express.json() and an error handler that "
            "answers with JSON.",
            deviations=_EXPRESS,
        ),
    )
}


def profile_of(name: str) -> Profile:
    """Return the profile called *name*.

    Raises:
        NavaiConfigError: There is none.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise NavaiConfigError(f"profile is {name!r}; there are {', '.join(PROFILES)}.") from None
