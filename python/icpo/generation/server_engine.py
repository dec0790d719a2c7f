"""Text from a server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, transformers serve.

Requests are sent from a thread with an event loop of its own, so that it also works where a loop is
running already, as in a notebook. A fixed number of senders take requests from one queue; each
tries a request until it is answered, refused for good, or has failed too often.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icpo.errors import ConfigError
from icpo.generation.text import Done, EngineError, Message, TextCompletion, TextRequest, seed_of

__all__ = ["DIALECTS", "Retry", "ServerEngine"]

#: Answers that say "not now". What the server has no patience for (4xx) will not get better.
_NOT_NOW = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})

#: Servers keep seeds in 32 bits, some with a sign, and some read the greatest one as "none".
_SEED_BITS = 31

#: How servers are told a repetition penalty, of which OpenAI's protocol knows nothing. A wrong
#: field is refused by some servers (transformers) and silently left out by others (llama.cpp).
DIALECTS: dict[str, Callable[[float], dict[str, Any]]] = {
    # SGLang likewise.
    "vllm": lambda penalty: {"repetition_penalty": penalty},
    # It would look at the last 64 tokens only; -1: at all.
    "llama.cpp": lambda penalty: {"repeat_penalty": penalty, "repeat_last_n": -1},
    # It takes 1 + frequency_penalty for its repetition penalty.
    "transformers": lambda penalty: {"frequency_penalty": penalty - 1},
}


@dataclass(frozen=True)
class Retry:
    """How often a request is tried, and how long to wait in between.

    >>> [Retry().wait(attempt, spread=0.5) for attempt in (1, 2, 3, 9)]
    [0.375, 0.75, 1.5, 30.0]
    """

    #: Including the first one. With the waits below these last about a minute and a half, in which
    #: a server can be started again.
    attempts: int = 9
    #: Seconds before the second one; doubled each time.
    first: float = 0.5
    #: Never more than this.
    most: float = 30.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.attempts < 1:
            raise ConfigError(f"attempts: expected at least 1, got {self.attempts}")
        if not 0 <= self.first <= self.most:
            raise ConfigError(
                f"first: expected seconds from 0 to most = {self.most}, got {self.first}"
            )

    def wait(self, attempt: int, spread: float) -> float:
        """Seconds after this many attempts; `spread` in [0, 1) keeps senders apart."""
        return min(self.most, self.first * 2.0 ** (attempt - 1) * (0.5 + spread / 2))


class _NotNow(Exception):
    """An attempt that failed, and may be repeated."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        #: Seconds that the server asks to wait.
        self.after = after


