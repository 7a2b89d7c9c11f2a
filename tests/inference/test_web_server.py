"""The server under its clients: the slow, the silent and the many; and its end, which loses nothing."""

import asyncio
import contextlib
import http.client
import resource
import signal
import socket
import threading
import time

import pytest
from support.served import Counted, service_of

from bert_recipes.errors import UserError
from bert_recipes.inference import web_server
from bert_recipes.inference.web_server import BoundedProtocol, GracefulServer, bind, serve, server_of

BODY = b'{"text": "fire"}'
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
REQUEST = HEAD % len(BODY) + BODY


class Running:
    """A server in a thread of this process."""

    def __init__(self, drain_seconds=0.0, **options):
        self.predictor = Counted()
        self.service = service_of(self.predictor, **options)
        self.listener = bind("127.0.0.1", 0)
        self.address = self.listener.getsockname()
        self.server = server_of(self.service, drain_seconds)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})

    def __enter__(self):
        self.thread.start()
        assert self.ask("GET", "/ready")[0] == 200
        return self

    def __exit__(self, *error):
        self.predictor.free.set()
        self.stop()
        self.thread.join(15)
        assert not self.thread.is_alive()

    def stop(self):
        self.server.handle_exit(signal.SIGTERM, None)

    def connect(self):
        return socket.create_connection(self.address, timeout=10)

    def ask(self, method="POST", where="/predict", body=BODY, headers=None):
        """Return status and body of one request, on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, where, body, headers or {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()


def everything(connection):
    """Return all that comes until the server closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(web_server, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(web_server, "ANSWER_SECONDS", 0.5)


def test_a_thousand_connections_that_send_nothing_keep_no_one_from_being_answered(impatient):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with Running() as running, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(running.connect()) for _ in range(1000)]
        for connection in silent[500:]:
            connection.sendall(b"POST /predict HTTP/1.1\r\nX-A: ")
        started = time.monotonic()
        assert running.ask()[0] == 200
        assert time.monotonic() - started < 2
        assert everything(silent[0]) == b""
        assert everything(silent[-1]).startswith(b"HTTP/1.1 408 ")
        assert running.ask()[0] == 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_of_too_many_connections_the_longest_idle_is_closed(monkeypatch):
    monkeypatch.setattr(BoundedProtocol, "most", 4)
    with Running() as running, contextlib.ExitStack() as stack:
        silent = []
        for _ in range(4):
            silent.append(stack.enter_context(running.connect()))
            time.sleep(0.02)
        assert running.ask()[0] == 200
        assert everything(silent[0]) == b""
        silent[-1].sendall(REQUEST)
        assert silent[-1].recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [HEAD % 100, HEAD % 100 + b'{"te', REQUEST + b"POST /pre"])
def test_a_request_that_does_not_end_is_ended(sent, impatient):
    with Running() as running, running.connect() as connection:
        connection.sendall(sent)
        got = everything(connection)
        assert got.split(b"\r\n")[0] == (
            b"HTTP/1.1 200 OK" if sent.startswith(REQUEST) else b"HTTP/1.1 408 Request Timeout"
        )
        assert running.ask()[0] == 200


def test_a_body_that_trickles_in_is_ended(impatient):
    with Running() as running, running.connect() as connection:
        connection.sendall(HEAD % 1000)
        started = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - started < 5:
                connection.sendall(b" ")
                time.sleep(0.05)
        assert time.monotonic() - started < 4


def test_a_long_prediction_is_no_slow_client(impatient):
    with Running() as running, running.connect() as connection:
        running.predictor.free.clear()
        connection.sendall(REQUEST)
        time.sleep(1.2)
        running.predictor.free.set()
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_takes_no_answer_is_left(impatient):
    # Its answer is larger than what the system keeps for it.
    with (
        Running(texts=2000, characters=30_000, body=2**23, most_waiting=5000) as running,
        running.connect() as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = ("\n".join(["a" * 4000] * 1800)).encode()
        head = b"POST /predict/file?name=x.txt HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        until = time.monotonic() + 10
        while time.monotonic() < until and len(running.server.server_state.connections):
            time.sleep(0.05)
        assert not running.server.server_state.connections
        assert running.ask()[0] == 200


class Stuck(asyncio.Transport):
    """A connection whose client takes nothing, so that what is written to it is never gone."""

    def __init__(self):
        super().__init__()
        self.is_closed = self.is_aborted = False

    def write(self, data):
        pass

    def close(self):
        self.is_closed = True

    def is_closing(self):
        return self.is_closed

    def abort(self):
        self.is_aborted = True


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", HEAD % 100])
def test_a_client_that_takes_no_answer_does_not_keep_its_connection(sent, impatient):
    async def connect():
        server, transport = server_of(service_of(Counted()), 0.0), Stuck()
        server.config.load()
        protocol = BoundedProtocol(server.config, server.server_state, {}, asyncio.get_running_loop())
        protocol.connection_made(transport)
        protocol.data_received(sent)
        until = time.monotonic() + 10
        while not transport.is_aborted and time.monotonic() < until:
            await asyncio.sleep(0.05)
        protocol.connection_lost(None)
        return transport

    transport = asyncio.run(connect())
    assert (transport.is_closed, transport.is_aborted) == (True, True)


def test_a_trailer_without_end_is_cut():
    with Running() as running, running.connect() as connection:
        head = b"POST /predict HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"2\r\n{}\r\n0\r\nX-A: ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(b"a" * 2**26)


def test_a_head_without_end_is_cut(monkeypatch):
    with Running() as running, running.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"GET / HTTP/1.1\r\nX-A: " + b"a" * 2_000_000)
        assert everything(connection) == b""
        large = b'{"text": "fire"' + b" " * 190_000 + b"}"
        assert running.ask(body=large)[0] == 200


