"""Integers to bytes and back: tables and range coder, block modes, and the archive that holds blocks.

`tables` makes frequency tables from integers, and `gaussians` from means and scales with the `curves`.
`coder` codes symbols under them in a queue and `ans` on a stack, `modes` are the ways to code a block,
`layout` says what makes a block, `names` and `columns` pack metadata, `records` are an archive's parts,
`container` is the file and `inspection` what it tells without a model. `identity` names a set of integers.
"""

from latentpress.coding.ans import Stacks
from latentpress.coding.coder import RangeDecoder, RangeEncoder
from latentpress.coding.container import Archive, write_archive
from latentpress.coding.inspection import ArchiveInfo, ArchiveLike, ModeUse, inspect_archive, open_archive
from latentpress.coding.layout import BlockLayout, Part, Segment, lay_out
from latentpress.coding.modes import Mode
from latentpress.coding.records import Block, Header, ItemRecord
from latentpress.coding.tables import TOTAL, TOTAL_BITS, code_length_bits, frequencies, normalize
from latentpress.names import check_name, output_names

__all__ = [
    "TOTAL",
    "TOTAL_BITS",
    "Archive",
    "ArchiveInfo",
    "ArchiveLike",
    "Block",
    "BlockLayout",
    "Header",
    "ItemRecord",
    "Mode",
    "ModeUse",
    "Part",
    "RangeDecoder",
    "RangeEncoder",
    "Segment",
    "Stacks",
    "check_name",
    "code_length_bits",
    "frequencies",
    "inspect_archive",
    "lay_out",
    "normalize",
    "open_archive",
    "output_names",
    "write_archive",
]
