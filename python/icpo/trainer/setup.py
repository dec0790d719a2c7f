"""From a configuration to a run that is ready to start, or to an error that says why not.

Everything that can be wrong is looked at here, cheapest first, so that no run stops at its second
step over something that was in its configuration.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import icpo
from icpo.demos import (
    DemoPool,
    DemoSampler,
    Online,
    PromptBuilder,
    check_pool,
    tokenizer_encoder,
)
from icpo.demos.solution import SolutionEncoder, solution_encoder
from icpo.errors import CheckpointError, ConfigError, DataError
from icpo.generation.torch_engine import TorchEngine
from icpo.mixing import Timetable
from icpo.trainer.checkpoint import Checkpoint, Checkpoints
from icpo.trainer.clock import Clock
from icpo.trainer.config import DemosConfig, TrainConfig
from icpo.trainer.data import PromptOrder, load_demos, load_problems, pool_problems
from icpo.trainer.evaluate import Evaluator
from icpo.trainer.model import (
    autocast_dtype,
    check_lengths,
    end_ids,
    end_of_solutions,
    load_model,
)
from icpo.trainer.optimizer import adamw
from icpo.trainer.progress import Progress
from icpo.trainer.record import CHECKPOINTS, Recorder, check_stopped
from icpo.trainer.rollouts import RolloutSampler, Stream, seeds
from icpo.trainer.run import Quiz, Run
from icpo.trainer.update import Learner, UpdateConfig
from icpo.types import Problem
from icpo.versions import FILE as VERSIONS
from icpo.versions import versions

__all__ = ["CONFIG", "prepare"]

#: In the folder of a run.
CONFIG = "config.yaml"


def prepare(config: TrainConfig, *, resume: bool | None = None, stream: Any = None) -> Run:
    """The run, at its first step or at the one that its last checkpoint was written after.

    Args:
        config: its settings.
        resume: whether to continue the run in ``config.out``. None: if there is one. False: start
            anew; what is there is overwritten.
        stream: where progress goes; None: standard error.

    Raises:
        ConfigError, DataError, CheckpointError: what is wrong, before anything is written.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
        icpo.set_num_threads(config.threads)
    check_stopped(config.out)  # else its checkpoints would be read, or removed, under its hands
    pool = None if config.demos is None else load_demos(config.demos)
    problems = PROBLEMS[config.algorithm.problems](config, pool)
    test = _test_problems(config)
    checkpoint = _checkpoint(config, resume)

    torch.manual_seed(_seed(config, Stream.WEIGHTS))  # of adapters, which start at random
    model, tokenizer = load_model(config.model)
    plan, template = config.algorithm.plan, config.prompt.template
    continued = config.algorithm.prefix is not None
    check_lengths(model, config.prompt, config.generation, continued=continued)
    ends = end_ids(model, tokenizer, chat=template.chat)
    end = end_of_solutions(tokenizer, ends, chat=template.chat)
    encode = solution_encoder(tokenizer, template, ends, end)
    problems = _of_length(config, problems, encode)
    _check_lessons(config, len(problems))
    prompts = PromptBuilder(template, tokenizer_encoder(tokenizer), config.prompt.max_tokens)
    asked = [*problems, *test]
    for problem in asked:
        prompts.plain(problem)  # refuses those that are too long
    demos = quiz_demos = None
    if config.demos is not None and pool is not None:
        pool, _ = check_pool(pool, prompts, asked, config.demos.overlong)
        demos = _sampler(config, config.demos, pool, Stream.DEMOS, config.demos.rule)
        if plan.shows_demos:
            _check(demos, problems, config.data.train)
        # What changes from one evaluation to the next is the policy, not what it is shown.
        quiz_demos = _sampler(config, config.demos, pool, Stream.EVALUATION)
        if config.eval.with_demos and test:
            _check(quiz_demos, test, config.data.test, "; or set eval.with_demos=false")

    clock, progress = Clock(), Progress(config.steps, stream=stream)
    autocast = autocast_dtype(config.model)
    engine = TorchEngine(
        model,
        end_ids=ends,
        pad_id=tokenizer.pad_token_id,
        batch=config.generation.batch,
        autocast=autocast,
    )
    decode = _decoder(tokenizer, skip_special_tokens=True)
    optimizer = adamw(model, config.optim)
    recompute = config.old_logp == "recompute"
    learner = Learner(
        model,
        optimizer,
        UpdateConfig(
            temperature=config.generation.temperature,
            mini_batch=config.mini_batch,
            micro_tokens=config.micro_tokens,
            grad_clip=config.optim.grad_clip,
            recompute_old=recompute,
            recompute_behavior=recompute,
            prefix=config.algorithm.prefix,
            autocast=autocast,
            pad_id=tokenizer.pad_token_id,
        ),
        clock,
        reference=_reference(config),
    )
    run = Run(
        config=config,
        algorithm=config.algorithm,
        model=model,
        tokenizer=tokenizer,
        optimizer=optimizer,
        order=PromptOrder(problems, _seed(config, Stream.ORDER)),
        timetable=Timetable(config.algorithm.lessons, total_steps=config.steps, batch=config.batch),
        demos=demos if plan.shows_demos else None,
        sampler=RolloutSampler(
            engine=engine,
            prompts=prompts,
            demos=demos,
            checker=config.reward,
            decode=decode,
            sampling=config.generation.sampling,
            seed=config.seed,
            clock=clock,
            total_steps=config.steps,
            encode=encode,
            prefix=config.algorithm.prefix,
            doing=progress.doing,
        ),
        learner=learner,
        evaluator=Evaluator(
            engine=engine,
            checker=config.reward,
            decode=decode,
            sampling=config.eval.sampling(config.generation.max_new_tokens),
            samples=config.eval.k,
            greedy=config.eval.greedy,
            seed=_seed(config, Stream.EVALUATION),
        ),
        test=_quiz(test, prompts, Stream.EVALUATION),
        test_shown=_quiz(test, prompts, Stream.EVALUATION, quiz_demos)
        if config.eval.with_demos and quiz_demos is not None
        else None,
        probe=_quiz(problems[: config.eval.probe], prompts, Stream.PROBE) if test else None,
        checkpoints=Checkpoints(config.out / CHECKPOINTS, config.checkpoint.keep),
        recorder=Recorder(
            config.out,
            config.log,
            config.to_dict(),
            _decoder(tokenizer, skip_special_tokens=False),
        ),
        progress=progress,
        clock=clock,
    )
    if checkpoint is not None:
        run.restore(checkpoint)
    else:
        run.checkpoints.clear()
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / CONFIG).write_text(config.to_yaml(), encoding="utf-8")
    about = {**versions(), "device": str(learner.device), "threads": torch.get_num_threads()}
    (config.out / VERSIONS).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return run


