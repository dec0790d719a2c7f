"""The theory of in-context policy optimisation, as something to run (docs/theory.md).

A bandit is played by a teacher that optimises its policy; one layer of linear self-attention learns
to do what the teacher does, from histories alone. Read in this order:

- `bandit`, `policy`, `loop`: linear bandits, γ-mixed softmax, rounds and their histories;
- `teacher`: follow-the-regularised-leader with step c/t;
- `attention`: the student, and the parameters with which it is the teacher (Theorem 4.2);
- `matching`: the Fisher-weighted loss, and how it bounds the KL divergence (Theorem 4.1);
- `pretrain`: training, to numerical zero;
- `shock`, `rates`: one wrong reward and how its effect decays (Theorem 4.8).

All is float64 on the CPU. Randomness comes from seeds that are arguments.
"""

from __future__ import annotations

try:
    import torch as _  # noqa: F401
except ImportError:
    raise ImportError(
        "torch is needed for icpo.theory, and is not installed: pip install icpo-rs[torch]"
    ) from None

from icpo.theory.attention import LinearSelfAttention, attend
from icpo.theory.bandit import Bandits, draw_bandits
from icpo.theory.loop import Histories, play
from icpo.theory.matching import (
    Lessons,
    fisher,
    kl,
    kl_constant,
    kl_constant_by_squares,
    loss,
    policy_error,
    project,
    quadratic,
)
from icpo.theory.policy import inverse_cdf, mixed_policy
from icpo.theory.pretrain import Descent, Polish, identified, pretrain
from icpo.theory.rates import Estimate, PowerLaw, fit_power_law
from icpo.theory.shock import Bound, Effects, fixed_point, jacobian, predicted_rate, shock_effects
from icpo.theory.teacher import Teacher

__all__ = [
    "Bandits",
    "Bound",
    "Descent",
    "Effects",
    "Estimate",
    "Histories",
    "Lessons",
    "LinearSelfAttention",
    "Polish",
    "PowerLaw",
    "Teacher",
    "attend",
    "draw_bandits",
    "fisher",
    "fit_power_law",
    "fixed_point",
    "identified",
    "inverse_cdf",
    "jacobian",
    "kl",
    "kl_constant",
    "kl_constant_by_squares",
    "loss",
    "mixed_policy",
    "play",
    "policy_error",
    "predicted_rate",
    "pretrain",
    "project",
    "quadratic",
    "shock_effects",
]
