"""Folders, archives and arrays as batches.

    paths --sources--> names, labels, how to read --loading--> one flat memory --batches--> random crops
    texts --sources--> names, labels, how to read ------------ windows: one flat memory, random windows

`batches` and `windows` need torch and are imported by themselves, as is `demo`, the photographs for
trying things out.
"""

from latentpress.data.loading import Pool, load_pool
from latentpress.data.sources import ItemRef, Skipped, Source, array_source, open_sources

__all__ = ["ItemRef", "Pool", "Skipped", "Source", "array_source", "load_pool", "open_sources"]
