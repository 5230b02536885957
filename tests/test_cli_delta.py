"""Training delta-VAEs and decoders of bytes through the command line, to the end."""

import json
from pathlib import Path

import numpy as np
import pytest

from delta_parts import image_pool, text_pool
from latentpress.cli import main
from latentpress.cli.train import fit_to_data
from latentpress.config import DeltaVAEConfig, ImageConfig, RunConfig, override
from latentpress.config.presets import PRESETS, preset
from latentpress.items.image import write_png
from latentpress.model import DeltaVAE, load

SMALL = (
    "--steps=6",
    "--device=cpu",
    *(f"--set=model.decoder.{name}=8" for name in ("width", "head_width", "map_width", "map_channels")),
    *("--set=model.decoder.depth=1", "--set=model.decoder.embedding=8", "--set=model.decoder.dilations=[1]"),
    *("--set=codec.batch_size=3", "--set=codec.crop=48"),
)
LATENTS = (
    "--set=model.encoder.width=8",
    *("--set=model.auxiliary.width=8", "--set=prior.batch_size=3", "--set=prior.crop=48"),
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for kind in ("poems", "notes"):
        (folder / kind).mkdir()
        for i in range(3):
            (folder / kind / f"{i}.txt").write_text(f"{kind} number {i}, and so on. " * (3 + i))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(4):
        (folder / f"{i}.png").write_bytes(write_png(rng.integers(0, 256, (9, 7, 1), dtype=np.uint8)))
    return folder


@pytest.mark.parametrize("name", ["text", "delta-text", "delta-images"])
def test_every_preset_trains_to_the_end(
    name: str, texts: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = pictures if name == "delta-images" else texts
    options = [*SMALL, *(() if name == "text" else LATENTS)]
    train = ["train", str(data), "-o", str(tmp_path / "m"), "--preset", name, *options]
    assert main(train) == 0, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert out == "" and "trained: " in err and "6 steps" in err
    assert ("one latent step" in err) == (name == "delta-text")  # windows of 48 bytes, and a stride of 128
    model = load(tmp_path / "m", "cpu")
    assert isinstance(model, DeltaVAE) and any(model.pixels_id)
    assert (model.latents is None) == (name == "text")
    if name == "delta-images":
        assert isinstance(model.config.item, ImageConfig) and model.config.item.size == (9, 7)
    else:
        assert model.config.labels == ("notes", "poems") and model.config.item.size == 48
    assert main(train) == 0  # it is over: nothing changes
    again = load(tmp_path / "m", "cpu")
    assert again.pixels_id == model.pixels_id
    assert json.loads((tmp_path / "m" / "run" / "config.json").read_text())


def test_the_auxiliary_prior_is_refitted(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    train = ["train", str(texts), "-o", str(tmp_path / "m"), "--preset=delta-text", *SMALL, *LATENTS]
    assert main(train) == 0
    before = load(tmp_path / "m", "cpu").state_dict()
    assert main([*train, "--stage=prior", "--seed=1"]) == 0
    after = load(tmp_path / "m", "cpu").state_dict()
    changed = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert changed == {"auxiliary"}
    assert main([*train, "--stage=decoder"]) == 1
    assert "trained with its encoder" in capsys.readouterr().err


def test_what_is_wrong_is_said_in_one_line(
    texts: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rest = ["-o", str(tmp_path / "m"), *SMALL]
    assert main(["train", str(texts), "--preset=delta-text", *rest, "--set=model.latents.alpha=0"]) == 1
    assert "the plain VAE has a kind of its own, plain" in capsys.readouterr().err
    free = "--set=model.objective.kind=free_bits"
    assert main(["train", str(texts), "--preset=delta-text", *rest, free]) == 1
    assert "a committed rate needs none" in capsys.readouterr().err
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.png").write_bytes(write_png(np.zeros((4, 4, 1), np.uint8)))
    both = [str(pictures), str(tmp_path / "more")]
    assert main(["train", *both, "--preset=delta-images", *rest, *LATENTS]) == 1
    said = capsys.readouterr().err
    assert (
        "knows one size, here 9 x 7" in said and "1 of 5 images have another, first other.png: 4 x 4" in said
    )
    assert not (tmp_path / "m").exists()


def test_options_that_would_do_nothing_are_refused(
    texts: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    delta, alone = str(tmp_path / "delta"), str(tmp_path / "alone")
    assert main(["train", str(pictures), "-o", delta, "--preset=delta-images", *SMALL, *LATENTS]) == 0
    assert main(["train", str(texts), "-o", alone, "--preset=text", *SMALL]) == 0
    capsys.readouterr()
    drawn = str(tmp_path / "drawn")
    for args, said in {
        ("generate", delta, "-n1", "-o", drawn, "--top-p=0.5"): "--top-p is for codebook models",
        ("generate", alone, "-n1", "-o", drawn, "--prior=ar1"): "a decoder alone",
        ("evaluate", alone, str(texts), "--against=jpeg"): "texts have codecs of their own",
        ("evaluate", delta, str(pictures)): "no distortion to compare",
    }.items():
        assert main(args) == 2
        assert said in capsys.readouterr().err
    assert not Path(drawn).exists()
    assert main(["generate", alone, "-n1", "-o", drawn, "--size=5"]) == 0
    assert "1 text of 5 bytes in " in capsys.readouterr().err


def test_the_data_say_what_the_preset_leaves_open():
    images = fit_to_data(preset("delta-images"), image_pool(), {})
    assert images.model.item.size == (5, 4) and images.model.labels == ()
    given = override(preset("delta-images"), {"model.item.size": [7, 7]})
    assert fit_to_data(given, image_pool(), {}).model.item.size == (7, 7)
    assert fit_to_data(
        preset("delta-images"), image_pool(), {"model.item.size": "[6,6]"}
    ).model.item.size == (
        6,
        6,
    )
    texts = fit_to_data(preset("delta-text"), text_pool(), {"codec.crop": "99"})
    assert texts.model.item.size == texts.codec.crop == 99


@pytest.mark.parametrize("name", ["text", "delta-text", "delta-images"])
def test_presets_are_of_delta_vaes(name: str):
    config = PRESETS[name]()
    assert isinstance(config, RunConfig) and isinstance(config.model, DeltaVAEConfig)
    assert config.model.objective.kind == "elbo"