class ServerEngine:
    """Answers by asking a server.

    Texts go to ``/completions``, chats to ``/chat/completions``, one answer a request. Whether
    the same seed gives the same answer is up to the server.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        concurrency: int = 32,
        timeout: float = 600.0,
        retry: Retry | None = None,
        key: str | None = None,
        count: Callable[[str | tuple[Message, ...]], int] | None = None,
        dialect: str = "vllm",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Asks nothing yet, unless the model has to be found out.

        Args:
            url: up to the version, such as ``http://localhost:8000/v1``.
            model: its name there; None: the only one that the server has.
            concurrency: requests under way at once, at most.
            timeout: seconds without a sign of life after which an attempt has failed.
            retry: what happens then; None: the defaults.
            key: sent as bearer token.
            count: tokens of a prompt, if a tokenizer is at hand.
            dialect: a name in `DIALECTS`: which server it is, if a repetition penalty is asked for.
            extra: more fields for each request, such as ``min_p``; they replace this engine's own.

        Raises:
            ConfigError: an argument is out of range, or the server has not one model.
            EngineError: it could not be asked for its models.
        """
        if concurrency < 1:
            raise ConfigError(f"concurrency: expected at least 1, got {concurrency}")
        if not timeout > 0:
            raise ConfigError(f"timeout: expected seconds above 0, got {timeout}")
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"url: expected http:// or https://, got {url!r}")
        if dialect not in DIALECTS:
            raise ConfigError(f"dialect: expected one of {', '.join(DIALECTS)}, got {dialect!r}")
        self._url = url.rstrip("/")
        self._concurrency, self._timeout = concurrency, timeout
        self._retry = retry or Retry()
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._count = count
        self._penalty = DIALECTS[dialect]
        self._extra = dict(extra or {})
        # Some servers load what they are asked for, and list only what is loaded.
        self.model = self._only_model() if model is None else model

    @property
    def together(self) -> int:
        """See `TextEngine`."""
        return 1

    def complete(
        self, requests: Sequence[TextRequest], done: Done | None = None
    ) -> list[TextCompletion]:
        """See `TextEngine`.

        Raises:
            EngineError: a request was refused, or failed at every attempt. No others are begun
                then; those under way are waited for.
        """
        found: dict[int, TextCompletion] = {}
        for place, answer in self._answers(requests):
            found[place] = answer
            if done is not None:
                done(place, answer)
        return [found[place] for place in range(len(requests))]

    def count(self, prompt: str | tuple[Message, ...]) -> int | None:
        """See `TextEngine`."""
        return None if self._count is None else self._count(prompt)

    def describe(self) -> Mapping[str, Any]:
        """See `TextEngine`."""
        return {"engine": "server", "url": self._url, "model": self.model}

    def _answers(self, requests: Sequence[TextRequest]) -> Iterator[tuple[int, TextCompletion]]:
        """Places and answers as they come, from a thread that is gone when this ends."""
        if not requests:
            return
        answers: queue.Queue[tuple[int, TextCompletion] | BaseException | None] = queue.Queue()
        sending = _Sending(self, requests, answers.put)
        thread = threading.Thread(target=sending.run, name="icpo-server-engine", daemon=True)
        thread.start()
        try:
            while (answer := answers.get()) is not None:
                if isinstance(answer, BaseException):
                    raise answer
                yield answer
        finally:
            sending.stop()
            thread.join()

    def _client(self, httpx: Any) -> Any:
        limits = httpx.Limits(
            max_connections=self._concurrency, max_keepalive_connections=self._concurrency
        )
        return httpx.AsyncClient(
            headers=self._headers, timeout=self._timeout, limits=limits, follow_redirects=True
        )

    def _only_model(self) -> str:
        try:
            names = _run(self._served())
        except EngineError as error:
            raise EngineError(
                f"{error}; it was asked for its models, since none was named"
            ) from None
        if len(names) != 1:
            raise ConfigError(
                f"model: expected the name of one of the server's models, which are "
                f"{', '.join(names) or 'none'}; got none"
            )
        return str(names[0])

    async def _served(self) -> list[str]:
        httpx = _httpx()
        async with self._client(httpx) as client:
            found = await self._insist(
                httpx, lambda: client.get(f"{self._url}/models"), _model_names, "models", 0
            )
        names: list[str] = found
        return names

    async def _ask(self, client: Any, httpx: Any, request: TextRequest) -> TextCompletion:
        path, body = self._body(request)
        read = _READERS[path]
        answer = await self._insist(
            httpx, lambda: client.post(f"{self._url}/{path}", json=body), read, path, request.seed
        )
        completion: TextCompletion = answer
        return completion

    def _body(self, request: TextRequest) -> tuple[str, dict[str, Any]]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed >> (64 - _SEED_BITS),
        }
        # No part of OpenAI's protocol, and refused by some servers.
        if sampling.top_k:
            body["top_k"] = sampling.top_k
        if sampling.repetition_penalty != 1:
            body |= self._penalty(sampling.repetition_penalty)
        if request.stop:
            body["stop"] = list(request.stop)
        body |= self._extra
        if isinstance(request.prompt, str):
            return "completions", {**body, "prompt": request.prompt}
        said = [message._asdict() for message in request.prompt]
        return "chat/completions", {**body, "messages": said}

    async def _insist(
        self,
        httpx: Any,
        send: Callable[[], Any],
        read: Callable[[Any], Any],
        path: str,
        seed: int,
    ) -> Any:
        """Tries until there is an answer that can be read."""
        for attempt in range(1, self._retry.attempts + 1):
            try:
                return read(self._content(await send(), path))
            except _NotNow as fault:
                why, after = str(fault), fault.after
            except (httpx.TransportError, httpx.DecodingError) as fault:
                why, after = _transport(fault), None
            except (httpx.InvalidURL, httpx.TooManyRedirects) as fault:
                raise EngineError(f"{self._url}/{path}: {fault}") from None
            if attempt < self._retry.attempts:
                spread = seed_of(seed, attempt) / 2**64
                wait = self._retry.wait(attempt, spread)
                await asyncio.sleep(wait if after is None else min(after, self._retry.most))
        tried = f"{self._retry.attempts} attempts, the last" if self._retry.attempts > 1 else "this"
        raise EngineError(f"{self._url}/{path}: no answer after {tried}: {why}")

    def _content(self, response: Any, path: str) -> Any:
        """The JSON of an answer.

        Raises:
            _NotNow: the server is busy or broken, or the body is.
            EngineError: the server refuses the request.
        """
        status = int(response.status_code)
        if status in _NOT_NOW:
            raise _NotNow(
                f"status {status}: {_said(response)}", _seconds(response.headers.get("retry-after"))
            )
        if status != 200:
            raise EngineError(f"{self._url}/{path}: status {status}: {_said(response)}")
        try:
            return response.json()
        except (json.JSONDecodeError, UnicodeDecodeError) as fault:
            raise _NotNow(f"a body that is no JSON: {fault}") from None


