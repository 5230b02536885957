"""Forms of items in an archive: codes or samples, the fallback codec's, or the files that they were."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from latentpress.coding import Archive, Mode, Part
from latentpress.data import ItemRef, Source, open_sources
from latentpress.errors import ArchiveError, ItemError
from latentpress.items import Image
from latentpress.items.base import Content, Samples
from latentpress.items.jpeg import pack_jpeg, unpack_jpeg
from latentpress.model import Model
from latentpress.press import compress, decode_archive, decompress, verify_archive
from small.archives import codec, expected_samples, noise_samples
from small.forging import forged
from small.models import small_model
from small.toy import Toy

MAKERS = {"lossy": {}, "lossless": {"lossless": True}}


@pytest.fixture(scope="module")
def images() -> Model:
    return codec("vq", "colour")


def image_file(pixels: Samples, codec: str, **options: object) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, codec, **options)
    return file.getvalue()


def photograph(height: int = 120, width: int = 160, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    waves = np.sin(np.add.outer(np.arange(height) / 5, np.arange(width) / 7))[..., None]
    return (127 + 60 * waves + rng.normal(0, 12, (height, width, 3))).clip(0, 255).astype(np.uint8)


def pressed(model: Model, folder: Path, **options: bool) -> tuple[bytes, Archive, object]:
    file = io.BytesIO()
    summary = compress(model, [folder], file, **options)
    return file.getvalue(), Archive(io.BytesIO(file.getvalue())), summary


def written(folder: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return files


def restored(data: bytes, model: Model, out: Path) -> dict[str, bytes]:
    decompress(data, model, out)
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.mark.parametrize("way", MAKERS)
def test_what_the_kind_cannot_take_comes_back_to_the_byte(images: Model, way: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    good = expected_samples(images, (8, 6))
    pages = [PIL.Image.fromarray(good), PIL.Image.fromarray(255 - good)]
    several = io.BytesIO()
    pages[0].save(several, "TIFF", save_all=True, append_images=pages[1:])
    cut = image_file(good, "PNG")[:-30]
    odd = {
        "alpha.png": image_file(rng.integers(0, 256, (7, 5, 4), dtype=np.uint8), "PNG"),
        "deep.png": image_file(rng.integers(0, 65536, (7, 5, 1), dtype=np.uint16), "PNG"),
        "several.tif": several.getvalue(),
        "cut.png": cut,
        "below/cut again.png": cut,
        "a text.jpg": b"no picture at all",
        "empty.png": b"",
    }
    written(tmp_path / "in", {**odd, "good.png": image_file(good, "PNG")})
    data, archive, summary = pressed(images, tmp_path / "in", **MAKERS[way])
    assert set(summary.kept) == set(odd) and "alpha" in summary.kept["alpha.png"]
    assert "several pictures" in summary.kept["several.tif"] and "8 bits" in summary.kept["deep.png"]
    kept = {archive.items[number].name for number in archive.stored.files}
    assert kept == set(odd) - {"cut.png"} and summary.duplicates == 1
    assert verify_archive(data, images).files == len(kept)
    out = restored(data, images, tmp_path / "out")
    assert {name: out[name] for name in odd} == odd and set(out) == {*odd, "good.png"}
    with pytest.raises(ItemError, match=r"a text\.jpg: not a PNG"):
        list(decode_archive(data, images))


def test_the_smallest_form_wins(images: Model, tmp_path: Path) -> None:
    files = written(
        tmp_path / "in",
        {
            "photo.jpg": image_file(photograph(), "JPEG", quality=85),
            "plain.png": image_file(np.full((64, 64, 3), 9, np.uint8), "PNG"),
            "noise.png": image_file(noise_samples(images.item, (30, 30)), "PNG"),
            "padded.bmp": image_file(expected_samples(images, (8, 6)), "BMP"),
        },
    )
    data, archive, summary = pressed(images, tmp_path / "in", lossless=True)
    names = [item.name for item in archive.items]
    forms = {
        names[block.lanes[0].item]: (block.part, mode)
        for block, mode in zip(archive.layout, archive.modes, strict=True)
    }
    assert forms["photo.jpg"] == (Part.FILE, Mode.PACKED) and summary.files == 1
    assert forms["plain.png"][0] is not Part.FILE and forms["padded.bmp"][0] is not Part.FILE
    by_item = [sum(archive.lengths[n] for n in blocks) for blocks in archive.blocks_of]
    assert all(size <= len(files[name]) for name, size in zip(names, by_item, strict=True))
    out = restored(data, images, tmp_path / "out")
    assert out["photo.jpg"] == files["photo.jpg"] and set(out) == {
        "photo.jpg",
        "plain.png",
        "noise.png",
        "padded.png",
    }
    pixels = {name: images.item.open(io.BytesIO(file)).samples for name, file in files.items()}
    for name, samples in decode_archive(data, images):
        np.testing.assert_array_equal(samples, pixels[name])


def test_a_lossy_archive_is_no_larger_than_its_files(images: Model, tmp_path: Path) -> None:
    tiny = image_file(np.zeros((1, 1, 3), np.uint8), "WEBP", lossless=True)
    files = written(tmp_path / "in", {f"{n}.webp": tiny + bytes([n]) for n in range(3)})
    _, archive, _ = pressed(images, tmp_path / "in")
    assert sum(archive.lengths) <= sum(map(len, files.values()))


def test_files_that_no_extra_can_pack_are_stored_as_they_are(
    images: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = written(tmp_path / "in", {"photo.jpg": image_file(photograph(), "JPEG", quality=60)})
    data, _, _ = pressed(images, tmp_path / "in", lossless=True)
    monkeypatch.setattr("latentpress.items.jpeg.find_spec", lambda name: None)
    plain, archive, summary = pressed(images, tmp_path / "in", lossless=True)
    assert archive.modes == [Mode.RAW] and summary.files == 1
    assert len(plain) - sum(archive.lengths) < 600
    assert restored(plain, images, tmp_path / "out") == files
    with pytest.raises(Exception, match=r"latentpress\[jxl\]"):
        decompress(data, images, tmp_path / "none")


@pytest.mark.parametrize("codec", ["JPEG", "WEBP"])
def test_what_a_lossy_codec_made_is_not_coded_again(
    images: Model, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentpress.items.jpeg.find_spec", lambda name: None)
    monkeypatch.setattr("latentpress.press.writing._LARGE", 120 * 160)
    files = {"photo.x.jpg": image_file(photograph(), codec, quality=60)}
    files |= {"smaller.jpg": image_file(np.zeros((119, 160, 3), np.uint8), codec, quality=1)}
    written(tmp_path / "in", files)
    _, archive, _ = pressed(images, tmp_path / "in", lossless=True)
    assert archive.stored.files == {0: len(files["photo.x.jpg"])}


def test_equal_files_are_stored_once_and_equal_pixels_are_not(images: Model, tmp_path: Path) -> None:
    photo = image_file(photograph(), "JPEG", quality=85)
    noted = image_file(photograph(), "JPEG", quality=85, comment=b"taken at noon")
    files = written(tmp_path / "in", {"a.jpg": photo, "b.jpg": photo, "c.jpg": noted})
    data, archive, summary = pressed(images, tmp_path / "in", lossless=True)
    assert summary.duplicates == 1 and sorted(archive.stored.files) == [0, 2]
    assert restored(data, images, tmp_path / "out") == files


def test_of_other_kinds_too(tmp_path: Path) -> None:
    toy = Toy(size=(6, 4, 4))
    model = small_model("vq-both", toy)
    file = io.BytesIO()
    toy.write(Content.of(np.full((40, 4, 4, 1), 3, np.uint16), {"ticks_per_second": 9}), file)
    files = written(tmp_path / "in", {"flat.toy": file.getvalue(), "broken.toy": b"TOY1"})
    data, archive, summary = pressed(model, tmp_path / "in", lossless=True)
    assert dict(summary.kept) == {"broken.toy": "damaged toy: no header"} and 0 in archive.stored.files
    assert restored(data, model, tmp_path / "out") == files


def test_a_file_in_several_bands(images: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentpress.coding.records.FILE_SEGMENT", 100)
    monkeypatch.setattr("latentpress.press.reading.HELD_SAMPLES", 150)
    monkeypatch.setattr("latentpress.press.restoring.HELD_SAMPLES", 150)
    files = written(
        tmp_path / "in", {"long.png": bytes(range(256)) * 4, "photo.jpg": image_file(photograph(), "JPEG")}
    )
    data, archive, _ = pressed(images, tmp_path / "in", lossless=True)
    assert {
        mode for block, mode in zip(archive.layout, archive.modes, strict=True) if block.part is Part.FILE
    } == {Mode.RAW}
    assert restored(data, images, tmp_path / "out") == files


@pytest.mark.parametrize("name", ["odd.png", "photo.jpg"])
def test_a_file_that_changes_on_the_way_leaves_nothing(images: Model, name: str, tmp_path: Path) -> None:
    data = {"odd.png": b"no picture", "photo.jpg": image_file(photograph(), "JPEG", quality=85)}[name]
    written(tmp_path / "in", {name: data})
    source = open_sources([tmp_path / "in"], images.item)
    (ref,) = source.items
    assert ref.file is not None
    opened = []

    def changing() -> io.BytesIO:
        opened.append(name)
        return io.BytesIO(data if len(opened) == 1 else data[:-1] + b"!")

    changed = ItemRef(ref.name, ref.labels, ref.open, ref.file_bytes, changing)
    with pytest.raises(ItemError, match="the file changed while it was being compressed"):
        compress(images, Source(images.item, (changed,)), tmp_path / "x.lpz", lossless=True)
    assert not (tmp_path / "x.lpz").exists() and len(opened) > 1


@pytest.mark.parametrize("held", [1 << 24, 50])
def test_samples_that_change_on_the_way_leave_nothing(
    images: Model, held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same extents, which nothing but their content tells apart."""
    monkeypatch.setattr("latentpress.press.reading.HELD_SAMPLES", held)
    opened = []

    def changing() -> Content:
        opened.append(1)
        return Content.of(expected_samples(images, (9, 9), seed=len(opened)))

    others = [
        ItemRef.of(f"{n}.png", noise_samples(images.item, (2000 if held > 50 else 9, 9))) for n in range(2)
    ]
    monkeypatch.setattr("latentpress.press.reading.HELD_SAMPLES", min(held, 20000))
    refs = (ItemRef("b.png", {}, changing), *others)
    with pytest.raises(ItemError, match=r"b\.png: the file changed"):
        compress(images, Source(images.item, refs), tmp_path / "x.lpz", lossless=True)
    assert not list(tmp_path.iterdir()) and len(opened) > 1


