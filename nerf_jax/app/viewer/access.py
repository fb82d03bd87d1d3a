"""Access to the viewer: by its own page alone, and beyond this machine by a token.

A browser lets any page open a websocket to any address, this machine's included. So a handshake is
refused unless its origin is the viewer's page, and, as another name may be made to point to this
machine (DNS rebinding), unless that page has one of this machine's own names. The files of the page
are viser's and the same for everybody; the scene and its controls are in the websocket.
"""

import contextlib
import hmac
import http
import ipaddress
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import websockets.asyncio.server
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

_starting = threading.Lock()


def is_loopback(host: str) -> bool:
    """Whether a name or an address is of this machine for itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_token(host: str) -> str | None:
    """A new secret for an address that others can reach; None for loopback."""
    return None if is_loopback(host) else secrets.token_urlsafe(24)


def refusal(request: Request, token: str | None) -> str | None:
    """The reason to refuse a request; None if it is allowed.

    Args:
        request: for a file, or for a websocket.
        token: the secret that it must have in its address or its cookie, if not None.
    """
    host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return "only the viewer's own page may talk to it"
    if token is None:
        name = urlsplit(f"//{host}").hostname or ""
        if "Upgrade" in request.headers and not is_loopback(name):
            return "open the viewer as localhost or 127.0.0.1"
    elif not any(hmac.compare_digest(token, given) for given in _tokens(request)):
        return "open the whole address that the program printed, with its token"
    return None


def _tokens(request: Request) -> list[str]:
    given = parse_qs(urlsplit(request.path).query).get("token", [])
    for cookie in ";".join(request.headers.get_all("Cookie")).split(";"):
        # By hand: a library drops all cookies if one of another server is malformed.
        name, _, value = cookie.strip().partition("=")
        given += [value] if name == _cookie_name(request) else []
    return [each for each in given if each.isascii()]


def _cookie_name(request: Request) -> str:
    """With the port, as the servers of all ports of a host share their cookies."""
    return "nerf_jax_token_" + re.sub(r"[^0-9A-Za-z]", "_", request.headers.get("Host", ""))


@contextlib.contextmanager
def guarded(token: str | None) -> Iterator[None]:
    """Servers that viser starts meanwhile refuse such requests; viser has no option for it.

    Raises:
        RuntimeError: no server was started this way, so nothing would guard it.
    """
    module: Any = websockets.asyncio.server
    serve, guards = module.serve, []

    def guarded_serve(*args: Any, process_request: Callable[..., Any], **options: Any) -> Any:
        def process(connection: Any, request: Request) -> Response | None:
            reason = refusal(request, token)
            if reason is not None:
                body = f"{reason}\n".encode()
                headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
                return Response(http.HTTPStatus.FORBIDDEN, "Forbidden", headers, body)
            response = process_request(connection, request)
            if response is not None and token is not None:
                # The page's own requests have it from here on.
                cookie = f"{_cookie_name(request)}={token}; HttpOnly; SameSite=Strict; Path=/"
                response.headers["Set-Cookie"] = cookie
            return response

        guards.append(process)
        return serve(*args, process_request=process, **options)

    with _starting:
        module.serve = guarded_serve
        try:
            yield
        finally:
            module.serve = serve
    if not guards:
        raise RuntimeError("viser did not start its server as expected: install viser>=1.1,<2")
