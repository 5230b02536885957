"""Plots of a report, as self-contained SVG text."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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


def plot_rate_distortion(found: Evaluation) -> str:
    """Draws PSNR over bits a position: the archive as one point among the other codecs' curves."""
    assert found.quality is not None
    with _drawing(f"bits per {found.words.position}", "PSNR, dB") as (axes, svg):
        rates = [found.bits_per_position]
        for each in (each for each in found.comparisons if len(each.curve) > 1):
            bits = [8 * point.size_bytes / found.positions for point in each.curve]
            style = {"color": _COLOURS.get(each.codec), "label": CODECS.get(each.codec, each.codec)}
            axes.plot(bits, [point.psnr_db for point in each.curve], "o-", lw=1.8, ms=4, **style)
            rates += bits
        axes.plot(rates[0], found.quality.psnr_db, "*", color=_OURS, ms=17, label="Latentpress")
        axes.set_xscale("log")
        axes.set_xlim(min(rates) / 1.15, max(rates) * 1.15)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(frameon=False, labelcolor=_INK, fontsize=10, loc="best")
    return svg.getvalue()


def plot_usage(codebooks: Sequence[Sequence[int]]) -> str:
    """Draws how often each code occurs, the most frequent first, in units of the uniform share."""
    with _drawing("codes, the most frequent first", "times the uniform share") as (axes, svg):
        for row in codebooks:
            counts = np.sort(np.asarray(row, np.float64))[::-1]
            height = counts * len(counts) / max(1.0, counts.sum())
            codes, alpha = np.arange(len(counts)), 0.75 / len(codebooks)
            axes.fill_between(codes, height, step="mid", color=_OURS, alpha=alpha)
            axes.step(codes, height, where="mid", color=_OURS, lw=1)
        axes.axhline(1, color=_FAINT, lw=1, ls=(0, (4, 3)))
        axes.set_xlim(-0.5, len(codebooks[0]) - 0.5)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return svg.getvalue()


def plot_training(steps: Sequence[float], psnr_db: Sequence[float]) -> str:
    """Draws the PSNR in training over its steps."""
    with _drawing("training step", "PSNR in training, dB") as (axes, svg):
        axes.plot(steps, psnr_db, color=_OURS, lw=1.6)
        axes.set_xlim(min(steps), max(*steps, min(steps) + 1))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return svg.getvalue()


@contextmanager
def _drawing(x_label: str, y_label: str) -> Iterator[tuple[Axes, io.StringIO]]:
    """Axes to draw on, and what holds the SVG afterwards."""
    figure, svg = Figure(figsize=(5.2, 3.6), layout="constrained"), io.StringIO()
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x_label, color=_FAINT)
    axes.set_ylabel(y_label, color=_FAINT)
    axes.grid(color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, length=0)
    axes.spines[:].set_visible(False)
    yield axes, svg
    with rc_context({"svg.hashsalt": "latentpress"}):  # else the elements' names are random
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
