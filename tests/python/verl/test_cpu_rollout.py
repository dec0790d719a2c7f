"""The rollout server of the CPU recipe, without Ray: the class that the actor is made of."""

from __future__ import annotations

import asyncio
import copy
import os
import random
import threading
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from icpo.errors import ConfigError, DataError, NonFiniteError, ShapeError, TokenIdError

pytestmark = pytest.mark.verl

if not os.environ.get("CI"):
    pytest.importorskip("verl", reason="verl is not installed", exc_type=ImportError)

from icpo.verl.cpu.requests import Limits, Seeds, read_request  # noqa: E402
from icpo.verl.cpu.rollout import CpuReplica, CpuRollout  # noqa: E402
from icpo.verl.cpu.server import CpuServer  # noqa: E402

VOCABULARY, END = 23, (2, 5)
PROMPT_LENGTH, RESPONSE_LENGTH, POSITIONS = 12, 9, 48


def make_model(seed: int = 0, **changes) -> Qwen3ForCausalLM:
    """Weights far from their usual start: distributions that are neither flat nor certain."""
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": POSITIONS,
        "initializer_range": 0.25,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": list(END),
        "pad_token_id": 0,
        **changes,
    }
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(Qwen3Config(**shape)).eval()


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    return str(path)


def new_server(folder, kind=CpuServer, **changes) -> CpuServer:
    lengths = {"prompt_length": PROMPT_LENGTH, "response_length": RESPONSE_LENGTH}
    return kind(folder, **{**lengths, **changes})


def loaded(folder, model, version=0, **changes) -> CpuServer:
    server = new_server(folder, **changes)
    run(server.load_weights(model.state_dict(), version))
    return server


def run(scene):
    """What the coroutine returns. A request that is lost is a failure, not a wait without end."""
    return asyncio.run(asyncio.wait_for(scene, timeout=60))


def ask(server, requests, return_exceptions=False):
    """All at once; requests are pairs of a prompt and sampling parameters."""

    async def all_of_them():
        return await asyncio.gather(
            *(
                server.generate(list(p), dict(params), f"r{i}")
                for i, (p, params) in enumerate(requests)
            ),
            return_exceptions=return_exceptions,
        )

    return run(all_of_them())


def random_prompts(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        rng.integers(0, VOCABULARY, rng.integers(1, PROMPT_LENGTH + 1)).tolist()
        for _ in range(count)
    ]


@torch.no_grad()
def recomputed(model, prompt, response, temperature, dtype=torch.float64) -> np.ndarray:
    """One forward pass over prompt and response, no cache, no padding."""
    model = copy.deepcopy(model).to(dtype)
    logits = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits
    logp = (logits[0, len(prompt) - 1 : -1].double() / temperature).log_softmax(-1)
    return logp.gather(-1, torch.tensor(response)[:, None])[:, 0].numpy()


# ---- what is sampled, and its log-probabilities


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 0.6},
        {"temperature": 1.7, "top_k": -1, "top_p": 1.0, "repetition_penalty": 1.0},
        {"temperature": 0.9, "top_p": 0.8},
        {"temperature": 1.3, "top_k": 4},
    ],
)
def test_log_probs_are_those_of_a_plain_forward_pass(folder, model, params):
    server = loaded(folder, model)
    prompts = random_prompts(7, seed=len(params))
    outputs = ask(server, [(prompt, {**params, "logprobs": True}) for prompt in prompts])
    for prompt, output in zip(prompts, outputs, strict=True):
        expected = recomputed(model, prompt, output.token_ids, params.get("temperature", 1.0))
        assert len(output.log_probs) == len(output.token_ids) > 0
        np.testing.assert_allclose(output.log_probs, expected, rtol=0, atol=1e-5)
        assert np.array_equal(np.float32(output.log_probs), output.log_probs)  # float32


def test_log_probs_are_given_if_asked_for(folder, model):
    server = loaded(folder, model)
    wishes = [True, False, None, 0]  # the last is vLLM's way to say: the sampled token's only
    outputs = ask(server, [([3, 4], {"logprobs": wish}) for wish in wishes])
    assert [output.log_probs is not None for output in outputs] == [True, False, False, True]


def test_temperature_0_takes_the_most_likely_token(folder, model):
    server = loaded(folder, model)
    params = {"temperature": 0, "top_p": 1.0, "top_k": -1, "logprobs": True}
    prompts = random_prompts(5, seed=1)
    for prompt, output in zip(prompts, ask(server, [(p, params) for p in prompts]), strict=True):
        tokens = list(prompt)
        for token in output.token_ids:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([tokens])).logits[0, -1]
            assert token == int(logits.argmax())
            tokens.append(token)
        expected = recomputed(model, prompt, output.token_ids, 1.0)
        np.testing.assert_allclose(output.log_probs, expected, rtol=0, atol=1e-5)


