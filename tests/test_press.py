import functools
import io
import os
import runpy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.autoregressive import CausalNetwork, Conditioning, IntegerNetwork, streams
from latentpress.cli import main
from latentpress.coding import Archive, Mode
from latentpress.config import CausalConfig, CodebookConfig, ConvConfig, VQVAEConfig
from latentpress.data.sources import ItemRef, Skipped, Source
from latentpress.errors import ArchiveError, ItemError, LatentpressError, UnsafePathError, WrongModelError
from latentpress.items.image import read_image, write_png
from latentpress.press import (
    compress,
    decode_archive,
    decompress,
    encode_archive,
    inspect_archive,
    verify_archive,
)

HERE = Path(__file__).parent
READER = runpy.run_path(str(HERE / "lpz_reader.py"))["Reader"]


@functools.cache
def chain_prior(partitions=1, classes=0, slope=0.25):
    """A prior that expects every code to be the one before it in its row plus 1, by weights that are set."""
    size = 32 * partitions
    config = CausalConfig(width=size, depth=1, radius=1, dilations=(1,), embedding=size, head_width=32)
    network = CausalNetwork(config, (32,) * partitions, 2, num_classes=classes)
    distance = (torch.arange(32)[:, None] - torch.arange(32) - 1) % 32
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.input.weight[:, -size:] = torch.eye(size)  # the last tap: the position before
        for p, (embedding, head) in enumerate(zip(network.embeddings, network.heads, strict=True)):
            embedding.weight.copy_(torch.eye(32))
            head.hidden.weight[:, 32 * p : 32 * (p + 1)] = torch.eye(32)
            head.logits.weight.copy_(-slope * distance)
        if classes:
            network.input.context.classes.weight[:, 0] = 0.1 * torch.arange(classes + 1)
    codes = torch.randint(32, (4, 8, 8, partitions), generator=torch.Generator().manual_seed(0))
    return IntegerNetwork.convert(network, codes)


