"""The check: it sends the probes, each with a deadline, and applies the rules to the outcomes."""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Unpack

import attrs

from navai_client._headers import resolve_headers
from navai_client._version import __version__
from navai_client.config import ClientConfig, resolve_base_url, resolve_paths, wordpress_site
from navai_client.conformance._catalogue import ACTS, Requirement, requirements
from navai_client.conformance._outcome import Outcome, shown
from navai_client.conformance._probes import Call, Probe, Subject, first_probe, further_probes
from navai_client.conformance._profiles import PROFILES, Profile
from navai_client.conformance._report import Finding, Report, Verdict
from navai_client.conformance._rules import Evidence, Unseen
from navai_client.errors import NavaiConfigError
from navai_client.transports import Call as TransportCall, Transport
from navai_client.transports._given import sync_transport
from navai_client.wire._decode import trim
from navai_client.wire._encode import encode_json
from navai_client.wire._operations import PathOptions
from navai_client.wire._retry import RetryPolicy
from navai_client.wire._values import TransportFailure

_AT_A_TIME: Final = 6  # requests: as many connections as browsers open to one origin
_MOST_BYTES: Final = 2 * 2**20  # of a response; all responses are kept until the rules are applied
_MOST_AUDIO_BYTES: Final = 16 * 2**20
_LEAST_LARGE_BODY: Final = 2**20  # bytes: what a backend must accept
_BUSY: Final = RetryPolicy(max_retries=2)  # for backends that respond with Retry-After
_NOT_FOUND: Final = 404
_SECOND_PROBE: Final = "unknown"  # it shows whether only the list gets no response
_CONTRACT_INSTEAD: Final = (
    "Do what this profile expects; or, if the backend keeps the contract here, "
    "check it with the profile contract."
)


def check(
    url: str | None = None,
    *,
    profile: str = "contract",
    groups: Iterable[str] | None = None,
    execute: Call | None = None,
    execute_failing: Call | None = None,
    mint: bool = False,
    speak: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
    origin: str = "http://localhost:3000",
    large_body: int = 2 * 2**20,
    verify: Any = True,
    proxy: str | None = None,
    transport: Any = None,
    **paths: Unpack[PathOptions],
) -> Report:
    """Check whether a backend keeps Navai's contract, as far as that can be seen from outside.

    The check only reads, unless it is allowed to act: it requests the list, and sends requests that every
    backend must refuse, such as calls of an unknown function. It waits for no response longer than *timeout*,
    and the whole check ends within some 20 times that, whatever the backend does.

    Args:
        url: The backend's base URL; else ``NAVAI_API_URL``; else ``http://localhost:3000``.
        profile: ``contract`` for what the documents say, ``express`` for what the published backend does,
            ``wordpress`` for Navai's plugin, which has its own paths.
        groups: Which groups of requirements to check; None means all.
        execute: A function's name and a payload with which it succeeds. It is executed twice, or three times
            by a backend that does not know the header ``Idempotency-Key``.
        execute_failing: A function's name and a payload with which it fails. It is executed once.
        mint: Whether client secrets may be minted: two, and up to four more by a backend that does not refuse
            what it should.
        speak: A text to be spoken, once.
        headers: Sent with all requests but preflights, for example Authorization.
        timeout: Seconds that a response may take.
        origin: An origin that the backend must allow.
        large_body: The size in bytes from which a request's body must be refused; 1 MiB or more.
        verify: True for the usual certificate authorities, False for none, a file or folder of certificates,
            or an ``ssl.SSLContext``.
        proxy: The URL of a proxy; without it, the proxy variables apply.
        transport: A transport that ``NavaiBackendClient`` takes, such as ``httpx.WSGITransport``, to check an
            application without a socket.
        paths: The paths of operations, such as ``client_secret_path``, as ``NavaiBackendClient`` takes them.

    Raises:
        NavaiConfigError: An argument cannot work. Faults of the backend are findings instead.
        NavaiPayloadError: A payload is not JSON.
    """
    if profile not in PROFILES:
        raise NavaiConfigError(f"profile is {profile!r}; there are {', '.join(PROFILES)}.")
    wanted = requirements(groups)
    if profile == "wordpress":
        url, plugin = wordpress_site(url, None)
        paths = {**plugin, **paths}
    base_url = resolve_base_url(url, None)
    config = ClientConfig(
        base_url=base_url,
        paths=resolve_paths(**paths),
        headers=resolve_headers(headers),
        timeout=timeout,
        max_retries=0,
        max_response_bytes=_MOST_BYTES,
    )
    if config.timeout is None:
        raise NavaiConfigError("timeout must be a number of seconds: a check has to end.")
    if large_body < _LEAST_LARGE_BODY:
        raise NavaiConfigError(
            f"large_body must be {_LEAST_LARGE_BODY:,} bytes or more; it is {large_body!r}."
        )
    if speak is not None and not trim(speak):
        raise NavaiConfigError("speak must be a text that is not blank.")
    subject = Subject(
        config=config,
        execute=_checked_call("execute", execute),
        execute_failing=_checked_call("execute_failing", execute_failing),
        mint=mint,
        speak=speak,
        origin=origin,
        large_body=large_body,
    )
    sender = sync_transport(transport, None, verify=verify, proxy=proxy)
    try:
        return _Check(subject, PROFILES[profile], sender).run(wanted)
    finally:
        sender.close()


def _checked_call(name: str, call: Call | None) -> Call | None:
    if call is None:
        return None
    if len(call) != 2 or not isinstance(call[0], str) or not trim(call[0]):  # noqa: PLR2004 - a pair
        raise NavaiConfigError(f"{name} must be the name of a function and a payload.")
    encode_json(call[1], name=f"the payload of {name}")
    return call


