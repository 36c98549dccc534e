"""What is asked of the minting of client secrets."""

from email.utils import parsedate_to_datetime
from typing import Any, Final

from navai_client.conformance._outcome import Answer, kind_of
from navai_client.conformance._requirement import Evidence, Requirement, Unseen
from navai_client.conformance._rules import is_number, member, refused, status

_SHORTEST: Final = 10  # seconds, as OpenAI has it
_LONGEST: Final = 7200
_SLACK: Final = 120  # seconds for slow answers and clocks that differ


def _has_value(answer: Answer, _: Evidence) -> str | None:
    value = answer.record.get("value")
    return None if isinstance(value, str) and value.strip() else answer.summary()


def _expires_soon(answer: Answer, evidence: Evidence) -> str | None:
    expires_at: float = answer.record["expires_at"]
    now = _clock_of(answer, evidence)
    # It can be an integer beyond all doubles, with which no arithmetic is possible.
    if now + _SHORTEST - _SLACK <= expires_at <= now + _LONGEST + _SLACK:
        return None
    return f"expires_at is {expires_at}; now it is {now:.0f}"


def _clock_of(answer: Answer, evidence: Evidence) -> float:
    """Return the time by the backend's own clock, if it tells."""
    try:
        return parsedate_to_datetime(answer.header("date")).timestamp()
    except (ValueError, OverflowError):
        return evidence.now


def _speaks(answer: Answer, _: Evidence) -> str | Unseen | None:
    speech: Any = answer.record.get("speech")
    if "speech" not in answer.record:
        return Unseen("the answer has no speech")
    if not isinstance(speech, dict):
        return f"speech is {kind_of(speech)}"
    provider = speech.get("provider")
    return None if provider in ("openai", "elevenlabs") else f"speech.provider is {kind_of(provider)}"


CLIENT_SECRET: Final = (
    Requirement(
        id="SECRET-01",
        group="client-secret",
        severity="must",
        sentence="Client secrets are minted by POST alone: GET is answered with 400 to 499.",
        change="Answer 405 to GET: links, caches and crawlers follow GET, and none of them must mint.",
        source="documents",
        relates=("secret.request",),
        probes=("secret by GET",),
        rule=status(*range(400, 500)),
    ),
    Requirement(
        id="SECRET-02",
        group="client-secret",
        severity="must",
        sentence="POST with {} mints a client secret: a status of 200 to 299.",
        change="Take all settings from the backend when the request sets none. 401 says that the backend "
        "has no "
        "API key: configure one.",
        source="documents, published clients",
        relates=("secret.request", "server.client-secret"),
        acts="mint",
        probes=("mint",),
        rule=status(),
    ),
    Requirement(
        id="SECRET-03",
        group="client-secret",
        severity="must",
        sentence="The answer is a JSON object with a value, a text that is not empty.",
        change='Answer {"value": "ek_...", "expires_at": ...}, not the whole answer of OpenAI in another '
        "shape.",
        source="documents, published clients",
        relates=("secret.result", "secret.invalid"),
        needs=("SECRET-02",),
        acts="mint",
        probes=("mint",),
        rule=_has_value,
    ),
    Requirement(
        id="SECRET-04",
        group="client-secret",
        severity="must",
        sentence="expires_at, where there is one, is a number.",
        change="Give Unix seconds as a JSON number, not as a text; leave it out when it is not known.",
        source="documents, published clients",
        relates=("secret.result",),
        needs=("SECRET-02",),
        acts="mint",
        probes=("mint",),
        rule=member("expires_at", is_number, optional=True),
    ),
    Requirement(
        id="SECRET-05",
        group="client-secret",
        severity="should",
        sentence="expires_at is in seconds, and 10 to 7200 of them ahead.",
        change="Give Unix seconds, not milliseconds, of a time to live of 10 to 7200 seconds; set the clock.",
        source="documents",
        relates=("server.ttl",),
        needs=("SECRET-04",),
        acts="mint",
        probes=("mint",),
        rule=_expires_soon,
    ),
    Requirement(
        id="SECRET-06",
        group="client-secret",
        severity="should",
        sentence="speech.provider, where there is speech, is openai or elevenlabs.",
        change='Answer "speech": {"provider": "openai"}, or "elevenlabs" when speech is synthesized by '
        "the backend.",
        source="web client and Express, published",
        relates=("secret.speech-provider",),
        needs=("SECRET-02",),
        acts="mint",
        probes=("mint",),
        rule=_speaks,
    ),
    Requirement(
        id="SECRET-07",
        group="client-secret",
        severity="should",
        sentence="Members of the body that it does not know are ignored.",
        change="Read the members that you know, and pass over the rest.",
        source="Express, published",
        relates=("server.client-secret",),
        needs=("SECRET-02",),
        acts="mint",
        probes=("mint unknown field",),
        rule=status(),
    ),
    Requirement(
        id="SECRET-08",
        group="client-secret",
        severity="should",
        sentence="A member of the wrong type is answered with 400, and the error names it.",
        change='Check the types before asking OpenAI, and answer 400 and {"error": "model must be a '
        'string."}.',
        source="the reference server",
        relates=("server.statuses",),
        needs=("SECRET-02",),
        acts="mint",
        probes=("mint wrong type",),
        rule=refused(400, mentions="model"),
    ),
    Requirement(
        id="SECRET-09",
        group="client-secret",
        severity="should",
        sentence="Malformed JSON is answered with 400 and mints nothing.",
        change='Answer 400 and {"error": ...} before minting when the body cannot be parsed.',
        source="the reference server",
        relates=("server.statuses",),
        needs=("SECRET-02",),
        acts="mint",
        probes=("mint malformed",),
        rule=refused(400),
    ),
    Requirement(
        id="SECRET-10",
        group="client-secret",
        severity="should",
        sentence="A body that is JSON but no object is answered with 400 and mints nothing.",
        change='Answer 400 and {"error": ...} before minting when the body is an array.',
        source="the reference server",
        relates=("server.statuses",),
        needs=("SECRET-02",),
        acts="mint",
        probes=("mint array",),
        rule=refused(400),
    ),
    Requirement(
        id="SECRET-11",
        group="client-secret",
        severity="should",
        sentence="A form is answered with 415 and mints nothing.",
        change="Take application/json alone: any page can send a form with the cookies of its visitor.",
        source="the reference server",
        relates=("server.statuses",),
        needs=("SECRET-02",),
        acts="mint",
        probes=("mint form",),
        rule=refused(415),
    ),
)
