"""Engines of text: in process, vLLM by its interface, and servers that fail."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from fake_server import QUICK_FAULTS, SLOW_FAULTS, serving
from fakes import ScriptedEngine
from icpo import ConfigError, DataError
from icpo.evaluation.engines import open_engine
from icpo.evaluation.settings import EngineSettings
from icpo.generation import Sampling
from icpo.generation.local_engine import LocalEngine, prompt_encoder
from icpo.generation.server_engine import Retry, ServerEngine
from icpo.generation.text import EngineError, Message, TextCompletion, TextRequest, cut, seed_of
from icpo.generation.vllm_engine import VllmEngine

pytest.importorskip("httpx", reason="httpx is not installed")

SAMPLING = Sampling(16, temperature=0.6, top_p=0.9)
QUICK = Retry(attempts=6, first=0.001, most=0.01)


def ask(text, seed=0, **settings) -> TextRequest:
    return TextRequest(text, settings.pop("sampling", SAMPLING), seed, **settings)


def echo(request):
    said = request.get("prompt") or request["messages"][-1]["content"]
    return f"answer to {said}", "stop"


##### Words


def test_cuts_before_the_first_stop():
    assert cut("abcd", ["d", "bc"]) == "a"
    assert cut("abcd", ["x"]) is None and cut("abcd", []) is None and cut("abcd", ["a"]) == ""


def test_seeds_follow_from_their_parts_alone():
    assert seed_of("ab", "c") != seed_of("a", "bc") and 0 <= seed_of(1) < 2**64


##### In process


def local(script, together=2):
    return LocalEngine(
        ScriptedEngine(script, end_ids=(0,)),
        lambda prompt: [len(prompt)],
        lambda tokens: " ".join(str(token) for token in tokens if token),
        together=together,
        about={"model": "scripted"},
    )


def test_local_answers_in_groups_and_says_so_at_once():
    engine = local(lambda prompt, seed: [int(prompt[0]), seed, 0])
    told = []
    requests = [ask("x" * length, seed=10 + length) for length in (3, 1, 2, 5, 4)]
    found = engine.complete(requests, lambda place, answer: told.append((place, answer)))
    assert told == list(enumerate(found)) and engine.together == 2
    assert [answer.text for answer in found] == ["3 13", "1 11", "2 12", "5 15", "4 14"]
    assert found[0] == TextCompletion("3 13", finished=True, tokens=3, prompt_tokens=1)
    calls = engine._engine.calls
    assert [len(prompts) for prompts, _, _ in calls] == [2, 2, 1]
    assert [seeds for _, _, seeds in calls] == [[13, 11], [12, 15], [14]]


def test_local_stops_at_texts_and_at_the_limit():
    engine = local(lambda prompt, seed: [7, 8, 9, 9, 9, 9])
    short = Sampling(4)
    whole, stopped = engine.complete(
        [ask("a", sampling=short), ask("a", sampling=short, stop=(" 9", " 8"))]
    )
    assert whole == TextCompletion("7 8 9 9", finished=False, tokens=4, prompt_tokens=1)
    assert stopped == TextCompletion("7", finished=True, tokens=4, prompt_tokens=1)


def test_local_keeps_the_sampling_of_each_request():
    engine = local(lambda prompt, seed: [1] * 9, together=4)
    found = engine.complete([ask("a", sampling=Sampling(n)) for n in (2, 2, 3, 2)])
    assert [answer.tokens for answer in found] == [2, 2, 3, 2]


##### vLLM, by its interface alone: it never ran here


def test_vllm_is_asked_with_token_ids_and_seeds(monkeypatch):
    fake = types.ModuleType("vllm")
    fake.__version__ = "0"

    class Tokenizer:
        chat_template = "yes"

        def __call__(self, text, return_special_tokens_mask):
            return {"input_ids": [ord(c) for c in text], "special_tokens_mask": [0] * len(text)}

        def apply_chat_template(self, messages, add_generation_prompt, return_dict):
            return {"input_ids": [1, *(ord(c) for c in messages[-1]["content"])]}

    class LLM:
        def __init__(self, model, dtype):
            if model == "none":
                raise ValueError("no such model")

        def get_tokenizer(self):
            return Tokenizer()

        def generate(self, prompts, parameters, use_tqdm):
            self.seen = (prompts, parameters)
            return [
                types.SimpleNamespace(
                    prompt_token_ids=prompt["prompt_token_ids"],
                    outputs=[
                        types.SimpleNamespace(
                            text=str(one["seed"]), finish_reason=reason, token_ids=[1, 2]
                        )
                    ],
                )
                for prompt, one, reason in zip(
                    prompts, parameters, ["stop", "length"], strict=False
                )
            ]

    fake.LLM, fake.SamplingParams = LLM, dict
    monkeypatch.setitem(sys.modules, "vllm", fake)
    engine = VllmEngine("some/model", together=2)
    told = []
    found = engine.complete(
        [
            ask("ab", 6, stop=("x",)),
            ask((Message("user", "c"),), 8),
            ask("d", 2**64 - 1, sampling=replace(SAMPLING, repetition_penalty=1.2)),
        ],
        lambda place, answer: told.append(place),
    )
    assert told == [0, 1, 2]
    assert found[:2] == [TextCompletion("3", True, 2, 2), TextCompletion("4", False, 2, 2)]
    prompts, parameters = engine._llm.seen
    assert prompts == [{"prompt_token_ids": [100]}] and parameters[0]["seed"] < 2**63
    names = ("n", "max_tokens", "top_p", "top_k", "repetition_penalty")
    assert [parameters[0][name] for name in names] == [1, 16, 0.9, -1, 1.2]
    with pytest.raises(ConfigError, match="model: none: vLLM can not load it: no such model"):
        VllmEngine("none")
    # It waits for the last of a group, so groups are large unless somebody says otherwise.
    for batch, together in ((None, 1024), (7, 7)):
        settings = EngineSettings(kind="vllm", model="some/model", batch=batch)
        assert open_engine(settings, chat=False).together == together


def test_vllm_and_httpx_are_named_where_they_are_missing():
    code = (
        "import sys; sys.modules['vllm'] = sys.modules['httpx'] = None\n"
        "from icpo.generation.vllm_engine import VllmEngine\n"
        "from icpo.generation.server_engine import ServerEngine\n"
        "from icpo.generation import Sampling\n"
        "from icpo.generation.text import TextRequest\n"
        "request = TextRequest('a', Sampling(1), 0)\n"
        "for make in (lambda: VllmEngine('a'),\n"
        "             lambda: ServerEngine('http://a', 'b').complete([request])):\n"
        "    try:\n"
        "        make()\n"
        "    except ImportError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "vllm is needed for this engine, and is not installed: pip install icpo-rs[vllm]",
        "httpx is needed to ask servers, and is not installed: pip install icpo-rs[server]",
    ]


##### Servers


def test_texts_and_chats_go_where_they_belong(monkeypatch):
    with serving(lambda request: ("6 7", "length")) as server:
        engine = ServerEngine(server.url, key="secret", extra={"min_p": 0.1})
        assert engine.model == "fake" and engine.count("a") is None and engine.together == 1
        chat = (Message("system", "Be brief."), Message("user", "1 + 1?"))
        sampling = Sampling(5, temperature=0.5, top_p=0.8, top_k=3)
        found = engine.complete(
            [ask("1 + 1 =", 2**63, stop=("\n",)), ask(chat, 1, sampling=sampling)]
        )
        assert found == [TextCompletion("6 7", False, 2, 3)] * 2
        bodies = {path: (body, key) for path, body, key in server.bodies}
    text, key = bodies["/v1/completions"]
    assert key == "Bearer secret"
    assert text == {
        "model": "fake", "prompt": "1 + 1 =", "max_tokens": 16, "temperature": 0.6, "top_p": 0.9,
        "seed": 2**30, "stop": ["\n"], "min_p": 0.1,
    }  # fmt: skip
    said, _ = bodies["/v1/chat/completions"]
    assert said["messages"] == [message._asdict() for message in chat]
    assert (said["top_k"], said["max_tokens"], "stop" in said) == (3, 5, False)


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        ("vllm", {"repetition_penalty": 1.1}),
        ("llama.cpp", {"repeat_penalty": 1.1, "repeat_last_n": -1}),
        ("transformers", {"frequency_penalty": pytest.approx(0.1)}),
    ],
)
def test_a_repetition_penalty_is_said_in_the_server_s_words(dialect, fields):
    with serving(echo) as server:
        penalised = ask("a", sampling=replace(SAMPLING, repetition_penalty=1.1))
        for extra in ({}, {next(iter(fields)): 3}):
            engine = ServerEngine(server.url, "fake", dialect=dialect, extra=extra)
            engine.complete([ask("a")])
            engine.complete([penalised])
        plain, said, extra_alone, replaced = (body for _, body, _ in server.bodies)
    assert said == {**plain, **fields} and not set(fields) & set(plain)
    assert extra_alone == {**plain, **extra} and replaced == {**said, **extra}
    # What transformers makes of it again is the penalty, to the last digit.
    assert dialect != "transformers" or 1.0 + said["frequency_penalty"] == 1.1


def test_no_more_at_once_than_allowed():
    with serving(echo) as server:
        server.slow = 0.02
        engine = ServerEngine(server.url, "fake", concurrency=3)
        found = engine.complete([ask(f"q{i}", i << 40) for i in range(20)])
        assert [answer.text for answer in found] == [f"answer to q{i}" for i in range(20)]
        assert server.most_at_once == 3
        assert set(server.asked.values()) == {1}


def test_a_bad_server_loses_nothing_and_is_asked_nothing_twice_but_what_it_failed():
    rng = np.random.default_rng(0)
    # Of each request the first few attempts fail, each in its own way.
    plans = [
        [QUICK_FAULTS[i] for i in rng.integers(0, len(QUICK_FAULTS), rng.integers(0, 5))]
        for _ in range(60)
    ]

    def faults(request, before):
        plan = plans[int(request["prompt"][1:])]
        return plan[before] if before < len(plan) else None

    with serving(echo, faults) as server:
        engine = ServerEngine(server.url, "fake", concurrency=8, retry=QUICK, timeout=5)
        told = {}
        found = engine.complete([ask(f"q{i}", i << 40) for i in range(60)], told.__setitem__)
        assert [answer.text for answer in found] == [f"answer to q{i}" for i in range(60)]
        assert told == dict(enumerate(found))
        assert set(server.answered.values()) == {1} and len(server.answered) == 60
        assert sum(server.asked.values()) == 60 + sum(map(len, plans))


@pytest.mark.parametrize("fault", SLOW_FAULTS)
def test_an_answer_that_does_not_come_is_asked_for_again(fault):
    with serving(echo, lambda request, before: fault if before == 0 else None) as server:
        engine = ServerEngine(server.url, "fake", timeout=0.2, retry=QUICK)
        assert engine.complete([ask("a")])[0].text == "answer to a"
        assert list(server.asked.values()) == [2]


def test_what_is_refused_ends_with_one_error_and_keeps_the_rest():
    def faults(request, before):
        return 400 if request["prompt"] == "q5" else None

    with serving(echo, faults) as server:
        server.slow = 0.02
        engine = ServerEngine(server.url, "fake", concurrency=2, retry=QUICK)
        told = {}
        with pytest.raises(EngineError) as raised:
            engine.complete([ask(f"q{i}", i << 40) for i in range(40)], told.__setitem__)
        assert str(raised.value) == f"{server.url}/completions: status 400: fault 400"
        # All that the server answered was handed over, and not much was begun after the error.
        assert len(told) == len(server.answered) and 5 <= len(told) <= 7
        assert sum(server.asked.values()) == len(told) + 1


def test_a_server_that_stays_broken_ends_with_one_error():
    with serving(echo, lambda request, before: "malformed") as server:
        engine = ServerEngine(server.url, "fake", retry=Retry(3, 0.001, 0.001))
        with pytest.raises(
            EngineError, match="no answer after 3 attempts, the last: a body that is"
        ):
            engine.complete([ask("a")])
    with pytest.raises(EngineError, match=r"no answer after this: ConnectError"):
        ServerEngine(server.url, "fake", retry=Retry(1)).complete([ask("a")])


def test_an_error_of_the_listener_ends_the_asking():
    with serving(echo) as server:
        server.slow = 0.02
        engine = ServerEngine(server.url, "fake", concurrency=2)

        def listen(place, answer):
            raise RuntimeError("disk full")

        with pytest.raises(RuntimeError, match="disk full"):
            engine.complete([ask(f"q{i}", i) for i in range(50)], listen)
        assert sum(server.asked.values()) < 10


def test_it_works_inside_a_running_loop_and_from_threads():
    with serving(echo) as server:

        async def inside():
            return ServerEngine(server.url).complete([ask("a")])

        assert asyncio.run(inside())[0].text == "answer to a"
        engine = ServerEngine(server.url, "fake")
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda i: engine.complete([ask(f"q{i}")])[0].text, range(8)))
        assert found == [f"answer to q{i}" for i in range(8)]
    assert engine.complete([]) == []


def test_models_have_to_be_named_where_there_are_several():
    with serving(echo) as server:
        server.models = ["one", "two"]
        with pytest.raises(ConfigError, match=r"one of the server.s models, which are one, two"):
            ServerEngine(server.url)
        server.models = None  # as of a server that does not list any
        with pytest.raises(EngineError, match="asked for its models, since none was named"):
            ServerEngine(server.url, retry=QUICK)
        assert ServerEngine(server.url, "two").describe() == {
            "engine": "server", "url": server.url, "model": "two",
        }  # fmt: skip


def test_waits_double_up_to_a_limit():
    retry = Retry(attempts=9, first=1.0, most=10.0)
    assert [retry.wait(attempt, 0.0) for attempt in (1, 2, 3, 8)] == [0.5, 1.0, 2.0, 10.0]
    assert all(
        retry.first * 2 ** (a - 1) / 2 <= retry.wait(a, s) <= retry.first * 2 ** (a - 1)
        for a in (1, 2, 3)
        for s in (0.0, 0.4, 0.99)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "localhost:1"}, "url: expected http:// or https://, got 'localhost:1'"),
        ({"concurrency": 0}, "concurrency: expected at least 1, got 0"),
        ({"timeout": 0}, "timeout: expected seconds above 0, got 0"),
        ({"dialect": "tgi"}, "dialect: expected one of vllm, llama.cpp, transformers, got 'tgi'"),
    ],
)
def test_bad_arguments_of_servers(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ServerEngine(**{"url": "http://localhost:1", "model": "a", **arguments})
    with pytest.raises(ConfigError, match="attempts: expected at least 1, got 0"):
        Retry(0)
    with pytest.raises(ConfigError, match="first: expected seconds from 0 to most = 1, got 2"):
        Retry(first=2, most=1)


def test_text_that_a_tokenizer_does_not_know_is_named():
    class Strict:
        chat_template = None

        def __call__(self, text, **_):
            raise Exception("WordLevel error: Missing [UNK] token")  # what tokenizers raise

    encode = prompt_encoder(Strict())
    with pytest.raises(DataError, match=r"expected text that the tokenizer knows, got 'ü.*Missing"):
        encode("ü?")
    with pytest.raises(ConfigError, match="without chat"):
        encode((Message("user", "ü?"),))
