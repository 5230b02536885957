"""Compressing items into archives and restoring them.

    compress: items --model.encode--> codes --coders--> blocks --writing--> archive
    decompress: archive --> blocks --coders--> codes, symbols --restoring--> items

`coders` and `bitsback` are the ways of coding, one for each part of an archive.
"""

from latentpress.press.restoring import decode_archive, decompress, verify_archive
from latentpress.press.summary import Summary
from latentpress.press.writing import compress, encode_archive

__all__ = ["Summary", "compress", "decode_archive", "decompress", "encode_archive", "verify_archive"]
