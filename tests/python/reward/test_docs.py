"""What docs/checker.md says: its code runs, its settings exist, its verdicts are the checker's."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from icpo import _core
from icpo.cli import main
from icpo.reward import Checker, Verdict

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "checker.md").read_text(encoding="utf-8")
PROFILES = ("strict", "math_verify")


def tables() -> Iterator[list[dict[str, str]]]:
    """The tables, each as rows by column; code without its backquotes."""
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.M):
        head, _, *rows = [
            [cell.strip().strip("`").replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)]
            for line in block.splitlines()
        ]
        assert all(len(row) == len(head) for row in rows), block
        yield [dict(zip(head[1:-1], row[1:-1], strict=True)) for row in rows]


def rows_with(*columns: str) -> list[dict[str, str]]:
    return [row for table in tables() for row in table if set(columns) <= set(row)]


def said(verdict: Verdict) -> str:
    return {"equal": "yes", "not_equal": "no"}.get(verdict.outcome, f"unknown: {verdict.reason}")


VERDICTS = [
    (profile, row["gold"], row["response"], row[profile])
    for profile in PROFILES
    for row in rows_with("gold", "response", profile)
    if "setting" not in row
]


def test_there_are_verdicts():
    assert len(VERDICTS) > 200


@pytest.mark.parametrize(("profile", "gold", "response", "expected"), VERDICTS)
def test_verdict(profile, gold, response, expected):
    verdict = Checker(profile).check(gold, response)
    assert said(verdict) == expected, verdict


@pytest.mark.parametrize("row", rows_with("Math-Verify", "gold", "response"))
def test_the_peers_verdict(row):
    math_verify = pytest.importorskip("math_verify", reason="Math-Verify is not installed")
    gold = row["gold"] if "$" in row["gold"] else f"${row['gold']}$"
    equal = math_verify.verify(math_verify.parse(gold), math_verify.parse(row["response"]))
    assert row["Math-Verify"] == ("yes" if equal else "no")


def test_every_setting_is_documented():
    flags = {row["setting"]: row for row in rows_with("setting", "equal if")}
    numbers = {row["setting"]: int(row["default"]) for row in rows_with("setting", "default")}
    for profile in PROFILES:
        defaults = {name: value == "on" for name, row in flags.items() for value in [row[profile]]}
        assert _core.checker_defaults(profile) == {**defaults, **numbers}


@pytest.mark.parametrize("row", rows_with("setting", "equal if"))
@pytest.mark.parametrize("profile", PROFILES)
def test_a_setting_decides_its_example(profile, row):
    wanted, _, only = row["equal if"].partition(" ")
    for value in (True, False):
        checker = Checker(profile, **{row["setting"]: value})
        equal = checker.verify(row["gold"], row["response"])
        if not only or profile in only:
            assert equal == ((wanted == "on") == value), value


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, flags=re.S))
def test_code_runs(code, monkeypatch):
    # One of the examples puts modules into the peer's place.
    def peers() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] == "math_verify"]

    for name in peers():
        monkeypatch.delitem(sys.modules, name)
    try:
        exec(compile(code, "docs/checker.md", "exec"), {})
    finally:
        for name in peers():
            del sys.modules[name]


def test_the_command(tmp_path, monkeypatch, capsys):
    file, verdicts = re.findall(r"```json\n(.*?)```", PAGE, flags=re.S)
    command, shown = re.findall(r"```\n\$ icpo (.*?)\n(.*?)```", PAGE, flags=re.S)[0]
    monkeypatch.chdir(tmp_path)
    Path("responses.jsonl").write_text(file, encoding="utf-8")
    assert main([*command.split(), "--output", "verdicts.jsonl"]) == 0
    assert capsys.readouterr().out == shown
    written = Path("verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    for line in verdicts.splitlines():
        assert json.loads(line) in [json.loads(other) for other in written]
