"""All requirements, in the order in which a check judges them: a table with one row for each.

``tests/conformance/faults.py`` has a fault for each requirement that it alone finds.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final, Literal, get_args

from attrs import field, frozen

from navai_client.conformance import _rules as rules
from navai_client.conformance._probes import WRONG_METHODS, Acts
from navai_client.conformance._rules import Rule, member, refused, status, strings
from navai_client.errors import NavaiConfigError

Group = Literal["list", "execute", "client-secret", "errors", "cors", "limits", "speech"]
Severity = Literal["must", "should"]

GROUPS: Final[tuple[Group, ...]] = get_args(Group)
ACTS: Final[Mapping[Acts, str]] = {
    "execute": "execute=(name, payload)",
    "execute_failing": "execute_failing=(name, payload)",
    "mint": "mint=True",
    "speak": "speak=text",
}
"""The argument of ``check`` that allows a requirement to act."""

_GROUP_OF: Final[Mapping[str, Group]] = {
    "LIST": "list",
    "EXEC": "execute",
    "SECRET": "client-secret",
    "ERR": "errors",
    "CORS": "cors",
    "LIMIT": "limits",
    "SPEECH": "speech",
}


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


@frozen
class Requirement:
    """One requirement of a backend: a row of the table.

    Attributes:
        severity: ``must`` is what the documents say and the published clients need; ``should`` is what keeps
            a backend safe and its errors clear, and what the reference server does.
        id: Its name, which never changes: reports, baselines and tests refer to it.
        sentence: The requirement.
        change: What to do when it is violated.
        probes: The names of the probes whose outcomes are judged, one after the other.
        rule: Judges each outcome.
        source: Where it comes from.
        relates: Ids of the requirements in docs/parity.md that it is a part of.
        needs: Ids of requirements without which it cannot be judged.
        acts: The action that must be allowed for it to be checked; empty if reading is enough.
        unseen: The reason why one of its probes may not have been sent.
        may_hang_up: Whether closing the connection satisfies it, too.
    """

    severity: Severity
    id: str
    sentence: str
    change: str
    probes: tuple[str, ...] = field(converter=_names)
    rule: Rule = field(repr=False)
    source: str
    relates: tuple[str, ...] = field(default="", converter=_words)
    needs: tuple[str, ...] = field(default="", converter=_words, kw_only=True)
    acts: Acts = field(default="", kw_only=True)
    unseen: str = field(default="", kw_only=True)
    may_hang_up: bool = field(default=False, kw_only=True)

    @property
    def group(self) -> Group:
        """What it is about."""
        return _GROUP_OF[self.id.partition("-")[0]]

    def __str__(self) -> str:
        return self.id


_must: Final = partial(Requirement, "must")
_should: Final = partial(Requirement, "should")

_DOCUMENTS: Final = "documents"
_DOCUMENTS_CLIENTS: Final = "documents, published clients"
_DOCUMENTS_EXPRESS: Final = "documents, Express"
_EXPRESS: Final = "Express, published"
_WEB_CLIENT_EXPRESS: Final = "web client and Express, published"
_SERVER: Final = "the reference server"
_SERVER_PLAYGROUND: Final = "the reference server, Express's playground"
_FETCH: Final = "the Fetch standard"

_NO_NAME: Final = refused(400, text="function_name is required.")
_CLIENT_ERROR: Final = status(*range(400, 500))

# A row: id, sentence, what to change, probes, rule, source, related ids of docs/parity.md; the rest by name.
# fmt: off
_ALL: Final = (
    _must("LIST-01", "Listing functions returns a status of 200 to 299.",
        "Return 200 to GET on this path. If the backend is elsewhere, give its URL or path; if it requires "
        "credentials, give the headers.",
        "list", status(), _DOCUMENTS_CLIENTS, "list.request list.http-error"),
    _must("LIST-02", "The list is a JSON object.",
        'Return {"items": [...], "warnings": [...]} in strict JSON: no NaN, no trailing commas, nothing '
        "around it.",
        "list", rules.is_object, _DOCUMENTS_CLIENTS, "list.invalid read.json", needs="LIST-01"),
    _must("LIST-03", "The list has items, an array.",
        "Put the functions into an array called items; an empty one when there are none.",
        "list", member("items", rules.is_array), _DOCUMENTS_CLIENTS, "list.items server.list",
        needs="LIST-02"),
    _must("LIST-04", "Each item is an object with a name, a string that is not blank.",
        "Give each item a name; clients skip items without one.",
        "list", rules.has_names, _DOCUMENTS_CLIENTS, "list.items server.list", needs="LIST-03"),
    _must("LIST-05", "No two functions have the same name, ignoring case.",
        "Rename all but the first, for example with _2 at the end, and say so in warnings.",
        "list", rules.has_unique_names, _EXPRESS, "server.names", needs="LIST-03"),
    _should("LIST-06", "Names are 1 to 64 lower-case letters, digits and underscores.",
        "Use names such as get_weather: calls are looked up in lower case, and models accept no other "
        "characters in the names of tools.",
        "list", rules.has_plain_names, f"{_EXPRESS}; OpenAI's rule for tools", "server.names",
        needs="LIST-03"),
    _should("LIST-07", "description and source, where present, are strings.",
        "Send a string, or leave the member out; clients drop anything else.",
        "list", rules.has_descriptions, _DOCUMENTS_CLIENTS, "list.items server.list", needs="LIST-03"),
    _must("LIST-08", "The list has warnings, an array of strings.",
        'Add "warnings": [] to the object; put into it what people should know about the functions.',
        "list", rules.has_warnings, _DOCUMENTS, "list.warnings server.list", needs="LIST-02"),
    _should("LIST-09", "parameters, where present, is a JSON Schema of type object.",
        'Send {"type": "object", "properties": {...}}, or leave parameters out.',
        "list", rules.has_schemas, _SERVER, "server.list", needs="LIST-03"),
    _should("LIST-10", "The list's Content-Type is application/json.",
        "Send the header Content-Type: application/json.",
        "list", rules.is_json_by_type, _EXPRESS, "server.list", needs="LIST-02"),
    _should("LIST-11", "The list is UTF-8, without a byte order mark.",
        "Encode responses as UTF-8 and send no byte order mark: clients read UTF-8 whatever the charset "
        "says.",
        "list", rules.is_utf8, "RFC 8259; published clients", "read.utf8", needs="LIST-01"),
    _should("LIST-12", "A second request lists the same functions in the same order.",
        "Build the list once, or sort it, so that caches and prompts do not change with each request.",
        "list again", rules.is_the_same_list, _EXPRESS, "server.list", needs="LIST-03"),
    _should("LIST-13", "A list with an ETag returns 304 to a request that sends that ETag.",
        "Compare If-None-Match with the ETag and return 304 without a body, or send no ETag.",
        "list known", status(304), f"{_EXPRESS}; RFC 9110", needs="LIST-01", unseen="the list has no ETag"),

    _must("EXEC-01", "Calling an unknown function returns 404.",
        "Look the name up among the functions that are listed, and return 404 when it is not there. If "
        "functions are executed on another path, give it.",
        "unknown, no name", rules.is_not_found, _DOCUMENTS_EXPRESS,
        "server.statuses error.unknown-function"),
    _must("EXEC-02", "The error then reads: Unknown or disallowed function.",
        'Return {"error": "Unknown or disallowed function.", "available_functions": [...]}.',
        "unknown", refused(text="Unknown or disallowed function."), _DOCUMENTS_EXPRESS,
        "server.statuses error.unknown-function", needs="EXEC-01"),
    _must("EXEC-03", "available_functions then has the names of the list.",
        "Add available_functions, an array of the names that GET lists, to the 404.",
        "unknown", rules.offers_the_list, _DOCUMENTS_EXPRESS, "error.unknown-function",
        needs="EXEC-01 LIST-04"),
    _must("EXEC-04", "A call without function_name returns 400: function_name is required.",
        'Return 400 and {"error": "function_name is required."} when the member is missing.',
        "no name", _NO_NAME, _DOCUMENTS_EXPRESS, "server.statuses"),
    _must("EXEC-05", "A function_name that is empty or blank returns the same 400.",
        'Return 400 and {"error": "function_name is required."} when nothing is left of the name after '
        "trimming.",
        "empty name, blank name", _NO_NAME, _DOCUMENTS_EXPRESS, "server.statuses"),
    _must("EXEC-06", "A function_name that is not a string returns the same 400.",
        'Return 400 and {"error": "function_name is required."} when the name is null, a number, an array '
        "or an object.",
        "null name, number name, array name", _NO_NAME, _EXPRESS, "server.statuses"),
    _must("EXEC-07", "A payload that is null, missing or not an object is not an error by itself.",
        "Accept any JSON value as payload: clients send null when there is none.",
        "null payload, no payload, array payload", status(404), "published clients, Express",
        "execute.request server.arguments", needs="EXEC-01"),
    _must("EXEC-08", "application/json with a charset is accepted as JSON.",
        "Compare the media type without its parameters.",
        "charset", status(404), "RFC 9110, Express", "server.execute", needs="EXEC-01"),
    _should("EXEC-09", "Unknown members of the body are ignored.",
        "Read function_name and payload and ignore the rest, so that newer clients can be served.",
        "unknown field", status(404), _EXPRESS, "read.unknown-fields", needs="EXEC-01"),
    _must("EXEC-10", "A call that succeeds returns a status of 200 to 299 and ok: true.",
        'Return 200 and {"ok": true, "function_name": ..., "source": ..., "result": ...}. If the function '
        "failed, check with another payload.",
        "execute", rules.is_ok, _DOCUMENTS_CLIENTS, "execute.result server.execute", acts="execute"),
    _should("EXEC-11", "It then has a result, null when the function returned nothing.",
        "Put what the function returned into result.",
        "execute", member("result", rules.is_anything), _DOCUMENTS, "execute.result server.execute",
        needs="EXEC-10", acts="execute"),
    _should("EXEC-12", "It then says which function ran: function_name as listed, and its source.",
        "Add function_name and source to the response, as the list has them.",
        "execute", rules.names_the_function, _DOCUMENTS_EXPRESS, "server.execute", needs="EXEC-10",
        acts="execute"),
    _must("EXEC-13", "The name may be in any case and have blanks around it.",
        "Trim function_name and make it lower case before looking it up.",
        "execute padded", rules.is_ok, _EXPRESS, "server.execute", needs="EXEC-10", acts="execute"),
    _must("EXEC-14", "A function that fails returns a status of 200 to 299 and ok: false.",
        'Catch what a function throws, and return 200 and {"ok": false, "function_name": ..., "error": '
        '"Function execution failed.", "details": the message}.',
        "execute failing", rules.is_not_ok, _DOCUMENTS, "execute.failed server.statuses",
        acts="execute_failing"),
    _must("EXEC-15", "It then says why: error and details are strings.",
        "Put the kind of failure into error, and the message of the function's own error into details; "
        "agents read them.",
        "execute failing", strings("error", "details"), _DOCUMENTS, "execute.failed", needs="EXEC-14",
        acts="execute_failing"),
    _should("EXEC-16", "A call with an Idempotency-Key has the key in its response.",
        "Add the request's Idempotency-Key to the response, so that clients recognize it.",
        "execute", rules.returns_the_key, _SERVER, "server.execute", needs="EXEC-10", acts="execute"),
    _should("EXEC-17", "The same call with the same key gets the first response again, with "
        "Idempotent-Replayed: true.",
        "Keep the response of a call with an Idempotency-Key for some minutes, and return it instead of "
        "running the function again.",
        "execute again", rules.replays, _SERVER, "server.execute", needs="EXEC-10", acts="execute"),

    _must("SECRET-01", "Only POST mints client secrets: GET returns 400 to 499.",
        "Return 405 to GET: links, caches and crawlers follow GET, and none of them may mint.",
        "create_client_secret by GET", _CLIENT_ERROR, _DOCUMENTS, "secret.request"),
    _must("SECRET-02", "POST with {} mints a client secret: a status of 200 to 299.",
        "Use the backend's own settings when the request sets none. 401 says that the backend has no API "
        "key: configure one.",
        "mint", status(), _DOCUMENTS_CLIENTS, "secret.request server.client-secret", acts="mint"),
    _must("SECRET-03", "The response is a JSON object with a value, a string that is not empty.",
        'Return {"value": "ek_...", "expires_at": ...}, not OpenAI\'s whole response in another shape.',
        "mint", member("value", rules.is_text), _DOCUMENTS_CLIENTS, "secret.result secret.invalid",
        needs="SECRET-02", acts="mint"),
    _must("SECRET-04", "expires_at, where present, is a number.",
        "Send Unix seconds as a JSON number, not as a string; leave it out when it is not known.",
        "mint", member("expires_at", rules.is_number, optional=True), _DOCUMENTS_CLIENTS, "secret.result",
        needs="SECRET-02", acts="mint"),
    _should("SECRET-05", "expires_at is in seconds, and 10 to 7200 of them ahead.",
        "Send Unix seconds, not milliseconds, for a time to live of 10 to 7200 seconds; set the clock.",
        "mint", rules.expires_soon, _DOCUMENTS, "server.ttl", needs="SECRET-04", acts="mint"),
    _should("SECRET-06", "speech.provider, where speech is present, is openai or elevenlabs.",
        'Return "speech": {"provider": "openai"}, or "elevenlabs" when the backend synthesizes speech.',
        "mint", rules.has_speech_provider, _WEB_CLIENT_EXPRESS, "secret.speech-provider", needs="SECRET-02",
        acts="mint"),
    _should("SECRET-07", "Unknown members of the body are ignored.",
        "Read the members that you know, and ignore the rest.",
        "mint unknown field", status(), _EXPRESS, "server.client-secret", needs="SECRET-02", acts="mint"),
    _should("SECRET-08", "A member of the wrong type returns 400, and the error names it.",
        'Check the types before calling OpenAI, and return 400 and {"error": "model must be a string."}.',
        "mint wrong type", refused(400, mentions="model"), _SERVER, "server.statuses", needs="SECRET-02",
        acts="mint"),
    _should("SECRET-09", "Malformed JSON returns 400 and mints nothing.",
        'Return 400 and {"error": ...} before minting when the body cannot be parsed.',
        "mint malformed", refused(400), _SERVER, "server.statuses", needs="SECRET-02", acts="mint"),
    _should("SECRET-10", "A JSON body that is not an object returns 400 and mints nothing.",
        'Return 400 and {"error": ...} before minting when the body is an array.',
        "mint array", refused(400), _SERVER, "server.statuses", needs="SECRET-02", acts="mint"),
    _should("SECRET-11", "A form returns 415 and mints nothing.",
        "Accept application/json only: any page can send a form with its visitor's cookies.",
        "mint form", refused(415), _SERVER, "server.statuses", needs="SECRET-02", acts="mint"),

    _should("ERR-01", "Malformed JSON returns 400 and a JSON error.",
        'Return 400 and {"error": ...} when the body cannot be parsed; it is the caller\'s mistake.',
        "malformed", refused(400), _SERVER, "server.statuses", needs="EXEC-01"),
    _should("ERR-02", "A JSON body that is not an object returns 400 and a JSON error.",
        'Return 400 and {"error": ...} when the body is an array, a string, a number or null.',
        "array body", refused(400), _SERVER, "server.statuses", needs="EXEC-01"),
    _should("ERR-03", "A body of type text/plain returns 415 and a JSON error, even if it is JSON.",
        'Return 415 and {"error": ...} unless the Content-Type is application/json: a page of another '
        "origin may send text/plain without a preflight.",
        "text body", refused(415), _SERVER, "server.statuses", needs="EXEC-01"),
    _should("ERR-04", "A form returns 415 and a JSON error.",
        'Return 415 and {"error": ...} unless the Content-Type is application/json: a page of another '
        "origin may send a form without a preflight.",
        "form body", refused(415), _SERVER, "server.statuses", needs="EXEC-01"),
    _should("ERR-05", "A body that is not UTF-8 returns 400 to 499 and a JSON error.",
        'Return 400 and {"error": ...} when the body cannot be decoded.',
        "bad utf-8", refused(), _SERVER, "server.statuses", needs="EXEC-01"),
    _should("ERR-06", "An unknown path returns 404 and a JSON error.",
        'Return 404 and {"error": ...}, not an HTML page, below /navai.',
        "unknown path", refused(404), _SERVER, "server.statuses"),
    _should("ERR-07", "A method that a path does not support returns 405 and the header Allow.",
        "Return 405 with Allow: GET for the list, and Allow: POST for the rest.",
        ", ".join(WRONG_METHODS), rules.method_not_allowed, f"{_SERVER}; RFC 9110",
        "server.statuses", needs="LIST-01 EXEC-01 SECRET-01"),
    _should("ERR-08", "No error response shows a stack trace.",
        "Return only the message of an error, and log the rest; turn off the debug mode.",
        "unknown", rules.leaks_no_trace, _SERVER, "server.statuses"),
    _should("ERR-09", "Without the given credentials, listing returns 401 or 403.",
        "Require the credentials on every route except for preflights; or check without them if they are "
        "for something else.",
        "list anonymous", status(401, 403), _SERVER, needs="LIST-01",
        unseen="no credentials were given among the headers"),

    _must("CORS-01", "Unknown origins are never allowed with credentials.",
        "Never send Access-Control-Allow-Credentials: true along with * or with an origin that was not "
        "compared with a list: any page could act as its visitor.",
        "preflight foreign, list foreign", rules.denies_credentials_to_foreigners, f"{_FETCH}, {_SERVER}",
        "server.cors", needs="LIST-01"),
    _should("CORS-02", "Unknown origins are not allowed.",
        "Send Access-Control-Allow-Origin only to the origins on a list (NAVAI_CORS_ORIGIN); * is right "
        "only for a public backend.",
        "preflight foreign, list foreign", rules.denies_foreigners, _SERVER_PLAYGROUND, "server.cors",
        needs="CORS-01"),
    _should("CORS-03", "The origin null is not allowed.",
        "Do not return Access-Control-Allow-Origin: null: any page can have that origin, in a sandboxed "
        "frame.",
        "list null", rules.denies_null, _SERVER, "server.cors", needs="LIST-01"),
    _should("CORS-04", "A preflight from an allowed origin is granted, without credentials.",
        "Return 204 to OPTIONS, with Access-Control-Allow-Origin, before requiring credentials: browsers "
        "send none with it. Give origin= if pages call from another origin than http://localhost:3000.",
        "preflight granted", rules.grants_preflight, _SERVER_PLAYGROUND, "server.cors"),
    _should("CORS-05", "That preflight allows POST and the header Content-Type.",
        "Add Access-Control-Allow-Methods: GET, POST and Access-Control-Allow-Headers: Content-Type.",
        "preflight granted", rules.allows_what_clients_send, _FETCH, "server.cors", needs="CORS-04"),
    _should("CORS-06", "A page of that origin can read the list.",
        "Send Access-Control-Allow-Origin with every response, not only with preflights.",
        "list granted", rules.grants_origin, _FETCH, "server.cors", needs="LIST-01 CORS-04"),
    _should("CORS-07", "A page of that origin can read error responses.",
        "Send Access-Control-Allow-Origin with errors, too; else a page sees a network error without a "
        "reason.",
        "unknown granted", rules.grants_origin, _FETCH, "server.cors", needs="CORS-06"),
    _should("CORS-08", "A response that names the origin tells caches so: Vary: Origin.",
        "Add Vary: Origin, so that no cache hands the grant of one origin to another.",
        "list granted", rules.varies_by_origin, _FETCH, "server.cors", needs="CORS-06"),

    _must("LIMIT-01", "A body of 64 KiB is accepted.",
        "Raise the limit for request bodies to 1 MiB.",
        "64 KiB", status(404), _EXPRESS, needs="EXEC-01"),
    _should("LIMIT-02", "A body of 512 KiB is accepted.",
        "Raise the limit for request bodies to 1 MiB: payloads hold documents and pictures.",
        "512 KiB", status(404), _SERVER, needs="EXEC-01"),
    # A backend need not read the whole of a body that it refuses, so it may end the connection.
    _should("LIMIT-03", "A body of more than 2 MiB returns 413, or the connection is closed.",
        'Limit request bodies, and return 413 and {"error": ...} beyond. If yours may be larger, say from '
        "which size on they must be refused: large_body=.",
        "too large", refused(413), _SERVER, "server.statuses", needs="EXEC-01", may_hang_up=True),
    _should("LIMIT-04", "JSON that is nested 20,000 deep returns 400 to 499.",
        "Parse with a limit on depth, and return 400 when it is reached.",
        "deep", _CLIENT_ERROR, _SERVER, "server.statuses", needs="EXEC-01"),

    _should("SPEECH-01", "A blank text returns 400 and a JSON error.",
        'Return 400 and {"error": "text is required."} before calling ElevenLabs; or leave the route out.',
        "speak nothing", rules.refuses_blank_text, _SERVER, "server.elevenlabs server.statuses"),
    _must("SPEECH-02", "A text is spoken: a status of 200 to 299.",
        "Send the text to ElevenLabs. 400 says that the backend is not set up for speech.",
        "speak", status(), _WEB_CLIENT_EXPRESS, "speech.request server.elevenlabs", acts="speak"),
    _must("SPEECH-03", "The response has the provider elevenlabs, and strings mimeType and audioBase64.",
        'Return {"provider": "elevenlabs", "mimeType": "audio/mpeg", "audioBase64": "..."}.',
        "speak", rules.is_audio, _WEB_CLIENT_EXPRESS, "speech.result speech.invalid", needs="SPEECH-02",
        acts="speak"),
    _must("SPEECH-04", "audioBase64 is base64 of some audio.",
        "Encode the bytes of the audio as standard base64, with padding and without line breaks.",
        "speak", rules.is_base64, _WEB_CLIENT_EXPRESS, "speech.result", needs="SPEECH-03", acts="speak"),
)
# fmt: on


def requirements(groups: Iterable[str] | None = None) -> tuple[Requirement, ...]:
    """Return the requirements, in their order.

    Args:
        groups: Which groups of them; None means all.

    Raises:
        NavaiConfigError: There is no such group.
    """
    if groups is None:
        return _ALL
    wanted = [groups] if isinstance(groups, str) else list(groups)
    if unknown := [each for each in wanted if each not in GROUPS]:
        raise NavaiConfigError(f"groups has {unknown[0]!r}; the groups are {', '.join(GROUPS)}.")
    return tuple(each for each in _ALL if each.group in wanted)