def test_top_k_of_1_is_greedy(folder, model):
    server = loaded(folder, model)
    greedy, one = ask(server, [([7, 8, 9], {"temperature": 0}), ([7, 8, 9], {"top_k": 1})])
    assert greedy.token_ids == one.token_ids


def test_derived_seeds_draw_from_the_distribution(folder, model):
    server = loaded(folder, model)
    prompt, temperature, draws = [4, 11, 6], 1.4, 3000
    outputs = ask(server, [(prompt, {"temperature": temperature, "max_tokens": 1})] * draws)
    counts = Counter(output.token_ids[0] for output in outputs)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1].double()
    chance = (logits / temperature).softmax(-1).numpy()
    deviation = (chance * (1 - chance) / draws) ** 0.5
    share = np.array([counts[token] / draws for token in range(VOCABULARY)])
    assert (np.abs(share - chance) < 5 * deviation + 1e-9).all()


# ---- seeds


def tokens_of(outputs):
    return [output.token_ids for output in outputs]


def test_a_seed_decides_whatever_is_asked_beside_it(folder, model):
    server = loaded(folder, model)
    requests = [
        (p, {"seed": 2**40 + i, "logprobs": True}) for i, p in enumerate(random_prompts(12))
    ]
    together = ask(server, requests)
    alone = [ask(server, [request])[0] for request in requests]
    order = random.Random(0).sample(range(12), 12)
    shuffled = dict(zip(order, ask(server, [requests[i] for i in order]), strict=True))
    assert tokens_of(together) == tokens_of(alone) == [shuffled[i].token_ids for i in range(12)]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.log_probs, other.log_probs, rtol=0, atol=1e-5)


def test_seeds_differ(folder, model):
    server = loaded(folder, model)
    outputs = ask(server, [([3, 4, 6], {"seed": seed}) for seed in range(20)])
    assert len({tuple(output.token_ids) for output in outputs}) > 15


def by_prompt(server, order, **params):
    """Responses to each prompt, in the order of its requests."""
    found = {}
    for prompt, output in zip(order, ask(server, [(p, params) for p in order]), strict=True):
        found.setdefault(prompt, []).append(output.token_ids)
    return found


def test_without_seeds_only_the_count_of_a_prompt_matters(folder, model):
    a, b, c = (3, 4, 6), (3, 4), (9, 9, 9, 1)
    first = by_prompt(loaded(folder, model), [a, a, a, b, b, c])
    second = by_prompt(loaded(folder, model), [c, b, a, a, b, a])
    assert first == second
    assert len({tuple(tokens) for tokens in first[a]}) == 3


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"replica": 1}, {"version": 1}], ids=lambda change: next(iter(change))
)
def test_derived_seeds_differ_by_server_and_step(folder, model, change):
    prompts = [(3, 4, 6)] * 4 + [(8,)] * 4
    assert by_prompt(loaded(folder, model), prompts) != by_prompt(
        loaded(folder, model, **change), prompts
    )


def test_a_resumed_step_draws_as_the_first_time(folder, model):
    prompts = [(3, 4, 6)] * 3 + [(8,)] * 2
    interrupted = loaded(folder, model, version=4)
    by_prompt(interrupted, prompts)
    run(interrupted.load_weights(model.state_dict(), 5))
    # Another process, which has asked for nothing before.
    resumed = loaded(folder, model, version=5)
    assert by_prompt(interrupted, prompts) == by_prompt(resumed, prompts)


def test_greedy_requests_do_not_move_the_count(folder, model):
    plain, watched = loaded(folder, model), loaded(folder, model)
    ask(watched, [((3, 4, 6), {"temperature": 0})] * 3)
    assert by_prompt(plain, [(3, 4, 6)] * 2) == by_prompt(watched, [(3, 4, 6)] * 2)


def test_derived_seeds_fill_64_bits():
    seeds = Seeds(0, 0)
    drawn = [seeds.next(np.array([1, 2]), 0) for _ in range(500)]
    assert len(set(drawn)) == 500
    assert all(0 <= seed < 2**64 for seed in drawn)
    ones = np.array([[seed >> bit & 1 for bit in range(64)] for seed in drawn]).mean(0)
    assert (np.abs(ones - 0.5) < 0.12).all()
    # A prompt is not mistaken for one with other ids that spell alike.
    assert Seeds(0, 0).next(np.array([1, 2]), 0) != Seeds(0, 0).next(np.array([12]), 0)
    assert Seeds(0, 11).next(np.array([1]), 0) != Seeds(0, 1).next(np.array([1]), 10)


