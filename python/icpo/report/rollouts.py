"""Rollouts as cards, those of a problem side by side."""

from __future__ import annotations

from collections.abc import Sequence

from icpo.report.html import Markup, element
from icpo.report.numbers import Leaf, Number, integer, measure, number, percent
from icpo.report.samples import KINDS, Example, Samples, Shown
from icpo.report.tables import table

__all__ = ["counts", "examples"]

#: Letters of a prompt that are shown without being asked for.
SHORT = 240


def counts(samples: Sequence[Samples]) -> Markup:
    """How many rollouts of each kind there are, by run."""
    rows = [
        [
            one.run.name,
            kind,
            one.counted(kind).shown(integer),
            one.reward(kind).shown(measure),
            one.tokens(kind).shown(measure),
            one.unfinished(kind).shown(percent),
            one.unknown(kind).shown(percent),
        ]
        for one in samples
        for kind in KINDS
        if kind in one.counts
    ]
    heads = ["run", "kind", "rollouts", "mean reward", "mean tokens", "cut off", "not judged"]
    return table(heads, rows, class_="figures kinds")


def examples(samples: Samples) -> list[Markup]:
    """The chosen problems of the first and the last step on record."""
    parts = []
    for moment in samples.moments:
        chosen = moment.chosen()
        shown = {kind for example in chosen for kind in example.shown}
        absent = samples.absent(shown)
        title = moment.benchmark or ("" if moment.step is None else f"Step {moment.step:,}")
        note = f"None here: {'; '.join(absent)}." if absent else ""
        parts.append(element("h4", title, " ", element("small", note)))
        parts += [_example(samples, example) for example in chosen]
    return parts


def _example(samples: Samples, example: Example) -> Markup:
    shown = sorted(example.shown.values(), key=lambda one: KINDS.index(one.kind))
    prompt = next((one.response.prompt for one in shown if one.response.prompt is not None), None)
    gold = shown[0].response.gold
    answers = "" if gold is None else " or ".join([gold] if isinstance(gold, str) else gold)
    return element(
        "article",
        element(
            "header",
            element("span", "problem ", element("code", example.problem), class_="problem"),
            element(
                "span", "gold answer ", element("code", answers or "\N{EN DASH}"), class_="gold"
            ),
        ),
        None if prompt is None else _folded("plain prompt", prompt),
        element("div", *(_card(samples, example, one) for one in shown), class_="cards"),
        class_="example",
    )


def _card(samples: Samples, example: Example, one: Shown) -> Markup:
    response = one.response
    of_kind = example.counts[one.kind]
    facts = [
        ("reward", _number(samples, one, "reward", response.reward).shown(number)),
        ("verdict", response.outcome),
        (
            "tokens",
            None
            if response.tokens is None
            else _number(samples, one, "tokens", response.tokens).shown(integer),
        ),
        (
            "of these given",
            _number(samples, one, "given", response.given).shown(integer)
            if response.given
            else None,
        ),
        ("cut off", "yes" if response.finished is False else None),
        ("demonstrations", element("code", ", ".join(response.demos)) if response.demos else None),
        ("trained on", {True: "yes", False: "no", None: None}[response.trained]),
    ]
    return element(
        "section",
        element("h5", one.kind, element("small", f" first of {of_kind:,}" if of_kind > 1 else "")),
        element("pre", *_text(one)),
        element(
            "dl",
            *(
                [element("dt", name), element("dd", value)]
                for name, value in facts
                if value is not None
            ),
        ),
        None
        if response.expert_prompt in (None, response.prompt)
        else _folded("expert prompt", response.expert_prompt),
        element(
            "p",
            f"{samples.run.name}/{samples.run.relative(response.file)}, line {response.line}",
            class_="place",
        ),
        class_=f"card {'right' if response.right else 'wrong'}",
    )


def _text(one: Shown) -> list[str | Markup]:
    if not one.left_out:
        return [one.response.text]
    gap = element("span", f" … {one.left_out:,} characters left out … ", class_="gap")
    return [one.response.text, gap, one.end]


def _folded(name: str, text: str) -> Markup:
    """A prompt: as it is if short, else behind its name."""
    if len(text) <= SHORT and text.count("\n") < 6:
        return element(
            "div", element("span", name, class_="label"), element("pre", text), class_="prompt"
        )
    return element(
        "details",
        element("summary", name),
        element("pre", text),
        class_="prompt",
    )


def _number(samples: Samples, one: Shown, key: str, value: float) -> Number:
    file = samples.run.relative(one.response.file)
    return Number(float(value), Leaf("value", samples.run.name, file, (one.response.line,), key))
