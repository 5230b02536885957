"""Texts and delta-VAEs through the command line, to the end."""

import json
from pathlib import Path

import numpy as np
import pytest

from latentpress.cli import main
from latentpress.model import DeltaVAE, load
from workplace import write_png

SMALL = (
    "--steps=6",
    "--device=cpu",
    *(f"--set=model.autoregressive.{name}=8" for name in ("map_width", "map_channels")),
    *(f"--set=model.autoregressive.network.{name}=8" for name in ("width", "head_width", "embedding")),
    *("--set=model.autoregressive.network.depth=1", "--set=model.autoregressive.network.dilations=[1]"),
    *("--set=codec.batch_size=3", "--set=codec.crop=48"),
)
LATENTS = ("--set=model.auxiliary.width=8", "--set=prior.batch_size=3", "--set=prior.crop=48")
PRESETS = ("text-network", "delta-text", "delta-images")


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
        write_png(folder / f"{i}.png", rng.integers(0, 256, (9, 7, 1), dtype=np.uint8))
    return folder


def training(name: str, texts: Path, pictures: Path, model: Path) -> list[str]:
    """The command that trains a preset."""
    data, width = (pictures, "network.width") if name == "delta-images" else (texts, "width")
    options = [] if name == "text-network" else [*LATENTS, f"--set=model.encoder.{width}=8"]
    return ["train", str(data), "-o", str(model), "--preset", name, *SMALL, *options]


