"""The notebooks of examples/: what is committed, and the script that executes them."""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

import notebooks as script  # noqa: E402

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
NAMES = (
    "01_ablation",
    "02_demonstrations",
    "03_distribution_shift",
    "04_reward_checker",
    "05_from_laptop_to_verl",
    "06_test_time",
    "icpo_theory",
)

##### What is committed


def outputs(name: str, cell_id: str) -> str:
    """All text that a cell of a committed notebook shows."""
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    (cell,) = (cell for cell in notebook["cells"] if cell["id"] == cell_id)
    return "\n".join(text for output in cell["outputs"] for text in script._texts(output))


def test_these_are_all():
    assert [path.stem for path in script.notebooks()] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_committed(name):
    text = (EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert script.problems(notebook) == []
    assert script.too_large(text) == []
    assert script.as_text(script.clean(notebook)) == text
    assert notebook["cells"][0]["cell_type"] == "markdown"
    assert notebook["cells"][0]["source"][0].startswith("# ")


def test_the_ablation_says_what_its_text_says():
    headline, _, *lines = outputs("01_ablation", "claim").splitlines()
    after = {name: float(headline.split(f"{name} ")[1].split()[0]) for name in ("ICPO", "GRPO")}
    assert after["ICPO"] > after["GRPO"] and "8 seeds" in headline
    claimed = dict(line.split(" (")[0].split(": ") for line in lines)
    none = "no significant difference"
    parts = {"IEF": "costs", "f": "costs", "ERRS": none, "RS": none}
    assert claimed == {
        f"{figure}, without {part}": found
        for figure in ("accuracy after", "area")
        for part, found in parts.items()
    }


def test_the_theory_says_what_its_text_says():
    """Exponents of the mean difference are the predicted ones; lessons suffice, or do not."""
    shown = outputs("icpo_theory", "rates").splitlines()
    _, _, *rows = (row for row in shown if row.startswith("|"))
    assert len(rows) == 7
    for row in rows:
        name, of_bound, predicted, along, norm, *_ = (
            part.strip() for part in row.strip("|").split("|")
        )
        value, error = map(float, along.split(" ± "))
        assert abs(value - float(predicted)) < 3.5 * error, name
        assert float(norm.split(" ± ")[0]) < float(of_bound) + 0.02, name
    enough, short = outputs("icpo_theory", "size").splitlines()[:2]
    assert float(enough.rsplit(" ", 1)[1]) < 1e-11 and float(short.rsplit(" ", 1)[1]) > 1e-3
    ended = re.findall(r"error at most (\S+)", outputs("icpo_theory", "steps"))
    assert len(ended) == 2 and max(map(float, ended)) < 1e-14


##### What the script finds


def cell(source: str, count: int, *outputs: dict[str, Any], id: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": id,
        "metadata": {},
        "execution_count": count,
        "source": source,
        "outputs": list(outputs),
    }


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"cells": list(cells), "metadata": script.METADATA, "nbformat": 4, "nbformat_minor": 5}


