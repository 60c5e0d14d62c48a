"""uvicorn with our limits: a socket of our own, slow headers cut off, a stop that loses no request."""

import asyncio
import logging
import signal
import socket
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from qa.errors import UserError
from qa.serving.guard import refuse
from qa.serving.limits import Limits, busy

Network = IPv4Network | IPv6Network
LINGER_SECONDS = 1.0  # seconds in which new connections may send a request to a service that stops


def bind(host: str, port: int) -> socket.socket:
    """A socket that does not listen yet; port 0 is any free one. Errors: UserError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # asyncio looks at `proto`: without TCP_NODELAY a client's kernel waits 40 ms for more of a response
        bound = socket.socket(family, proto=socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        return bound
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (")[0]
        raise UserError(f"--host {host} --port {port}: {reason}; give others") from None


def listen(bound: socket.socket) -> str:
    """Lets clients connect; returns the address for a browser. Errors: UserError where another process was first."""
    host, port = bound.getsockname()[:2]
    try:
        bound.listen(1024)
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: {error.strerror}; give others") from None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def run(app: FastAPI, bound: socket.socket, limits: Limits, proxies: list[Network]) -> None:
    """Serves until SIGTERM or Ctrl-C, then answers accepted requests. Believes the `X-Forwarded-For` of `proxies`."""
    config = uvicorn.Config(
        app,
        http=_protocol_class(limits, proxies),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        forwarded_allow_ips=[*map(str, proxies)],
        timeout_graceful_shutdown=round(limits.seconds + limits.body_seconds),
    )
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # uvicorn raises it again at its end
    Server(config).run(sockets=[bound])


class Server(uvicorn.Server):
    """uvicorn, but connections in the socket's queue are answered, too: the kernel resets them when it is closed."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes the socket, and returns once all accepted requests are answered."""
        waiting = []
        for bound, server in zip(sockets or [], self.servers, strict=True):
            with suppress(BlockingIOError):
                while True:
                    waiting.append(bound.accept()[0])
            server.close()
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends at the second Ctrl-C without the tracebacks of what it interrupts."""
        super().handle_exit(sig, frame)
        if self.force_exit:
            logging.disable()

    def _protocol(self) -> asyncio.Protocol:
        kind, state = self.config.http_protocol_class, self.lifespan.state
        return kind(config=self.config, server_state=self.server_state, app_state=state)  # type: ignore[call-arg]


def _protocol_class(limits: Limits, proxies: list[Network]) -> type[asyncio.Protocol]:
    """HTTP/1.1 that refuses connections beyond the limits, and closes those with headers that do not arrive in time.

    uvicorn waits for headers for ever; its own limit counts no addresses, and is refused in plain text.
    """
    most, share = limits.connections, limits.connections // 2

    async def refuse_all(_scope: Scope, _receive: Receive, send: Send) -> None:
        await refuse(busy(f"{most} connections are open, {share} of one address, and no more may be"), send)

    class Punctual(H11Protocol):
        late: asyncio.TimerHandle

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            addresses = [one.client and one.client[0] for one in self.connections if isinstance(one, H11Protocol)]
            address = self.client[0] if self.client else "::"
            is_proxy = any(ip_address(address) in network for network in proxies)
            if len(addresses) > most or (addresses.count(address) > share and not is_proxy):
                self.app = refuse_all
            self._expect_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle and not self.cycle.response_complete:  # the headers have arrived
                self.late.cancel()
            elif self.late.cancelled():
                self._expect_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self.late.cancel()
            super().connection_lost(exc)

        def shutdown(self) -> None:
            linger = 0.0 if self.cycle else LINGER_SECONDS  # the first request may be on its way
            self.loop.call_later(linger, super().shutdown)

        def _expect_headers(self) -> None:
            self.late = self.loop.call_later(limits.header_seconds, self.transport.close)

    return Punctual
