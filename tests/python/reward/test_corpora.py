"""Agreement with labelled pairs, where the corpora lie beside the repository.

Expected is `truth` where a row has one (a person found Math-Verify wrong), else `mv`, what
Math-Verify says. Rows whose tag begins with "ambiguous:" or that carry `mv_note` (Math-Verify timed
out) are left out; `policy:` rows are questions of taste and left out too.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from icpo.math_verify import (
    ExprExtractionConfig,
    LatexExtractionConfig,
    LatexNormalizationConfig,
    StringExtractionConfig,
    parse,
    verify,
)
from icpo.reward import Checker

FOLDER = Path(
    os.environ.get(
        "ICPO_CHECKER_CORPORA", Path(__file__).resolve().parents[4] / "shared" / "checker"
    )
)


def rows(name: str) -> list[dict[str, Any]]:
    files = sorted(FOLDER.glob(f"{name}.*.jsonl"))
    if not files:
        pytest.skip(f"no corpus {name} in ICPO_CHECKER_CORPORA or beside the repository")
    return [
        json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()
    ]


def scored(name: str) -> list[dict[str, Any]]:
    def counts(row: dict[str, Any]) -> bool:
        return "mv_note" not in row and not row.get("tag", "").startswith(("ambiguous:", "policy:"))

    return [row for row in rows(name) if counts(row)]


def verdicts(profile: str, group: list[dict[str, Any]]) -> list[bool]:
    checker = Checker(profile)
    scores = checker.score([row["pred"] for row in group], [row["gold"] for row in group])
    return [bool(score) for score in scores]


@pytest.mark.parametrize("name", ["pairs", "real"])
def test_math_verify_profile_agrees_with_the_peer(name: str) -> None:
    group = scored(name)
    same = [
        said == row["mv"] for said, row in zip(verdicts("math_verify", group), group, strict=True)
    ]
    assert sum(same) >= 0.995 * len(same), f"{sum(same)} of {len(same)}"


def test_strict_profile_tells_the_truth() -> None:
    group = scored("pairs") + scored("real") + scored("probes")
    said = verdicts("strict", group)
    right = [s == row.get("truth", row["mv"]) for s, row in zip(said, group, strict=True)]
    labelled = [ok for ok, row in zip(right, group, strict=True) if "truth" in row]
    assert sum(right) >= 0.995 * len(right), f"{sum(right)} of {len(right)}"
    assert sum(labelled) >= 0.97 * len(labelled), f"{sum(labelled)} of {len(labelled)}"


def half_line(row: dict[str, Any]) -> bool:
    """Rows made by dropping an upper end that was infinite miss nothing."""
    return row["kind"] == "near:only_lo" and "\\infty" in row["gold"]


def test_strict_profile_accepts_no_near_miss() -> None:
    group = scored("probes") + [row for row in scored("pairs") if row["kind"].startswith("near:")]
    wrong = [row for row in group if not row.get("truth", row["mv"]) and not half_line(row)]
    accepted = [row for row, s in zip(wrong, verdicts("strict", wrong), strict=True) if s]
    assert len(accepted) <= 0.001 * len(wrong), [(row["gold"], row["pred"]) for row in accepted]


def target(config: dict[str, Any]) -> Any:
    """What a row says about where to look, as the public classes say it."""
    fields = {name: value for name, value in config.items() if name != "type"}
    if "normalization" in fields:
        fields["normalization_config"] = LatexNormalizationConfig(**fields.pop("normalization"))
    if "strings" in fields:
        fields["strings"] = tuple(fields["strings"])
    kinds = {
        "latex": LatexExtractionConfig,
        "expr": ExprExtractionConfig,
        "string": StringExtractionConfig,
    }
    return kinds[config["type"]](**fields)


def test_the_peers_own_cases_come_out_as_it_expects() -> None:
    pytest.importorskip("sympy")
    wrong = []
    for row in rows("mv_tests"):
        config = row["config"]

        def read(text: str, config: dict[str, Any] = config) -> list[Any]:
            return parse(
                text,
                extraction_config=[target(one) for one in config["extraction"]],
                fallback_mode=config["fallback_mode"],
                extraction_mode=config["extraction_mode"],
            )

        if row["op"] == "parse":
            said: Any = [str(result) for result in read(row["pred"])]
        else:
            names = ("float_rounding", "numeric_precision", "strict", "allow_set_relation_comp")
            settings = {name: config[name] for name in names}
            said = verify(read(row["gold"]), read(row["pred"]), **settings)
        if said != row["expected"]:
            wrong.append((row["id"], row.get("gold"), row["pred"], said))
    assert not wrong


def hostile_text(row: dict[str, Any]) -> str:
    if "pred" in row:
        return str(row["pred"])
    return "".join(text * times for text, times in row["pred_parts"])


@pytest.mark.parametrize("profile", ["strict", "math_verify"])
def test_hostile_rows_are_right_or_unknown(profile: str) -> None:
    checker = Checker(profile)
    for row in rows("hostile"):
        verdict = checker.check(row["gold"], hostile_text(row))
        wrong = verdict.outcome != "unknown" and row["want"] not in (None, verdict.equal)
        # The peer's own mistakes are part of its profile.
        assert not wrong or profile == "math_verify", (row["name"], verdict)
