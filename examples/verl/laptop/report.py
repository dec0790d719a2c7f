"""Prints what a run of laptop.sh logged, a line a step."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

#: Heading and metric. Without ICPO only the first is there.
COLUMNS = {
    "reward": "critic/score/mean",
    "policy": "icpo/on/reward",
    "expert": "icpo/off/reward",
    "accepted": "icpo/expert/accepted",
    "clipped": "icpo/update/on/clip_fraction",
    "expert weight": "icpo/update/off/gradient_weight",
    "validation": "val-core/toy_sums/reward/mean@1",
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("metrics", type=Path, help="written by verl's file logger")
    lines = parser.parse_args().metrics.read_text(encoding="utf-8").splitlines()
    steps = [json.loads(line) for line in lines]
    shown = {
        heading: metric
        for heading, metric in COLUMNS.items()
        if any(metric in step["data"] for step in steps)
    }
    print("step", *(f"{heading:>13}" for heading in shown))
    for step in steps:
        values = (step["data"].get(metric) for metric in shown.values())
        cells = (" " * 13 if value is None else f"{value:13.3f}" for value in values)
        print(f"{step['step']:>4}", *cells)


if __name__ == "__main__":
    main()
