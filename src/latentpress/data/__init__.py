"""Folders, archives and arrays as batches.

    paths --sources--> names, labels, how to read --loading--> one flat memory --batches--> random crops

`batches` needs torch and is imported by itself, as is `demo`, the photographs for trying things out.
"""

from latentpress.data.loading import Pool, load_pool
from latentpress.data.sources import ItemRef, Skipped, Source, array_source, open_sources

__all__ = ["ItemRef", "Pool", "Skipped", "Source", "array_source", "load_pool", "open_sources"]
