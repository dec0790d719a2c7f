"""A run of ``icpo solve`` in a process of its own, to be killed: FOLDER QUESTIONS RESUME."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "evaluation")]

from scripted_text import ScriptedText, sums  # noqa: E402

from icpo.test_time.run import solve  # noqa: E402
from icpo.test_time.settings import SolveSettings  # noqa: E402


def settings(folder: Path, questions: Path) -> SolveSettings:
    """Two rounds of two methods, with evictions."""
    return SolveSettings.build(
        {
            "out": folder,
            "benchmarks": [f"sums={questions}"],
            "methods": ["me_icpo", "without_reward", "without_entropy", "self_refine", "sample"],
            "seeds": [0, 1],
            "search": {
                "form": "text",
                "k": 3,
                "probes": 3,
                "answers": 4,
                "rounds": 3,
                "history": 2,
                "epsilon": 0.1,
                "refinements": 1,
                # Ideas push each other out of prompts, which a replay has to know.
                "prompt_tokens": 62,
            },
        }
    )


def slowly(request):
    """Long enough that a run lasts a second or two."""
    time.sleep(0.0004)
    return sums(request)


if __name__ == "__main__":
    out, questions, resume = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "resume"
    engine = ScriptedText(slowly, together=5)
    solve(settings(out, questions), engine=lambda: engine, resume=resume, stream=io.StringIO())
