"""A server that answers as a test says, or not at all."""

import json
import socket
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ME = {"key": {"name": "bot"}, "scopes": [], "user": None, "version": "0.1.0"}


class Double(ThreadingHTTPServer):
    """Answers requests from a script: an entry each, the last one for all that follow."""

    disable_nagle_algorithm = True
    daemon_threads = True

    def __init__(self, *script):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = list(script)
        self.seen = []
        self.leaving = threading.Event()

    @property
    def url(self):
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_GET(self):
        """Do what the script says."""
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        script = self.server.script
        answer = script.pop(0) if len(script) > 1 else script[0]
        getattr(self, answer[0])(*answer[1:])

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

    def json(self, status, document, link=""):
        """Answer JSON."""
        headers = {"X-Request-Id": "the-request-s-id", "Link": link}
        self._send(status, "application/json", json.dumps(document).encode(), headers)

    def html(self, status):
        """Answer as other servers do."""
        self._send(status, "text/html", b"<h1>Hello</h1>", {})

    def lead_to(self, location):
        """Redirect."""
        self._send(302, "text/html", b"", {"Location": location})

    def events(self, frames):
        """Answer server-sent events, and end."""
        self.trickle(frames, is_over=True)

    def trickle(self, frames, *, is_over=False):
        """Answer server-sent events, and then nothing until the test is over."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        self.wfile.write(b"Transfer-Encoding: chunked\r\n\r\n")
        self.wfile.write(b"%x\r\n%s\r\n" % (len(frames), frames))
        if not is_over:
            self.server.leaving.wait(60)
        self.close_connection = True

    def hang_up(self):
        """End the connection without a word."""
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def drip(self):
        """Send a header, and a byte of it now and then, until the test is over."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        with suppress(OSError):
            while not self.server.leaving.wait(0.02):
                self.wfile.write(b"a")

    def be_silent(self):
        """Say nothing until the test is over."""
        self.server.leaving.wait(60)

    def _send(self, status, kind, body, headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Log nothing."""


@contextmanager
def serving(*script):
    """Serve until the end."""
    double = Double(*script)
    thread = threading.Thread(target=double.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield double
    finally:
        double.leaving.set()
        double.shutdown()
        thread.join()
        double.server_close()