def _checkpoint(config: TrainConfig, resume: bool | None) -> Checkpoint | None:
    """What to continue from; None: nothing."""
    if resume is False:
        return None
    found = Checkpoints(config.out / CHECKPOINTS, config.checkpoint.keep).latest()
    if found is None and resume:
        raise CheckpointError(
            f"{config.out}: expected a checkpoint to resume from, found none; start anew"
        )
    if found is not None:
        config.check_fingerprint(found.state()["settings"], found.folder)
        if found.step > config.steps:
            raise ConfigError(
                f"steps: expected at least {found.step}, which {found.folder} has behind it, "
                f"got {config.steps}"
            )
    return found


def _of_the_file(config: TrainConfig, pool: DemoPool | None) -> list[Problem]:
    return load_problems(
        config.data.train,
        config.data,
        config.reward,
        limit=config.data.limit,
        solutions=config.algorithm.needs_solutions,
        sorts=_sorts(config, config.algorithm.plan.shows_demos),
    )


def _of_the_pool(config: TrainConfig, pool: DemoPool | None) -> list[Problem]:
    assert pool is not None and config.demos is not None  # the configuration has been checked
    return pool_problems(pool, config.demos.path, config.reward)[: config.data.limit]


#: Where the problems of a run come from; the names are those of `icpo.algorithms`' `PROBLEMS`.
PROBLEMS: dict[str, Callable[[TrainConfig, DemoPool | None], list[Problem]]] = {
    "train": _of_the_file,
    "demos": _of_the_pool,
}