@dataclass
class BlockMeans:
    """A codec in integers: a code is the sum over a block of a channel, modulo the codebook's size."""

    partitions: int = 1
    labels: tuple[str, ...] = ()
    exact_prior: IntegerNetwork | None = None
    codebook_id: bytes = b"block-means-0001"
    draws: bool = False
    encoded: list = field(default_factory=list)

    @property
    def config(self):
        return VQVAEConfig(
            latents=CodebookConfig(codebook_size=32, num_codebooks=self.partitions),
            encoder=ConvConfig(strides=(4,), depths=(0,)),
            decoder=ConvConfig(strides=(4,), depths=(0,)),
            prior=CausalConfig(class_conditional=bool(self.labels)),
            labels=self.labels,
        )

    @property
    def sizes(self):
        return (32,) * self.partitions

    @property
    def hop(self):
        return (4, 4)

    @property
    def num_classes(self):
        return len(self.labels)

    @property
    def prior_id(self):
        return self.exact_prior.id if self.exact_prior else bytes(16)

    def encode(self, pixels):
        self.encoded.append(pixels.shape)
        height, width = pixels.shape[1:3]
        padded = np.pad(pixels.astype(np.int64), ((0, 0), (0, -height % 4), (0, -width % 4), (0, 0)), "edge")
        sums = padded.reshape(len(pixels), -(-height // 4), 4, -(-width // 4), 4, 3).sum(axis=(2, 4))
        return torch.from_numpy(sums[..., : self.partitions] // 16 % 32)

    def decode(self, codes, size):
        big = np.asarray(codes)[..., :1].repeat(4, axis=1).repeat(4, axis=2)[:, : size[0], : size[1]]
        return np.repeat(big * 8, 3, axis=-1).astype(np.uint8)


def codec(partitions=1, labels=(), prior=True):
    return BlockMeans(partitions, labels, chain_prior(partitions, len(labels)) if prior else None)


def picture(number, height=32, width=32):
    """An image whose codes mostly count upwards, as the prior has it."""
    rows, columns = np.mgrid[:height, :width]
    count = rows // 4 * -(-width // 4) + columns // 4 + number
    noise = (rows // 4 * 7 + columns // 4 * 5 + number) % 11 == 0
    values = (count + noise * 3) % 32
    return np.stack([values, values + 1, values + 2], axis=-1).astype(np.uint8)


def pictures():
    images = {f"set/{i:03d}.jpg": picture(i) for i in range(150)}
    return images | {"odd.png": picture(5, 13, 57), "dot.png": picture(9, 1, 1)}


def with_a_large_one():
    return {"big.tif": picture(0, 260, 257)} | pictures()  # 65 x 65 positions: two bands


def mixed():
    """Images whose codes are even, constant, or skewed and few: each calls for another mode."""
    drawn = np.arange(1 << 13) * 2654435761 >> 13
    skewed = drawn & drawn >> 5 & drawn >> 10 & 31
    grids = [*(drawn[:1024] % 32).reshape(16, 8, 8), *np.full((20, 7, 7), 31)]
    grids += [skewed[200 * i : 205 * i].reshape(5, i) for i in range(9, 40)]
    large = [grid.astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1) for grid in grids]
    return {f"{i}.png": np.repeat(grid[..., None], 3, axis=-1) for i, grid in enumerate(large)}


def source(images, label=lambda name: None):
    return Source(tuple(ItemRef(name, label(name), lambda p=p: p) for name, p in images.items()))


def codes_of(model, pixels):
    return model.encode(pixels[None]).numpy()[0]


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("prior", [True, False])
def test_restoring_gives_what_the_codec_gives(partitions, prior):
    model = codec(partitions, prior=prior)
    images = with_a_large_one()
    data = encode_archive(model, images)
    restored = dict(decode_archive(data, model))
    assert restored.keys() == images.keys()
    for name, pixels in images.items():
        expected = model.decode(codes_of(model, pixels)[None], size=pixels.shape[:2])[0]
        assert np.array_equal(restored[name], expected)


class LanesOfChain:
    """The chain prior as the format page's reader asks for it."""

    prior: IntegerNetwork

    def __init__(self, shape, lanes):
        self.state = self.prior.start(lanes, shape, Conditioning(labels=torch.tensor([-1] * lanes)))

    def logits(self):
        return self.prior.member_logits(self.state).tolist()

    def push(self, symbols):
        self.prior.push(self.state, torch.tensor(symbols))


@pytest.mark.parametrize(
    ("model", "images", "modes"),
    [
        (codec(2), {f"{i}.png": picture(i) for i in range(40)}, {Mode.PRIOR}),
        (codec(1), {"big.tif": picture(0, 260, 257), "odd.png": picture(5, 13, 57)}, {Mode.PRIOR}),
        (codec(prior=False), mixed(), {Mode.RAW, Mode.STATIC, Mode.ADAPTIVE}),
    ],
)
def test_a_reader_made_from_the_format_page_reads_the_same_codes(model, images, modes):
    data = encode_archive(model, images, verify=False)
    assert set(Archive(io.BytesIO(data)).modes) == modes
    prior = type("Lanes", (LanesOfChain,), {"prior": model.exact_prior})
    codes = READER(data).codes(prior)
    for name, pixels in images.items():
        expected = codes_of(model, pixels).reshape(-1, model.partitions)
        assert codes[name] == [tuple(row) for row in expected.tolist()]


def test_the_summary_adds_up():
    model, out = codec(), io.BytesIO()
    summary = compress(model, source(pictures()), out)
    assert summary.archive_bytes == len(out.getvalue())
    assert summary.dims == sum(pixels.size for pixels in pictures().values())
    assert summary.symbols == sum(codes_of(model, pixels).size for pixels in pictures().values())
    assert summary.model_bits < 8 * summary.archive_bytes < summary.model_bits * 1.2
    assert summary.bits_per_dim == 8 * summary.archive_bytes / summary.dims
    checked = verify_archive(out.getvalue(), model)
    assert (checked.items, checked.dims, checked.symbols) == (summary.items, summary.dims, summary.symbols)


def test_an_archive_is_never_much_larger_than_raw_codes():
    noise = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    images = {str(number): pixels for number, pixels in enumerate(noise)}
    info = inspect_archive(encode_archive(codec(), images))
    raw = 200 * 64 * 5 / 8
    assert sum(use.bytes for use in info.modes) <= raw and info.framing_bytes < 700


def test_a_prior_that_does_not_repeat_itself_is_not_used(monkeypatch):
    decode, other = streams.decode, chain_prior(slope=0.2)
    monkeypatch.setattr(streams, "decode", lambda exact, coded: decode(other, coded))  # a broken machine
    broken = codec()
    data = encode_archive(broken, pictures())
    assert Mode.PRIOR not in Archive(io.BytesIO(data)).modes
    assert len(list(decode_archive(data, broken))) == len(pictures())
    unproven = encode_archive(broken, pictures(), verify=False)
    with pytest.raises(ArchiveError, match=r"other symbols|damaged"):
        list(decode_archive(unproven, broken))


def test_labels_condition_the_prior():
    model = codec(labels=("cat", "dog"))
    out = io.BytesIO()
    label = {"set/000.jpg": "dog", "set/001.jpg": "cat"}.get
    compress(model, source(pictures(), label), out)
    archive = Archive(out)
    assert [item.label for item in archive.items[:3]] == [1, 0, None]
    assert dict(decode_archive(out.getvalue(), model)).keys() == pictures().keys()


def test_items_go_through_the_codec_in_batches_of_one_size():
    model = codec()
    encode_archive(model, pictures(), verify=False)
    assert sorted(shape[0] for shape in model.encoded) == [1, 1, 150]


def test_with_the_real_prior():
    torch.manual_seed(0)
    model = codec(2, prior=False)
    network = CausalNetwork(CausalConfig(width=8, depth=1, radius=2), sizes=(32, 32), dims=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.exact_prior = IntegerNetwork.convert(
        network, model.encode(np.stack([picture(i) for i in range(8)]))
    )
    images = {f"{i}.png": picture(i, 20, 24) for i in range(3)}
    out = io.BytesIO()
    summary = compress(model, source(images), out)
    assert summary.model_bits > 0
    codes = {name: codes_of(model, pixels) for name, pixels in images.items()}
    for name, pixels in decode_archive(out.getvalue(), model):
        assert np.array_equal(pixels, model.decode(codes[name][None], size=(20, 24))[0])


# Files


def test_files_come_back_as_png(tmp_path):
    model, archive = codec(prior=False), tmp_path / "x.lpz"
    compress(model, source(pictures()), archive)
    summary = decompress(archive, model, tmp_path / "out")
    assert summary.items == len(pictures())
    expected = dict(decode_archive(archive, model))
    for name, pixels in expected.items():
        path = (tmp_path / "out" / name).with_suffix(".png")
        assert np.array_equal(read_image(path.read_bytes(), channels=3), pixels)
    assert sum(path.is_file() for path in (tmp_path / "out").rglob("*")) == len(pictures())


def test_one_item_alone(tmp_path):
    model = codec(prior=False)
    data = bytearray(encode_archive(model, with_a_large_one()))
    first = next(n for n, block in enumerate(Archive(io.BytesIO(data)).layout) if block.shape == (8, 8))
    lengths = Archive(io.BytesIO(data)).lengths
    data[data.index(b"DATA") + 12 + lengths[:first].sum()] ^= 1  # the first items of the set
    assert decompress(bytes(data), model, tmp_path, only="big.tif").items == 1
    assert [path.name for path in tmp_path.iterdir()] == ["big.png"]
    with pytest.raises(ArchiveError, match=r"block \d+ .set/000"):
        decompress(bytes(data), model, tmp_path, only=["set/000.jpg"])
    folder = encode_archive(model, pictures())
    assert decompress(folder, model, tmp_path, only="set/").items == 150
    with pytest.raises(ArchiveError, match="no item 'nothing'"):
        decompress(folder, model, tmp_path, only=["dot.png", "nothing"])


def test_streams(tmp_path):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    model, out = codec(prior=False), io.BytesIO()
    data = encode_archive(model, pictures())
    decompress(Pipe(data), model, out, only="dot.png")
    assert read_image(out.getvalue()).shape[:2] == (1, 1)
    with pytest.raises(ArchiveError, match="name one"):
        decompress(data, model, out)


def test_nothing_is_overwritten_unasked(tmp_path):
    model, archive = codec(prior=False), tmp_path / "x.lpz"
    archive.write_bytes(b"mine")
    (tmp_path / "dot.png").write_bytes(b"mine")
    with pytest.raises(LatentpressError, match="exists"):
        compress(model, source(pictures()), archive)
    data = encode_archive(model, pictures())
    with pytest.raises(LatentpressError, match="exists"):
        decompress(data, model, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["dot.png", "x.lpz"]
    assert archive.read_bytes() == (tmp_path / "dot.png").read_bytes() == b"mine"
    compress(model, source(pictures()), archive, overwrite=True)
    decompress(archive, model, tmp_path, overwrite=True)
    assert (tmp_path / "dot.png").read_bytes() != b"mine"


def test_a_damaged_item_leaves_nothing(tmp_path):
    def fail():
        raise ItemError("b.png: truncated")

    items = (ItemRef("a.png", None, lambda: picture(0)), ItemRef("b.png", None, fail))
    with pytest.raises(ItemError, match=r"b\.png: truncated"):
        compress(codec(prior=False), Source(items), tmp_path / "x.lpz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "NUL.png", "a\\b.png"])
def test_hostile_names_are_neither_pressed_nor_restored(name, tmp_path, monkeypatch):
    with pytest.raises(UnsafePathError):
        encode_archive(codec(prior=False), {name: picture(0)})
    monkeypatch.setattr("latentpress.press.compressing.check_name", lambda name: None)
    data = encode_archive(codec(prior=False), {"good.png": picture(1), name: picture(0)})
    with pytest.raises(UnsafePathError):
        decompress(data, codec(prior=False), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_no_link_is_followed(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "set").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "dot.png").symlink_to(tmp_path / "target")
    data = encode_archive(codec(prior=False), pictures())
    with pytest.raises(UnsafePathError, match="is a link"):
        decompress(data, codec(prior=False), tmp_path / "out", only="set")
    decompress(data, codec(prior=False), tmp_path / "out", only="dot.png", overwrite=True)
    assert not (tmp_path / "target").exists() and not list((tmp_path / "elsewhere").iterdir())


def test_two_items_of_one_name_are_refused():
    twice = Source(source({"a.png": picture(0)}).items * 2)
    with pytest.raises(ItemError, match="same name"):
        compress(codec(prior=False), twice, io.BytesIO())


def test_an_image_is_never_left_out_silently():
    left_out = replace(source(pictures()), skipped=(Skipped("'../up.PNG'", "unsafe name"),))
    with pytest.raises(ItemError, match=r"up\.PNG' would be left out .unsafe name.; rename"):
        compress(codec(prior=False), left_out, io.BytesIO())


@pytest.mark.parametrize("others", [2, 6])
def test_other_files_are_left_out_aloud(others, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("latentpress.model.load", lambda *_: codec(prior=False))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(write_png(picture(0)))
    for number in range(others):
        (tmp_path / "in" / f"{number}.txt").touch()
    archive = str(tmp_path / "x.lpz")
    assert main(["compress", str(tmp_path / "in"), "-m", str(tmp_path), "-o", archive]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(lines) == 2 if others == 2 else lines == ["left out 6 files that are not images"]
    assert main(["inspect", archive]) == 0
    assert "prior       (none needed)" in capsys.readouterr().out


def test_what_could_not_be_restored_is_not_pressed():
    with pytest.raises(UnsafePathError, match="255 bytes"):
        encode_archive(codec(prior=False), {"x" * 254: picture(0)})
    with pytest.raises(ItemError, match="a side has more"):
        encode_archive(codec(prior=False), {"long.png": np.zeros((1, 65537, 3), np.uint8)})


# Wrong models and hostile archives


def test_the_wrong_model_is_told_which_is_needed():
    out = io.BytesIO()
    compress(codec(), source(pictures()), out, model_name="faces")
    other = replace(codec(), codebook_id=b"another-codebook")
    with pytest.raises(WrongModelError, match=f"'faces' with codebook {b'block-means-0001'.hex()}"):
        verify_archive(out, other)
    other = replace(codec(), exact_prior=chain_prior(slope=0.2))
    with pytest.raises(WrongModelError, match=f"with prior {chain_prior().id.hex()}"):
        verify_archive(out, other)
    assert inspect_archive(out).header.model == "faces"


def test_without_the_prior_mode_any_prior_will_do():
    data = encode_archive(codec(prior=False), pictures())
    assert verify_archive(data, codec()).items == len(pictures())


SMALL = {name: pixels for name, pixels in pictures().items() if name in ("set/000.jpg", "odd.png")}
SMALL_DATA = encode_archive(codec(), SMALL)
SMALL_ITEMS = dict(decode_archive(SMALL_DATA, codec()))


def expect_same_or_error(data):
    try:
        items = dict(decode_archive(data, codec()))
    except LatentpressError:
        return
    assert items.keys() == SMALL_ITEMS.keys()
    assert all(np.array_equal(items[name], SMALL_ITEMS[name]) for name in items)


def test_any_flipped_bit_is_noticed():
    for position in range(len(SMALL_DATA)):
        damaged = bytearray(SMALL_DATA)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(LatentpressError):
            list(decode_archive(bytes(damaged), codec()))


@given(st.integers(0, len(SMALL_DATA)), st.integers(0, len(SMALL_DATA)), st.binary(max_size=20))
@settings(deadline=None)
def test_splices_give_the_same_items_or_one_error(start, stop, middle):
    expect_same_or_error(SMALL_DATA[:start] + middle + SMALL_DATA[stop:])


# Golden archives: what earlier releases wrote


GOLDEN = {
    "prior.lpz": (codec(2, labels=("cat", "dog")), pictures),
    "stored.lpz": (codec(prior=False), mixed),
}


def press_golden(name):
    model, images = GOLDEN[name]
    out = io.BytesIO()
    compress(model, source(images(), {"set/000.jpg": "dog"}.get), out, model_name="golden", verify=False)
    return out.getvalue()


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_archives_are_read_and_written_as_ever(name):
    model, images = GOLDEN[name]
    golden = (HERE / "golden" / name).read_bytes()
    restored = dict(decode_archive(golden, model))
    for item, pixels in images().items():
        expected = model.decode(codes_of(model, pixels)[None], size=pixels.shape[:2])[0]
        assert np.array_equal(restored[item], expected)
    old, new = Archive(io.BytesIO(golden)), Archive(io.BytesIO(press_golden(name)))
    assert (old.header, old.items, old.modes) == (new.header, new.items, new.modes)
    for number in range(len(old.layout)):
        assert old.payload(number) == new.payload(number)


def test_progress_counts_up_to_the_end():
    calls = []
    compress(codec(), source(pictures()), io.BytesIO(), progress=lambda *call: calls.append(call))
    assert {call[0] for call in calls} - {"compile"} == {"encode", "code", "verify"}
    assert all(done <= total for _, done, total in calls)
    last = {stage: (done, total) for stage, done, total in calls}
    assert all(done == total for done, total in last.values())
