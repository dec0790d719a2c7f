"""A server that speaks OpenAI's protocol, answers as it is told, and fails as it is told."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: From the request and how often it came before, to a fault; None: answer it.
Faults = Callable[[dict[str, Any], int], "str | int | None"]

#: Every way to fail: statuses, and methods of `FakeServer`. The last two take the client's timeout.
QUICK_FAULTS = (429, 500, 503, "drop", "truncated", "malformed", "missing", "empty", "endless")
SLOW_FAULTS = ("hang", "stall")

#: What a status says about when to come back: seconds, or a date, which nobody needs to read.
_RETRY_AFTER = {429: "0.01", 503: "Sat, 01 Jan 2000 00:00:00 GMT"}


def name_of(request: dict[str, Any]) -> str:
    """What is asked: the same for the same request, whenever and however often it comes."""
    return json.dumps([request.get("prompt"), request.get("messages"), request["seed"]])


def hashed_faults(seed: int, share: float, kinds=QUICK_FAULTS) -> Faults:
    """This share of attempts fails, chosen by request and attempt: no matter what comes first."""

    def faults(request, before):
        text = f"{seed} {before} {name_of(request)}"
        luck = hashlib.sha256(text.encode()).digest()
        fails = int.from_bytes(luck[:8], "big") / 2**64 < share
        return kinds[int.from_bytes(luck[8:16], "big") % len(kinds)] if fails else None

    return faults


class FakeServer:
    """Answers with ``answer(request)``: a text and a reason why it ends."""

    def __init__(self, answer, faults: Faults = lambda request, before: None):
        self.answer, self.faults = answer, faults
        #: After so many answers every attempt fails in one way, or the server is gone for good.
        self.lasts: int | None = None
        self.then: str | int = "gone"
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[tuple[str, dict[str, Any], str | None]] = []
        self.models = ["fake"]
        self.at_once = self.most_at_once = 0
        self.slow = 0.0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                listed = outer.models and [{"id": name} for name in outer.models]
                self.reply(200, {"data": listed})

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.handle(self, request)

            def reply(self, status, content, headers=(), length=None):
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that gave up
                    super().handle_error(request, client_address)

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def handle(self, handler, request):
        name = name_of(request)
        with self._lock:
            before = self.asked[name]
            self.asked[name] += 1
            self.bodies.append((handler.path, request, handler.headers.get("Authorization")))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.slow)
        with self._lock:
            self.at_once -= 1
        fault = self.faults(request, before)
        with self._lock:
            if self.lasts is not None and self.answered.total() >= self.lasts:
                fault = self.then
            if fault is None:
                self.answered[name] += 1
        if fault is None:
            handler.reply(200, self._content(handler.path, request))
        elif isinstance(fault, int):
            after = [("Retry-After", _RETRY_AFTER.get(fault, "0"))]
            handler.reply(fault, {"error": {"message": f"fault {fault}"}}, after)
        else:
            getattr(self, f"_{fault}")(handler)

    def _content(self, path, request):
        text, reason = self.answer(request)
        said = (
            {"message": {"content": text}} if path.endswith("chat/completions") else {"text": text}
        )
        usage = {"prompt_tokens": 3, "completion_tokens": len(text.split())}
        return {"choices": [{**said, "finish_reason": reason}], "usage": usage}

    def _drop(self, handler):
        handler.close_connection = True
        handler.connection.close()

    def _truncated(self, handler):
        handler.reply(200, b'{"choices": [', length=500)
        self._drop(handler)

    def _malformed(self, handler):
        handler.reply(200, b'{"choices": [{"text": "hal')

    def _missing(self, handler):
        handler.reply(200, {"choices": [{"index": 0, "finish_reason": "stop"}]})

    def _empty(self, handler):
        handler.reply(200, {"choices": []})

    def _endless(self, handler):
        handler.reply(200, {"choices": [{"text": "no reason", "finish_reason": None}]})

    def _hang(self, handler):
        handler.connection.settimeout(30)
        handler.connection.recv(1)  # until the client gives up
        self._drop(handler)

    def _stall(self, handler):
        handler.reply(200, b'{"choices": [', length=500)
        self._hang(handler)

    def _gone(self, handler):
        self._drop(handler)
        self.close()

    def close(self):
        """Takes no connection any more."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(answer, faults: Faults = lambda request, before: None):
    server = FakeServer(answer, faults)
    thread = threading.Thread(target=server._server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
