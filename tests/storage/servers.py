"""Servers of objects on this machine: a real S3-compatible one, a proxy before it that fails, and one that listens."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACCESS_KEY = "AKIAIOSFODNNEXAMPLE1"
SECRET_KEY = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12"
SESSION_TOKEN = "FwoGZXIvYXdzEXAMPLETOKENxyz"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_SESSION_TOKEN": SESSION_TOKEN,
    "AWS_REGION": "us-east-1",
}


@contextmanager
def s3_server() -> Iterator[str]:
    """A moto server in a process group of its own; its address."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, "the server ended"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def make_bucket(endpoint: str, name: str) -> None:
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=30)
    connection.request(
        "PUT", f"/{name}", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=test/x/us-east-1/s3/x"}
    )
    assert connection.getresponse().status == 200
    connection.close()


@dataclass
class Request:
    """What a server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What a server says. ``cut`` bytes at the end are promised and not sent; then the connection is closed."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    silent: bool = False  # nothing is said until the client gives up


class Server:
    """A server whose answers a test decides.

    Parameters
    ----------
    answer
        Called with each request and its number, from 0.
    """

    def __init__(self, answer: Callable[[Request, int], Answer]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[str]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                with outer._lock:
                    number = len(outer.requests)
                    outer.requests.append(request)
                said = outer.answer(request, number)
                if said.silent:
                    outer._ended.wait(60)
                    self.close_connection = True
                    return
                self.send_response(said.status)
                headers = {
                    k: v for k, v in said.headers.items() if k.lower() not in ("connection", "transfer-encoding")
                }
                headers.setdefault("content-length", str(len(said.body)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if request.method != "HEAD":
                    self.wfile.write(said.body[: len(said.body) - said.cut])
                if said.cut:
                    self.close_connection = True

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815 - the names are the protocol's

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            self._ended.set()
            server.shutdown()
            thread.join()
            server.server_close()


def passed_on(endpoint: str, request: Request) -> Answer:
    """The answer of the server behind."""
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=60)
    connection.request(request.method, request.path, request.body or None, request.headers)
    said = connection.getresponse()
    body = said.read()
    answer = Answer(said.status, body, {k.lower(): v for k, v in said.getheaders()})
    connection.close()
    return answer
