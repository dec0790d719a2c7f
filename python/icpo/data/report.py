"""What was prepared: every row accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icpo import __version__
from icpo.data.table import KINDS, OF_SOLUTIONS, VERDICTS, Lost, Table

__all__ = ["Report", "lost_lines"]


@dataclass(frozen=True)
class Report:
    """Counts by table. The same sources and settings give the same report."""

    settings: Mapping[str, Any]
    #: By name of the table.
    tables: Mapping[str, Mapping[str, Any]]
    #: What was only compared with.
    against: Sequence[Mapping[str, Any]]

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        tables: Sequence[Table],
        against: Table | None,
        files: Mapping[str, tuple[str, str]],
    ) -> Report:
        """Of tables, and of the names and digests of their files."""
        return cls(
            settings,
            {table.name: _table(table, *files[table.name]) for table in tables},
            [] if against is None else _sources(against),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "icpo": __version__,
            "settings": dict(self.settings),
            "tables": {name: dict(of) for name, of in self.tables.items()},
            "against": [dict(of) for of in self.against],
        }

    def __str__(self) -> str:
        """As a table of text: what is counted by line, tables by column."""
        names = list(self.tables)
        lines = [f"{'':<36}" + "".join(f"{name:>12}" for name in names)]

        def line(words: str, values: Sequence[int]) -> None:
            lines.append(f"{words:<36}" + "".join(f"{value:>12,}" for value in values))

        of = [self.tables[name] for name in names]
        line("rows", [each["rows"] for each in of])
        for kind, words in KINDS.items():
            line(f"  {words}", [each["left_out"][kind] for each in of])
        line("kept", [each["kept"] for each in of])
        line("  without an answer", [each["without_answer"] for each in of])
        line("  with a stored solution", [each["with_solution"] for each in of])
        line("stored solutions kept", [sum(each["solutions"].values()) for each in of])
        for verdict in VERDICTS:
            line(f"  {verdict}", [each["solutions"][verdict] for each in of])
        line("stored solutions left out", [sum(each["solutions_left_out"].values()) for each in of])
        for kind, words in OF_SOLUTIONS.items():
            line(f"  {words}", [each["solutions_left_out"][kind] for each in of])
        return "\n".join([*lines, "", *self._notes()])

    def _notes(self) -> Iterator[str]:
        for name, table in self.tables.items():
            for source in table["sources"]:
                yield (
                    f"{name}: {source['source']}: {source['rows']:,} rows as {source['schema']}, "
                    f"{source['kept']:,} kept"
                )
        evaluations = [*self.tables.get("validation", {}).get("sources", ()), *self.against]
        if evaluations:
            yield f"compared with: {', '.join(map(_compared, evaluations))}"
        else:
            yield "compared with no evaluation set: --validation or --against names some"
        for name, table in self.tables.items():
            if count := table["contradictions"]:
                yield f"{name}: {count:,} of those that came before have another answer than it"
        if not self.settings["tokenizer"]:
            yield "lengths in tokens are unknown without --tokenizer"


def _compared(source: Mapping[str, Any]) -> str:
    of = "" if source["read"] == source["rows"] else f" of {source['rows']:,} that can be read"
    return f"{source['source']} ({source['read']:,}{of})"


def _table(table: Table, file: str, digest: str) -> dict[str, Any]:
    return {
        "file": file,
        "sha256": digest,
        "sources": _sources(table),
        "rows": sum(table.rows),
        "left_out": table.counts(),
        "contradictions": table.contradictions,
        "kept": len(table.kept),
        "without_answer": sum(item.answer is None for item in table.kept),
        "with_solution": sum(bool(item.solutions) for item in table.kept),
        "solutions": table.verdicts(),
        "solutions_left_out": table.lost_solutions(),
    }


def _sources(table: Table) -> list[dict[str, Any]]:
    unreadable = Counter(one.source for one in table.lost if one.kind == "unreadable")
    return [
        {
            "source": str(source),
            "schema": schema.name,
            "columns": source.columns,
            "rows": table.rows[number],
            "read": table.rows[number] - unreadable[number],
            "kept": sum(item.source == number for item in table.kept),
        }
        for number, (source, schema) in enumerate(zip(table.sources, table.schemas, strict=True))
    ]


def lost_lines(tables: Sequence[Table]) -> Iterator[dict[str, Any]]:
    """A line for each row, or stored solution, that is left out, in the order of the sources."""
    for table in tables:
        for one in sorted(table.lost, key=lambda one: (one.source, one.row, one.solution or 0)):
            yield _line(table, one)


def _line(table: Table, one: Lost) -> dict[str, Any]:
    source = table.sources[one.source]
    return {
        "table": table.name,
        "source": str(source),
        "place": source.place(one.row),
        "row": one.row + 1,
        **({} if one.solution is None else {"solution": one.solution + 1}),
        "kind": one.kind,
        "why": one.why,
    }
