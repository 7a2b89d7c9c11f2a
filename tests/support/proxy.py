"""An HTTP proxy on localhost: it takes a request for any host to one server, and keeps what it was asked."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.log: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def log_message(self, *args):
        pass

    def pass_on(self):
        # A proxy is asked for a whole address where a server is asked for a path.
        self.server.log.append(f"{self.command} {self.path}")
        url = urlsplit(self.path)
        connection = http.client.HTTPConnection(self.server.target)
        connection.request(self.command, url.path + (f"?{url.query}" if url.query else ""), headers=dict(self.headers))
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.read())
        connection.close()

    do_GET = do_HEAD = pass_on  # noqa: N815 - the names that http.server calls
