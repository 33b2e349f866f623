"""A proxy before an S3 server that drops, delays and breaks a share of all requests."""

import http.client
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

FAULTS = ("dropped before", "dropped after", "delayed", "500", "503", "half a body")


class FaultyProxy:
    """Forwards to a server; `share` of the requests go wrong in one of `FAULTS`, drawn from a seed.

    Attributes:
        url: where it listens, on loopback. done: how often each fault, and "none", happened.
    """

    def __init__(self, server: str, share: float, seed: int = 0) -> None:
        self.target, self.share, self.done = urlsplit(server).netloc, share, Counter[str]()
        self._random, self._lock = random.Random(seed), threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None: ...  # a client that was cut off goes away

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _fault(self) -> str:
        with self._lock:
            fault = self._random.choice(FAULTS) if self._random.random() < self.share else "none"
            self.done[fault] += 1
        return fault

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = self._body(request)
        fault = self._fault()
        if fault == "dropped before":
            request.close_connection = True
            request.connection.close()
            return
        if fault in ("500", "503"):
            self._answer(request, int(fault), {"Content-Type": "application/xml"}, self._error(fault))
            return
        if fault == "delayed":
            time.sleep(0.5)
        status, headers, answer = self._forward(request, body)
        if fault == "dropped after":
            # The server has done it, and the client gets no answer.
            request.close_connection = True
            request.connection.close()
            return
        self._answer(request, status, headers, answer, half=fault == "half a body")

    @staticmethod
    def _error(fault: str) -> bytes:
        code = "SlowDown" if fault == "503" else "InternalError"
        return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()

    @staticmethod
    def _body(request: BaseHTTPRequestHandler) -> bytes:
        if "chunked" in request.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(request.rfile.readline().split(b";")[0], 16):
                parts.append(request.rfile.read(size))
                request.rfile.readline()
            while request.rfile.readline().strip():
                continue
            return b"".join(parts)
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.target, timeout=60)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("transfer-encoding", "expect")}
        headers["Content-Length"] = str(len(body))
        connection.request(request.command, request.path, body, headers)
        response = connection.getresponse()
        found = response.status, dict(response.headers), response.read()
        connection.close()
        return found

    @staticmethod
    def _answer(
        request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes, half: bool = False
    ) -> None:
        request.send_response_only(status)
        length = headers.get("Content-Length") if request.command == "HEAD" else str(len(body))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                request.send_header(name, value)
        request.send_header("Content-Length", length or "0")
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body[: len(body) // 2] if half else body)
        request.wfile.flush()
        if half:
            request.close_connection = True
            request.connection.close()
