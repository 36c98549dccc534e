"""What is asked of a backend when pages in browsers call it from other origins."""

from typing import Final

from navai_client.conformance._outcome import Answer
from navai_client.conformance._probes import FOREIGN_ORIGIN
from navai_client.conformance._requirement import Evidence, Requirement

_OURS: Final = "the reference server, Express's playground"
_FETCH: Final = "the Fetch standard"


def _grant(answer: Answer) -> str:
    return answer.header("access-control-allow-origin")


def _with_credentials(answer: Answer) -> bool:
    return answer.header("access-control-allow-credentials").lower() == "true"


def _seen(answer: Answer) -> str:
    names = ("allow-origin", "allow-credentials", "allow-methods", "allow-headers")
    sent = [f"Access-Control-{each.title()}: {answer.header(f'access-control-{each}')}" for each in names]
    given = [each for each in sent if not each.endswith(": ")]
    return f"HTTP {answer.status} with {'; '.join(given) or 'no Access-Control-Allow-Origin'}"


def _gives_foreigners_no_credentials(answer: Answer, _: Evidence) -> str | None:
    granted = _grant(answer) in ("*", FOREIGN_ORIGIN)
    return _seen(answer) if granted and _with_credentials(answer) else None


def _lets_no_foreigner_in(answer: Answer, _: Evidence) -> str | None:
    return _seen(answer) if _grant(answer) in ("*", FOREIGN_ORIGIN) else None


def _lets_no_null_in(answer: Answer, _: Evidence) -> str | None:
    return _seen(answer) if _grant(answer) == "null" else None


def _is_granted(answer: Answer, evidence: Evidence) -> str | None:
    return None if _grant(answer) in ("*", evidence.subject.origin) else _seen(answer)


def _preflight_is_granted(answer: Answer, evidence: Evidence) -> str | None:
    return _is_granted(answer, evidence) if answer.success else _seen(answer)


def _allows_what_clients_send(answer: Answer, _: Evidence) -> str | None:
    methods = _words(answer.header("access-control-allow-methods"))
    headers = _words(answer.header("access-control-allow-headers"))
    # POST needs no permission of its own by the standard, content-type with JSON does.
    if methods and not {"post", "*"} & methods:
        return _seen(answer)
    return None if {"content-type", "*"} & headers else _seen(answer)


def _words(header: str) -> set[str]:
    return {each.strip().lower() for each in header.split(",")} - {""}


def _varies(answer: Answer, _: Evidence) -> str | None:
    if _grant(answer) == "*" or {"origin", "*"} & _words(answer.header("vary")):
        return None
    vary = answer.header("vary")
    return f"{_seen(answer)} and {f'Vary: {vary}' if vary else 'no Vary'}"


CORS: Final = (
    Requirement(
        id="CORS-01",
        group="cors",
        severity="must",
        sentence="Pages of unknown origins are never let in with credentials.",
        change="Never send Access-Control-Allow-Credentials: true along with * or with an origin that "
        "was not "
        "compared with a list: any page could act as its visitor.",
        source=f"{_FETCH}, the reference server",
        relates=("server.cors",),
        needs=("LIST-01",),
        probes=("preflight foreign", "list foreign"),
        rule=_gives_foreigners_no_credentials,
    ),
    Requirement(
        id="CORS-02",
        group="cors",
        severity="should",
        sentence="Pages of unknown origins are not let in.",
        change="Send Access-Control-Allow-Origin to the origins on a list (NAVAI_CORS_ORIGIN) alone; * "
        "is right only "
        "for a backend that everybody may use.",
        source=_OURS,
        relates=("server.cors",),
        needs=("CORS-01",),
        probes=("preflight foreign", "list foreign"),
        rule=_lets_no_foreigner_in,
    ),
    Requirement(
        id="CORS-03",
        group="cors",
        severity="should",
        sentence="The origin null is not let in.",
        change="Do not answer Access-Control-Allow-Origin: null: any page can have that origin, in a "
        "sandboxed frame.",
        source="the reference server",
        relates=("server.cors",),
        needs=("LIST-01",),
        probes=("list null",),
        rule=_lets_no_null_in,
    ),
    Requirement(
        id="CORS-04",
        group="cors",
        severity="should",
        sentence="A preflight from an origin that may call is granted, without credentials.",
        change="Answer OPTIONS with 204 and Access-Control-Allow-Origin, before asking for credentials: "
        "browsers send "
        "none with it. Give origin= if pages call from another origin than http://localhost:3000.",
        source=_OURS,
        relates=("server.cors",),
        probes=("preflight granted",),
        rule=_preflight_is_granted,
    ),
    Requirement(
        id="CORS-05",
        group="cors",
        severity="should",
        sentence="That preflight allows POST and the header Content-Type.",
        change="Add Access-Control-Allow-Methods: GET, POST and Access-Control-Allow-Headers: Content-Type.",
        source=_FETCH,
        relates=("server.cors",),
        needs=("CORS-04",),
        probes=("preflight granted",),
        rule=_allows_what_clients_send,
    ),
    Requirement(
        id="CORS-06",
        group="cors",
        severity="should",
        sentence="The list can be read by a page of that origin.",
        change="Send Access-Control-Allow-Origin with answers, not with preflights alone.",
        source=_FETCH,
        relates=("server.cors",),
        needs=("LIST-01", "CORS-04"),
        probes=("list granted",),
        rule=_is_granted,
    ),
    Requirement(
        id="CORS-07",
        group="cors",
        severity="should",
        sentence="Refusals can be read by a page of that origin.",
        change="Send Access-Control-Allow-Origin with refusals, too; else a page sees a network error "
        "without a reason.",
        source=_FETCH,
        relates=("server.cors",),
        needs=("CORS-06",),
        probes=("unknown granted",),
        rule=_is_granted,
    ),
    Requirement(
        id="CORS-08",
        group="cors",
        severity="should",
        sentence="An answer that names the origin says so to caches: Vary: Origin.",
        change="Add Vary: Origin, so that no cache hands the grant of one origin to another.",
        source=_FETCH,
        relates=("server.cors",),
        needs=("CORS-06",),
        probes=("list granted",),
        rule=_varies,
    ),
)
