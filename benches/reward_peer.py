"""Checks pairs with Math-Verify, for `benches/reward.py`; runs in the peer's own environment.

Reads JSON lines {"gold", "pred"} from standard input; prints a line {"seconds", "equal"} for each,
with the time that one check took, parsing of both sides included.
"""

from __future__ import annotations

import json
import logging
import sys
import time

from math_verify import parse, verify


def main() -> None:
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        row = json.loads(line)
        start = time.perf_counter()
        equal = verify(parse(row["gold"]), parse(row["pred"]))
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "equal": bool(equal)}), flush=True)


if __name__ == "__main__":
    main()
