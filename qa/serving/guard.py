"""The guard before the app: it decides who may ask, how much, and how slowly."""

import asyncio
import hmac
import ipaddress
import logging
import re
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qa.serving.limits import Limits, Refused, busy
from qa.serving.log import log_request
from qa.serving.metrics import Counters

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
PAGE_FILES = {"/" if path.name == "index.html" else f"/{path.name}": path for path in PAGE.glob("*.*")}  # by address
OPEN_PATHS = {*PAGE_FILES, "/health", "/ready"}  # to GET without a token
REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)  # of a client or a proxy
FAULT_MESSAGE = "a fault of the service; its log has more"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class GuardMiddleware:
    """Refuses requests, reads whole bodies within limits, drops the work for clients that left, and counts."""

    def __init__(
        self, app: ASGIApp, limits: Limits, metrics: Counters, token: str | None, hosts: Iterable[str], routes: set[str]
    ) -> None:
        """`hosts`: names by which clients may call the service, "*" for any; `routes`: paths that are counted apart."""
        self.app, self.limits, self.metrics, self.routes = app, limits, metrics, routes
        self.hosts = {_name(host) for host in hosts} - {""}
        self.token = token.encode() if token else None
        self._requests: Counter[str] = Counter()  # by address
        self._bytes: Counter[str] = Counter()  # bytes, by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begin, status, unread = time.monotonic(), 0, True
        method = scope["method"]
        scope = {**scope, "method": "GET" if method == "HEAD" else method}  # the server sends no body to HEAD
        path = scope["path"] if scope["path"] in self.routes else "other"
        address = (scope["client"] or ("",))[0]
        request_id = Headers(scope=scope).get("x-request-id", "")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = secrets.token_hex(8)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update({**HEADERS, "X-Request-ID": request_id})
            async with asyncio.timeout(self.limits.body_seconds):  # a client that does not read holds nothing up
                await send(message)

        async def read() -> Message:
            nonlocal unread
            message = await receive()
            unread = message.get("more_body", False)
            return message

        self._requests[address] += 1
        try:
            self._check(scope, address)
            await self._with_body(scope, address, read, answer)
        except Refused as refusal:
            await refuse(refusal, answer, self._rest(read) if unread else None)
        except TimeoutError:
            log.warning("a client did not read its response")
        except Exception:
            log.exception("%s %s failed, request %s", method, path, request_id)
            if not status:
                await refuse(Refused(500, FAULT_MESSAGE), answer)
        finally:
            self._requests[address] -= 1
            if not self._requests[address]:
                del self._requests[address], self._bytes[address]
            self.metrics.requests.labels(path, str(status or 499)).inc()  # 499: the client left
            self.metrics.seconds.labels(path).observe(seconds := time.monotonic() - begin)
            log_request(method, path, status or 499, address, seconds, request_id)

    def _check(self, scope: Scope, address: str) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not {"*", name := _name(host)} & self.hosts and not _is_address(name):
            raise Refused(403, "Host: not a name of this service; see --name")
        if (origin := headers.get("origin")) is not None and origin.partition("://")[2] != host:
            raise Refused(403, "Origin: pages of other sites may not ask")
        is_open = scope["method"] == "GET" and scope["path"] in OPEN_PATHS
        if self.token and not is_open:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self.token):
                raise Refused(401, "Authorization: give Bearer and the token", {"WWW-Authenticate": "Bearer"})
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(415, "Content-Encoding: send the body as it is")
        if (length := headers.get("content-length", "0")).isdecimal() and int(length) > self.limits.body:
            raise self._too_large()
        if self._requests[address] > self.limits.requests:
            words = f"{self.limits.requests} requests of one address at a time; wait for an answer"
            raise Refused(429, f"more than {words}", {"Retry-After": "1"})

    def _too_large(self) -> Refused:
        return Refused(413, f"body: at most {self.limits.body:,} bytes")

    async def _with_body(self, scope: Scope, address: str, receive: Receive, send: Send) -> None:
        """Runs the app once the whole body is there; its bytes count until the response has ended."""
        parts: list[bytes] = []
        try:
            try:
                async with asyncio.timeout(self.limits.body_seconds):
                    arrived = await self._read(parts, address, receive)
            except TimeoutError:
                words = f"the request has not arrived within {self.limits.body_seconds:g} s"
                raise Refused(408, f"{words}; send it faster") from None
            if arrived:
                parts[:] = [b"".join(parts)]
                await self._run(scope, parts[0], receive, send)
        finally:
            self._bytes[address] -= sum(map(len, parts))

    async def _read(self, parts: list[bytes], address: str, receive: Receive) -> bool:
        """Reads the parts of a body; False where the client left before its end."""
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            part, more = message.get("body", b""), message.get("more_body", False)
            parts.append(part)
            size += len(part)
            self._bytes[address] += len(part)
            if size > self.limits.body:
                raise self._too_large()
            if self._bytes[address] > self.limits.held // 2 or self._bytes.total() > self.limits.held:
                raise busy("too many long requests at a time")
        return True

    async def _rest(self, receive: Receive) -> None:
        """Reads the rest of a request, for a while: closed before, its connection would be reset unanswered."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.body_seconds):
                while (await receive()).get("more_body"):
                    pass

    async def _run(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Runs the app until it has ended or the client has left."""
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        left = asyncio.ensure_future(receive())

        async def whole() -> Message:
            return messages.pop() if messages else await asyncio.shield(left)

        app = asyncio.ensure_future(self.app(scope, whole, send))
        try:
            await asyncio.wait({app, left}, return_when=asyncio.FIRST_COMPLETED)
        finally:  # also where uvicorn stops to wait
            left.cancel()
            app.cancel()
            await asyncio.wait({app})
        if not app.cancelled():
            app.result()


def _name(host: str) -> str:
    """The name in a Host header, in lower case, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    """Whether a host is named by its IP address, which no other site's DNS can give."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def refuse(refusal: Refused, send: Send, rest: Awaitable[None] | None = None) -> None:
    """Sends a refusal, waits for the `rest` of the request, and closes the connection."""
    response = JSONResponse({"error": str(refusal)}, refusal.status, {"Connection": "close", **refusal.headers})
    await send({"type": "http.response.start", "status": refusal.status, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    if rest is not None:
        await rest
    await send({"type": "http.response.body"})
