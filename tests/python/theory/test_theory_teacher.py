"""The loop, the teacher, and the student that is the teacher (Theorem 4.2)."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from icpo import ConfigError, ShapeError  # noqa: E402
from icpo.theory import (  # noqa: E402
    Bandits,
    LinearSelfAttention,
    Teacher,
    draw_bandits,
    inverse_cdf,
    mixed_policy,
    play,
)


def matrix(size: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(size, size, generator=draw, dtype=torch.float64)


def covariance(size: int, seed: int = 0) -> torch.Tensor:
    half = matrix(size, seed)
    return half @ half.T / size + 0.2 * torch.eye(size, dtype=torch.float64)


##### The loop


def test_features_have_the_covariance_and_means_variance_one():
    wanted = covariance(3)
    bandits = draw_bandits(40_000, 2, wanted, noise=0.0, seed=1)
    rows = bandits.features.flatten(0, 1)
    assert torch.allclose(rows.T @ rows / len(rows), wanted, atol=0.06)
    assert abs(bandits.means.var().item() - 1) < 0.02
    assert abs(bandits.means.mean().item()) < 0.02


def test_a_history_is_played_by_the_policy_of_what_came_before():
    """Frequencies of each action against probabilities, given the history, round by round."""
    one = draw_bandits(1, 3, covariance(2), noise=0.5, seed=5)
    many = Bandits(one.features.expand(30_000, -1, -1), one.theta.expand(30_000, -1), one.noise)
    teacher = Teacher(2.0, 0.2, torch.eye(2, dtype=torch.float64))
    histories = play(many, teacher.scores, 0.2, 3, seed=6)
    chosen = torch.nn.functional.one_hot(histories.actions, 3).to(torch.float64)
    assert torch.allclose(
        chosen[:, 0].mean(0), torch.full((3,), 1 / 3, dtype=torch.float64), atol=0.01
    )
    for done in (1, 2):
        policy = teacher.policy(histories.moments[:, done - 1], many.features, done)
        surprise = chosen[:, done] - policy
        assert surprise.mean(0).abs().max() < 0.01
        # Nor does what was surprising depend on how likely it was.
        assert (surprise * policy).mean(0).abs().max() < 0.01
    rewards = histories.rewards - many.means.gather(1, histories.actions)
    assert rewards.abs().max() <= 0.5 and abs(rewards.var().item() - 1 / 12) < 0.002


def test_moments_are_sums_of_outer_products():
    bandits = draw_bandits(4, 3, covariance(2), noise=0.3, seed=2)
    teacher = Teacher(1.0, 0.1, matrix(2, 1))
    histories = play(bandits, teacher.scores, 0.1, 6, seed=3)
    for length in (1, 4, 6):
        tokens = histories.tokens[:, :, :length]
        assert torch.allclose(histories.moments[:, length - 1], tokens @ tokens.mT, atol=1e-12)


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    def rewards(seed: int, threads: int) -> torch.Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            bandits = draw_bandits(50, 3, covariance(2), noise=0.3, seed=2)
            teacher = Teacher(1.0, 0.1, matrix(2, 1))
            return play(bandits, teacher.scores, 0.1, 10, seed=seed).rewards
        finally:
            torch.set_num_threads(before)

    assert torch.equal(rewards(1, 1), rewards(1, 2))
    assert not torch.equal(rewards(1, 1), rewards(2, 1))


def test_inverse_cdf():
    policy = torch.tensor([0.25, 0.0, 0.5, 0.25], dtype=torch.float64)
    uniform = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 0.99999], dtype=torch.float64)
    assert inverse_cdf(policy.expand(6, -1), uniform).tolist() == [0, 0, 2, 2, 3, 3]


##### The teacher


def test_the_teacher_follows_the_regularised_leader():
    """No other policy has a greater regularised sum of estimates than the teacher's softmax."""
    bandits = draw_bandits(3, 4, covariance(3), noise=0.5, seed=7)
    teacher = Teacher(1.7, 0.1, matrix(3, 8))
    histories = play(bandits, teacher.scores, 0.1, 5, seed=9)
    rng = torch.Generator().manual_seed(10)
    for index in range(3):
        features, total = bandits.features[index], torch.zeros(4, dtype=torch.float64)
        for action, reward in zip(histories.actions[index], histories.rewards[index], strict=True):
            total += reward * features @ teacher.preconditioner @ features[action]

        def value(p: torch.Tensor, total: torch.Tensor = total) -> torch.Tensor:
            return 1.7 / 5 * (p * total).sum(-1) - (p * p.log()).sum(-1)

        scores = teacher.scores(histories.moments[index, -1], features, 5)
        best = scores.softmax(-1)
        others = best * torch.exp(0.1 * torch.randn(500, 4, generator=rng, dtype=torch.float64))
        others /= others.sum(-1, keepdim=True)
        assert (value(others) < value(best)).all()
        expected = 0.9 * best + 0.1 / 4
        found = teacher.policy(histories.moments[index, -1], features, 5)
        assert torch.allclose(found, expected, atol=1e-15)


