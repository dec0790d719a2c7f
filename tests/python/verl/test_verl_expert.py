"""Expert prompts: the tokens that verl itself would make of the same messages, within a limit."""

from __future__ import annotations

import asyncio

import pytest
import verl_fakes as fakes

from icpo.demos import TEMPLATES, Template
from icpo.errors import DataError, IcpoError
from icpo.types import Demo
from icpo.verl.expert import AGENT, EXPERT_PROMPT, asked, expert_prompts, problem_of
from icpo.verl.settings import DemoSettings, IcpoSettings

pytestmark = pytest.mark.verl

DEMOS = [
    Demo("a", "What is 3 + 1?", "3 + 1 = 4, so \\boxed{4}"),
    Demo("b", "What is {x}? 数学", "Ärger \\boxed{9}"),
    Demo("c", "What is 12 + 7?", "\\boxed{19}"),
]
SYSTEM = {"role": "system", "content": "You add numbers."}
USER = {"role": "user", "content": "What is 12 + 70? Answer within \\boxed{}."}
TURNS = [
    [USER],
    [SYSTEM, USER],
    [SYSTEM, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, USER],
]
CHATS = [name for name, template in TEMPLATES.items() if template.chat]


@pytest.fixture(scope="module")
def tokenizer():
    return fakes.make_tokenizer()


@pytest.fixture(scope="module")
def config():
    return fakes.compose_config("actor_rollout_ref.rollout.name=vllm")


def prompts_of(tokenizer, template="as-is", model_type="qwen3", chat=None, limit=10_000):
    return expert_prompts(TEMPLATES[template], tokenizer, model_type, chat or {}, limit)


def keys(**demonstrations):
    """Settings with other keys in a row than usual."""
    return IcpoSettings(n_off=0, demonstrations=DemoSettings(**demonstrations))


def made(builder, messages, demos=DEMOS):
    return builder(messages).expert(asked(messages, problem_of(messages, None, keys())), demos)


def loop(config, tokenizer, model_type, server, cls=None):
    """verl's agent loop, as its workers make one for each request."""
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap
    from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
    from verl.utils.dataset.rl_dataset import RLHFDataset

    return (cls or SingleTurnAgentLoop)(
        trainer_config=DictConfigWrap(config),
        server_manager=server,
        tokenizer=tokenizer,
        processor=None,
        dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(config.data),
        hf_model_type=model_type,
    )


def tokens_of_verl(config, tokenizer, model_type, messages):
    """What a server is asked by verl when a data row has these messages."""

    async def answer(asked):
        return [5]

    async def run():
        server = fakes.Server(answer)
        await loop(config, tokenizer, model_type, server).run({}, raw_prompt=messages)
        return server.asked[0].prompt_ids

    return asyncio.run(run())


@pytest.mark.parametrize("model_type", [None, "qwen2", "qwen3", "gpt_oss", "unknown"])
@pytest.mark.parametrize("template", CHATS)
@pytest.mark.parametrize("messages", TURNS, ids=len)
def test_tokens_are_those_that_verl_makes(config, tokenizer, template, messages, model_type):
    content = TEMPLATES[template].render(USER["content"], DEMOS)
    said = [*messages[:-1], {"role": "user", "content": content}]
    prompt = made(prompts_of(tokenizer, template, model_type), messages)
    assert prompt.tokens.tolist() == tokens_of_verl(config, tokenizer, model_type, said)
    assert [demo.id for demo in prompt.demos] == ["a", "b", "c"]
    assert prompt.dropped == 0


def test_arguments_of_the_chat_template_count(tokenizer):
    override = "+data.apply_chat_template_kwargs.think=true"
    config = fakes.compose_config("actor_rollout_ref.rollout.name=vllm", override)
    chat = config.data.apply_chat_template_kwargs
    prompt = made(prompts_of(tokenizer, chat=chat), [USER])
    content = TEMPLATES["as-is"].render(USER["content"], DEMOS)
    said = [{"role": "user", "content": content}]
    assert prompt.tokens.tolist() == tokens_of_verl(config, tokenizer, "qwen3", said)
    assert tokenizer.decode(prompt.tokens).endswith("assistant\n<think>")


@pytest.mark.parametrize("messages", TURNS, ids=len)
def test_as_is_leaves_the_message_and_those_before_it(tokenizer, messages):
    """The prompt is the plain one with the demonstrations put before the message."""
    plain = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    text = tokenizer.decode(made(prompts_of(tokenizer), messages).tokens)
    message = USER["content"]
    head, tail = plain[: plain.rindex(message)], plain[plain.rindex(message) :]
    assert text.startswith(head)
    assert text.endswith(tail)
    shown = text[len(head) : -len(tail)]
    for demo in DEMOS:
        assert demo.question in shown
        assert demo.solution in shown
    assert message not in shown


def test_text_templates_are_no_chat(tokenizer):
    prompt = made(prompts_of(tokenizer, "paper"), [USER])
    text = TEMPLATES["paper"].render(USER["content"], DEMOS)
    assert prompt.tokens.tolist() == tokenizer(text)["input_ids"]


def test_template_of_ones_own(tokenizer):
    template = Template("own", "{question}={solution}", " | ", "> {question}", chat=True)
    prompt = made(expert_prompts(template, tokenizer, "qwen3", {}, 999), [SYSTEM, USER], DEMOS[:1])
    text = tokenizer.decode(prompt.tokens)
    assert f"{DEMOS[0].question}={DEMOS[0].solution} | > {USER['content']}<|im_end|>" in text


##### The limit