def _of_length(
    config: TrainConfig, problems: list[Problem], encode: SolutionEncoder
) -> list[Problem]:
    """The problems whose stored solutions are no longer than a rollout may be."""
    if not config.algorithm.needs_solutions:
        return problems
    limit = config.generation.max_new_tokens
    too_long = {}
    for problem in problems:
        length = max((len(tokens) for tokens in encode(problem)), default=0)
        if length > limit:
            too_long[problem.id] = length
    if not too_long:
        return problems
    kept = [problem for problem in problems if problem.id not in too_long]
    if config.data.overlong == "error" or not kept:
        id, length = next(iter(too_long.items()))
        raise DataError(
            f"data.solution: the solution of problem {id!r} has {length} tokens, expected at most "
            f"generation.max_new_tokens = {limit}; {len(too_long)} of {len(problems)} problems "
            "have one that is too long, and data.overlong=drop leaves them out"
        )
    return kept


def _check_lessons(config: TrainConfig, problems: int) -> None:
    """Refuses lessons that never come, because not so many problems can wait."""
    lessons = config.algorithm.lessons
    if lessons is None or lessons.when != "hardest":
        return
    wanted = lessons.prompts or config.batch
    if wanted > problems:
        raise ConfigError(
            f"algorithm.lessons.prompts: expected at most {problems}, as many as there are "
            f"problems, got {wanted}{'' if lessons.prompts else ', the prompts of a step'}"
        )


def _test_problems(config: TrainConfig) -> list[Problem]:
    if config.data.test is None or config.eval.every is None:
        return []
    return load_problems(
        config.data.test,
        config.data,
        config.reward,
        limit=config.eval.limit,
        sorts=_sorts(config, config.eval.with_demos),
    )


def _sorts(config: TrainConfig, shows_demos: bool) -> tuple[str, ...]:
    """The fields of problems that their demonstrations are chosen by."""
    if config.demos is None or not shows_demos:
        return ()
    # What joins the pool is sorted as what is in it.
    return (*config.demos.sorts, *(("difficulty",) if config.demos.rule else ()))


def _seed(config: TrainConfig, stream: int) -> int:
    """The seed of a part that has random streams of its own."""
    return seeds(config.seed, 0, stream, 1)[0]


def _sampler(
    config: TrainConfig,
    demos: DemosConfig,
    pool: DemoPool,
    stream: int,
    online: Online | None = None,
) -> DemoSampler:
    seed = _seed(config, stream)
    try:
        return DemoSampler(pool, demos.strategy, k=demos.k, m=demos.m, seed=seed, online=online)
    except DataError as error:
        raise DataError(f"{demos.path}: {error}") from None


def _check(
    sampler: DemoSampler, problems: Sequence[Problem], file: Path | None, remedy: str = ""
) -> None:
    try:
        sampler.check(problems)
    except DataError as error:
        raise DataError(f"{file}: {error}{remedy}") from None


def _quiz(
    problems: Sequence[Problem],
    prompts: PromptBuilder,
    stream: int,
    demos: DemoSampler | None = None,
) -> Quiz | None:
    """The same demonstrations every time, so that what changes is the policy."""
    if not problems:
        return None
    if demos is None:
        return Quiz(problems, [prompts.plain(problem) for problem in problems], stream)
    shown = zip(problems, demos.draw(problems), strict=True)
    return Quiz(problems, [prompts.expert(*pair).tokens for pair in shown], stream)


def _decoder(tokenizer: Any, *, skip_special_tokens: bool) -> Any:
    return lambda tokens: tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)


def _reference(config: TrainConfig) -> Any:
    """The policy as it was before training, if the loss measures a divergence from it."""
    if config.algorithm.loss.kl == "none" or config.algorithm.loss.kl_coef == 0:
        return None
    model, _ = load_model(config.model)
    return model.eval().requires_grad_(False)