def test_the_inverse_covariance_makes_estimates_unbiased():
    wanted = covariance(2)
    bandits = draw_bandits(60_000, 2, wanted, noise=0.5, seed=3)
    # One round is played uniformly; its action is independent of the features that are scored.
    teacher = Teacher(1.0, 0.1, torch.linalg.inv(wanted))
    histories = play(bandits, teacher.scores, 0.1, 1, seed=4)
    asked = draw_bandits(60_000, 2, wanted, noise=0.0, seed=5).features
    means = torch.einsum("nkd,nd->nk", asked, bandits.theta)
    scores = teacher.scores(histories.moments[:, 0], asked, 1)
    slope = (scores * means).sum() / means.square().sum()
    assert abs(slope.item() - 1) < 0.03


##### The student


@pytest.mark.parametrize(
    "dimension, arms, step", [(1, 2, 0.3), (2, 7, 5.0), (5, 3, 1.0), (9, 4, 2.0)]
)
def test_closed_form_reproduces_the_teacher(dimension, arms, step):
    """Theorem 4.2, on histories of every length from 1 to 60, and on the empty one."""
    seed = dimension
    bandits = draw_bandits(50, arms, covariance(dimension, seed), noise=1.0, seed=seed)
    teacher = Teacher(step, 0.1, matrix(dimension, seed + 1))
    student = LinearSelfAttention.closed_form(teacher)
    histories = play(bandits, teacher.scores, 0.1, 60, seed=seed + 2)
    features, lengths = bandits.features[:, None], torch.arange(1, 61)
    wanted = teacher.scores(histories.moments, features, lengths)
    found = student.scores(histories.moments, features, lengths)
    assert wanted.std() > 0.1 * step
    assert (found - wanted).abs().max() <= 1e-10
    change = mixed_policy(found, 0.1) - mixed_policy(wanted, 0.1)
    assert change.abs().max() <= 1e-10
    empty = torch.zeros_like(histories.moments[:, 0])
    assert not student.scores(empty, bandits.features, 0).any()


@pytest.mark.parametrize("length", [0, 1, 7])
def test_scores_are_what_the_layer_says_of_one_prompt_per_action(length):
    """The layer as it stands in the paper, prompts written out, any matrices."""
    bandits = draw_bandits(3, 4, covariance(2), noise=0.5, seed=1)
    teacher = Teacher(1.0, 0.1, matrix(2, 2))
    histories = play(bandits, teacher.scores, 0.1, 7, seed=3)
    for student in (
        LinearSelfAttention(pv=matrix(3, 4), kq=matrix(3, 5)),
        LinearSelfAttention.closed_form(teacher),
        LinearSelfAttention.draw(2, scale=0.5, seed=6),
    ):
        seen = histories.tokens[:, :, :length]
        moments = seen @ seen.mT
        found = student.scores(moments, bandits.features, length)
        for action in range(4):
            query = torch.cat([bandits.features[:, action], torch.zeros(3, 1)], 1)[..., None]
            out = student(torch.cat([seen, query], -1))
            assert torch.allclose(out[:, -1, -1], found[:, action], rtol=0, atol=1e-12)


def test_only_the_weights_have_a_part_in_scores():
    bandits = draw_bandits(2, 3, covariance(2), noise=0.5, seed=1)
    moments = play(bandits, Teacher(1.0, 0.1, matrix(2, 2)).scores, 0.1, 5, seed=3).moments[:, -1]
    student = LinearSelfAttention(pv=matrix(3, 4), kq=matrix(3, 5))
    other = LinearSelfAttention(pv=matrix(3, 6), kq=matrix(3, 7))
    other.set_weights(student.weights)
    found = [one.scores(moments, bandits.features, 5) for one in (student, other)]
    assert torch.equal(*found) and not torch.equal(student.pv, other.pv)


##### Errors


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: Bandits(torch.zeros(1, 2), torch.zeros(2)),
            ShapeError,
            r"features: .* got \(1, 2\)",
        ),
        (lambda: Bandits(torch.zeros(3, 2), torch.zeros(3)), ShapeError, r"theta: expected \(2,\)"),
        (lambda: Bandits(torch.zeros(3, 2), torch.zeros(2), -1.0), ConfigError, "noise: .* got -1"),
        (lambda: draw_bandits(1, 2, -covariance(2), noise=0.0, seed=0), ConfigError, "covariance"),
        (lambda: draw_bandits(1, 2, matrix(2, 0), noise=0.0, seed=0), ConfigError, "covariance"),
        (lambda: Teacher(0.0, 0.1, matrix(2, 0)), ConfigError, "step: .* got 0.0"),
        (lambda: Teacher(1.0, 1.0, matrix(2, 0)), ConfigError, "exploration: .* got 1.0"),
        (lambda: Teacher(1.0, 0.1, torch.zeros(2)), ShapeError, r"preconditioner: .* got \(2,\)"),
        (lambda: LinearSelfAttention(matrix(3, 0), matrix(2, 0)), ShapeError, "pv: expected"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_history_has_a_round():
    bandits = draw_bandits(2, 3, covariance(2), noise=0.5, seed=1)
    with pytest.raises(ConfigError, match="length: expected at least 1 round, got 0"):
        play(bandits, Teacher(1.0, 0.1, matrix(2, 2)).scores, 0.1, 0, seed=0)
