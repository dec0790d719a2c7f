"""Folders of runs, written by hand; and a reader of reports that knows not how they are made."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import yaml

CONFIG = """\
model: {{path: models/tiny}}
algorithm:
  name: {algorithm}
  n_off: {n_off}
data: {{test: test.jsonl}}
optim: {{lr: 7.0e-4, grad_clip: 1.0}}
eval: {{every: 2, k: 4}}
steps: {steps}
batch: 32
seed: {seed}
out: {out}
"""

#: What a model may say to whoever looks at it.
HOSTILE = (
    "</pre><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\"'><svg onload=document.title='owned'>",
    "</style><style>*{display:none}",
    "</title><iframe src='http://127.0.0.1:9/'></iframe>",
    "<!-- --!> <![CDATA[ ]]> &lt; &#60; &amp",
    "\x00\x01\x1b[31m\x7f\x85\u202eevil\u2066\ufeff\ufffe\U000e0041",
    "\ud800 half a pair \udfff",
    "javascript:document.title='owned'",
    "\n\nlines\r\n\tand tabs  ",
    "א" * 5 + "\u0301" * 200,
)


def write_lines(path: Path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def trainer_run(
    folder: Path, *, algorithm="icpo", seed=0, steps=12, planned=None, text="\\boxed{4}"
):
    """A run of the trainer, with figures drawn at random."""
    folder.mkdir(parents=True)
    random = np.random.default_rng([seed, len(algorithm)])
    n_off = int(not algorithm.startswith("grpo"))
    (folder / "config.yaml").write_text(
        CONFIG.format(
            algorithm=algorithm, n_off=n_off, seed=seed, out=folder.name, steps=planned or steps
        ),
        encoding="utf-8",
    )
    metrics, samples, times = [], [], []
    for step in range(steps + 1):
        row = {"step": step}
        if step % 2 == 0:
            row["eval/avg@4"] = float(random.random())
            row["eval/greedy"] = float(random.random())
        if step:
            row |= {
                "on/reward": float(random.random()),
                "on/surprise": float(random.random()) * 1e-3,
                "on/response_length": float(random.integers(1, 5000)),
                "on/unfinished": float(random.random()) / 5,
                "on/unknown": 0.0,
                "prompts": 32.0,
                "prompts/non_pass": float(random.integers(0, 32)),
                "expert/accepted": float(random.random()) if n_off else None,
                "expert/prompts_without_demos": 0,
                "batch/zero_advantage": float(random.random()),
                "update/grad_norm": float(random.random()),
                "update/on/kl": float(random.normal()) * 1e-5,
                "update/off/ratio": float(random.random()) if n_off and step != 3 else None,
            }
            times.append({"step": step, "generation": float(random.random()), "loss": 0.25})
        metrics.append(row)
        if step in (4, 8, 12):
            for problem in range(3):
                samples += group(random, step, f"train-{problem}", n_off, text, algorithm)
    write_lines(folder / "metrics.jsonl", metrics)
    write_lines(folder / "timings.jsonl", times)
    write_lines(folder / "samples.jsonl", samples)
    versions = {"icpo-rs": "0.1", "torch": "2.6", "python": "3.11"}
    (folder / "versions.json").write_text(json.dumps(versions), encoding="utf-8")
    return folder


def group(random, step, problem, n_off, text, algorithm):
    stored = algorithm in ("luffy", "prefix_rft")
    for number in range(4 + n_off):
        expert = number == 4
        outcome = str(random.choice(["equal", "not_equal", "unknown"]))
        right = outcome == "equal"
        yield {
            "step": step,
            "problem": problem,
            "answer": "4",
            "expert": expert,
            "demos": ["demo-1"] if expert and not stored else [],
            "prompt": ("Q: 1+1\nA: 2\n" if expert and not stored else "") + "Q: 2+2\nA:",
            "response": f"{text} {number}",
            "tokens": (tokens := int(random.integers(2, 40))),
            "given": (tokens if algorithm == "luffy" else 1) if expert and stored else 0,
            "finished": bool(random.random() < 0.8),
            "outcome": outcome,
            "reward": float(right),
            "accepted": right if expert else None,
        }


def eval_run(folder: Path, *, finished=True, text="\\boxed{4}"):
    """A folder of `icpo eval`: two benchmarks, with and without a demonstration."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(11)
    rows, benchmarks = [], []
    for name in ("aime24", "mine <b>"):
        conditions = []
        for shots in (0, 1):
            right = random.integers(0, 5, 3)
            for problem in range(3):
                for sample in range(4):
                    good = bool(sample < right[problem])
                    rows.append(
                        {
                            "benchmark": name,
                            "shots": shots,
                            "seed": 0,
                            "id": str(problem),
                            "sample": sample,
                            "problem": f"{name}/{problem}",
                            "prompt": "D; x" if shots else "x",
                            "text": f"{text} {sample}",
                            "gold": ["4", "four"],
                            "reward": float(good),
                            "outcome": "equal" if good else "not_equal",
                            "demos": ["d"] * shots,
                            "tokens": int(random.integers(1, 30)),
                            "prompt_tokens": 9,
                            "finished": sample > 0,
                        }
                    )
            conditions.append(
                {
                    "shots": shots,
                    "samples": 4,
                    "seeds": [0],
                    "accuracy": float(right.mean() / 4),
                    "standard_error": None if shots else 0.0312,
                    "interval": [0.1, float(random.random())],
                    "level": 0.95,
                    "pass": {"2": 0.5, "4": float((right > 0).mean())},
                    "majority": 0.25,
                    "responses": 12,
                    "cut_off": 3,
                    "unknown": 0,
                    "demos_dropped": 0,
                    "tokens": None if shots else 150,
                }
            )
        benchmarks.append(
            {
                "name": name,
                "title": name,
                "asked": 3,
                "skipped": [{"where": "f.jsonl: line 2", "why": "no JSON"}] * 7,
                "options_kept_in_order": 2,
                "conditions": conditions,
            }
        )
    averages = [
        {
            "group": "in distribution",
            "benchmarks": ["aime24", "mine <b>"],
            "shots": 0,
            "accuracy": 0.4,
            "standard_error": 0.01,
            "interval": [0.25, 0.75],
        }
    ]
    write_lines(folder / "journal.jsonl", rows)
    settings = {"settings": {"benchmarks": ["aime24"], "temperature": 0.6}}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "versions.json").write_text(json.dumps({"torch": "2.6"}), encoding="utf-8")
    if finished:
        results = {"benchmarks": benchmarks, "averages": averages}
        (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


def verl_run(folder: Path, *, own=True, steps=2):
    """A folder of verl's dumps; `own`: with this package's columns."""
    (folder / "rollouts").mkdir(parents=True)
    random = np.random.default_rng(5)
    for step in range(1, steps + 1):
        rows = []
        for number in range(6):
            score = float(random.integers(0, 2))
            row = {
                "input": f"user\nWhat is {number // 3}?",
                "output": f"It is {number}.",
                "gts": "4",
                "score": score,
                "step": step,
            }
            if own:
                expert = number % 3 == 2
                row |= {
                    "uid": f"{number // 3}_{number % 3}",
                    "expert": expert,
                    "accepted": expert and score == 1,
                    "trained": not expert or score == 1,
                    "demos": ["a"] if expert else [],
                    "expert_prompt": "D; x" if expert else None,
                    "reward": score,
                    "verdict": "equal" if score else "not_equal",
                }
            rows.append(row)
        write_lines(folder / "rollouts" / f"{step}.jsonl", rows)
    write_lines(
        folder / "metrics.jsonl",
        [
            {"step": step, "data": {"critic/score/mean": step / 10, "actor/entropy": math.nan}}
            for step in range(1, steps + 1)
        ],
    )
    return folder


##### Reading a report


@dataclass
class Element:
    """An element, as a browser would see it."""

    name: str
    attributes: dict[str, str | None]
    parent: Element | None
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(one if isinstance(one, str) else one.text for one in self.children)

    def all(self, name: str | None = None):
        for one in self.children:
            if isinstance(one, Element):
                if name in (None, one.name):
                    yield one
                yield from one.all(name)

    def has_class(self, name: str) -> bool:
        return name in (self.attributes.get("class") or "").split()

    def inside(self, *names: str) -> bool:
        """Whether it lies in an element of such a name or, with a dot, of such a class."""
        place = self
        while place is not None:
            for name in names:
                if place.has_class(name[1:]) if name[0] == "." else place.name == name:
                    return True
            place = place.parent
        return False


class Reader(HTMLParser):
    """A strict one: every element that is opened is closed, in order."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.place = Element("", {}, None)
        self.feed(page)
        self.close()
        assert self.place is self.root

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len({*names}) == len(names), f"an attribute twice in {tag}"
        found = Element(tag, dict(attrs), self.place)
        self.place.children.append(found)
        if tag not in self.VOID:
            self.place = found

    def handle_endtag(self, tag):
        assert tag == self.place.name, f"{self.place.name} is closed as {tag}"
        self.place = self.place.parent

    def handle_data(self, data):
        self.place.children.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data!r}")


def read_page(page: str) -> Element:
    return Reader(page).root


##### Computing numbers again


class Files:
    """Values in files, by run."""

    def __init__(self, folders):
        self.folders = dict(folders)
        self._rows = {}

    def trace(self, trace):
        """What an expression comes to."""
        operation, *rest = trace
        if operation.endswith(" of"):
            return COMBINED[operation]([self.trace(part) for part in rest])
        return self.leaf(operation, *rest)

    def leaf(self, operation, run, file, lines, key, where=""):
        path = self.folders[run] / file
        if operation in ("bytes", "lines"):
            content = path.read_bytes()
            return len(content) if operation == "bytes" else content.count(b"\n")
        if where:
            return REDUCED[operation](self.where(run, file, key, where))
        if path.suffix == ".yaml":
            assert operation == "value"
            text = path.read_text(encoding="utf-8").splitlines()[int(lines) - 1]
            assert key.rpartition(".")[2] in text
            return float(dotted(yaml.safe_load(path.read_text(encoding="utf-8")), key))
        if path.suffix == ".json":
            return float(dotted(json.loads(path.read_text(encoding="utf-8")), key))
        rows = self.rows(path)
        return REDUCED[operation]([self.value(rows[line - 1], key) for line in numbers(lines)])

    def rows(self, path):
        if path not in self._rows:
            lines = path.read_bytes().split(b"\n")[:-1]
            self._rows[path] = [json.loads(line) for line in lines]
        return self._rows[path]

    @staticmethod
    def value(row, key):
        row = {**row, **row["data"]} if "data" in row else row
        # verl calls a reward so, where there is no bonus.
        return row["score"] if key == "reward" and "reward" not in row else row[key]

    def where(self, run, file, key, where):
        files = [file] if "…" not in file else self.between(run, *file.split(" … "))
        rows = [row for one in files for row in self.rows(self.folders[run] / one)]
        rows = [row for row in rows if where in ("any kind", kind(row))]
        made = {
            "unfinished": lambda row: not row["finished"],
            "unknown": lambda row: verdict(row) == "unknown",
            "tokens": lambda row: row["tokens"],
            "reward": lambda row: self.value(row, "reward"),
        }
        return [float(made[key](row)) for row in rows]

    def between(self, run, first, last):
        folder = Path(first).parent
        found = [
            f"{folder / one.name}"
            for one in (self.folders[run] / folder).glob("*.jsonl")
            if int(Path(first).stem) <= int(one.stem) <= int(Path(last).stem)
        ]
        return found


def verdict(row):
    return row.get("outcome", row.get("verdict"))


def kind(row):
    right = verdict(row) == "equal" if verdict(row) else row["score"] >= 1
    if "shots" in row:
        return (
            ("expert" if row["demos"] else "plain") + " prompt, " + ("right" if right else "wrong")
        )
    if not row.get("expert"):
        return "plain prompt, " + ("right" if right else "wrong")
    end = "accepted" if row["accepted"] else "rejected"
    if not row.get("given"):
        return f"expert prompt, {end}"
    return f"{'stored' if row['given'] == row['tokens'] else 'begun'} solution, {end}"


def dotted(values, key):
    for name in key.split("."):
        values = values[int(name)] if isinstance(values, list) else values[name]
    return values


def numbers(ranges):
    for part in ranges.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def only(values):
    (value,) = values
    return value


REDUCED = {
    "value": only,
    "mean": np.mean,
    "sum": np.sum,
    "least": np.min,
    "most": np.max,
    "count": len,
}
COMBINED = {
    "mean of": np.mean,
    "sum of": np.sum,
    "ratio of": lambda parts: parts[0] / parts[1],
    "standard error of": lambda parts: np.std(parts, ddof=1) / np.sqrt(len(parts)),
}


def written(text: str) -> tuple[float, float]:
    """The value of a number as it is written, and half of its last digit."""
    found = re.fullmatch(r"(−?)([\d,]+)(?:\.(\d+))?(?:e(−?\d+))?(\xa0%)?", text)
    assert found, f"no number: {text!r}"
    sign, whole, decimals, power, unit = found.groups()
    scale = 10.0 ** int((power or "0").replace("−", "-")) / (100 if unit else 1)
    digits = float(whole.replace(",", "") + "." + (decimals or ""))
    half = 0.5 * 10.0 ** -len(decimals or "")
    # Of a large number to four digits the last ones are as they are.
    return (-1 if sign else 1) * digits * scale, half * scale
