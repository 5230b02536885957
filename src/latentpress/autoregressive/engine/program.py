"""An integer network as flat arrays: what the compiled loop reads, and nothing that it writes.

The loop takes no objects, only arrays, so every affine map, tap and ring of the network is a run of
numbers in one of them, found through a table:

    maps.table[a] = first weight, inputs, outputs, first shift, first bias, biases from lane to lane
    taps[t]       = first tap, how many, where its ring begins in a lane's rings, the ring's length, channels

Affine 0 is the input layer's; 1 + 2i and 2 + 2i are the gates and the residual of layer i; each head
has its hidden units and its logits after these. Tap layer 0 is the input's, 1 + i that of layer i.
Lanes share one run of biases, of which those that may be conditioned, the input's and the gates', come first;
where labels condition the network, a copy of these for every lane follows, with its labels' entries added.

Every weight is there twice: as int8 rows (out, in) for the dot products of a few lanes, and as float32
columns (in, out), times 2^-shift, for the matrix products of many. `exact.affine` proves that both are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from latentpress.autoregressive.offsets import Offset, Raster, inside
from latentpress.autoregressive.structure import NetworkStructure
from latentpress.exact.affine import Affine, gate_table
from latentpress.exact.tensors import read_affine

__all__ = ["Maps", "Program", "assemble"]

Array = NDArray[Any]


class Maps(NamedTuple):
    """The affine maps: `table` int64 (A, 6), `weights` int8, `columns` float32, `shifts` int32."""

    table: Array
    weights: Array
    columns: Array
    shifts: Array


class Program(NamedTuple):
    """The arrays; see the module. All are read-only by convention.

    `alphabets`: int64 (P,). `biases`: int32, and `factors`: float32, 2^-shift of each. `label_tables`: int32
    (rows, conditioned biases), all labels' tables one after the other, and `label_starts`: int64 (L,), where
    each begins. `taps`: int64 (T, 5). `tap_shifts`: int64, places back on the raster. `scales`: int32 (T,
    width). `embeddings` and `head_embeddings`: int8, component after component. `gates`: int32 (2048,).
    `skips`: int64, empty places of the raster after each position of one row along the first axis.
    """

    alphabets: Array
    maps: Maps
    biases: Array
    factors: Array
    label_tables: Array
    label_starts: Array
    taps: Array
    tap_shifts: Array
    scales: Array
    embeddings: Array
    head_embeddings: Array
    gates: Array
    skips: Array


def assemble(structure: NetworkStructure, tensors: Mapping[str, Tensor], grid: Sequence[int]) -> Program:
    """Lays out the integers of a network for grids of that size.

    Taps that lie outside such a grid at every position are left out. The same program serves every grid
    with the same extents but for the first, up to that of `grid`.
    """
    layers = [structure.window, *structure.layers]
    margin = max((abs(o) for offsets in layers for offset in offsets for o in offset), default=0)
    raster = Raster((int(grid[0]) + 1, *map(int, grid[1:])), margin)
    live = [inside(offsets, grid) for offsets in layers]
    period = math.prod(raster.grid[1:])
    places = np.array([raster.place(i) for i in range(period + 1)])
    taps, shifts = _taps(structure, layers, live, raster)
    scales = [f"layers.{i}.scale" for i in range(len(structure.dilations))] + ["scale"]
    return Program(
        alphabets=np.array(structure.alphabets, np.int64),
        **_maps(structure, tensors, live),
        taps=taps,
        tap_shifts=shifts,
        scales=np.stack([tensors[name].numpy() for name in scales]).astype(np.int32),
        embeddings=_joined(tensors, "embeddings", len(structure.alphabets)),
        head_embeddings=_joined(tensors, "head_embeddings", len(structure.alphabets) - 1),
        gates=gate_table().astype(np.int32),
        skips=np.diff(places) - 1,
    )


def _taps(
    structure: NetworkStructure, layers: list[tuple[Offset, ...]], live: list[list[int]], raster: Raster
) -> tuple[Array, Array]:
    rows, shifts, ring = [], [], 0
    for number, (offsets, kept) in enumerate(zip(layers, live, strict=True)):
        back = [raster.shift(offsets[tap]) for tap in kept]
        channels = structure.width if number else structure.position_embedding
        length = max(back, default=0) + 1
        rows.append((len(shifts), len(back), ring, length, channels))
        shifts += back
        ring += length * channels
    return np.array(rows, np.int64), np.array(shifts, np.int64)


def _maps(
    structure: NetworkStructure, tensors: Mapping[str, Tensor], live: list[list[int]]
) -> dict[str, Any]:
    """The affine maps, their biases, and what labels add to these."""
    names = _names(structure)
    affines = [read_affine(tensors, name) for name, _ in names]
    order = sorted(range(len(names)), key=lambda a: names[a][1] is None)  # the conditioned ones first
    starts = np.cumsum([0, *(len(affines[a].bias) for a in order)])
    places = dict(zip(order, starts.tolist(), strict=False))
    conditioned = [affines[a].labels for a in order if names[a][1] is not None]
    tables = [np.concatenate([table.numpy() for table in each], 1) for each in zip(*conditioned, strict=True)]
    labels = np.concatenate(tables) if tables else np.zeros((0, 0), np.int32)
    table, weights, columns, at = [], [], [], 0
    for a, ((_, layer), affine) in enumerate(zip(names, affines, strict=True)):
        weight = affine.weight.numpy()
        if layer is not None:
            weight = _without_dead_taps(weight, live[layer], structure, layer)
        weights.append(weight.ravel())
        columns.append((weight * _factor(affine)[:, None]).T.ravel())
        shared = layer is None or not labels.size
        biases = (places[a], 0) if shared else (int(starts[-1]) + places[a], labels.shape[1])
        table.append((at, weight.shape[1], weight.shape[0], places[a], *biases))
        at += weight.size
    shifts = np.concatenate([affines[a].shift.numpy() for a in order]).astype(np.int32)
    rows = [size + 1 for size in structure.label_sizes]
    return {
        "maps": Maps(np.array(table, np.int64), np.concatenate(weights), np.concatenate(columns), shifts),
        "biases": np.concatenate([affines[a].bias.numpy() for a in order]),
        "factors": np.concatenate([_factor(affines[a]) for a in order]),
        "label_tables": labels,
        "label_starts": np.cumsum([0, *rows], dtype=np.int64)[: len(rows)],
    }


def _factor(affine: Affine) -> Array:
    """2^-shift, float32."""
    return np.exp2(-affine.shift.numpy().astype(np.float32))


def _names(structure: NetworkStructure) -> list[tuple[str, int | None]]:
    """The affine maps in order, each with the number of its tap layer if it has one."""
    names: list[tuple[str, int | None]] = [("input", 0)]
    for i in range(len(structure.dilations)):
        names += [(f"layers.{i}.gates", i + 1), (f"layers.{i}.residual", None)]
    for p in range(len(structure.alphabets)):
        names += [(f"heads.{p}.hidden", None), (f"heads.{p}.logits", None)]
    return names


def _without_dead_taps(weight: Array, live: list[int], structure: NetworkStructure, layer: int) -> Array:
    channels = structure.width if layer else structure.position_embedding
    split = weight.shape[1] - structure.context_channels
    taps = weight[:, :split].reshape(len(weight), -1, channels)[:, live].reshape(len(weight), -1)
    return np.ascontiguousarray(np.concatenate([taps, weight[:, split:]], axis=1))


def _joined(tensors: Mapping[str, Tensor], name: str, count: int) -> Array:
    parts = [tensors[f"{name}.{p}"].numpy().ravel() for p in range(count)]
    return np.concatenate([np.zeros(0, np.int8), *parts])
