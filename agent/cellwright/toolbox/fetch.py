"""Something from the web, fetched at an address that a model chose.

A model may be talked into anything by what it reads, and the host stands in networks that strangers do not: its own
services, the router, a cloud's metadata. So only public addresses are connected to. A name is resolved once, the
addresses are checked, and the connection goes to an address that was checked: a name that resolves to something else a
moment later changes nothing. Redirects go the same way, each of them. No proxy of the environment is used, since it
would resolve names by itself. Time, size (after decompression) and the number of redirects are bounded.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import httpx

from .. import __version__
from ..errors import ToolCallError, one_line

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
_6TO4 = ipaddress.ip_network("2002::/16")


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system resolves it. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class Web:
    """What of the web may be reached, and how much of it is read."""

    allow_private: bool | Sequence[str] = False
    """True: every address; or the networks that may be reached besides public ones, e.g. ("10.1.0.0/16",)."""
    seconds: float = 20.0
    """For one fetch, redirects included."""
    max_bytes: int = 2_000_000
    """Read of a body, decompressed."""
    max_redirects: int = 5
    user_agent: str = f"Cellwright/{__version__} (a person's agent; python-httpx)"
    verify: ssl.SSLContext | bool = True
    """Certificates that are trusted."""
    resolve: Callable[[str, int], Awaitable[Sequence[str]]] = resolved
    """Host and port -> addresses."""

    def allows(self, address: str) -> bool:
        """True when this IP address may be connected to."""
        if isinstance(self.allow_private, bool):
            return self.allow_private or is_public(address)
        ip = ipaddress.ip_address(address)
        return is_public(address) or any(ip in ipaddress.ip_network(network) for network in self.allow_private)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came back."""

    url: str
    """After redirects."""
    kind: str
    """Content type, lower case, without parameters; empty when the server gave none."""
    charset: str | None
    body: bytes
    is_cut: bool
    """True when there was more than may be read."""


def is_public(address: str) -> bool:
    """True for an address of the public internet; not for private, local, shared, multicast or reserved ones."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:  # what a network without IPv4 of its own makes of an IPv4 address
            ip = ipaddress.IPv4Address(ip.packed[-4:])
        elif ip not in _UNICAST or ip in _6TO4:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


async def fetch(
    url: str,
    web: Web,
    *,
    params: Mapping[str, str | int] | None = None,
    accept: str = "*/*",
    max_bytes: int | None = None,
) -> Fetched:
    """GET `url`. Raises `ToolCallError`, in one line, for whatever keeps it from being had."""
    headers = {"User-Agent": web.user_agent, "Accept": accept, "Accept-Encoding": "gzip"}
    try:
        asked = httpx.URL(url, params=params) if params else httpx.URL(url)
        if asked.scheme not in ("http", "https") or not asked.host:
            raise ToolCallError(f"{one_line(url, 200)!r} is no address of a page: it begins with http:// or https://.")
        async with (
            asyncio.timeout(web.seconds),
            httpx.AsyncClient(
                transport=CheckedTransport(web), trust_env=False, timeout=web.seconds, headers=headers,
                follow_redirects=True, max_redirects=web.max_redirects,
            ) as client,
            client.stream("GET", asked) as response,
        ):  # fmt: skip
            return await _read(response, web.max_bytes if max_bytes is None else max_bytes)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ToolCallError(f"{one_line(url, 200)!r} is no address of a page: {one_line(str(error))}.") from None
    except httpx.TooManyRedirects:
        raise ToolCallError(f"{url} redirects more than {web.max_redirects} times.") from None
    except httpx.UnsupportedProtocol:
        raise ToolCallError(f"{url} redirects to something that is neither http nor https.") from None
    except (TimeoutError, httpx.TimeoutException):
        raise ToolCallError(f"{url} did not answer within {web.seconds:g} s.") from None
    except (httpx.HTTPError, OSError) as error:
        said = one_line(str(error) or type(error).__name__, 160)
        raise ToolCallError(f"{url} can't be reached: {said}.") from None


class CheckedTransport(httpx.AsyncBaseTransport):
    """Connects to addresses that `web` allows, and to no others. Raises `ToolCallError` where there is none."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._inner = httpx.AsyncHTTPTransport(verify=web.verify, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to a checked address of its host; certificates are still checked for the name."""
        if request.url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(request.url.scheme)
        if request.url.userinfo:
            raise ToolCallError(f"{request.url.host}: addresses with a user and password in them are not opened.")
        host = request.url.raw_host.decode("ascii")
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        failed: httpx.HTTPError | None = None
        for address in await self._addresses(host, port):
            try:
                return await self._inner.handle_async_request(_sent_to(address, host, request))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failed = error  # e.g. an IPv6 address where only IPv4 leads out
        raise failed or httpx.ConnectError(f"{host} has no address")

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            found = await self._web.resolve(host.strip("[]"), port)
        except OSError as error:
            raise httpx.ConnectError(f"the name {host} is not known ({error.strerror or error})") from None
        allowed = [address for address in found if self._web.allows(address)]
        if found and not allowed:
            raise ToolCallError(f"{host} is in a private or reserved network, which tools may not reach.")
        return allowed

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _sent_to(address: str, host: str, request: httpx.Request) -> httpx.Request:
    """The request, to this address; the `Host` header was set from the name, and goes along with the others."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host.strip("[]")},
    )


async def _read(response: httpx.Response, most: int) -> Fetched:
    """The body, as much of it as may be."""
    url = str(response.url)
    if response.is_error:
        phrase = HTTPStatus(response.status_code).phrase if response.status_code in set(HTTPStatus) else ""
        raise ToolCallError(f"{url} answered {response.status_code} {phrase}".rstrip() + ".")
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise ToolCallError(f"{url} is compressed with {one_line(encoding, 40)}, which was not asked for.")
    # Not httpx's own decoding: it inflates each piece whole, however large that gets.
    inflate = zlib.decompressobj(31) if encoding.endswith("gzip") else None
    body = bytearray()
    try:
        async for piece in response.aiter_raw(1 << 16):
            room = most + 1 - len(body)
            body += inflate.decompress(piece, room) if inflate else piece[:room]
            if len(body) > most:
                break
    except zlib.error as error:
        raise ToolCallError(f"{url} is not compressed as it says: {error}.") from None
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Fetched(url, kind, response.charset_encoding, bytes(body[:most]), len(body) > most)