# ---- ends and limits


def test_the_end_token_ends_and_is_part_of_the_response(folder, model):
    outputs = ask(loaded(folder, model), [([3, 4], {})] * 60)
    ended = [output for output in outputs if len(output.token_ids) < RESPONSE_LENGTH]
    assert len(ended) > 5
    for output in outputs:
        assert not set(output.token_ids[:-1]) & set(END)
        assert output.stop_reason == "completed"
    assert all(output.token_ids[-1] in END for output in ended)


def test_ignore_eos_goes_on_to_the_limit(folder, model):
    outputs = ask(loaded(folder, model, ignore_eos=True), [([3, 4], {})] * 20)
    assert {len(output.token_ids) for output in outputs} == {RESPONSE_LENGTH}


@pytest.mark.parametrize(
    ("prompt_length", "params", "expected"),
    [
        (1, {}, RESPONSE_LENGTH),
        (PROMPT_LENGTH, {}, RESPONSE_LENGTH),
        (PROMPT_LENGTH + 3, {}, RESPONSE_LENGTH - 3),
        (PROMPT_LENGTH + 30, {}, 1),
        (3, {"max_tokens": 4}, 4),
        (3, {"max_new_tokens": 5}, 5),
        (3, {"max_tokens": 30}, 30),
        (POSITIONS - 2, {"max_tokens": 30}, 2),
    ],
)
def test_how_long_a_response_may_be(folder, model, prompt_length, params, expected):
    server = loaded(folder, model, ignore_eos=True)
    (output,) = ask(server, [([3] * prompt_length, params)])
    assert len(output.token_ids) == expected


def test_max_model_len_limits_too(folder, model):
    server = loaded(folder, model, ignore_eos=True, max_model_len=10)
    (output,) = ask(server, [([3] * 8, {})])
    assert len(output.token_ids) == 2


# ---- refusals


LIMITS = Limits(PROMPT_LENGTH, RESPONSE_LENGTH, POSITIONS, VOCABULARY)


@pytest.mark.parametrize(
    ("prompt", "params", "error", "words"),
    [
        ([3], {"min_p": 0.1}, ConfigError, "min_p=0.1"),
        ([3], {"stop": ["x"], "presence_penalty": 0.0}, ConfigError, "presence_penalty=0.0, stop="),
        ([3], {"repetition_penalty": 1.1}, ConfigError, "repetition_penalty=1.*got 1.1"),
        ([3], {"top_k": -2}, ConfigError, "top_k from -1.*got -2"),
        ([3], {"top_p": 0.0}, ConfigError, "top_p.*got 0.0"),
        ([3], {"temperature": -1}, ConfigError, "temperature.*got -1"),
        ([3], {"max_tokens": 0}, ConfigError, "max_tokens from 1, got 0"),
        ([3], {"seed": -1}, ConfigError, "seed from 0.*got -1"),
        ([3], {"seed": 2**64}, ConfigError, "seed from 0"),
        ([], {}, DataError, "prompt_ids.*none"),
        ([3] * POSITIONS, {}, DataError, f"fewer than {POSITIONS}.*got {POSITIONS}"),
        ([3, VOCABULARY], {}, TokenIdError, f"0 to {VOCABULARY - 1}, got {VOCABULARY}"),
        ([3, -1], {}, TokenIdError, "got -1"),
    ],
)
def test_what_can_not_be_done_is_refused(prompt, params, error, words):
    with pytest.raises(error, match=words):
        read_request(prompt, params, LIMITS)


def test_text_only(folder, model):
    server = loaded(folder, model)
    for media in ("image_data", "video_data", "audio_data", "mm_processor_kwargs"):
        with pytest.raises(DataError, match="reads text"):
            run(server.generate([3], {}, "r", **{media: ["x"]}))
        run(server.generate([3], {}, "r", **{media: None}))


def test_a_wrong_request_is_its_own_problem(folder, model):
    server = loaded(folder, model)
    good = ([3, 4], {"seed": 5})
    outputs = ask(server, [good, ([99], {}), ([3], {"top_k": -9}), good], return_exceptions=True)
    assert isinstance(outputs[1], TokenIdError)
    assert isinstance(outputs[2], ConfigError)
    assert outputs[0].token_ids == outputs[3].token_ids == ask(server, [good])[0].token_ids


