"""Image files: what is read and how, what is refused, and damaged ones."""

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
from PIL import Image as pillow
from PIL import ImageOps

from latentpress.errors import ItemError
from latentpress.items import Content, Image, image_files
from latentpress.items.image_files import MAX_WEBP_SIDE, pack_webp, read_image, unpack_webp

LOSSLESS = {"PNG": {}, "TIFF": {}, "BMP": {}, "WEBP": {"lossless": True}}


def pixels_of(height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def file_of(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels_in(data, **options):
    return read_image(data, **options)[0]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_give_the_pixels(kind):
    pixels = pixels_of(7, 5, 3)
    assert np.array_equal(pixels_in(file_of(pillow.fromarray(pixels), kind, **LOSSLESS[kind])), pixels)


def test_jpeg_is_as_pillow_decodes_it():
    data = file_of(pillow.fromarray(pixels_of(20, 30, 3)), "JPEG")
    assert np.array_equal(pixels_in(data), np.asarray(pillow.open(BytesIO(data))))


@pytest.mark.parametrize("mode, channels", [("1", 1), ("L", 1), ("P", 3), ("RGB", 3)])
def test_modes_of_eight_bits_or_fewer(mode, channels):
    image = pillow.fromarray(pixels_of(6, 9, 3)).convert(mode)
    expected = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(6, 9, channels)
    assert np.array_equal(pixels_in(file_of(image)), expected)


GREY, COLOUR = Image(channels=1), Image(channels=3)


def test_grey_is_pillows():
    pixels = pixels_of(64, 64, 3)
    grey = np.asarray(pillow.fromarray(pixels).convert("L"))[..., None]
    opened = GREY.open(BytesIO(file_of(pillow.fromarray(pixels))), convert=True)
    assert np.array_equal(opened.samples, grey)
    assert np.array_equal(GREY.fit(pixels, convert=True), grey)


@given(st.integers(0, 255))
def test_grey_to_colour_and_back(value):
    grey = np.full((1, 1, 1), value, np.uint8)
    assert np.array_equal(GREY.fit(COLOUR.fit(grey)), grey)


def test_colour_is_refused_by_grey_unless_converted():
    data = file_of(pillow.fromarray(pixels_of(4, 5, 3)))
    with pytest.raises(ItemError, match=r"has colour, and the model is grey: .*--convert"):
        GREY.open(BytesIO(data))
    with pytest.raises(ItemError, match="has colour"):
        GREY.fit(pixels_of(4, 5, 3))
    shade = np.repeat(pixels_of(4, 5, 1), 3, axis=2)
    assert np.array_equal(GREY.open(BytesIO(file_of(pillow.fromarray(shade)))).samples, shade[..., :1])


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_with_alpha_are_refused_unless_converted(channels):
    item = Image(channels=channels)
    pixels = pixels_of(4, 5, channels + 1)
    with pytest.raises(ItemError, match="alpha"):
        item.fit(pixels)
    assert np.array_equal(item.fit(pixels, convert=True), pixels[..., :-1])


@pytest.mark.parametrize("extent, images", [(1, "grey"), (3, "coloured")])
def test_a_kind_is_narrowed_to_grey_where_all_images_are(extent, images):
    grey, other = (Content.of(COLOUR.fit(pixels_of(4, 5, c))) for c in (1, extent))
    assert COLOUR.narrowed([grey, other]).channels == extent, images


def png_with_transparent_palette():
    image = pillow.fromarray(pixels_of(6, 9, 3)).convert("P")
    return file_of(image, transparency=bytes(range(256)))


@pytest.mark.parametrize(
    "data",
    [
        file_of(pillow.fromarray(pixels_of(6, 9, 4))),
        file_of(pillow.fromarray(pixels_of(6, 9, 4)).convert("LA")),
        file_of(pillow.fromarray(pixels_of(6, 9, 4)), "WEBP", lossless=True, exact=True),
        file_of(pillow.fromarray(pixels_of(6, 9, 4)), "TIFF"),
        file_of(pillow.fromarray(pixels_of(6, 9, 3)), transparency=(1, 2, 3)),
        png_with_transparent_palette(),
    ],
)
def test_alpha_is_refused_unless_converted(data):
    with pytest.raises(ItemError, match=r"alpha channel: .*--convert"):
        read_image(data)
    expected = np.asarray(pillow.open(BytesIO(data)).convert("RGBA"))[..., :3]
    assert np.array_equal(COLOUR.open(BytesIO(data), convert=True).samples, expected)


def png_of_16_bit_colour():
    """Pillow cannot write one: an eight-bit grey of six times the width with another header."""
    data = file_of(pillow.fromarray(pixels_of(4, 24, 1)[..., 0]))
    header = b"IHDR" + struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize(
    "data, reason",
    [
        (file_of(pillow.new("I;16", (4, 4))), "8 bits"),
        (png_of_16_bit_colour(), "8 bits"),
        (file_of(pillow.new("I;16", (4, 4)), "TIFF"), "8 bits"),
        (file_of(pillow.new("F", (4, 4)), "TIFF"), "8 bits"),
        (file_of(pillow.new("CMYK", (4, 4)), "JPEG"), "CMYK"),
        (file_of(pillow.new("LAB", (4, 4)), "TIFF"), "LAB"),
        (
            file_of(pillow.new("L", (4, 4)), "TIFF", save_all=True, append_images=[pillow.new("L", (4, 4))]),
            "several",
        ),
        (file_of(pillow.new("L", (4, 4)), "GIF"), "not a PNG"),
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
    exif = pillow.Exif()
    exif[0x0112] = orientation
    data = file_of(pillow.fromarray(pixels_of(6, 9, 3)), kind, exif=exif)
    upright = ImageOps.exif_transpose(pillow.open(BytesIO(data)))
    assert np.array_equal(pixels_in(data), np.asarray(upright))
    assert pixels_in(data).shape == ((9, 6, 3) if orientation > 4 else (6, 9, 3))


RESOLUTION = {"dots_per_metre_x": 11811, "dots_per_metre_y": 2835}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_resolution_is_read_and_turned_with_the_image(kind, orientation):
    exif = pillow.Exif()
    exif[0x0112] = orientation
    data = file_of(pillow.fromarray(pixels_of(6, 9, 3)), kind, exif=exif, dpi=(300, 72))
    x, y = RESOLUTION.values()
    attributes = dict(zip(RESOLUTION, (y, x) if orientation == 6 else (x, y), strict=True))
    assert read_image(data)[1] == attributes
    content = COLOUR.open(BytesIO(data))
    file = BytesIO()
    COLOUR.write(content, file)
    assert COLOUR.open(file).attributes == content.attributes == attributes
    assert pillow.open(file).info["dpi"] == pytest.approx(
        (72, 300) if orientation == 6 else (300, 72), abs=0.02
    )


@pytest.mark.parametrize(
    "attributes",
    [{}, {"dots_per_metre_x": 1}, dict.fromkeys(RESOLUTION, 0), dict.fromkeys(RESOLUTION, 2**31)],
)
def test_a_resolution_that_makes_no_sense_is_none(attributes):
    file = BytesIO()
    GREY.write(Content.of(pixels_of(3, 4, 1), attributes), file)
    assert "dpi" not in pillow.open(file).info and GREY.open(file).attributes == {}


@pytest.mark.parametrize(
    "dpi", [(0, 72), (float("nan"),) * 2, (float("inf"),) * 2, (-1, -1), (1,), "ab", None, (1e9, 1)]
)
def test_hostile_resolutions(dpi):
    assert image_files._resolution(dpi, False) == {}


def test_size_is_bounded_before_decoding(monkeypatch):
    monkeypatch.setattr(image_files, "MAX_PIXELS", 109)
    with pytest.raises(ItemError, match="limit"):
        read_image(file_of(pillow.fromarray(pixels_of(10, 11, 3))))
    monkeypatch.undo()
    for sides in ((60000, 60000), (1 << 16 | 1, 1)):
        huge = b"BM" + bytes(8) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
        huge += b"".join(side.to_bytes(4, "little") for side in sides) + bytes([1, 0, 24, 0]) + bytes(24)
        with pytest.raises(ItemError, match="limit"):
            read_image(huge)
    with pytest.raises(ItemError, match="65536 a side"):
        GREY.fit(np.zeros((1, 65537, 1), np.uint8))


def test_a_file_is_bounded(monkeypatch):
    monkeypatch.setattr("latentpress.items.base.MAX_FILE_BYTES", 1 << 20)
    with pytest.raises(ItemError, match="more than 1 MiB"):
        GREY.open(BytesIO(bytes((1 << 20) + 1)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_truncated_files_are_errors(kind):
    data = file_of(pillow.fromarray(pixels_of(40, 40, 3)), kind)
    for length in range(0, len(data) * 9 // 10, len(data) // 30):
        with pytest.raises(ItemError):
            read_image(data[:length])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_damaged_files_give_pixels_or_an_item_error(kind):
    exif = pillow.Exif()
    exif[0x010E] = "text"
    data = file_of(pillow.fromarray(pixels_of(12, 12, 3)), kind, **({} if kind == "BMP" else {"exif": exif}))
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for place in random.integers(0, min(len(data), 600), 3):
            damaged[place] = random.integers(0, 256)
        try:
            assert pixels_in(bytes(damaged)).dtype == np.uint8
        except ItemError as error:
            assert "\n" not in str(error)


def test_an_image_of_which_only_a_part_is_there():
    data = file_of(pillow.fromarray(pixels_of(12, 12, 3)), "TIFF")
    tag = data.index(struct.pack("<HHII", 257, 4, 1, 12))  # the height
    with pytest.raises(ItemError, match="a part of it"):
        read_image(data[:tag] + struct.pack("<HHII", 257, 4, 1, 50_000) + data[tag + 12 :])


def test_pillows_complaints_are_not_printed():
    code = (
        "import sys; from latentpress.items.image_files import read_image, ItemError\n"
        "try: read_image(bytes.fromhex(sys.argv[1]))\n"
        "except ItemError as error: print(error)"
    )
    data = bytearray(file_of(pillow.fromarray(pixels_of(4, 4, 3)), "TIFF"))
    data[data.index(struct.pack("<HHI", 277, 3, 1)) + 8] = 200  # samples a pixel
    done = subprocess.run(
        [sys.executable, "-c", code, data.hex()], capture_output=True, text=True, check=True
    )
    assert done.stderr == "" and done.stdout.startswith("damaged")


def test_pillows_warnings_stay_inside_and_the_filters_as_they_were():
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x0f\x01\x02\0\xff\0\0\0\xff\0\0\0"  # points past its end
    data = file_of(pillow.new("RGB", (4, 4)), "JPEG", exif=exif)
    before = list(warnings.filters)
    with pytest.warns(UserWarning):
        pillow.open(BytesIO(data)).getexif()
    with ThreadPoolExecutor(4) as threads:
        shapes = {pixels.shape for pixels in threads.map(pixels_in, [data] * 50)}
    assert shapes == {(4, 4, 3)}
    assert warnings.filters == before


def test_images_are_known_by_their_suffix():
    def head(length):
        raise AssertionError("a look at the name is enough")

    assert COLOUR.takes("a/b.JPG", head) and COLOUR.takes("b.tiff", head)
    assert not COLOUR.takes("png", head) and not COLOUR.takes("a.jpg/b.txt", head)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_plane_is_nothing_but_its_edges(channels):
    rows, columns = np.mgrid[:6, :7]
    pixels = np.repeat((3 * rows + 2 * columns)[..., None], channels, axis=2).astype(np.uint8)
    residuals = Image(channels=channels).to_symbols(pixels, residual=True)
    assert not residuals[1:, 1:].any()
    assert not residuals[..., 1:].any()  # grey: no colour at all


def test_an_image_too_wide_is_no_webp():
    assert pack_webp(np.zeros((1, MAX_WEBP_SIDE + 1, 1), np.uint8)) is None


@pytest.mark.parametrize("size", [(11, 6), (6, 12), (16383, 16383)])
def test_webp_of_another_size_is_refused_before_it_is_decoded(size):
    packed = pack_webp(pixels_of(6, 11, 3))
    assert packed is not None
    with pytest.raises(ItemError, match="of this size"):
        unpack_webp(packed, (*size, 3))


def test_images_beyond_pillows_own_bound_are_read(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 10)
    packed = image_files.pack_webp(pixels)
    assert np.array_equal(image_files.unpack_webp(packed, pixels.shape), pixels)
    assert pillow.MAX_IMAGE_PIXELS == 10
    monkeypatch.setattr(image_files, "MAX_PIXELS", 71)
    with pytest.raises(ItemError, match="more than the limit"):
        image_files.unpack_webp(packed, pixels.shape)
