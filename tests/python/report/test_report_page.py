"""Reports of runs of every kind, hostile and damaged ones included."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys

import pytest
import report_cases as cases

from icpo.cli import main
from icpo.errors import ConfigError, DataError
from icpo.report.html import UNSEEN, cut, element, escape
from icpo.report.page import report

#: Elements that do something, or fetch something. `link` is looked at below.
ACTIVE = (
    "script iframe object embed img image audio video form input base a[href] use foreignobject"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return cases.trainer_run(tmp_path_factory.mktemp("one") / "icpo")


def section(page, key):
    return next(one for one in page.all("section") if one.attributes.get("id") == key)


def headings(page):
    return [one.text for one in page.all("h2")]


def row(page, name):
    """The cells of a check."""
    heads = [one for one in section(page, "checks").all("th") if one.text.startswith(name)]
    return [cell.text for cell in heads[0].parent.all("td")] if heads else None


##### Escaping


def test_escape_keeps_the_text():
    drawn = random.Random(0)
    alphabet = "<>&\"'`=/!-[] \t\nabc;#x\x00\x1b\u202e\u200d\ud800\ufffe\U0001fffe\U000e0041é語😀"
    for _ in range(300):
        text = "".join(drawn.choices(alphabet, k=drawn.randrange(40)))
        shown = cases.read_page(element("p", text, title=text))
        (only,) = shown.all("p")
        expected = UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)
        assert only.text == only.attributes["title"] == expected


def test_nothing_unseen_is_left():
    everything = "".join(map(chr, range(0x110000)))
    shown = escape(everything)
    for character in "\x00\x08\x1b\x7f\x85\u200b\u202e\u2066\ufeff\ufffe\ud800\U0010ffff\r":
        assert character not in shown
    for character in "\t\né\u200d\u0301語😀":
        assert character in shown
    shown.encode()  # has UTF-8


def test_pre_keeps_its_first_line_feed():
    # A browser drops one line feed behind <pre>.
    assert element("pre", "\nx") == "<pre>\n\nx</pre>"


def test_cut():
    drawn = random.Random(1)
    for _ in range(200):
        text = "".join(drawn.choices("ab", k=drawn.randrange(50)))
        most = drawn.randrange(3, 40)
        start, left_out, end = cut(text, most)
        assert len(start) + len(end) == min(len(text), most)
        assert len(start) + left_out + len(end) == len(text)
        assert text.startswith(start) and text.endswith(end)
        assert not left_out or len(start) >= len(end) > 0


##### Hostile runs


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Everything that is a text says something hostile: names, settings, keys, rollouts."""
    folder = tmp_path_factory.mktemp("hostile") / "<script>document.title='owned'<"
    cases.trainer_run(folder)
    texts = "\n".join(text for text in cases.HOSTILE)
    rows = [json.loads(line) for line in (folder / "samples.jsonl").open(encoding="utf-8")]
    for one in rows:
        for name in ("problem", "prompt", "response"):
            one[name] = texts
        # A gold answer that has no UTF-8 stops the trainer, and the reader.
        one["answer"] = texts.encode("utf-8", "ignore").decode()
        one["demos"] = [texts]
    cases.write_lines(folder / "samples.jsonl", rows)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").open(encoding="utf-8")]
    for one in metrics:
        one |= {text: 0.5 for text in cases.HOSTILE}
        one |= {"a text": "<b>", "a list": [1], "huge": 10**400, "truth": True}
    cases.write_lines(folder / "metrics.jsonl", metrics)
    (folder / "versions.json").write_text(json.dumps({texts: texts}), encoding="utf-8")
    config = {"steps": 12, "algorithm": {"name": texts}, texts: texts, "seed": 0}
    (folder / "config.yaml").unlink()
    (folder / "settings.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_hostile_texts_are_texts(hostile):
    page = cases.read_page(report([hostile]))
    names = {one.name for one in page.all()}
    assert not names & set(ACTIVE.split())
    assert [one.attributes["href"] for one in page.all("link")] == ["data:,"]
    for one in page.all():
        assert not any(name.startswith("on") or name == "style" for name in one.attributes)
        for name in ("href", "src", "xlink:href"):
            assert (one.attributes.get(name) or "#")[0] in "#d"
    shown = [one.text for one in page.all("pre")]
    marked = "".join(cases.HOSTILE)
    assert any("<script>document.title='owned'</script>" in text for text in shown)
    assert len(marked) > 300
    assert len([*page.all("style")]) == 1
    assert not UNSEEN.search(report([hostile]))


def test_policy_forbids_everything(run):
    (policy,) = (
        one.attributes["content"]
        for one in cases.read_page(report([run])).all("meta")
        if one.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_huge_lines(tmp_path):
    folder = cases.trainer_run(tmp_path / "run", text="begin " + "x" * 200_000 + " end")
    page = report([folder], characters=1000)
    assert len(page) < 500_000
    assert "199,0" in page and "characters left out" in page
    assert any(
        one.text.rstrip("0123456789 ").endswith(" end") for one in cases.read_page(page).all("pre")
    )


def test_metrics_that_are_no_numbers(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    rows[5]["update/grad_norm"] = None
    rows[6]["on/reward"] = float("nan")
    rows[7]["on/surprise"] = float("-inf")
    cases.write_lines(folder / "metrics.jsonl", rows)
    page = cases.read_page(report([folder]))
    assert row(page, "Losses")[0] == "✕ wrong"
    assert "metrics.jsonl line 6: no update/grad_norm" in row(page, "Losses")[1]
    assert "nan" not in page.text.casefold().replace("nan or infinite", "")


##### Runs that are not as they should be


def test_empty_run(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    for name in ("samples.jsonl", "metrics.jsonl", "timings.jsonl"):
        (folder / name).touch()
    page = cases.read_page(report([folder]))
    assert "No run has recorded figures of training." in section(page, "figures").text
    assert "No run has recorded rollouts." in section(page, "rollouts").text
    assert "Not recorded: empty." in section(page, "configuration").text
    assert row(page, "Finished")[0] == "▲ look"


def test_run_that_goes_on(run, tmp_path):
    """What stands behind the last line break is not there yet."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    before = report([folder])
    for name in ("samples.jsonl", "metrics.jsonl", "timings.jsonl"):
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write('{"step": 13, "on/rew')
    after = report([folder])
    figures = [section(cases.read_page(one), "results").text for one in (before, after)]
    assert figures[0] == figures[1]
    assert row(cases.read_page(after), "Finished")[0] == "✓ fine"
    assert row(cases.read_page(after), "Files")[0] == "✓ fine"
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    (folder / "config.yaml").write_text(config.replace("steps: 12", "steps: 100"), "utf-8")
    finished = row(cases.read_page(report([folder])), "Finished")
    assert finished[0] == "▲ look" and finished[1].startswith("12 of 100 steps")


@pytest.mark.parametrize(
    "broken", [b'{"step": 1\n', b'{"step": 4, "response": "\xff\xfe"}\n', b"7\n"]
)
def test_damaged_samples(run, tmp_path, broken):
    """They are reported with their line, and what stands before them is shown."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    lines = (folder / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "samples.jsonl").write_bytes(b"".join([*lines[:20], broken, *lines[20:]]))
    page = cases.read_page(report([folder]))
    assert row(page, "Files")[0] == "✕ wrong"
    assert "samples.jsonl: line 21" in row(page, "Files")[1]
    counted = [
        one
        for one in section(page, "rollouts").all("data")
        if "count" in one.attributes["data-from"]
    ]
    assert sum(float(one.attributes["value"]) for one in counted) == 20


def test_damaged_times(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    with (folder / "timings.jsonl").open("ab") as file:
        file.write(b"\xff\n")
    assert "timings.jsonl: line 13" in row(cases.read_page(report([folder])), "Files")[1]


def test_damaged_metrics_stop(run, tmp_path, capsys):
    """Without figures there is no report, and an older one stays as it is."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b"{]\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl: line 14"):
        report([folder])
    output = tmp_path / "report.html"
    output.write_text("old")
    assert main(["report", str(folder), "-o", str(output)]) == 2
    assert "metrics.jsonl: line 14" in capsys.readouterr().err
    assert output.read_text() == "old"
    assert {one.name for one in tmp_path.iterdir()} == {"run", "report.html"}


def test_gap_and_repetition(run, tmp_path):
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    for name, kept, sign in (
        ("gap", lines[:5] + lines[7:], "▲"),
        ("again", lines[:5] + lines[2:], "✕"),
    ):
        folder = tmp_path / name
        shutil.copytree(run, folder)
        (folder / "metrics.jsonl").write_text("".join(kept), encoding="utf-8")
        found = row(cases.read_page(report([folder])), "Steps in order")
        assert found[0].startswith(sign) and "metrics.jsonl line 6" in found[1]


def test_accepted_without_being_right(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    rows = [json.loads(line) for line in (folder / "samples.jsonl").open(encoding="utf-8")]
    places = [place for place, one in enumerate(rows, 1) if one["expert"]]
    for place in places[1:3]:
        rows[place - 1] |= {"accepted": True, "outcome": "not_equal"}
    cases.write_lines(folder / "samples.jsonl", rows)
    found = row(cases.read_page(report([folder])), "Accepted rollouts")
    assert found[0] == "✕ wrong"
    assert found[1].startswith(f"2 are not; the first is samples.jsonl:{places[1]}")


##### Kinds of runs


def test_one_run(run):
    page = cases.read_page(report([run]))
    assert next(page.all("h1")).text == "icpo"
    assert "By condition" not in page.text
    assert headings(page)[:2] == ["Results", "Before believing it"]
    assert row(page, "Comparison") is None


@pytest.mark.parametrize("algorithm", ["icpo", "grpo", "luffy", "prefix_rft"])
def test_rollouts_side_by_side(tmp_path, algorithm):
    """Each card says what its line says."""
    run = cases.trainer_run(tmp_path / algorithm, algorithm=algorithm)
    lines = (run / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    seen = set()
    for example in cases.read_page(report([run])).all("article"):
        cards = [one for one in example.all("section")]
        assert cards
        for card in cards:
            kind = next(card.all("h5")).children[0]
            (place,) = [one.text for one in card.all("p") if one.has_class("place")]
            told = json.loads(lines[int(place.rpartition(" ")[2]) - 1])
            assert cases.kind(told) == kind
            assert next(card.all("pre")).text == "\n" + told["response"]
            assert float(next(card.all("data")).attributes["value"]) == told["reward"]
            assert card.has_class("right") == (told["outcome"] == "equal")
            if told["demos"]:
                assert "\n" + told["prompt"] in [one.text for one in card.all("pre")]
            seen.add((told["step"], kind))
    everything = {(one["step"], cases.kind(one)) for one in map(json.loads, lines)}
    assert seen == {(step, kind) for step, kind in everything if step in (4, 12)}


def test_which_problems_are_shown(run, tmp_path):
    """In the order of the file, those that show something new; the middle step is left out."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    some = json.loads((folder / "samples.jsonl").open(encoding="utf-8").readline())
    cases.write_lines(
        folder / "samples.jsonl",
        [
            {**some, "step": step, "problem": problem, "outcome": outcome, "response": problem}
            for step in (4, 8, 12)
            for problem, outcomes in {"a": "=", "b": "=", "c": "#=", "d": "#"}.items()
            for outcome in ("equal" if sign == "=" else "not_equal" for sign in outcomes)
        ],
    )
    shown = section(cases.read_page(report([folder])), "rollouts")
    problems = [next(one.all("header")).text.split()[1] for one in shown.all("article")]
    assert problems == ["agold", "cgold"] * 2
    kinds = [next(one.all("h5")).text for one in shown.all("section")]
    assert kinds == ["plain prompt, right", "plain prompt, right", "plain prompt, wrong"] * 2
    assert [one.text.split(" ")[1] for one in shown.all("h4")] == ["4", "12"]


def test_verl(tmp_path):
    folders = cases.verl_run(tmp_path / "own"), cases.verl_run(tmp_path / "stock", own=False)
    page = cases.read_page(report(folders))
    assert "Reward of on-policy rollouts" in section(page, "figures").text
    shown = section(page, "rollouts").text
    assert "expert prompt, accepted" in shown and "own/rollouts/1.jsonl, line 3" in shown
    assert "2 of" not in row(page, "Finished")[1]


def test_evaluation(tmp_path):
    folders = cases.eval_run(tmp_path / "done"), cases.eval_run(tmp_path / "begun", finished=False)
    page = cases.read_page(report(folders))
    assert headings(page)[0] == "Benchmarks" and "Figures" not in headings(page)
    told = section(page, "benchmarks").text
    assert "mine <b>" in told and "7 rows were skipped: f.jsonl: line 2: no JSON" in told
    assert "and 2 more" in told and "begun is not finished" in told
    assert row(page, "Finished")[0] == "▲ look"
    assert "25.0\xa0%" in row(page, "Responses cut off")[1]
    assert [one.text.strip() for one in section(page, "rollouts").all("h4")][:2] == [
        "aime24",
        "mine <b>",
    ]


def test_broken_results(tmp_path):
    folder = cases.eval_run(tmp_path / "eval")
    (folder / "results.json").write_text("[]")
    with pytest.raises(DataError, match=r"results\.json: expected the results of an evaluation"):
        report([folder])


def test_many_runs(tmp_path):
    folders = [
        cases.trainer_run(tmp_path / f"{name}-{seed}", algorithm=name, seed=seed)
        for name in (
            "grpo",
            "icpo",
            "icpo_bonus",
            "icpo_always",
            "luffy",
            "relift",
            "sft",
            "dr_grpo",
        )
        for seed in range(3)
    ]
    page = cases.read_page(report(folders))
    assert next(page.all("h1")).text == "24 runs"
    legend = next(one for one in page.all("ul") if one.has_class("legend"))
    looks = {
        (
            next(one.all("svg")).attributes["class"],
            next(one.all("path")).attributes.get("stroke-dasharray"),
        )
        for one in legend.all("li")
    }
    assert len(looks) == 8
    assert [
        one.attributes.get("open", "no") for one in page.all("details") if one.has_class("run")
    ] == [
        None,
        *["no"] * 23,
    ]


def test_conditions_by_settings(tmp_path):
    """Runs of one algorithm with other settings are no repetitions of each other."""
    folders = [cases.trainer_run(tmp_path / f"run-{seed}", seed=seed) for seed in range(3)]
    config = (folders[2] / "config.yaml").read_text(encoding="utf-8")
    (folders[2] / "config.yaml").write_text(config.replace("7.0e-4", "1e-5"), "utf-8")
    results = section(cases.read_page(report(folders)), "results")
    names = [one.text for one in next(results.all("tbody")).all("th")]
    assert names == ["icpo, optim.lr=0.0007", "icpo, optim.lr=1e-05"]


def test_what_else_differs(tmp_path):
    """Runs that are compared should differ in what is compared."""
    folders = [
        cases.trainer_run(tmp_path / f"{name}-{seed}", algorithm=name, seed=seed)
        for name in ("icpo", "grpo")
        for seed in range(3)
    ]
    assert row(cases.read_page(report(folders)), "Comparison") is None
    assert (
        "Fewer than 3 runs of grpo:" in row(cases.read_page(report(folders[:5])), "Comparison")[1]
    )
    config = (folders[4] / "config.yaml").read_text(encoding="utf-8")
    (folders[4] / "config.yaml").write_text(config.replace("batch: 32", "batch: 64"), "utf-8")
    (folders[5] / "versions.json").write_text(json.dumps({"torch": "2.7"}))
    found = row(cases.read_page(report(folders)), "Comparison")[1]
    assert "differs between the runs, but also: batch." in found
    assert "with the same torch." in found


def test_runs_of_one_name(tmp_path):
    folders = cases.trainer_run(tmp_path / "a" / "run"), cases.trainer_run(tmp_path / "b" / "run")
    page = cases.read_page(report(folders))
    assert {
        one.attributes["data-run"] for one in page.all("g") if "data-run" in one.attributes
    } == {
        "a/run",
        "b/run",
    }


def test_one_run_twice(run):
    with pytest.raises(ConfigError, match="twice"):
        report([run, run.parent / "." / run.name])


##### The command


def test_command(run, tmp_path, capsys):
    output = tmp_path / "out.html"
    assert main(["report", str(run), "-o", str(output)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{output}\n" and "1 run" in printed.err
    assert output.read_text(encoding="utf-8") == report([run])


def test_command_refuses(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nothing"), "-o", str(tmp_path / "x.html")]) == 2
    assert "nothing" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()
    for words in (["report"], ["report", str(tmp_path), "--characters", "2"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2


def test_command_without_place(run, tmp_path, capsys):
    assert main(["report", str(run), "-o", str(tmp_path / "no" / "x.html")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_same_bytes(run):
    """Of another process, with other hashes."""
    code = (
        "import sys, pathlib; from icpo.report import report; "
        "sys.stdout.buffer.write(report([pathlib.Path(sys.argv[1])]).encode())"
    )
    made = subprocess.run(
        [sys.executable, "-c", code, str(run)],
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PATH": ""},
    )
    assert made.stdout.decode() == report([run])


def test_command_needs_no_torch(run):
    code = (
        "import sys; from icpo.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    )
    words = ["report", str(run), "-o", str(run.parent / "light.html")]
    made = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, check=True, text=True
    )
    assert made.stdout.splitlines()[-1] == "False"
