"""The fast transports (extra ``fast``): sockets of this package with llhttp, the HTTP parser of Node.js.

They keep every promise of the default transports and skip the objects of httpx between a call and its socket.
Calls that need a proxy are sent on connections of the default transports, which know proxies.
"""

from functools import cached_property

from navai_client._extras import needs_extra
from navai_client.transports._connecting import Origin
from navai_client.transports._pool import AsyncConnection, AsyncPool, Pool, SyncConnection
from navai_client.transports._proxies import Proxy

with needs_extra("fast", "httptools"):
    from navai_client.transports import _fast_async, _fast_sync
    from navai_client.transports._fast_parser import Encoder

__all__ = ["AsyncFastTransport", "FastTransport"]


class FastTransport(Pool):
    """A transport for ``NavaiBackendClient`` that does less for each call than the default one.

    Pass it as ``transport=FastTransport()``. The client closes it. Any number of threads may use it.

    Args:
        verify: True for the usual certificate authorities (and those that ``SSL_CERT_FILE`` and
            ``SSL_CERT_DIR`` name), False for none, a file or folder of certificates, or an
            ``ssl.SSLContext``.
        proxy: The URL of a proxy; without it, the proxy variables apply. Calls through a proxy are only as
            fast as those of the default transport.
        cert: The client's certificate, for backends that demand one (mutual TLS): a file with certificate and
            key, or a tuple of the certificate file, the key file and, if the key is encrypted, the password.
        uds: The path of a Unix socket to connect to, instead of the URL's host. No proxy is used then.

    Raises:
        NavaiConfigError: If an argument cannot work.
    """

    @cached_property
    def _encode(self) -> Encoder:
        return Encoder()

    def _connection(self, origin: Origin, proxy: Proxy | None) -> SyncConnection:
        if proxy is None:
            return _fast_sync.SyncConnection(origin, self._tls, self._encode, self._proxies.uds)
        from navai_client.transports import _default  # noqa: PLC0415 - it loads httpcore

        return _default.SyncConnection(origin, self._tls, proxy)


class AsyncFastTransport(AsyncPool):
    """A transport for ``AsyncNavaiBackendClient``; see ``FastTransport``.

    Pass it as ``transport=AsyncFastTransport()``. It belongs to the event loop of its first call, of asyncio
    or uvloop.

    Args:
        verify: As for ``FastTransport``.
        proxy: As for ``FastTransport``.
        cert: As for ``FastTransport``.
        uds: As for ``FastTransport``.

    Raises:
        NavaiConfigError: If an argument cannot work.
    """

    @cached_property
    def _encode(self) -> Encoder:
        return Encoder()

    def _connection(self, origin: Origin, proxy: Proxy | None) -> AsyncConnection:
        if proxy is None:
            return _fast_async.AsyncConnection(origin, self._tls, self._encode, self._proxies.uds)
        from navai_client.transports import _default  # noqa: PLC0415 - it loads httpcore

        return _default.AsyncConnection(origin, self._tls, proxy)
