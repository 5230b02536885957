"""Plots of a report, as self-contained SVG text."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from latentpress.evaluate.results import Evaluation
from latentpress.evaluate.tables import CODECS

__all__ = ["plot_rate_distortion", "plot_training", "plot_usage"]

_INK, _FAINT, _GRID = "#1f2933", "#66737f", "#e6e9ec"
_OURS = "#c2410c"
_COLOURS = {"jpeg": "#8a94a0", "webp": "#0f766e", "avif": "#2563eb", "jxl": "#7c3aed"}


def plot_rate_distortion(evaluation: Evaluation) -> str:
    """Draws PSNR over bits a position: the archive as one point among the other codecs' curves."""
    assert evaluation.lossy is not None
    figure, axes = _figure(f"bits per {evaluation.words.position}", "PSNR, dB")
    rates = [evaluation.bits_per_position]
    for comparison in evaluation.comparisons:
        if len(comparison.curve) < 2:
            continue
        bits = [8 * point.size_bytes / evaluation.positions for point in comparison.curve]
        values = [point.psnr_db for point in comparison.curve]
        axes.plot(
            bits,
            values,
            "o-",
            color=_COLOURS.get(comparison.codec),
            lw=1.8,
            ms=4,
            label=CODECS.get(comparison.codec, comparison.codec),
        )
        rates += bits
    ours = (evaluation.bits_per_position, evaluation.lossy.quality.psnr_db)
    axes.plot(*ours, "*", color=_OURS, ms=17, label="Latentpress")
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 1.15, max(rates) * 1.15)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(frameon=False, labelcolor=_INK, fontsize=10, loc="best")
    return _svg(figure)


def plot_usage(codebooks: Sequence[Sequence[int]]) -> str:
    """Draws how often each code occurs, the most frequent first, in units of the uniform share."""
    figure, axes = _figure("codes, the most frequent first", "times the uniform share")
    for row in codebooks:
        counts = np.sort(np.asarray(row, np.float64))[::-1]
        height = counts * len(counts) / max(1.0, counts.sum())
        axes.fill_between(
            np.arange(len(counts)), height, step="mid", color=_OURS, alpha=0.75 / len(codebooks)
        )
        axes.step(np.arange(len(counts)), height, where="mid", color=_OURS, lw=1)
    axes.axhline(1, color=_FAINT, lw=1, ls=(0, (4, 3)))
    axes.set_xlim(-0.5, len(codebooks[0]) - 0.5)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return _svg(figure)


def plot_training(steps: Sequence[float], values: Sequence[float], label: str) -> str:
    """Draws one figure of the training over its steps."""
    figure, axes = _figure("training step", label)
    axes.plot(steps, values, color=_OURS, lw=1.6)
    axes.set_xlim(min(steps), max(steps) if max(steps) > min(steps) else min(steps) + 1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return _svg(figure)


def _figure(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x_label, color=_FAINT)
    axes.set_ylabel(y_label, color=_FAINT)
    axes.grid(color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    with rc_context({"svg.hashsalt": "latentpress"}):  # else the elements' names are random
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return stream.getvalue()
