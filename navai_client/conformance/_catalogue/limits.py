"""What is asked of a backend when bodies are large or deep."""

from typing import Final

from navai_client.conformance._requirement import Requirement
from navai_client.conformance._rules import refused, status

LIMITS: Final = (
    Requirement(
        id="LIMIT-01",
        group="limits",
        severity="must",
        sentence="A body of 64 KiB is taken.",
        change="Raise the limit for request bodies to 1 MiB.",
        source="Express, published",
        needs=("EXEC-01",),
        probes=("64 KiB",),
        rule=status(404),
    ),
    Requirement(
        id="LIMIT-02",
        group="limits",
        severity="should",
        sentence="A body of 512 KiB is taken.",
        change="Raise the limit for request bodies to 1 MiB: payloads hold documents and pictures.",
        source="the reference server",
        needs=("EXEC-01",),
        probes=("512 KiB",),
        rule=status(404),
    ),
    Requirement(
        id="LIMIT-03",
        group="limits",
        severity="should",
        sentence="A body of more than 2 MiB is answered with 413, or the connection is ended.",
        change='Limit request bodies, and answer 413 and {"error": ...} beyond. If yours may be larger, '
        "say from "
        "which size on they must be refused: large_body=.",
        source="the reference server",
        relates=("server.statuses",),
        needs=("EXEC-01",),
        probes=("too large",),
        may_hang_up=True,  # nobody has to take the whole of what he refuses
        rule=refused(413),
    ),
    Requirement(
        id="LIMIT-04",
        group="limits",
        severity="should",
        sentence="JSON that is nested 20,000 deep is answered with 400 to 499.",
        change="Parse with a limit on depth, and answer 400 when it is reached.",
        source="the reference server",
        relates=("server.statuses",),
        needs=("EXEC-01",),
        probes=("deep",),
        rule=status(*range(400, 500)),
    ),
)
