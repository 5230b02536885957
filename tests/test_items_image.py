import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from latentpress.errors import ItemError
from latentpress.items.image import read_image, to_channels, write_png

LOSSLESS = {"PNG": {}, "TIFF": {}, "BMP": {}, "WEBP": {"lossless": True}}


def pixels_of(height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def file_of(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]), st.integers(0, 99))
def test_png_round_trip(height, width, channels, seed):
    pixels = pixels_of(height, width, channels, seed)
    assert np.array_equal(read_image(write_png(pixels)), pixels)


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3))]
)
def test_png_of_what_is_not_pixels(bad):
    with pytest.raises(ItemError, match="uint8"):
        write_png(bad)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_give_the_pixels(kind):
    pixels = pixels_of(7, 5, 3)
    assert np.array_equal(read_image(file_of(Image.fromarray(pixels), kind, **LOSSLESS[kind])), pixels)


def test_jpeg_is_as_pillow_decodes_it():
    data = file_of(Image.fromarray(pixels_of(20, 30, 3)), "JPEG")
    assert np.array_equal(read_image(data), np.asarray(Image.open(BytesIO(data))))


@pytest.mark.parametrize("mode, channels", [("1", 1), ("L", 1), ("P", 3), ("RGB", 3)])
def test_modes_of_eight_bits_or_fewer(mode, channels):
    image = Image.fromarray(pixels_of(6, 9, 3)).convert(mode)
    expected = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(6, 9, channels)
    assert np.array_equal(read_image(file_of(image)), expected)


def test_grey_is_pillows():
    pixels = pixels_of(64, 64, 3)
    grey = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    assert np.array_equal(read_image(write_png(pixels), channels=1), grey)


@given(st.integers(0, 255))
def test_grey_to_colour_and_back(value):
    grey = np.full((1, 1, 1), value, np.uint8)
    assert np.array_equal(to_channels(to_channels(grey, 3), 1), grey)


def png_with_transparent_palette():
    image = Image.fromarray(pixels_of(6, 9, 3)).convert("P")
    return file_of(image, transparency=bytes(range(256)))


@pytest.mark.parametrize(
    "data",
    [
        file_of(Image.fromarray(pixels_of(6, 9, 4))),
        file_of(Image.fromarray(pixels_of(6, 9, 4)).convert("LA")),
        file_of(Image.fromarray(pixels_of(6, 9, 4)), "WEBP", lossless=True, exact=True),
        file_of(Image.fromarray(pixels_of(6, 9, 4)), "TIFF"),
        file_of(Image.fromarray(pixels_of(6, 9, 3)), transparency=(1, 2, 3)),
        png_with_transparent_palette(),
    ],
)
def test_alpha_is_refused_unless_dropped(data):
    with pytest.raises(ItemError, match=r"alpha channel: .*--drop-alpha"):
        read_image(data)
    expected = np.asarray(Image.open(BytesIO(data)).convert("RGBA"))[..., :3]
    assert np.array_equal(read_image(data, drop_alpha=True, channels=3), expected)


def png_of_16_bit_colour():
    """Pillow cannot write one: an eight-bit grey of six times the width with another header."""
    data = file_of(Image.fromarray(pixels_of(4, 24, 1)[..., 0]))
    header = b"IHDR" + struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize(
    "data, reason",
    [
        (file_of(Image.new("I;16", (4, 4))), "8 bits"),
        (png_of_16_bit_colour(), "8 bits"),
        (file_of(Image.new("I;16", (4, 4)), "TIFF"), "8 bits"),
        (file_of(Image.new("F", (4, 4)), "TIFF"), "8 bits"),
        (file_of(Image.new("CMYK", (4, 4)), "JPEG"), "CMYK"),
        (file_of(Image.new("LAB", (4, 4)), "TIFF"), "LAB"),
        (
            file_of(Image.new("L", (4, 4)), "TIFF", save_all=True, append_images=[Image.new("L", (4, 4))]),
            "several",
        ),
        (file_of(Image.new("L", (4, 4)), "GIF"), "not a PNG"),
        (b"", "not a PNG"),
    ],
)
def test_refusals_are_one_line_that_says_why(data, reason):
    with pytest.raises(ItemError, match=reason) as caught:
        read_image(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(Image.fromarray(pixels_of(6, 9, 3)), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    assert np.array_equal(read_image(data), np.asarray(upright))
    assert read_image(data).shape == ((9, 6, 3) if orientation > 4 else (6, 9, 3))


def test_size_is_bounded_before_decoding():
    with pytest.raises(ItemError, match="limit"):
        read_image(write_png(np.zeros((10, 11, 1), np.uint8)), max_pixels=109)
    huge = b"BM" + bytes(8) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    huge += (60000).to_bytes(4, "little") * 2 + bytes([1, 0, 24, 0]) + bytes(24)
    with pytest.raises(ItemError, match="limit"):
        read_image(huge)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_truncated_files_are_errors(kind):
    data = file_of(Image.fromarray(pixels_of(40, 40, 3)), kind)
    for length in range(0, len(data) * 9 // 10, len(data) // 30):
        with pytest.raises(ItemError):
            read_image(data[:length])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_damaged_files_give_pixels_or_an_item_error(kind):
    exif = Image.Exif()
    exif[0x010E] = "text"
    data = file_of(Image.fromarray(pixels_of(12, 12, 3)), kind, **({} if kind == "BMP" else {"exif": exif}))
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for place in random.integers(0, min(len(data), 600), 3):
            damaged[place] = random.integers(0, 256)
        try:
            assert read_image(bytes(damaged)).dtype == np.uint8
        except ItemError as error:
            assert "\n" not in str(error)


def test_an_image_of_which_only_a_part_is_there():
    data = file_of(Image.fromarray(pixels_of(12, 12, 3)), "TIFF")
    tag = data.index(struct.pack("<HHII", 257, 4, 1, 12))  # the height
    with pytest.raises(ItemError, match="a part of it"):
        read_image(data[:tag] + struct.pack("<HHII", 257, 4, 1, 5_000_000) + data[tag + 12 :])


def test_pillows_complaints_are_not_printed():
    code = (
        "import sys; from latentpress.items.image import read_image, ItemError\n"
        "try: read_image(bytes.fromhex(sys.argv[1]))\n"
        "except ItemError as error: print(error)"
    )
    data = bytearray(file_of(Image.fromarray(pixels_of(4, 4, 3)), "TIFF"))
    data[data.index(struct.pack("<HHI", 277, 3, 1)) + 8] = 200  # samples a pixel
    done = subprocess.run(
        [sys.executable, "-c", code, data.hex()], capture_output=True, text=True, check=True
    )
    assert done.stderr == "" and done.stdout.startswith("damaged")


def test_pillows_warnings_stay_inside_and_the_filters_as_they_were():
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x0f\x01\x02\0\xff\0\0\0\xff\0\0\0"  # points past its end
    data = file_of(Image.new("RGB", (4, 4)), "JPEG", exif=exif)
    before = list(warnings.filters)
    with pytest.warns(UserWarning):
        Image.open(BytesIO(data)).getexif()
    with ThreadPoolExecutor(4) as threads:
        shapes = {pixels.shape for pixels in threads.map(read_image, [data] * 50)}
    assert shapes == {(4, 4, 3)}
    assert warnings.filters == before