class _Check:
    """One check of one backend."""

    def __init__(self, subject: Subject, profile: Profile, transport: Transport) -> None:
        self._subject = subject
        self._profile = profile
        self._transport = transport
        self._probes: dict[str, Probe] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._findings: dict[str, Finding] = {}

    def run(self, wanted: Sequence[Requirement]) -> Report:
        started_at, began = time.time(), time.monotonic()
        needed = _with_needs(wanted)
        failure = self._send_probes(needed)
        asked = {name: probe.shown for name, probe in self._probes.items()}
        evidence = Evidence(subject=self._subject, outcomes=self._outcomes, asked=asked, now=time.time())
        for requirement in needed:
            self._findings[requirement.id] = self._judge(requirement, evidence, reached=not failure)
        minted = (secret for outcome in self._outcomes.values() for secret in outcome.secrets())
        secrets = (*self._subject.config.headers.secrets, *minted)
        return Report(
            url=self._subject.config.base_url,
            profile=self._profile.name,
            version=__version__,
            started_at=started_at,
            seconds=time.monotonic() - began,
            failure=shown(failure, secrets),
            findings=tuple(_without_secrets(self._findings[each.id], secrets) for each in wanted),
        )

    def _send_probes(self, needed: Iterable[Requirement]) -> str:
        """Send the probes that *needed* judge; return the reason if no response comes."""
        first = first_probe(self._subject)
        listed = self._send(first)
        self._probes = {first.name: first} | further_probes(self._subject, listed)
        self._outcomes = {first.name: listed}
        if listed.failure is not None and self._send(self._probes[_SECOND_PROBE]).failure is not None:
            return listed.failure  # the other probes would say the same
        names = {name for each in needed for name in each.probes} - {first.name}
        probes = [probe for name, probe in self._probes.items() if name in names]
        looking = [probe for probe in probes if not probe.acts]
        pool = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="navai-check")
        try:
            outcomes = pool.map(self._send, looking)
            self._outcomes |= {probe.name: outcome for probe, outcome in zip(looking, outcomes, strict=True)}
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupted check sends no more
        for probe in probes:
            if probe.acts:  # one after the other
                self._outcomes[probe.name] = self._send(probe)
        return ""

    def _send(self, probe: Probe) -> Outcome:
        config = self._subject.config
        most = _MOST_AUDIO_BYTES if probe.acts == "speak" else config.max_response_bytes
        call = TransportCall(timeout=config.timeout, max_response_bytes=most)
        began = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            outcome = self._transport.send(probe.request, call)
            delay = _BUSY.delay(outcome, attempt=attempt, repeatable=False)
            if isinstance(outcome, TransportFailure) or delay is None or delay >= (call.remaining() or 0):
                return Outcome(outcome, seconds=time.monotonic() - began, private=probe.private)
            time.sleep(delay)

    def _judge(self, requirement: Requirement, evidence: Evidence, *, reached: bool) -> Finding:
        deviation = self._profile.deviations.get(requirement.id)
        expected = requirement.sentence if deviation is None else deviation.sentence
        rule = requirement.rule if deviation is None else deviation.rule
        finding = Finding(requirement=requirement, verdict="skipped", expected=expected)
        if rule is None:
            reason = f"the profile {self._profile.name} does not expect it: {expected}"
            return attrs.evolve(finding, expected=requirement.sentence, reason=reason)
        if reason := self._why_not(requirement, reached=reached):
            return attrs.evolve(finding, reason=reason)
        for name in requirement.probes:
            if name not in self._outcomes:
                return attrs.evolve(finding, reason=requirement.unseen)
            outcome, probe = self._outcomes[name], self._probes[name]
            finding = attrs.evolve(finding, asked=probe.shown, seconds=finding.seconds + outcome.seconds)
            if probe.optional and outcome.status == _NOT_FOUND:
                continue
            came: str | Unseen | None
            if outcome.failure is None:
                came = rule(outcome, evidence)
            else:
                fine = requirement.may_hang_up and not outcome.timed_out
                came = None if fine else outcome.summary()
            if isinstance(came, Unseen):
                return attrs.evolve(finding, reason=came.reason)
            if came is not None:
                verdict: Verdict = "failed" if requirement.severity == "must" else "warned"
                change = requirement.change if deviation is None else _CONTRACT_INSTEAD
                return attrs.evolve(finding, verdict=verdict, came=came, change=change)
        return attrs.evolve(finding, verdict="passed")

    def _why_not(self, requirement: Requirement, *, reached: bool) -> str:
        """Return why *requirement* cannot be judged, or None."""
        if not reached and requirement.id != "LIST-01":
            return "the backend gave no response"
        if requirement.acts and not self._probes.keys() >= set(requirement.probes):
            return f"it acts on the backend; allow it with {ACTS[requirement.acts]}"
        for needed in requirement.needs:
            if self._findings[needed].verdict != "passed":
                return f"it is judged only when {needed} holds"
        return ""


def _with_needs(wanted: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """Return *wanted* and the requirements that they need, in catalogue order: needed ones come first."""
    ids = {each.id for each in wanted}
    every = requirements()
    for requirement in reversed(every):
        if requirement.id in ids:
            ids |= set(requirement.needs)
    return tuple(each for each in every if each.id in ids)


def _without_secrets(finding: Finding, secrets: tuple[str, ...]) -> Finding:
    # The requests are ours, except for the given payloads.
    asked = shown(finding.asked, secrets if finding.requirement.acts else ())
    came = shown(finding.came, secrets) if finding.came else ""
    return attrs.evolve(finding, asked=asked, came=came)
