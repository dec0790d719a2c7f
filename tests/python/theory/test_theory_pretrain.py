"""Training reaches the teacher, once lessons say enough."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from icpo import ConfigError, NonFiniteError, ShapeError  # noqa: E402
from icpo.theory import (  # noqa: E402
    Descent,
    Lessons,
    LinearSelfAttention,
    Polish,
    Teacher,
    draw_bandits,
    identified,
    loss,
    play,
    policy_error,
    pretrain,
)
from icpo.theory.pretrain import linearised  # noqa: E402

HALF = torch.tensor([[1.0, 0.0, 0.0], [0.4, 0.8, 0.0], [0.1, -0.3, 0.7]], dtype=torch.float64)
COVARIANCE = HALF @ HALF.T
TEACHER = Teacher(1.0, 0.1, torch.linalg.inv(COVARIANCE))
#: Unseen bandits with other numbers of arms, and histories ten times as long as those of training.
HELD_OUT = dict(count=100, arms=5, length=80, seed=10_000)


def lessons(*, count: int, arms: int, length: int, seed: int) -> Lessons:
    bandits = draw_bandits(count, arms, COVARIANCE, noise=0.5, seed=seed)
    return Lessons.of(play(bandits, TEACHER.scores, 0.1, length, seed=seed + 1), TEACHER)


def error(student: LinearSelfAttention, of: Lessons) -> float:
    with torch.no_grad():
        return policy_error(student.scores, of).max().item()


def test_gradient_descent_reaches_the_teacher():
    student = LinearSelfAttention.draw(3, scale=0.1, seed=0)
    unseen = lessons(**HELD_OUT)
    assert error(student, unseen) > 0.5
    given = lessons(count=64, arms=3, length=8, seed=1)
    pretrain(student, given, Descent(steps=800), Polish(steps=0))
    assert error(student, unseen) < 1e-6


def test_polish_reaches_numerical_zero():
    student = LinearSelfAttention.draw(3, scale=0.1, seed=2)
    done: list[int] = []
    given = lessons(count=64, arms=3, length=8, seed=7)
    pretrain(student, given, Descent(steps=20), Polish(), done.append)
    assert error(student, lessons(**HELD_OUT)) < 1e-12
    assert loss(student.scores, given) < 1e-26
    # It ended by itself, and every step was told.
    assert done == list(range(len(done))) and 20 < len(done) - 1 < 70
    # The matrices are those of Theorem 4.2, up to a factor that one has and the other lacks.
    closed = LinearSelfAttention.closed_form(TEACHER)
    factor = student.pv[-1, -1]
    assert torch.allclose(student.pv[-1] / factor, closed.pv[-1], atol=1e-10)
    assert torch.allclose(student.kq[:, :-1] * factor, closed.kq[:, :-1], atol=1e-10)


@pytest.mark.parametrize("count, enough", [(1, False), (2, False), (12, True)])
def test_lessons_suffice_when_they_fix_every_direction(count, enough):
    """Histories of two rounds with three arms have at most four equations each, for 15 unknowns."""
    given = lessons(count=count, arms=3, length=2, seed=3)
    fixed, unknown = identified(LinearSelfAttention.closed_form(TEACHER), given)
    assert unknown == 15 and (fixed == unknown) == enough and fixed <= 4 * count
    student = LinearSelfAttention.draw(3, scale=0.01, seed=4)
    pretrain(student, given, Descent(steps=0), Polish(steps=100))
    assert loss(student.scores, given) < 1e-25
    found = error(student, lessons(**HELD_OUT))
    assert found < 1e-11 if enough else found > 0.1


def test_the_linearisation_is_that_of_the_loss():
    student = LinearSelfAttention.draw(3, scale=0.5, seed=5)
    given = lessons(count=6, arms=4, length=5, seed=6)
    residual, jacobian = linearised(student, given)
    loss(student.scores, given).backward()
    gradient = torch.cat([student.pv.grad[-1], student.kq.grad[:, :-1].flatten()])
    assert torch.allclose(jacobian.T @ residual / 6, gradient, rtol=1e-10)
    assert not student.pv.grad[:-1].any() and not student.kq.grad[:, -1].any()


def test_the_same_seeds_give_the_same_bits_on_any_number_of_threads():
    def trained(threads: int) -> torch.Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            student = LinearSelfAttention.draw(3, scale=0.1, seed=0)
            # Sums of more than 32,768 terms are those that threads share.
            given = lessons(count=500, arms=5, length=16, seed=1)
            pretrain(student, given, Descent(steps=3), Polish(steps=1))
            assert torch.get_num_threads() == threads
            return student.weights
        finally:
            torch.set_num_threads(before)

    assert torch.equal(trained(1), trained(2))


def test_a_descent_that_diverges_is_an_error():
    student = LinearSelfAttention.draw(3, scale=0.1, seed=0)
    with pytest.raises(NonFiniteError, match=r"loss: expected a number in step \d+, got (nan|inf)"):
        pretrain(student, lessons(count=8, arms=3, length=4, seed=1), Descent(rate=10.0))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Descent(steps=-1), "steps: expected at least 0, got -1"),
        (lambda: Descent(rate=0.0), "rate: expected a positive number, got 0.0"),
        (lambda: Descent(momentum=1.0), "momentum: expected from 0 to below 1, got 1.0"),
        (lambda: Polish(steps=-1), "steps: expected at least 0, got -1"),
    ],
)
def test_settings_outside_their_range(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_weights_of_another_size_are_refused():
    with pytest.raises(ShapeError, match=r"weights: expected \(16,\), got \(9,\)"):
        LinearSelfAttention.draw(3, scale=0.1, seed=0).set_weights(torch.zeros(9))
