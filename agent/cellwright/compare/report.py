"""What a person sees of a comparison: tables in the terminal, two CSV files, a plot."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.console import Console

from ..console import literal, new_table, price, printable
from ..errors import ExportError, one_line
from .figures import MEASURES, Estimate, Paired, Total, paired, totals
from .results import Result

NO_PLOT = "No plot: it needs matplotlib (`pip install 'cellwright[compare]'`)."


def one_result(result: Result) -> str:
    """`basket, code, embedded: solved, 2 steps, 1,204 tokens, 4.1 s`."""
    how = "solved" if result.success else f"not solved ({result.status}: {result.reason or result.answer})"
    steps = f"{result.steps} step{'' if result.steps == 1 else 's'}"
    what = f"{result.task}, {result.agent}, {result.model}"
    return printable(f"{what}: {one_line(how, 120)}, {steps}, {result.tokens:,} tokens, {result.seconds:.1f} s")


def show(results: Sequence[Result], agents: Sequence[str], console: Console) -> None:
    """Print what came of each task, the totals, and agents against each other."""
    table = new_table("task", "agent", "model", "solved", "steps", "calls", "tokens", "seconds", "cost", "answer")
    for item in results:
        cost = price(item.cost or 0.0, item.cost is not None)
        figures = (item.steps, item.calls, f"{item.tokens:,}", f"{item.seconds:.1f}", cost)
        row = (item.task, item.agent, item.model, "yes" if item.success else "NO", *figures, one_line(item.answer, 40))
        table.add_row(*(literal(printable(str(cell))) for cell in row))
    console.print(table)

    found = totals(results)
    table = new_table("agent", "model", "solved", "share (95%)", *(f"{name} (95%)" for name in MEASURES), "cost")
    for total in found:
        table.add_row(*(literal(str(cell)) for cell in _total_row(total)))
    console.print()
    console.print(table)
    console.print()
    for pair in against(results, agents):
        console.print(printable(pair_line(pair)), markup=False, soft_wrap=True)


def against(results: Sequence[Result], agents: Sequence[str]) -> list[Paired]:
    """Every two kinds of agent against each other, for each model."""
    models = dict.fromkeys(result.model for result in results)
    return [paired(results, *two, model) for model in models for two in combinations(agents, 2)]


def pair_line(pair: Paired) -> str:
    """`code / tools, embedded, 12 tasks that both solved: steps 0.71 (0.60 to 0.85), ...`."""
    head = f"{pair.first} / {pair.second}, {pair.model}"
    if not pair.ratios:
        return f"{head}: there is no task that both solved."
    said = ", ".join(f"{name} {_interval(ratio, 2)}" for name, ratio in pair.ratios.items())
    count = f"{pair.tasks} task{'' if pair.tasks == 1 else 's'}"
    return f"{head}, on {count} that both solved: {said}"


def write_csv(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write `results.csv`, a line for each run, and `totals.csv`. Raises `ExportError`."""
    head = [field.name for field in fields(Result)]
    runs = folder / "results.csv"
    _write(runs, [head, *(list(asdict(result).values()) for result in results)])
    head = ["agent", "model", "runs", "solved", "success", "success_low", "success_high"]
    head += [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
    rows: list[list[Any]] = [[*head, "cost"]]
    for total in totals(results):
        estimates = [total.success, *(total.means[name] for name in MEASURES)]
        figures = [f"{figure:.6g}" for item in estimates for figure in (item.value, item.low, item.high)]
        rows.append([total.agent, total.model, total.runs, total.solved, *figures, total.cost])
    together = folder / "totals.csv"
    _write(together, rows)
    return [runs, together]


def write_plot(results: Sequence[Result], path: Path) -> str:
    """Write the totals with their intervals as a picture; why there is none, where matplotlib is missing.

    Raises `ExportError`.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return NO_PLOT
    found = totals(results)
    figure = Figure(figsize=(3.2 * (1 + len(MEASURES)), 1.2 + 0.5 * len(found)), layout="constrained")
    panels = figure.subplots(1, 1 + len(MEASURES), sharey=True)
    _bars(panels[0], "solved", [total.success for total in found])
    panels[0].set_xlim(0, 1)
    panels[0].set_yticks(range(len(found)), [f"{total.agent}\n{total.model}" for total in found])
    panels[0].invert_yaxis()
    for panel, name in zip(panels[1:], MEASURES, strict=True):
        _bars(panel, f"{name} of a run", [total.means[name] for total in found])
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ExportError(f"{path} can't be written: {one_line(str(error))}.") from error
    return ""


def _bars(panel: Any, title: str, estimates: Sequence[Estimate]) -> None:
    values = [item.value for item in estimates]
    # A bootstrap of few tasks may leave the value itself outside by a rounding error.
    ends = [[max(0.0, i.value - i.low) for i in estimates], [max(0.0, i.high - i.value) for i in estimates]]
    panel.barh(range(len(values)), values, xerr=ends, color="#4878a8", ecolor="#222222", capsize=3, height=0.6)
    panel.set_title(title, fontsize=10)


def _total_row(total: Total) -> Iterable[object]:
    share = total.success
    yield from (total.agent, total.model, f"{total.solved}/{total.runs}")
    yield f"{share.value:.0%} ({share.low:.0%} to {share.high:.0%})"
    for name in MEASURES:
        yield _interval(total.means[name], 0 if name == "tokens" else 1)
    yield price(total.cost or 0.0, total.cost is not None)


def _interval(estimate: Estimate, digits: int) -> str:
    return f"{estimate.value:,.{digits}f} ({estimate.low:,.{digits}f} to {estimate.high:,.{digits}f})"


def _write(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    except OSError as error:
        raise ExportError(f"{path} can't be written: {one_line(str(error))}.") from error