def good() -> dict[str, Any]:
    shown = {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": "| a/b |"}}
    return notebook(
        {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# Title"},
        cell("print(1)", 1, stream("1 / 2, runs/x/home/y, <a/tmp/>\n"), id="first"),
        cell("2", 2, shown, id="second-one"),
    )


def test_nothing_is_wrong():
    assert script.problems(good()) == []


FAULTS = {
    "absolute path": "an absolute path",
    "path of Windows": "an absolute path",
    "path in a picture": "an absolute path",
    "address": "an address in memory",
    "time": "a date with a time",
    "warning": "a warning",
    "standard error": "wrote to standard error",
    "exception": "failed: ValueError: no",
    "order": "expected to be executed as number 2, got 3",
    "not executed": "expected to be executed as number 1, got None",
    "id": "expected an id of lower-case words",
    "metadata": "metadata: expected",
    "form": "is no notebook of version 4.5",
}


def damage(kind: str, damaged: dict[str, Any]) -> None:
    first, second = damaged["cells"][1:]
    texts = {
        "absolute path": "see /home/someone/x",
        "path of Windows": r"in C:\Users\x",
        "address": "<object at 0x7f9ebf8853d0>",
        "time": "at 2026-11-21 20:00:41",
        "warning": "x.py:3: FutureWarning: soon",
    }
    if kind in texts:
        first["outputs"] = [stream(texts[kind])]
    elif kind == "path in a picture":
        second["outputs"][0]["data"] = {"image/svg+xml": ["<svg>", "/tmp/x.png</svg>"]}
    elif kind == "standard error":
        first["outputs"] = [stream("50 %", "stderr")]
    elif kind == "exception":
        error = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
        first["outputs"] = [error]
    elif kind == "order":
        second["execution_count"] = 3
    elif kind == "not executed":
        first["execution_count"] = None
    elif kind == "id":
        second["id"] = "3f2a91bc"
    elif kind == "metadata":
        damaged["metadata"] = {}
    elif kind == "form":
        del first["source"]


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_are_found(kind):
    damaged = copy.deepcopy(good())
    damage(kind, damaged)
    assert len(script.problems(damaged)) == 1
    assert FAULTS[kind] in script.problems(damaged)[0]


def test_ids_are_there_once():
    damaged = good()
    damaged["cells"][2]["id"] = "first"
    assert any("first" in problem for problem in script.problems(damaged))


def test_what_changes_by_itself_is_taken_off():
    noisy = good()
    noisy["metadata"] = {"language_info": {"name": "python", "version": "3.12.1"}}
    noisy["cells"][1]["metadata"] = {"execution": {"iopub.execute_input": "2026-11-21T20:00"}}
    noisy["cells"][2]["outputs"][0]["transient"] = {"display_id": "a1"}
    noisy["cells"][2]["outputs"][0]["metadata"] = {"needs_background": "light"}
    assert script.clean(noisy) == good()
    assert script.as_text(script.clean(noisy)) == script.as_text(good())


def test_size():
    assert script.too_large("é" * (script.MOST // 2)) == []
    assert script.too_large("é" * (script.MOST // 2) + ".") != []


##### What it executes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An examples/ of one's own. The environment, which the script sets, is put back."""
    (tmp_path / "examples").mkdir()
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "FOLDER", tmp_path / "examples")
    for name in ("ICPO_QUICK", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    return tmp_path / "examples"


def put(path: Path, *sources: str) -> str:
    cells = [cell(source, None, id=f"c{n}") for n, source in enumerate(sources)]
    text = script.as_text(notebook(*cells))
    path.write_text(text, encoding="utf-8")
    return text


def test_quick_writes_nothing_full_writes_what_came_out(folder, capsys):
    path = folder / "01_one.ipynb"
    before = put(path, "import os\nos.environ['ICPO_QUICK'], os.path.basename(os.getcwd())")
    assert script.main(["--quick"]) == 0
    assert path.read_text(encoding="utf-8") == before
    assert script.main(["01"]) == 0
    (executed,) = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert "".join(executed["outputs"][0]["data"]["text/plain"]) == "('0', 'examples')"
    assert script.main(["--check"]) == 0
    assert "01_one.ipynb" in capsys.readouterr().out


def test_what_is_wrong_is_told_and_not_written(folder, capsys):
    one, other = folder / "01_one.ipynb", folder / "02_other.ipynb"
    before = put(one, "raise ValueError('no such luck')"), put(other, "print('/tmp/x')")
    assert script.main([]) == 1
    said = capsys.readouterr().err
    assert "examples/01_one.ipynb: a cell failed" in said and "no such luck" in said
    assert "examples/02_other.ipynb: cell c0: shows an absolute path" in said
    assert before == (one.read_text(encoding="utf-8"), other.read_text(encoding="utf-8"))
    assert script.main(["--check"]) == 1


def test_names_are_checked(folder):
    put(folder / "01_one.ipynb", "1")
    with pytest.raises(SystemExit, match=r"expected the beginning of one of 01_one\.ipynb"):
        script.main(["02", "--check"])


##### What they share


@pytest.fixture(scope="module")
def lab():
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    sys.path.insert(0, str(EXAMPLES))
    import lab

    return lab


def test_tables(lab):
    shown = lab.table(["a", "b", "c"], [["x", 1, 2.5]], texts=2).data
    assert shown == "| a | b | c |\n| :-- | :-- | --: |\n| x | 1 | 2.5 |"


def test_a_command_that_fails_is_an_error(lab):
    with pytest.raises(RuntimeError, match=r"icpo train: exit code 2: .*no-such-file\.yaml"):
        lab.icpo("train", "no-such-file.yaml")


def test_checkpoints_are_where_runs_are(lab):
    found = lab.checkpoint("icpo:off_ratio=none", 3, 60).as_posix()
    assert found.endswith("train/icpo-off_ratio-none-seed3/checkpoints/step-000060")
