"""Folders, archives and arrays as batches.

    paths --sources--> names, labels, how to open --load_dataset--> Dataset: one flat memory
    Dataset --batches--> random crops, or windows, with labels and symbols

`batches` needs torch and is imported by itself, as is `demo`, the photographs for trying things out.
"""

from latentpress.data.dataset import Dataset, Survey, labels_as, load_dataset, survey
from latentpress.data.sources import ItemRef, Skipped, Source, array_source, evenly_spaced, open_sources

__all__ = [
    "Dataset",
    "ItemRef",
    "Skipped",
    "Source",
    "Survey",
    "array_source",
    "evenly_spaced",
    "labels_as",
    "load_dataset",
    "open_sources",
    "survey",
]
