"""Every number of a report is computed again, from the files, by somebody else."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import report_cases as cases

from icpo.report.chart import ticks
from icpo.report.numbers import integer, number, percent, ranges
from icpo.report.page import report

#: Where digits stand that are no numbers of the report: names, texts, places in files.
NO_NUMBERS = ("code", "pre", "svg", ".place", ".bound", ".called", "b", "h1", "title", "style")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    top = tmp_path_factory.mktemp("runs")
    names = ("icpo", 0), ("icpo", 1), ("icpo", 2), ("grpo", 0), ("grpo", 1), ("luffy", 0)
    found = {
        f"{name}-s{seed}": cases.trainer_run(top / f"{name}-s{seed}", algorithm=name, seed=seed)
        for name, seed in names
    }
    found["verl"] = cases.verl_run(top / "verl")
    found["stock"] = cases.verl_run(top / "stock", own=False)
    found["eval"] = cases.eval_run(top / "eval")
    return found


@pytest.fixture(scope="module")
def page(folders):
    return cases.read_page(report(list(folders.values())))


def test_numbers(folders, page):
    files = cases.Files(folders)
    found = list(page.all("data"))
    assert len(found) > 800
    operations = set()
    for one in found:
        value = float(one.attributes["value"])
        trace = json.loads(one.attributes["data-from"])
        operations.add(trace[0])
        assert files.trace(trace) == pytest.approx(value, rel=1e-12, abs=1e-300), trace
        shown, half = cases.written(one.text)
        assert abs(shown - value) <= half * 1.0001, one.text
    assert operations >= {"value", "mean", "sum", "least", "most", "count", "mean of", "ratio of"}
    assert operations >= {"standard error of", "sum of", "bytes", "lines"}


def test_traces_in_words(page):
    for one in page.all("data"):
        trace = json.loads(one.attributes["data-from"])
        while isinstance(trace[1], list):
            trace = trace[1]
        assert all(part in one.attributes["title"] for part in trace[1:] if part)


def test_no_other_numbers(page):
    """Nothing looks like a figure that can not be asked where it comes from."""
    cells = [one for name in ("td", "dd") for one in page.all(name)]
    assert len(cells) > 700
    for cell in cells:
        for place in [cell, *cell.all()]:
            if place.name != "data" and not place.inside(*NO_NUMBERS):
                own = "".join(one for one in place.children if isinstance(one, str))
                assert not re.search(r"\d", own), own


def test_missing_numbers(page):
    """What is null has no value; it is not 0."""
    names = {one.text for one in page.all("th") if "expert/accepted" in one.text}
    assert names
    rows = [one.parent for one in page.all("th") if one.text == "expert/accepted"]
    told = [[cell.text for cell in row.all("td")][1] for row in rows]
    assert told.count("\N{EN DASH}") == 2  # of the runs of GRPO
    assert len(told) == 6


def test_settings(folders, page):
    settings = [one for one in page.all("code") if "data-key" in one.attributes]
    assert len(settings) > 50
    for one in settings:
        given = one.attributes
        path = folders[given["data-run"]] / given["data-file"]
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else cases.yaml.safe_load(text)
        if given["data-file"] == "versions.json":
            value = values[given["data-key"]]  # names of packages have dots
        else:
            value = cases.dotted(values, given["data-key"])
        if path.suffix == ".yaml":
            line = text.splitlines()[int(given["data-line"]) - 1]
            assert given["data-key"].rpartition(".")[2] in line
        assert one.text == (value if isinstance(value, str) else json.dumps(value))


def test_differences_are_marked(page):
    (table,) = [
        table
        for table in page.all("table")
        if table.has_class("settings")
        and any(row.has_class("different") for row in table.all("tr"))
        and "optim.lr" in table.text
    ]
    marked = {next(row.all("th")).text for row in table.all("tr") if row.has_class("different")}
    assert marked == {"algorithm.name", "algorithm.n_off", "seed", "out"}


##### Charts


def charts(page):
    for figure in page.all("figure"):
        (svg,) = figure.all("svg")
        yield next(figure.all("h3")).text, svg


def scale(text):
    low, high, start, end = map(float, text.split())
    return lambda value: start + (value - low) / (high - low) * (end - start)


def test_points(folders, page):
    files = cases.Files(folders)
    points = 0
    for _, svg in charts(page):
        x, y = (scale(svg.attributes[f"data-{axis}"]) for axis in "xy")
        for group in svg.all("g"):
            if "data-run" not in group.attributes:
                continue
            given = group.attributes
            rows = files.rows(folders[given["data-run"]] / given["data-file"])
            for point in group.all("circle"):
                row = rows[int(point.attributes["data-line"]) - 1]
                value = files.value(row, given["data-key"])
                assert repr(float(value)) == point.attributes["data-value"]
                assert float(point.attributes["cx"]) == pytest.approx(x(row["step"]), abs=0.051)
                assert float(point.attributes["cy"]) == pytest.approx(y(value), abs=0.051)
                assert given["data-key"] in point.text and repr(float(value)) in point.text
                points += 1
    assert points > 500


def test_thick_lines(folders, page):
    """Means over the runs of a condition, of running means."""
    files = cases.Files(folders)
    members = {"icpo": ["icpo-s0", "icpo-s1", "icpo-s2"], "grpo": ["grpo-s0", "grpo-s1"]}
    seen = set()
    for title, svg in charts(page):
        x, y = (scale(svg.attributes[f"data-{axis}"]) for axis in "xy")
        keys = {
            one.attributes["data-run"]: one.attributes["data-key"]
            for one in svg.all("g")
            if "data-run" in one.attributes
        }
        for path in svg.all("path"):
            runs = members.get(path.attributes.get("data-condition"))
            if runs is None or runs[0] not in keys:
                continue
            window = int(path.attributes["data-window"])
            smooth = []
            for run in runs:
                rows = files.rows(folders[run] / "metrics.jsonl")
                told = [
                    (row["step"], row[keys[run]]) for row in rows if row.get(keys[run]) is not None
                ]
                steps, values = zip(*told, strict=True)
                half = window // 2
                smooth.append(
                    [np.mean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]
                )
            places = [
                tuple(map(float, place.split())) for place in path.attributes["d"][1:].split("L")
            ]
            expected = zip(map(x, steps), map(y, np.mean(smooth, axis=0)), strict=True)
            assert np.allclose(places, list(expected), atol=0.051)
            seen.add((title, path.attributes["data-condition"]))
    assert len(seen) > 12
    assert ("Accuracy on test problems", "icpo") in seen


def test_axes(page):
    """Words beside the grid say what stands there."""
    for title, svg in charts(page):
        low, high, start, end = map(float, svg.attributes["data-y"].split())
        for word in svg.all("text"):
            if word.has_class("y"):
                place = float(word.attributes["y"]) - 3.5
                value = low + (place - start) / (end - start) * (high - low)
                shown, half = cases.written(word.text)
                assert abs(shown - value) <= half + 1e-3 * (high - low), (title, word.text)


@pytest.mark.parametrize("seed", range(40))
def test_ticks(seed):
    random = np.random.default_rng(seed)
    low, high = sorted(random.normal(size=2) * 10.0 ** random.integers(-8, 9))
    found = ticks(low, high, 5)
    assert found[0] <= low < high <= found[-1]
    assert 2 <= len(found) <= 8
    gaps = np.diff(found)
    assert np.allclose(gaps, gaps[0], rtol=1e-6)
    digits = f"{gaps[0]:.6e}".partition("e")[0].rstrip("0")
    assert digits in ("1.", "2.", "2.5", "5.")


def test_ticks_of_one_value():
    assert ticks(0.0, 0.0, 5)[0] == 0.0
    assert ticks(3.0, 3.0, 5)[-1] >= 3.0


##### Formats


def test_formats():
    random = np.random.default_rng(3)
    values = [*(random.normal(size=300) * 10.0 ** random.integers(-320, 300, 300)), 0.0, -1.0]
    for value in map(float, values):
        if value == 0 or not math.isfinite(value):
            continue
        if abs(value) < 1e15:
            shown, half = cases.written(number(value))
            assert abs(shown - value) <= half * 1.001 + abs(value) * 1e-12
        if abs(value) < 1e9:
            shown, half = cases.written(percent(value))
            assert abs(shown - value) <= half * 1.001
    assert integer(1234.0) == "1,234"
    assert number(float("inf")) == "∞"


def test_ranges():
    random = np.random.default_rng(4)
    for _ in range(100):
        lines = sorted({*map(int, random.integers(1, 40, random.integers(0, 30)))})
        assert list(cases.numbers(ranges(lines))) == lines


def test_what_results_are_made_of(page):
    """Of a run of 12 steps, whose step n stands in line n + 1."""
    results = next(one for one in page.all("table") if one.has_class("results"))
    heads = [one.text for one in next(results.all("thead")).all("th")]
    first = next(next(results.all("tbody")).all("tr"))
    cells = [*first.all("th"), *first.all("td")]
    traces = {
        head: json.loads(next(cell.all("data")).attributes["data-from"])
        for head, cell in zip(heads, cells, strict=True)
        if [*cell.all("data")]
    }
    run, file = "icpo-s0", "metrics.jsonl"
    assert traces["accuracy before"] == ["value", run, file, "1", "eval/avg@4"]
    assert traces["accuracy after"] == ["value", run, file, "13", "eval/avg@4"]
    assert traces["reward"] == ["mean", run, file, "4-13", "on/reward"]
    assert traces["cut off"] == ["mean", run, file, "4-13", "on/unfinished"]
    assert traces["non-pass prompts"] == [
        "ratio of",
        ["sum", run, file, "4-13", "prompts/non_pass"],
        ["sum", run, file, "4-13", "prompts"],
    ]
    assert traces["seconds"][1:] == [
        ["sum", run, "timings.jsonl", "1-12", "generation"],
        ["sum", run, "timings.jsonl", "1-12", "loss"],
    ]
