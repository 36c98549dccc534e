"""TLS: which certificates are trusted (``verify``), which one is presented (``cert``), and their contexts.

Whether a connection is encrypted is not decided here: that follows from the URL's scheme alone.
"""

import asyncio
import functools
import os
import ssl
from typing import Any, TypeAlias

from attrs import field, frozen

from navai_client.errors import NavaiConfigError

AnyPath: TypeAlias = str | os.PathLike[str]
Verify: TypeAlias = bool | AnyPath | ssl.SSLContext
Cert: TypeAlias = AnyPath | tuple[AnyPath, AnyPath] | tuple[AnyPath, AnyPath, str | bytes | None]


class TLS:
    """The TLS settings of one transport.

    Args:
        verify: True for the usual certificate authorities, False for none, a file or folder of certificates,
            or an ``ssl.SSLContext``.
        cert: The client's certificate: a file that holds its key too, or a tuple of its file, the file of its
            key and, if that is encrypted, its password.

    Raises:
        NavaiConfigError: If an argument is none of these, or names certificates that cannot be used.
    """

    def __init__(self, verify: Verify, cert: Cert | None = None) -> None:
        # 1 == True, and neither is meant by what an unset variable or a number gives.
        if isinstance(verify, os.PathLike):
            verify = os.fspath(verify)
        if not isinstance(verify, bool | str | ssl.SSLContext):
            raise NavaiConfigError(
                "verify is True, False, a path or an ssl.SSLContext; "
                f"{type(verify).__name__} is none of these. (verify never switches encryption off.)"
            )
        if isinstance(verify, ssl.SSLContext) and verify.protocol == ssl.PROTOCOL_TLS_SERVER:
            raise NavaiConfigError("verify is a context for servers; a client needs PROTOCOL_TLS_CLIENT.")
        self._verify = verify
        self._certificate = None if cert is None else _Certificate.of(cert)
        self._own: ssl.SSLContext | None = None
        self._is_loaded = False
        if isinstance(verify, str):
            if not os.path.exists(verify):  # noqa: PTH110 - the same question for any kind of path
                raise NavaiConfigError(
                    f"verify names {verify!r}, where there is no file or folder of certificates."
                )
            self.proxy_context()
        if self._certificate is not None:
            if isinstance(verify, ssl.SSLContext):
                raise NavaiConfigError(
                    "cert and a context as verify were both given; "
                    "load the certificate into your context, by its load_cert_chain()."
                )
            self._certificate.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    async def load(self) -> None:
        """Build the context in another thread, because building it would block the event loop."""
        if not self._is_loaded:
            await asyncio.to_thread(self.context)
            self._is_loaded = True

    def context(self) -> ssl.SSLContext:
        """Return the context for every encrypted connection to a backend.

        Raises:
            NavaiConfigError: If the certificates that the environment names cannot be used, or those of the
                client cannot be used any more.
        """
        if self._certificate is None:
            return self._trusting(_context_of, _usual_context)
        if self._own is None:  # not shared with other clients, which have other certificates or none
            own = self._trusting(_context_of.__wrapped__, _usual_context.__wrapped__)
            self._certificate.load_into(own)
            self._own = own
        return self._own

    def proxy_context(self) -> ssl.SSLContext:
        """Return the context for connections to a proxy, which must not get the client's certificate."""
        return self._trusting(_context_of, _usual_context)

    def _trusting(self, context_of: Any, usual_context: Any) -> ssl.SSLContext:
        if isinstance(self._verify, ssl.SSLContext):
            return self._verify
        try:
            if isinstance(self._verify, str):
                return context_of(self._verify)  # type: ignore[no-any-return]
            files = map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR"))
            return usual_context(self._verify, *files)  # type: ignore[no-any-return]
        except OSError as error:
            where = f"verify={self._verify!r}" if isinstance(self._verify, str) else "SSL_CERT_FILE"
            message = f"The certificates that {where} names cannot be used: {error}."
        raise NavaiConfigError(message)


class _EncryptedKeyError(OSError):
    """The key needs a password, and none was given. OpenSSL would ask for it on the terminal."""


@frozen
class _Certificate:
    """The files of a client's certificate, and the password of its key."""

    chain: str
    key: str | None
    password: str | bytes | None = field(repr=False)

    @classmethod
    def of(cls, cert: Any) -> "_Certificate":
        """Return the parts of the option *cert*.

        Raises:
            NavaiConfigError: If it has no such parts.
        """
        parts = tuple(cert) if isinstance(cert, tuple | list) else (cert, None)
        if len(parts) in {2, 3}:
            chain, key, password = (*parts, None)[:3]
            chain, key = (os.fspath(path) if isinstance(path, os.PathLike) else path for path in (chain, key))
            if (
                isinstance(chain, str)
                and isinstance(key, str | None)
                and isinstance(password, str | bytes | None)
            ):
                return cls(chain, key, password)
        raise NavaiConfigError(
            "cert is a path, or a tuple of the paths of certificate and key, with the password of the key "
            f"as a third part if it is encrypted; this {type(cert).__name__} is none of these."
        )

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let connections of *context* present the certificate.

        Raises:
            NavaiConfigError: If it cannot be used.
        """
        for path in (self.chain, self.key):
            if path is not None and not os.path.isfile(path):  # noqa: PTH113 - as above
                raise NavaiConfigError(f"cert names {path!r}, where there is no file.")
        try:
            context.load_cert_chain(
                self.chain, self.key, self._no_password if self.password is None else self.password
            )
        except _EncryptedKeyError:
            message = "the key is encrypted: give its password, as in cert=(certificate, key, password)"
        except (OSError, ValueError) as error:  # ValueError: the password is too long
            message = f"{error}; it takes PEM files, the certificate's own key, and the right password"
        else:
            return
        raise NavaiConfigError(f"cert cannot be used: {message}.")

    def _no_password(self) -> str:
        raise _EncryptedKeyError


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