def test_a_body_that_is_too_large_is_refused_unread_and_the_connection_goes_on():
    with Running() as running:
        connection = http.client.HTTPConnection(*running.address, timeout=10)
        with contextlib.closing(connection):
            for body, status in (
                (b" " * 20_000_000, 413),
                (BODY, 200),
                (iter([b" " * 2**16] * 100), 413),
                (BODY, 200),
            ):
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                assert (answer.status, answer.read()[:10]) == (
                    status,
                    b'{"error":"' if status == 413 else b'{"predicti',
                )


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET\r\n\r\n",
        b"CONNECT host:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"GET /%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: -5\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        HEAD % 3 + b"abc" + b"\0" * 5000,
    ],
)
def test_what_is_no_http_hurts_no_one(sent, impatient):
    with Running() as running, running.connect() as connection:
        connection.sendall(sent)
        everything(connection)
        assert running.ask()[0] == 200


def test_a_client_that_goes_leaves_no_rows_behind():
    with Running() as running:
        running.predictor.free.clear()
        with running.connect() as first, running.connect() as second:
            first.sendall(REQUEST)
            assert running.predictor.begun.wait(10)
            second.sendall(REQUEST)
            until = time.monotonic() + 10
            while running.service.batcher.waiting < 1 and time.monotonic() < until:
                time.sleep(0.01)
        while running.service.batcher.waiting and time.monotonic() < until:
            time.sleep(0.01)
        assert running.service.batcher.waiting == 0
        running.predictor.free.set()
        assert running.ask()[0] == 200


def wait_until_refused(running):
    until = time.monotonic() + 10
    with contextlib.suppress(ConnectionRefusedError):
        while time.monotonic() < until:
            running.connect().close()
            time.sleep(0.02)
    assert time.monotonic() < until


def test_the_end_is_announced_and_all_that_was_taken_is_answered():
    with Running(drain_seconds=0.6) as running, contextlib.ExitStack() as stack:
        running.predictor.free.clear()
        busy, idle = (stack.enter_context(running.connect()) for _ in range(2))
        busy.sendall(REQUEST)
        assert running.predictor.begun.wait(10)
        running.stop()
        assert running.ask("GET", "/ready")[0] == 503
        # Until the listener closes, whoever comes is served, and told to come to another connection.
        running.predictor.free.set()
        assert busy.recv(65536).startswith(b"HTTP/1.1 200 OK")
        late = stack.enter_context(running.connect())
        late.sendall(REQUEST)
        assert b"connection: close" in everything(late)
        running.predictor.free.clear()
        last = stack.enter_context(running.connect())
        last.sendall(REQUEST)
        wait_until_refused(running)
        # A request that was on its way when the listener closed.
        idle.sendall(REQUEST)
        running.predictor.free.set()
        assert [everything(one).split(b"\r\n")[0] for one in (last, idle)] == [b"HTTP/1.1 200 OK"] * 2
        running.thread.join(10)
        assert not running.thread.is_alive()


@pytest.mark.parametrize("is_forced", [False, True])
def test_whether_all_was_answered_is_known(is_forced, monkeypatch):
    monkeypatch.setattr(GracefulServer, "run", lambda self, sockets: vars(self).update(force_exit=is_forced))
    monkeypatch.setattr(BoundedProtocol, "most", 4)
    with bind("127.0.0.1", 0) as listener:
        assert serve(service_of(Counted()), listener, 0.0) is not is_forced


def test_an_address_that_cannot_be_listened_on_is_a_sentence():
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port {port} is taken on 127\.0\.0\.1: name another"):
            bind("127.0.0.1", port)
    with pytest.raises(UserError, match=r"--host nowhere\.invalid is no address"):
        bind("nowhere.invalid", 8000)
    with pytest.raises(UserError, match=r"--host 203\.0\.113\.1 --port 8000 cannot be listened on"):
        bind("203.0.113.1", 8000)
