"""An engine whose answers are written down: by what a prompt contains, one after the other."""

from __future__ import annotations

from collections import defaultdict

from icpo.generation.text import TextCompletion


def boxed(answer: str | None) -> str:
    """A response with an answer, or without one."""
    return "I can not tell." if answer is None else f"So it is \\boxed{{{answer}}}."


class Script:
    """Answers the n-th request whose prompt is of a kind with the n-th line of that kind.

    `kinds` tells from a prompt which list it is answered from; the lists are read in the order in
    which requests come, and must be used up.
    """

    together = 1

    def __init__(self, kind, lines: dict[str, list[str]]):
        self.kind, self.lines = kind, {name: list(texts) for name, texts in lines.items()}
        self.batches: list[dict[str, int]] = []
        self.prompts: dict[str, list[str]] = defaultdict(list)

    def complete(self, requests, done=None):
        batch: dict[str, int] = {}
        found = []
        for place, request in enumerate(requests):
            name = self.kind(request.prompt)
            batch[name] = batch.get(name, 0) + 1
            self.prompts[name].append(request.prompt)
            assert self.lines.get(name), f"nothing is written for another {name}: {request.prompt}"
            text = self.lines[name].pop(0)
            found.append(TextCompletion(text, True, len(text.split()), len(request.prompt.split())))
            if done is not None:
                done(place, found[-1])
        self.batches.append(batch)
        return found

    def count(self, prompt):
        return len(prompt.split())

    def describe(self):
        return {"engine": "script", "model": "script"}

    @property
    def left(self) -> dict[str, int]:
        return {name: len(texts) for name, texts in self.lines.items() if texts}
