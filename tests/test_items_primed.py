"""Codecs that know training texts: what they write is decodable by who knows these too, and smaller."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentpress.data import array_source
from latentpress.errors import ConfigError
from latentpress.evaluate import evaluate
from latentpress.evaluate.comparison import choose, compare_lossless
from latentpress.items import Content, Image, Text, text_codecs
from latentpress.items.text_codecs import PPMD_MEMORY, PPMD_ORDER, WINDOW_LOG, primer, zstd_dictionary
from small.items import samples_of
from small.models import small_model
from small.toy import Toy

WORDS = (
    "codec",
    "learns",
    "what",
    "comes",
    "after",
    "these",
    "words",
    "from",
    "texts",
    "seen",
    "before it\n",
)
TEXTS = st.lists(st.binary(max_size=300), min_size=1, max_size=4)


def prose(seed, words=900):
    return " ".join(np.random.default_rng(seed).choice(WORDS, words)).encode()


def samples(text):
    return np.frombuffer(text, np.uint8)[:, None]


def contents(texts):
    return lambda: (Content.of(samples(text)) for text in texts)


def baselines(texts, count=1):
    return Text().primed_baselines(contents(texts), count)


def decode_zstd(dictionary, data):
    zstandard = pytest.importorskip("zstandard")
    decoder = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=1 << WINDOW_LOG)
    return decoder.decompress(data)


def decode_dictionary(known, data):
    zstandard = pytest.importorskip("zstandard")
    there = zstd_dictionary(known)
    return decode_zstd(zstandard.ZstdCompressionDict(there.as_bytes()), data)


def decode_raw(known, data):
    zstandard = pytest.importorskip("zstandard")
    return decode_zstd(zstandard.ZstdCompressionDict(known, dict_type=zstandard.DICT_TYPE_RAWCONTENT), data)


def decode_ppmd(known, data):
    """A decoder makes the bytes before those of the file anew from the training texts."""
    pyppmd = pytest.importorskip("pyppmd")
    before = pyppmd.Ppmd7Encoder(PPMD_ORDER, PPMD_MEMORY).encode(known)
    length, decoder = int.from_bytes(data[:6], "little"), pyppmd.Ppmd7Decoder(PPMD_ORDER, PPMD_MEMORY)
    text = decoder.decode(before + data[6:], len(known) + length)
    assert text[: len(known)] == known
    return text[len(known) :]


DECODERS = {
    "zstd -19": lambda _, data: decode_raw(b"", data),
    f"ppmd o{PPMD_ORDER}": lambda _, data: decode_ppmd(b"", data),
    "zstd -19 dictionary": decode_dictionary,
    "zstd -19 primed": decode_raw,
    f"ppmd o{PPMD_ORDER} primed": decode_ppmd,
}
every_decoder = pytest.mark.parametrize("name", DECODERS)


def of_name(name, training, count=1):
    pytest.importorskip("zstandard" if name.startswith("zstd") else "pyppmd")
    return choose((*Text().lossless_baselines(), *baselines(training, count)), [name])[0]


@every_decoder
def test_prose_comes_back_from_who_knows_the_training_texts(name):
    training = [prose(seed, 4000) for seed in range(5)]
    baseline = of_name(name, training)
    for text in (prose(9), training[2][500:700], b"a", b""):
        assert DECODERS[name](b"".join(training), baseline.pack(samples(text))) == text


@every_decoder
@settings(max_examples=25)
@given(training=TEXTS.filter(any), text=st.binary(max_size=400))
def test_any_bytes_come_back(name, training, text):
    assert DECODERS[name](b"".join(training), of_name(name, training).pack(samples(text))) == text


def test_what_resembles_the_training_texts_is_packed_smaller():
    plain = {each.name: each for each in Text().lossless_baselines()}
    training = [prose(seed, 4000) for seed in range(5)]
    near, far = samples(prose(7, 60)), samples(np.random.default_rng(0).bytes(300))
    assert baselines(training)
    for each in baselines(training):
        alone = next(plain[name] for name in plain if each.name.startswith(name))
        assert len(each.pack(near)) < 0.8 * len(alone.pack(near)), each.name
        assert len(each.pack(far)) >= 300, each.name


def test_training_bytes_are_said_and_not_counted():
    pytest.importorskip("pyppmd")
    training = [prose(0, 500), prose(1, 500)]
    texts = [samples(prose(seed, 50)) for seed in (2, 3)]
    every = (*Text().lossless_baselines(), *baselines(training))
    found = compare_lossless(Text(), every, lambda: texts, lambda *_: None)
    total = sum(map(len, training))
    assert {each.training_bytes for each in found if each.codec.split()[-1] in ("primed", "dictionary")} == {
        total
    }
    assert {each.training_bytes for each in found if each.codec in ("xz -9e", "zstd -19")} == {0}
    assert {each.layout for each in found} == {"files", "tar"}
    assert all(each.size_bytes < total for each in found if each.layout == "files")


@given(TEXTS, st.integers(1, 400))
def test_a_primer_has_no_more_bytes_than_asked_for(texts, most):
    known = primer(contents(texts), most)
    joined = b"".join(texts)
    assert known == joined if len(joined) <= most else len(known) <= most
    assert not joined or known or min(map(len, texts)) == 0


def test_a_long_text_is_primed_with_by_its_end():
    read = []
    text = samples(bytes(range(200)))
    content = Content(text.shape, lambda start, stop: read.append((start, stop)) or text[start:stop])
    assert primer(lambda: [content], 7) == bytes(range(193, 200)) and read == [(193, 200)]


def test_work_is_bounded_for_many_texts(monkeypatch):
    """PPMd codes the training texts again for each text, so that many texts have fewer of them."""
    pytest.importorskip("pyppmd")
    monkeypatch.setattr(text_codecs, "_PRIMER_BYTES", 4000)
    monkeypatch.setattr(text_codecs, "_PRIMING_BYTES", 20_000)
    training = [prose(seed, 80) for seed in range(20)]
    for count, most in ((1, 4000), (5, 4000), (20, 1000)):
        for each in baselines(training, count):
            bound = most if each.name.startswith("ppmd") else 4000
            assert bound * 0.7 < each.training_bytes <= bound, each.name


def test_there_are_none_where_nothing_is_known(monkeypatch):
    assert baselines([b"", b""]) == ()
    assert Image().primed_baselines(list, 1) == Toy().primed_baselines(list, 1) == ()
    monkeypatch.setattr(text_codecs, "find_spec", lambda name: None)
    assert baselines([b"abc"]) == ()


@pytest.mark.parametrize(("kind", "lossless"), [("colour", True), ("colour", False), ("toy", False)])
def test_training_data_that_no_codec_can_know_are_refused(kind, lossless):
    model = small_model("vq-both", kind)
    source = array_source([samples_of(model.item)], model.item)
    with pytest.raises(ConfigError, match=r"can be primed with training data.*latentpress\[bench\]"):
        evaluate(model, source, lossless=lossless, training=source)


def test_an_evaluation_compares_with_codecs_that_know_the_training_texts():
    model = small_model("vq-both", "text")
    train = array_source([samples(prose(seed)) for seed in range(3)], model.item)
    test = array_source([samples(prose(8, 30)), samples(prose(9, 30))], model.item)
    found = evaluate(model, test, training=train)
    names = {each.name for each in model.item.primed_baselines(contents([b"abc"]), 1)}
    assert names <= {each.codec for each in found.comparisons} and names
    assert names == {each.codec for each in found.comparisons if each.training_bytes}
    plain = {each.codec for each in evaluate(model, test).comparisons}
    assert plain == {each.codec for each in found.comparisons if not each.training_bytes}
    alone = evaluate(model, test, training=train, against=["xz"])
    assert [each.codec for each in alone.comparisons] == ["xz -9e"] * 2
