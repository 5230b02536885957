"""Integers to bytes and back: tables and range coder, block modes, and the archive that holds blocks.

`tables` makes frequency tables from integers, and `gaussians` from means and scales with the curves of
`fixed_point`. `coder` codes symbols under them in a queue and `ans` on a stack, `modes` are the ways to code
a block, `layout` says what makes a block, `records` are an archive's parts, `metadata` and `index` pack them,
`container` is the file and `inspection` a look at it without a model.
"""

from latentpress.coding.ans import Stacks
from latentpress.coding.coder import RangeDecoder, RangeEncoder
from latentpress.coding.container import Archive
from latentpress.coding.inspection import ArchiveLike, inspect_archive, open_archive
from latentpress.coding.layout import BlockLayout, Part, Segment
from latentpress.coding.modes import Mode
from latentpress.coding.records import MAX_ITEMS, Block, Header, ItemRecord, Stored
from latentpress.coding.tables import TOTAL, TOTAL_BITS, frequencies

__all__ = [
    "MAX_ITEMS",
    "TOTAL",
    "TOTAL_BITS",
    "Archive",
    "ArchiveLike",
    "Block",
    "BlockLayout",
    "Header",
    "ItemRecord",
    "Mode",
    "Part",
    "RangeDecoder",
    "RangeEncoder",
    "Segment",
    "Stacks",
    "Stored",
    "frequencies",
    "inspect_archive",
    "open_archive",
]