@pytest.mark.parametrize("template", TEMPLATES)
def test_limit_costs_the_last_demonstrations_and_never_the_question(tokenizer, template):
    messages = [SYSTEM, USER]
    lengths = []
    for shown in range(len(DEMOS) + 1):
        builder = prompts_of(tokenizer, template)(messages)
        question = asked(messages, problem_of(messages, None, keys()))
        lengths.append(builder.length(question, DEMOS[:shown]))
    assert lengths == sorted(set(lengths))
    for limit in sorted({length + more for length in lengths for more in (-1, 0, 1)}):
        builder = prompts_of(tokenizer, template, limit=limit)
        fitting = [shown for shown, length in enumerate(lengths) if length <= limit]
        if not fitting:
            with pytest.raises(DataError, match=f"max_tokens = {limit}"):
                made(builder, messages)
            continue
        prompt = made(builder, messages)
        assert [demo.id for demo in prompt.demos] == ["a", "b", "c"][: max(fitting)]
        assert prompt.dropped == len(DEMOS) - max(fitting)
        assert len(prompt.tokens) == lengths[max(fitting)] <= limit
        assert USER["content"] in tokenizer.decode(prompt.tokens)


##### What a row asks


def test_problem_of_a_row():
    extra = {"index": 7, "question": "12 + 70?", "topic": "sums", "subject": "other"}
    problem = problem_of([SYSTEM, USER], extra, keys(subject="topic"))
    assert (problem.id, problem.question, problem.subject) == ("7", "12 + 70?", "sums")
    # The prompt asks in the user's words, whatever the bare question is.
    assert asked([SYSTEM, USER], problem).question == USER["content"]
    assert asked([SYSTEM, USER], problem).subject == "sums"


def test_what_strategies_read_of_a_row():
    extra = {"difficulty": "hard", "response_length": 12, "solution": ["abc", "d"], "level": 3}

    def problem(**demonstrations):
        return problem_of([USER], extra, keys(**demonstrations))

    assert problem().difficulty == "hard"
    assert problem(difficulty="level").difficulty == "3"
    assert problem(strategy="length").length == 12
    assert problem(strategy="length").solutions == ("abc", "d")
    assert problem(strategy="length", length="level").length == 3
    # What is not asked for takes memory: there may be many solutions, and long ones.
    assert (problem().length, problem().solutions) == (None, ())
    bare = problem_of([USER], {"solution": "abc"}, keys(strategy="length"))
    assert (bare.difficulty, bare.length, bare.solutions) == (None, None, ("abc",))
    assert problem_of([USER], {}, keys(strategy="length")).solutions == ()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"response_length": "12"}, "extra_info.response_length: expected a whole number .*'12'"),
        ({"response_length": -1}, "extra_info.response_length: expected a whole number .*-1"),
        ({"response_length": True}, "extra_info.response_length: expected a whole number"),
        ({"solution": [3]}, r"extra_info.solution: expected a text or a list .*\[3\]"),
    ],
)
def test_what_strategies_can_not_read(extra, message):
    with pytest.raises(DataError, match=message):
        problem_of([USER], extra, keys(strategy="length"))


@pytest.mark.parametrize("extra", [None, {}, {"question": None}, {"question": ""}])
def test_without_a_bare_question_the_message_counts(extra):
    problem = problem_of([SYSTEM, USER], extra, keys())
    assert (problem.question, problem.subject) == (USER["content"], None)


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([], "none"),
        ([SYSTEM], "system"),
        ([USER, {"role": "assistant", "content": "82"}], "user, assistant"),
        ([{"content": "82"}], "None"),
    ],
)
def test_messages_that_do_not_end_with_the_users_are_refused(tokenizer, messages, told):
    for act in (
        lambda: problem_of(messages, {}, keys()),
        lambda: asked(messages, problem_of([USER], {}, keys())),
    ):
        with pytest.raises(DataError, match=rf"a user's, got roles {told}$"):
            act()


@pytest.mark.parametrize("content", [None, 3, [{"type": "image"}, {"type": "text", "text": "2?"}]])
def test_content_that_is_no_text_is_refused(content):
    messages = [SYSTEM, {"role": "user", "content": content}]
    with pytest.raises(DataError, match=f"expected a text .*got {type(content).__name__};"):
        asked(messages, problem_of(messages, {"question": "2?"}, keys()))


def test_tokenizer_without_a_chat_template_is_an_error_of_icpo():
    tokenizer = fakes.make_tokenizer(chat_template=None)
    with pytest.raises(IcpoError, match="chat"):
        made(prompts_of(tokenizer), [USER])


##### The agent loop


def test_agent_loop_asks_the_prompt_that_it_is_given(config, tokenizer):
    """Token by token, however long, whatever the messages say."""
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry

    from icpo.verl.expert import ExpertAgentLoop

    assert _agent_loop_registry[AGENT] == {"_target_": "icpo.verl.expert.ExpertAgentLoop"}
    length = config.actor_rollout_ref.rollout.prompt_length
    tokens = [3 + place % 200 for place in range(length + 5)]

    async def answer(asked):
        return [7, 8]

    async def run():
        server = fakes.Server(answer)
        of = loop(config, tokenizer, "qwen3", server, ExpertAgentLoop)
        output = await of.run({"seed": 4}, raw_prompt=[USER], **{EXPERT_PROMPT: tokens})
        return server.asked, output

    [request], output = asyncio.run(run())
    assert request.prompt_ids == tokens
    assert request.sampling_params == {"seed": 4}
    assert output.prompt_ids == tokens
    assert output.response_ids == [7, 8]
    assert output.response_mask == [1, 1]
    assert output.response_logprobs == fakes.log_probs(tokens, [7, 8])
