"""Without expert rollouts the plugin trains as verl's own GRPO does, bit by bit."""

from __future__ import annotations

from typing import Any

import pytest
from run_laptop import NewRun

pytestmark = pytest.mark.verl

SETTINGS = (
    "actor_rollout_ref.model.external_lib=run_order",
    "trainer.save_freq=-1",
)

#: verl's comparison of log-probabilities of rollout and training. ICPO has one of its own.
_COMPARISON = ("rollout_corr/", "training/rollout_")


@pytest.fixture(scope="module")
def metrics(new_run: NewRun) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, Any]]]:
    """Of the plugin with n_off = 0, and of verl alone."""
    # verl's own log-probabilities in both: icpo's are rounded otherwise.
    with (
        new_run("none", *SETTINGS, "icpo.n_off=0", "icpo.kernels=off") as ours,
        new_run("grpo", *SETTINGS, ICPO="off") as verls,
    ):
        ours.succeed()
        verls.succeed()
    return ours.metrics(), verls.metrics()


def test_every_figure_is_the_same(metrics: Any) -> None:
    ours, verls = (
        {
            step: {name: value for name, value in of.items() if not name.startswith(other)}
            for step, of in run.items()
        }
        for run, other in zip(metrics, ("icpo/", _COMPARISON), strict=True)
    )
    assert sorted(ours) == [1, 2, 3]
    for step, figures in verls.items():
        assert ours[step] == figures


def test_something_was_learned(metrics: Any) -> None:
    for step, figures in metrics[1].items():
        assert figures["actor/grad_norm"] > 0
        assert figures["actor/entropy"] > 0
        assert figures["critic/score/max"] > figures["critic/score/min"]
        # The reference model stays where the policy began.
        assert figures["actor/kl_loss"] > 0 or step == 1
