"""Does training through verl learn? GRPO and ICPO on the toy task of ``examples/verl/laptop.sh``.

    python benches/verl_learning.py [--seeds 0 1] [--steps 12] [--out runs/verl_learning]
                                    [--methods grpo icpo] [override ...]

128 samples a step at a learning rate of 5e-3; each run takes about two minutes on two cores. The
reward is that of policy rollouts: the share of digits in a response, about 0.1 at the start, and 1
for the right answer, which a random model does not find in 12 steps. An expert rollout counts as
right from 0.05 on. Overrides are verl's and hold for every run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LAPTOP = Path(__file__).resolve().parent.parent / "examples" / "verl" / "laptop.sh"

#: For each method what ICPO is set to for laptop.sh, and the metric of policy rollouts.
METHODS = {"grpo": ("off", "critic/score/mean"), "icpo": ("on", "icpo/on/reward")}


def run(out: Path, method: str, seed: int, steps: int, overrides: Sequence[str]) -> list[float]:
    """The reward by step of one run; what it printed is in `out`."""
    icpo, metric = METHODS[method]
    out.mkdir(parents=True, exist_ok=True)
    command = [
        str(LAPTOP),
        f"trainer.total_training_steps={steps}",
        "trainer.test_freq=-1",
        "trainer.save_freq=-1",
        "actor_rollout_ref.actor.optim.lr=5e-3",
        f"actor_rollout_ref.rollout.seed={seed}",
        *([f"icpo.seed={seed}", f"icpo.demonstrations.seed={seed}"] if icpo == "on" else []),
        *overrides,
    ]
    environment = {"OUT": str(out), "ICPO": icpo, "PYTHON": sys.executable}
    log = out / "output.txt"
    with log.open("w") as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | environment
        )
    if done.returncode:
        tail = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-40:])
        raise SystemExit(f"{tail}\n{' '.join(command)}: expected 0, got {done.returncode}")
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["data"][metric] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("runs/verl_learning"))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("overrides", nargs="*", metavar="override", help="of verl's settings")
    options = parser.parse_args()

    runs = {}
    for seed in options.seeds:
        for method in options.methods:
            out = options.out.absolute() / f"{method}-{seed}"
            runs[method, seed] = run(out, method, seed, options.steps, options.overrides)
            rewards = " ".join(f"{reward:.3f}" for reward in runs[method, seed])
            print(f"{method} seed {seed}: {rewards}", flush=True)

    print("\nreward of policy rollouts, mean of the seeds")
    print("step " + "".join(f"{method:>8}" for method in options.methods))
    for step in range(options.steps):
        means = (
            sum(runs[method, seed][step] for seed in options.seeds) / len(options.seeds)
            for method in options.methods
        )
        print(f"{step + 1:>4} " + "".join(f"{mean:8.3f}" for mean in means))


if __name__ == "__main__":
    main()
