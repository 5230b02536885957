"""Compressing items into archives and restoring them.

    compress: items --model.encode--> codes --coders--> blocks --writing--> archive
    decompress: archive --> blocks --coders--> codes, symbols --restoring--> items

`reading` takes the items in. `coders` and `bitsback` are the ways of coding, one for each part of an archive,
and share `blocks`. `matching` knows what archives need of a model. `writing` and `restoring` are the two
directions.
"""

from latentpress.coding.inspection import ArchiveInfo, inspect_archive
from latentpress.press.restoring import decode_archive, decompress, verify_archive
from latentpress.press.summary import Progress, Summary
from latentpress.press.writing import compress, encode_archive

__all__ = [
    "ArchiveInfo",
    "Progress",
    "Summary",
    "compress",
    "decode_archive",
    "decompress",
    "encode_archive",
    "inspect_archive",
    "verify_archive",
]
