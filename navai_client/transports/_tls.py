"""Which certificates are trusted: the ``verify`` option, and the TLS contexts made from it.

Whether a connection is encrypted is not decided here: that follows from the URL's scheme alone.
"""

import asyncio
import functools
import os
import ssl
from typing import TypeAlias

from navai_client.errors import NavaiConfigError

Verify: TypeAlias = bool | str | os.PathLike[str] | ssl.SSLContext


class TLS:
    """The TLS settings of one transport.

    Args:
        verify: True for the usual certificate authorities, False for none, a file or folder of certificates,
            or an ``ssl.SSLContext``.

    Raises:
        NavaiConfigError: If *verify* is none of these, or names certificates that cannot be used.
    """

    def __init__(self, verify: Verify) -> None:
        # 1 == True, and neither is meant by what an unset variable or a number gives.
        if isinstance(verify, os.PathLike):
            verify = os.fspath(verify)
        if not isinstance(verify, bool | str | ssl.SSLContext):
            raise NavaiConfigError(
                "verify is True, False, a path or an ssl.SSLContext; "
                f"{type(verify).__name__} is none of these. (verify never switches encryption off.)"
            )
        self._verify = verify
        self._is_loaded = False
        if isinstance(verify, str):
            if not os.path.exists(verify):  # noqa: PTH110 - the same question for any kind of path
                raise NavaiConfigError(
                    f"verify names {verify!r}, where there is no file or folder of certificates."
                )
            self.context()

    async def load(self) -> None:
        """Build the context in another thread, because building it would block the event loop."""
        if not self._is_loaded:
            await asyncio.to_thread(self.context)
            self._is_loaded = True

    def context(self) -> ssl.SSLContext:
        """Return the context for every encrypted connection of these settings.

        Raises:
            NavaiConfigError: If the certificates that the environment names cannot be used.
        """
        if isinstance(self._verify, ssl.SSLContext):
            return self._verify
        try:
            if isinstance(self._verify, str):
                return _context_of(self._verify)
            return _usual_context(self._verify, *map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))
        except OSError as error:
            where = f"verify={self._verify!r}" if isinstance(self._verify, str) else "SSL_CERT_FILE"
            message = f"The certificates that {where} names cannot be used: {error}."
        raise NavaiConfigError(message)


# One context for each setting: to build one takes tens of milliseconds.


@functools.cache
def _context_of(path: str) -> ssl.SSLContext:
    if os.path.isdir(path):  # noqa: PTH112 - as above
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


@functools.cache
def _usual_context(verify: bool, _file: str | None, _folder: str | None) -> ssl.SSLContext:
    """Return the context that httpx makes of the setting; it reads the two variables itself."""
    import httpx  # noqa: PLC0415 - `import navai_client` must not load it

    return httpx.create_ssl_context(verify=verify)