def test_unknown_settings_are_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"rollout\.dtype: expected float32.*got fp8"):
        new_server(folder, dtype="fp8")
    make_model(eos_token_id=None).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="eos_token_id"):
        new_server(str(tmp_path))


def test_asynchronous_trainers_are_told(folder, model):
    with pytest.raises(ConfigError, match="trainer_mode: torch_cpu expects sync"):
        run(loaded(folder, model).abort_all_requests())


# ---- weights


def test_nothing_is_answered_before_the_first_weights(folder):
    with pytest.raises(ConfigError, match="weights from the actor"):
        ask(new_server(folder), [([3], {})])


def test_new_weights_answer_from_then_on(folder, model):
    other = make_model(seed=1)
    server = loaded(folder, model, version=3)
    request = ([3, 4, 6, 7], {"seed": 8, "logprobs": True})
    (before,) = ask(server, [request])
    run(server.load_weights(other.state_dict(), 7))
    (after,) = ask(server, [request])
    for output, source, version in ((before, model, 3), (after, other, 7)):
        expected = recomputed(source, request[0], output.token_ids, 1.0)
        np.testing.assert_allclose(output.log_probs, expected, rtol=0, atol=1e-5)
        assert output.extra_fields == {"global_steps": version}
    assert np.abs(after.log_probs[0] - before.log_probs[0]) > 1e-3


def test_a_batch_is_computed_with_the_weights_it_started_with(folder, model):
    """Weights that arrive meanwhile wait, and so do the requests behind them."""
    other = make_model(seed=1)
    server = loaded(folder, model, version=0)
    started, go = threading.Event(), threading.Event()
    compute = server._compute

    def held(*arguments):
        started.set()
        assert go.wait(60)
        return compute(*arguments)

    server._compute = held

    async def scene():
        request = ([3, 4], {"seed": 1, "logprobs": True}, "r")
        first = asyncio.create_task(server.generate(*request))
        while not started.is_set():
            await asyncio.sleep(0.001)  # the event loop is free while the batch computes
        loading = asyncio.create_task(server.load_weights(other.state_dict(), 1))
        second = asyncio.create_task(server.generate(*request))
        await asyncio.sleep(0.02)
        assert not loading.done()
        go.set()
        await loading
        return await first, await second

    first, second = run(scene())
    assert [output.extra_fields["global_steps"] for output in (first, second)] == [0, 1]
    for output, source in ((first, model), (second, other)):
        expected = recomputed(source, [3, 4], output.token_ids, 1.0)
        np.testing.assert_allclose(output.log_probs, expected, rtol=0, atol=1e-5)


def test_tied_weights_may_come_under_one_name(folder, model):
    weights = dict(model.state_dict())
    del weights["lm_head.weight"]
    server = new_server(folder)
    run(server.load_weights(weights))
    run(server.load_weights(weights))
    (output,) = ask(server, [([3], {"seed": 1})])
    assert output.extra_fields == {"global_steps": 1}  # counted, where verl gives no step
    assert output.token_ids == ask(loaded(folder, model), [([3], {"seed": 1})])[0].token_ids


@pytest.mark.parametrize("fault", ["unknown", "missing", "shape"])
def test_wrong_weights_change_nothing(folder, model, fault):
    server = loaded(folder, model)
    request = ([3, 4], {"seed": 3})
    before = ask(server, [request])[0].token_ids
    weights = {name: tensor + 1 for name, tensor in make_model(seed=1).state_dict().items()}
    name = "model.layers.1.mlp.up_proj.weight"
    error, words = {
        "unknown": (ConfigError, "names of the model's, got lora_A"),
        "missing": (ConfigError, f"none for {name}"),
        "shape": (ShapeError, rf"{name}.*\(48, 32\), got \(32, 48\)"),
    }[fault]
    if fault == "unknown":
        weights["lora_A"] = torch.zeros(1)
    elif fault == "missing":
        del weights[name]
    else:
        weights[name] = weights[name].T
    with pytest.raises(error, match=words):
        run(server.load_weights(weights, 9))
    (output,) = ask(server, [request])
    assert output.token_ids == before
    assert output.extra_fields == {"global_steps": 0}


def test_broken_weights_fail_all_and_good_ones_mend_it(folder, model):
    server = new_server(folder)
    broken = {
        name: torch.full_like(tensor, torch.nan) for name, tensor in model.state_dict().items()
    }
    run(server.load_weights(broken))
    outputs = ask(server, [([3], {}), ([4, 5], {})], return_exceptions=True)
    assert all(isinstance(output, NonFiniteError) for output in outputs)
    run(server.load_weights(model.state_dict()))
    assert ask(server, [([3], {})])[0].token_ids


