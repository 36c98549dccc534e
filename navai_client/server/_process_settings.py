"""The settings of the process that serves a backend."""

import re
from typing import Final

import attrs

from navai_client.server._setting_fields import (
    FromEnvironment,
    count,
    documented,
    duration,
    must_be,
    named,
    not_blank,
    setting,
    switch,
)
from navai_client.wire._decode import trim

_SEGMENTS: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*")  # RFC 3986, section 3.3, decoded


def _host(host: str) -> str:
    return trim(host).removeprefix("[").removesuffix("]")


def _root_path(path: str) -> str:
    segments = trim(path).strip("/")
    return f"/{segments}" if segments else ""


@documented
@attrs.frozen(kw_only=True, field_transformer=named)
class ProcessSettings(FromEnvironment):
    """How ``python -m navai_client.server`` listens, runs and stops."""

    host: str = setting(
        "The address to listen on; :: takes IPv4, too.",
        default="127.0.0.1",
        converter=_host,
        validator=must_be("an address, such as 127.0.0.1, ::1, 0.0.0.0 or ::", bool),
    )
    port: int = count(
        "The port to listen on; 0 takes a free one.", default=3000, least=0, most=65535, env="PORT"
    )
    uds: str | None = setting(
        "The path of a Unix socket to listen on instead of host and port. Everybody with access to its "
        "folder can connect.",
        converter=not_blank,
    )
    root_path: str = setting(
        "The path below which a proxy serves the backend, such as /api, whether the proxy removes it or not.",
        default="",
        converter=_root_path,
        validator=must_be("a path such as /api, without query and escapes", _SEGMENTS.fullmatch),
    )
    workers: int = count("The number of processes; each has its own functions.", default=1)
    reload: bool = switch(
        "Restart when a Python file below the base directory changes.", default=False, env=None
    )
    demo: bool = switch(
        "Serve sample functions, and client secrets that open no session.", default=False, env=None
    )
    allow_anonymous: bool = switch(
        "Start without an access token, even if others can reach the address and the backend has its own "
        "key. Everyone who can reach it can then call functions and mint client secrets.",
        default=False,
    )
    access_log: bool = switch("Write a log line for each response.", default=True)
    log_format: str = setting(
        "The format of the log on standard error: text, or json with one object per line.",
        default="text",
        parse=str.lower,
        validator=must_be("text or json", ("text", "json").__contains__),
    )
    drain_delay: int = count(
        "Seconds that the server still accepts requests after SIGTERM, while /ready fails. A second SIGTERM "
        "ends this.",
        default=2,
        least=0,
        metavar="SECONDS",
    )
    grace: int = count(
        "Seconds that calls may take to finish after that; calls that still run get status 409.",
        default=30,
        least=0,
        metavar="SECONDS",
    )
    max_connections: int = count(
        "The number of connections at a time, if RLIMIT_NOFILE allows them. Beyond that, connections without "
        "a request are closed, and then requests get status 503.",
        default=1000,
    )
    max_header_bytes: int = count(
        "The largest size of all headers of a request together; larger ones get status 431.",
        default=2**16,
        metavar="BYTES",
    )
    headers_timeout: float = duration(
        "Seconds that the headers of a request may take to arrive.", default=10.0
    )
    keep_alive: float = duration(
        "Seconds that a connection stays open between requests. A proxy in front should close its "
        "connections earlier; nginx does so after 60.",
        default=75.0,
    )
    write_timeout: float = duration(
        "Seconds in which a client must read 64 KiB of its response, or the rest of it.", default=30.0
    )
