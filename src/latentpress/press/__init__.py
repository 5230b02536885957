"""Pressing items into archives and restoring them.

    compress: items --model.encode--> codes --prior + range coder--> blocks --> archive
    decompress: archive --> blocks --range decoder + prior--> codes --model.decode--> items

`blocks` goes from codes to coded blocks and back, `pixels` from the pixels of lossless archives, and
`bitsback` from those that a delta-VAE codes in chains;
`reading` takes the items in, `compressing`, `lossless` and `extracting` hold the ways,
`files` sees to it that a file appears whole or not at all, and only below its folder.
"""

from latentpress.coding.inspection import ArchiveInfo, inspect_archive
from latentpress.press.compressing import compress, encode_archive
from latentpress.press.extracting import decode_archive, decompress, verify_archive
from latentpress.press.summary import Progress, Summary

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