@pytest.fixture(scope="module")
def models(texts: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models, called as their presets."""
    folder = tmp_path_factory.mktemp("models")
    for name in PRESETS:
        assert main(training(name, texts, pictures, folder / name)) == 0
    return folder


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_to_the_end(name: str, models: Path, texts: Path, pictures: Path, capsys) -> None:
    model = load(models / name, "cpu")
    assert isinstance(model, DeltaVAE) and model.integer.decoder is not None
    assert (model.latents is None) == (name == "text-network")
    if name == "delta-images":
        assert model.item.size == (9, 7)
    else:
        (label,) = model.config.labels
        assert label.values == ("notes", "poems") and model.item.size == (48,)
    before = model.integer.ids
    assert main(training(name, texts, pictures, models / name)) == 0  # it is over: nothing changes
    assert load(models / name, "cpu").integer.ids == before
    out, err = capsys.readouterr()
    assert out == "" and "trained: " in err and "6 steps" in err
    assert json.loads((models / name / "run" / "config.json").read_text())


def test_a_folder_of_texts_is_known_for_what_it_is(texts: Path, tmp_path: Path, capsys) -> None:
    assert main(["train", str(texts), "-o", str(tmp_path / "m")]) == 0
    err = capsys.readouterr().err
    assert "preset text: " in err and "note: it holds the items that it was trained on" in err
    assert load(tmp_path / "m", "cpu").item.kind == "text"
    assert main(["inspect", str(tmp_path / "m")]) == 0
    assert "It holds the items that it was trained on" in capsys.readouterr().out
    assert "It holds the items that it was trained on" in (tmp_path / "m" / "README.md").read_text()


@pytest.mark.parametrize(("side", "preset"), [(16, "images-small"), (90, "tiny")])
def test_a_folder_of_images_is_known_for_what_it_is(side: int, preset: str, tmp_path: Path, capsys) -> None:
    for number in range(2):
        write_png(tmp_path / "in" / f"{number}.png", np.full((side, side, 1), 9 + number, np.uint8))
    options = [
        "--steps=1",
        "--device=cpu",
        "--stage=codec",
        "--set=codec.batch_size=1",
        "--set=codec.crop=16",
    ]
    options += ["--set=model.encoder.width=32", "--set=model.parallel.network.width=32"]
    assert main(["train", str(tmp_path / "in"), "-o", str(tmp_path / "m"), *options]) == 0
    assert f"preset {preset}: " in capsys.readouterr().err
    assert load(tmp_path / "m", "cpu").item.channels == 1  # all of them are grey


@pytest.mark.parametrize("name", PRESETS)
def test_what_was_compressed_comes_back(
    name: str, models: Path, texts: Path, pictures: Path, tmp_path: Path
) -> None:
    data, archive = pictures if name == "delta-images" else texts, str(tmp_path / "x.lpz")
    how = ["--bits-back"] if name == "delta-images" else []
    assert main(["compress", str(data), "-m", str(models / name), "-o", archive, *how]) == 0
    assert main(["verify", archive, "-m", str(models / name)]) == 0
    assert main(["decompress", archive, "-m", str(models / name), "-o", str(tmp_path / "back")]) == 0
    for path in data.rglob("*.*"):
        back = tmp_path / "back" / path.relative_to(data)
        assert back.read_bytes() == path.read_bytes()


def test_the_auxiliary_prior_is_refitted(texts: Path, pictures: Path, tmp_path: Path, capsys) -> None:
    train = training("delta-text", texts, pictures, tmp_path / "m")
    assert main(train) == 0
    before = load(tmp_path / "m", "cpu").state_dict()
    assert main([*train, "--stage=prior", "--seed=1"]) == 0
    after = load(tmp_path / "m", "cpu").state_dict()
    changed = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert changed == {"auxiliary"}


def test_what_is_wrong_is_said_in_one_line(texts: Path, pictures: Path, tmp_path: Path, capsys) -> None:
    rest = ["-o", str(tmp_path / "m"), *SMALL]
    assert main(["train", str(texts), "--preset=delta-text", *rest, "--set=model.latents.alpha=0"]) == 1
    assert "the plain VAE is another kind, plain" in capsys.readouterr().err
    free = "--set=model.objective.kind=free_bits"
    assert main(["train", str(texts), "--preset=delta-text", *rest, free]) == 1
    assert "a committed rate needs none" in capsys.readouterr().err
    write_png(tmp_path / "more" / "other.png", np.zeros((4, 4, 1), np.uint8))
    both = [str(pictures), str(tmp_path / "more")]
    assert main(["train", *both, "--preset=delta-images", *rest, *LATENTS]) == 1
    said = capsys.readouterr().err
    [line] = [line for line in said.splitlines() if not line.startswith("note:")]
    assert "first other.png: 4 x 4" in line and "any rows x 7 columns" in line
    assert not (tmp_path / "m").exists()


def test_options_that_would_do_nothing_are_refused(models: Path, texts: Path, tmp_path: Path, capsys) -> None:
    alone, drawn = str(models / "text-network"), str(tmp_path / "drawn")
    for args, said in {
        ("generate", alone, "-n1", "-o", drawn, "--prior=ar1"): "a decoder alone",
        ("generate", alone, "-n1", "-o", drawn, "--label=poems"): "nothing in the model is conditioned",
        ("evaluate", alone, str(texts), "--against=jpeg"): "no codec 'jpeg'",
    }.items():
        assert main(args) == 1
        assert said in capsys.readouterr().err
    assert not Path(drawn).exists()
    assert main(["generate", alone, "-n1", "-o", drawn, "--size=5"]) == 0
    assert "1 text of 5 bytes in " in capsys.readouterr().err


def test_a_text_is_continued(models: Path, texts: Path, tmp_path: Path) -> None:
    start = texts / "poems" / "0.txt"
    complete = ["generate", str(models / "delta-text"), "-n2", "-o", str(tmp_path), "--complete", str(start)]
    assert main([*complete, "--keep=0.25"]) == 0
    kept = round(len(start.read_bytes()) / 4)
    for path in tmp_path.iterdir():
        drawn = path.read_bytes()
        assert path.suffix == ".txt" and len(drawn) == start.stat().st_size
        assert drawn[:kept] == start.read_bytes()[:kept]


def test_diagnoses(models: Path, texts: Path, pictures: Path, capsys) -> None:
    delta = ["diagnose", str(models / "delta-text"), str(texts), "--window", "20"]
    assert main([*delta, "--alone", str(models / "text-network")]) == 0
    out = capsys.readouterr().out
    for part in ("-ELBO", "decoder alone", "committed rate", "information", "active units", "items of 20"):
        assert part in out
    assert out.splitlines()[-1].startswith("The ") and out.splitlines()[-1].endswith(".")
    assert main([*delta, "--json", "--items", "5", "--seed", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["items"] == 5 and told["alone_nats"] is None and told["verdict"]
    assert main(["diagnose", str(models / "text-network"), str(texts), "--window", "20"]) == 0
    assert "decoder alone" in capsys.readouterr().out
    assert main(["diagnose", str(models / "delta-images"), str(pictures)]) == 0
    assert main([*delta[:-2], "--window", "5000"]) == 1  # no text is as long
    assert main([*delta, "--alone", str(models / "delta-text")]) == 1