# ---- batches


def batch_sizes(server):
    """Of the batches computed from now on."""
    sizes = []
    compute = server._compute
    server._compute = lambda prompts, *rest: sizes.append(len(prompts)) or compute(prompts, *rest)
    return sizes


def test_concurrent_requests_are_one_batch(folder, model):
    server = loaded(folder, model)
    sizes = batch_sizes(server)

    async def one_after_the_other():
        tasks = []
        for prompt in random_prompts(20):
            tasks.append(asyncio.create_task(server.generate(prompt, {}, "r")))
            await asyncio.sleep(0)  # as messages arrive
        await asyncio.gather(*tasks)

    run(one_after_the_other())
    assert sum(sizes) == 20
    assert sizes[0] > 5


def test_ways_to_sample_are_kept_apart(folder, model):
    server = loaded(folder, model)
    sizes = batch_sizes(server)
    ways = [{"temperature": 0.5}, {"temperature": 2.0}, {"max_tokens": 3}, {"top_k": 2}]
    requests = [([3, 4], {**ways[i % 4], "seed": i, "logprobs": True}) for i in range(16)]
    together = ask(server, requests)
    assert sizes == [4, 4, 4, 4]
    assert tokens_of(together) == [ask(server, [request])[0].token_ids for request in requests]


def test_whoever_gives_up_takes_nobody_along(folder, model):
    server = loaded(folder, model)

    async def scene():
        tasks = [asyncio.create_task(server.generate([3, 4], {"seed": i}, "r")) for i in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outputs = run(scene())
    assert isinstance(outputs[1], asyncio.CancelledError)
    expected = ask(server, [([3, 4], {"seed": 0}), ([3, 4], {"seed": 2})])
    assert tokens_of([outputs[0], outputs[2]]) == tokens_of(expected)


# ---- verl's side


def rollout_config(**changes):
    from verl.workers.config import RolloutConfig

    settings = {"name": "torch_cpu", "tensor_model_parallel_size": 1, "dtype": "float32"}
    return RolloutConfig(**{**settings, **changes})


def new_replica(**changes):
    model_config = SimpleNamespace(path="nowhere", trust_remote_code=False)
    return CpuReplica(0, rollout_config(**changes), model_config, gpus_per_node=2)


@pytest.mark.parametrize("change", ["tensor_model_parallel_size", "data_parallel_size"])
def test_a_replica_is_one_process(change):
    group = SimpleNamespace(workers=[None, None])
    with pytest.raises(ConfigError, match=f"{change}.*got a product of 2"):
        run(new_replica(**{change: 2}).init_hybrid(group))


def test_servers_apart_from_the_actor_are_refused():
    replica = new_replica()
    from verl.workers.rollout.replica import RolloutMode

    replica.rollout_mode = RolloutMode.STANDALONE
    with pytest.raises(ConfigError, match=r"synchronous trainer only.*standalone"):
        run(replica.launch_servers())


@pytest.fixture
def sent(monkeypatch):
    """What reaches the servers, by their names."""
    import ray

    reached = {}

    def actor(name):
        async def load_weights(weights, global_steps):
            reached[name] = weights, global_steps

        return SimpleNamespace(load_weights=SimpleNamespace(remote=load_weights))

    monkeypatch.setattr(ray, "get_actor", actor)
    return reached


@pytest.fixture
def worker():
    made = CpuRollout.__new__(CpuRollout)  # verl's constructor reads configurations only
    return made


def test_a_rank_feeds_the_server_of_its_number(sent, worker, monkeypatch, model):
    monkeypatch.setenv("RANK", "1")
    parameters = ((name, weight) for name, weight in model.named_parameters())
    run(worker.update_weights(parameters, global_steps=6))
    ((name, (weights, version)),) = sent.items()
    assert (name, version) == ("torch_cpu_1", 6)
    assert set(weights) == {name for name, _ in model.named_parameters()}
    assert not any(weight.requires_grad for weight in weights.values())


def test_weights_in_other_forms_are_refused(sent, worker, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match=r"lora\.merge: torch_cpu expects true"):
        run(worker.update_weights(iter(()), peft_config=object()))
    with pytest.raises(ConfigError, match="expects named_tensors, got delta_flush"):
        run(worker.update_weights(iter(()), wire_format="delta_flush"))
    assert not sent