class _Sending:
    """The thread's part: senders that share the requests."""

    def __init__(
        self,
        engine: ServerEngine,
        requests: Sequence[TextRequest],
        tell: Callable[[tuple[int, TextCompletion] | BaseException | None], None],
    ) -> None:
        self._engine, self._tell = engine, tell
        self._left: Iterator[tuple[int, TextRequest]] = enumerate(requests)
        self._senders = min(engine._concurrency, len(requests))
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._all())
        self._error: BaseException | None = None

    def run(self) -> None:
        """Tells every answer, then what went wrong if something did, then None."""
        try:
            # Cancelled is what nobody listens to any more.
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._task)
        except BaseException as error:
            self._error = self._error or error
        finally:
            self._loop.close()
            if self._error is not None:
                self._tell(self._error)
            self._tell(None)

    def stop(self) -> None:
        """Gives up what is under way; without effect once everything is told."""
        # The loop may be closed already, or between this line and the next.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def _all(self) -> None:
        httpx = _httpx()
        async with self._engine._client(httpx) as client:
            await asyncio.gather(*(self._sender(client, httpx) for _ in range(self._senders)))

    async def _sender(self, client: Any, httpx: Any) -> None:
        for place, request in self._left:
            try:
                answer = await self._engine._ask(client, httpx, request)
            except Exception as error:
                self._error = self._error or error
                return
            self._tell((place, answer))
            # After an error what was begun is finished, and nothing more is begun.
            if self._error is not None:
                return


def _run(coroutine: Any) -> Any:
    """What a coroutine returns, also where an event loop is running."""
    found: list[Any] = []

    def target() -> None:
        try:
            found.append(asyncio.run(coroutine))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def _httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise ImportError(
            "httpx is needed to ask servers, and is not installed: pip install icpo-rs[server]"
        ) from None
    return httpx


##### Reading answers. What is missing in one was lost on the way, and is asked for again.


def _model_names(content: Any) -> list[str]:
    try:
        return [str(model["id"]) for model in content["data"]]
    except (KeyError, TypeError):
        raise _NotNow(f"expected a list of models, got {content!r:.200}") from None


def _choice(content: Any, text: Callable[[Any], Any]) -> TextCompletion:
    try:
        choice = content["choices"][0]
        said, reason = text(choice), choice["finish_reason"]
    except (KeyError, TypeError, IndexError):
        raise _NotNow(f"expected an answer with choices, got {content!r:.200}") from None
    if not isinstance(said, str) or not isinstance(reason, str):
        raise _NotNow(f"expected a text and a reason why it ends, got {choice!r:.200}")
    usage = content.get("usage")
    return TextCompletion(
        text=said,
        finished=reason == "stop",
        tokens=_tokens(usage, "completion_tokens"),
        prompt_tokens=_tokens(usage, "prompt_tokens"),
    )


def _of_text(choice: Any) -> Any:
    return choice["text"]


def _of_chat(choice: Any) -> Any:
    # Null, where the limit came before the end of what the server takes for thoughts.
    content = choice["message"]["content"]
    return "" if content is None else content


_READERS: dict[str, Callable[[Any], TextCompletion]] = {
    "completions": lambda content: _choice(content, _of_text),
    "chat/completions": lambda content: _choice(content, _of_chat),
}


def _tokens(usage: Any, name: str) -> int | None:
    count = usage.get(name) if isinstance(usage, Mapping) else None
    return count if isinstance(count, int) and not isinstance(count, bool) else None


def _said(response: Any) -> str:
    """What the server says about an error, on one line."""
    text = response.text
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if isinstance(content, Mapping):
        error = content.get("error", content.get("detail", content))
        text = str(error.get("message", error)) if isinstance(error, Mapping) else str(error)
    return " ".join(text.split())[:300] or "nothing more"


def _transport(fault: Exception) -> str:
    return f"{type(fault).__name__}: {fault}".rstrip(": ")


def _seconds(header: str | None) -> float | None:
    """What a Retry-After header asks for; dates are not looked at."""
    try:
        seconds = float(header) if header is not None else None
    except ValueError:
        return None
    return seconds if seconds is not None and 0 <= seconds < float("inf") else None
