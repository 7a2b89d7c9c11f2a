"""uvicorn, with what it lacks: time limits for slow clients, and an end that loses no request."""

import asyncio
import contextlib
import errno
import resource
import signal
import socket
import time
from types import FrameType
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bert_recipes.errors import UserError, in_one_line
from bert_recipes.inference.service import Service, create_app

# Seconds within which a request has to be here, from its connection or from its first byte, head and body.
REQUEST_SECONDS = 30
# Seconds within which a client has to take some of its answer, where it is long.
ANSWER_SECONDS = 30
# Bytes of a request's head, or of what stands between and after the chunks of its body: uvicorn bounds the first for
# h11 alone, and what follows the last chunk never.
HEAD_BYTES = 2**16
# At the end, seconds that an idle connection is left open for a request that is already on its way.
LAST_SECONDS = 0.5
# Beyond so many connections, or files that the process may open, the longest idle one is closed.
MOST_CONNECTIONS, OTHER_FILES = 10_000, 100
TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: 38\r\n\r\n"
    b'{"error":"the request took too long."}'
)


class BoundedProtocol(HttpToolsProtocol):
    """A connection that has to send its requests, and take its answers, within a time.

    uvicorn alone waits for ever for a client that connects and sends nothing, or half a request.
    """

    most: ClassVar[int] = MOST_CONNECTIONS

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._request_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._is_last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time of the first request."""
        super().connection_made(transport)
        self._expect()
        if len(self.connections) > self.most:
            timers = {c: c._request_timer for c in self.connections if isinstance(c, BoundedProtocol)}
            idle = {connection: timer.when() for connection, timer in timers.items() if timer}
            min(idle, key=idle.__getitem__).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._received()
        self._taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, but no head and no trailer without an end."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Start the time of a request."""
        super().on_message_begin()
        self._expect()

    def on_headers_complete(self) -> None:
        """Let the application have the request."""
        self._head_bytes = 0
        super().on_headers_complete()
        if self._is_last:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Let the application have some of the body, which it bounds."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the time of the request."""
        self._head_bytes = 0
        self._received()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Count the connection as idle again."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._expect()

    def pause_writing(self) -> None:
        """Start the time of a client that does not take its answer."""
        super().pause_writing()
        self._answer_timer = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop it."""
        self._taken()
        super().resume_writing()

    def shutdown(self) -> None:
        """End the connection, after a request that is here or on its way."""
        self._is_last = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LAST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def _expect(self) -> None:
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(REQUEST_SECONDS, self._too_slow)

    def _received(self) -> None:
        if self._request_timer:
            self._request_timer.cancel()
            self._request_timer = None

    def _taken(self) -> None:
        if self._answer_timer:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _too_slow(self) -> None:
        self._request_timer = None
        if self.transport.is_closing():
            self.transport.abort()  # the client takes no answer, which would keep the connection for ever
            return
        is_open = self.cycle is not None and not self.cycle.response_complete
        if is_open and (self.cycle.response_started or not self.cycle.more_body):
            self._expect()  # an earlier request on this connection is being answered
            return
        if is_open or self._head_bytes:
            self.transport.write(TOO_SLOW)
        self.transport.close()
        self._expect()


class GracefulServer(uvicorn.Server):
    """A server that, when it is to end, first says so on `/ready`, then takes nothing new and answers what it has.

    Args:
        config: of uvicorn.
        service: the application's.
        drain_seconds: for which it goes on taking requests after SIGTERM, so that a load balancer learns of it.
    """

    def __init__(self, config: uvicorn.Config, service: Service, drain_seconds: float):
        super().__init__(config)
        self._service, self._drain_seconds = service, drain_seconds
        self._ends_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second Ctrl-C ends at once."""
        if self._service.is_stopping and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        elif not self._service.is_stopping:
            self._service.is_stopping = True
            self._ends_at = time.monotonic() + (0 if sig == signal.SIGINT else self._drain_seconds)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end now."""
        if self._ends_at is not None and time.monotonic() >= self._ends_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listener, but first take the connections that wait there, which it would reset; end the others."""
        loop = asyncio.get_running_loop()
        waiting = [listener.dup() for listener in sockets or []]
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        taken = [connection for listener in waiting for connection in _taken_from(listener)]
        for connection in taken:
            await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> BoundedProtocol:
        return BoundedProtocol(self.config, self.server_state, self.lifespan.state, asyncio.get_running_loop())


def _taken_from(listener: socket.socket) -> list[socket.socket]:
    """Return the connections that wait at a listener, and close it."""
    listener.setblocking(False)
    taken = []
    with listener, contextlib.suppress(OSError):  # none waits any more, or no more may be open
        while True:
            taken.append(listener.accept()[0])
    return taken


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens, so that a port that is taken is known before a model is loaded.

    Raises:
        UserError: there is no such host, or the port is taken or forbidden.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except socket.gaierror as error:
        raise UserError(f"--host {host} is no address of this machine ({in_one_line(error)}).") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"--port {port} is taken on {host}: name another, or 0 for any.") from error
        raise UserError(f"--host {host} --port {port} cannot be listened on ({error.strerror}).") from error


def serve(service: Service, listener: socket.socket, drain_seconds: float) -> bool:
    """Answer requests until SIGTERM or Ctrl-C; return whether all that were taken are answered."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OTHER_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    BoundedProtocol.most = most - OTHER_FILES
    server = server_of(service, drain_seconds)
    server.run(sockets=[listener])
    return not server.force_exit


def server_of(service: Service, drain_seconds: float) -> GracefulServer:
    """Return a server of the service, which is not started yet."""
    config = uvicorn.Config(
        create_app(service),
        http=BoundedProtocol,
        ws="none",
        # What it would log of a request might hold a text.
        access_log=False,
        log_level="warning",
        server_header=False,
    )
    return GracefulServer(config, service, drain_seconds)