def test_hostile_packed_files_give_one_error(images: Model, tmp_path: Path) -> None:
    photo = image_file(photograph(), "JPEG", quality=85)
    written(tmp_path / "in", {"photo.jpg": photo})
    data, archive, _ = pressed(images, tmp_path / "in", lossless=True)
    assert archive.modes == [Mode.PACKED]
    other = pack_jpeg(image_file(photograph(120, 161), "JPEG"))
    cousin = pack_jpeg(image_file(photograph(seed=5), "JPEG"))
    assert other is not None and cousin is not None
    payload = archive.payload(0)
    for hostile in (other, cousin, payload[:-40], payload[:20], b"\xff\x0a", photo, b"x" * 100):
        with pytest.raises(ArchiveError):
            decompress(forged(data, payloads={0: hostile}), images, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.jpg"))


@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (3, 200), (33, 77), (513, 64), (96, 128), (108, 192), (64, 128)]
)
def test_a_packed_jpeg_tells_its_size(size: tuple[int, int]) -> None:
    for file in (
        image_file(photograph(*size), "JPEG", quality=90, progressive=True),
        image_file(photograph(*size)[..., :1], "JPEG", quality=50),
    ):
        packed = pack_jpeg(file)
        if packed is None:  # libjxl finds some too small
            assert min(size) < 8 or size == (8, 8)
            continue
        assert unpack_jpeg(packed, (*size, 3)) == file == unpack_jpeg(packed, (*size[::-1], 3))
        with pytest.raises(ItemError, match="of this size"):
            unpack_jpeg(packed, (size[0] + 1, size[1], 3))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_keeps_its_mode(mode: str, channels: int) -> None:
    picture = PIL.Image.fromarray(photograph(20, 30)).convert("RGB")
    picture = picture.quantize(17) if mode == "P" else picture.convert(mode)
    file, again = io.BytesIO(), io.BytesIO()
    picture.save(file, "PNG")
    item = Image(channels=channels)
    if channels == 1 and mode in ("P", "RGB"):
        with pytest.raises(ItemError, match="has colour"):
            item.open(file)
        return
    content = item.open(file)
    item.write(content, again)
    with PIL.Image.open(again) as written_again:
        assert written_again.mode == mode
        np.testing.assert_array_equal(
            np.array(written_again.convert("RGB")), np.array(picture.convert("RGB"))
        )
    changed = Content.of(content.samples ^ 1, content.attributes)  # as after a lossy codec
    item.write(changed, io.BytesIO())


def test_grey_pixels_in_three_channels_come_back_so_from_a_grey_model() -> None:
    file, again = io.BytesIO(image_file(np.repeat(photograph()[..., :1], 3, axis=-1), "PNG")), io.BytesIO()
    item = Image(channels=1)
    item.write(item.open(file), again)
    with PIL.Image.open(again) as restored_again:
        assert restored_again.mode == "RGB"
    colour = io.BytesIO(image_file(photograph(), "PNG"))
    assert (
        "channels" not in item.open(colour, convert=True).attributes
    )  # it is grey since somebody asked for it


def test_grey_files_come_back_grey_from_a_colour_model(images: Model, tmp_path: Path) -> None:
    grey = photograph(24, 24)[..., :1]
    written(
        tmp_path / "in", {"grey.png": image_file(grey, "PNG"), "colour.png": image_file(photograph(), "PNG")}
    )
    for number, way in enumerate(MAKERS.values()):
        data, _, _ = pressed(images, tmp_path / "in", **way)
        out = restored(data, images, tmp_path / f"out{number}")
        with PIL.Image.open(io.BytesIO(out["grey.png"])) as again:
            assert again.mode == "L"
            if way:
                np.testing.assert_array_equal(np.array(again), grey[..., 0])
