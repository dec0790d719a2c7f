"""What runs have left behind, read and measured: figures of training, and what was sampled.

Nothing here is imported before it is used, so neither torch nor matplotlib is needed to read a run.
"""

from __future__ import annotations

from icpo.analysis.runs import Response, RunRecord, open_run

__all__ = ["Response", "RunRecord", "open_run"]
