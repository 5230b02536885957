"""Each verb on a small model: train, compress, look, prove, restore, measure, draw."""

import io
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from latentpress.cli import main
from latentpress.config import LabelConfig, LearnedConfig, VQVAEConfig
from latentpress.items import Image
from latentpress.model import load
from latentpress.train import Progress, TrainResult
from workplace import QUICK, Workplace, read_png


@pytest.fixture
def place(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.chdir(workplace.folder)
    return workplace


@pytest.fixture
def archive(place: Workplace, tmp_path: Path) -> str:
    path = tmp_path / "photos.lpz"
    assert main(["compress", "photos", "-m", "model", "-o", str(path)]) == 0
    return str(path)


def restored(folder: Path) -> dict[str, np.ndarray]:
    return {p.relative_to(folder).as_posix(): read_png(p) for p in folder.rglob("*.png")}


def pixels_of(data: bytes) -> np.ndarray:
    return Image().open(io.BytesIO(data)).samples


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_round_trip(
    capfd: pytest.CaptureFixture[str], place: Workplace, archive: str, tmp_path: Path
) -> None:
    assert main(["verify", archive, "-m", "model"]) == 0
    assert main(["decompress", archive, "-m", "model", "-o", str(tmp_path / "back")]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    for part in ("compressed 3 images", "restored 3 images", "bits/dim", "bits by the model", "images/s"):
        assert part in err
    model = load("model", "cpu")
    back = restored(tmp_path / "back")
    assert sorted(back) == sorted(place.names)
    for name, pixels in back.items():
        original = read_png(Path("photos", name))
        expected = model.decode(model.encode(original[None]), original.shape[:2])[0]
        assert np.array_equal(pixels, expected)


def test_one_item(archive: str, tmp_path: Path) -> None:
    back = tmp_path / "back"
    assert main(["decompress", archive, "-m", "model", "-o", str(back), "--only", "lake.png"]) == 0
    assert list(restored(back)) == ["lake.png"]
    assert main(["decompress", archive, "-m", "model", "-o", str(back), "--only", "sea.png"]) == 1


def test_pipes(
    place: Workplace, archive: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    feed(monkeypatch, Path("photos/lake.png").read_bytes())
    assert main(["compress", "-", "-m", "model", "-o", "-"]) == 0
    pressed = capfdbinary.readouterr().out
    for verb in (["verify", "-", "-m", "model"], ["inspect", "-"]):
        feed(monkeypatch, pressed)
        assert main(verb) == 0
    capfdbinary.readouterr()
    feed(monkeypatch, pressed)
    assert main(["decompress", "-", "-m", "model", "-o", "-"]) == 0
    piped = capfdbinary.readouterr().out
    assert main(["decompress", archive, "-m", "model", "-o", "-", "--only", "lake.png"]) == 0
    assert piped == capfdbinary.readouterr().out
    assert pixels_of(piped).shape == read_png(Path("photos/lake.png")).shape


def test_nothing_is_overwritten_without_force(archive: str, tmp_path: Path) -> None:
    before = Path(archive).read_bytes()
    press = ["compress", "photos/lake.png", "-m", "model", "-o", archive]
    assert main(press) == 1 and Path(archive).read_bytes() == before
    restore = ["decompress", archive, "-m", "model", "-o", str(tmp_path / "back")]
    assert main(restore) == 0 and main(restore) == 1 and main([*restore, "-f"]) == 0
    assert main([*press, "-f"]) == 0 and Path(archive).read_bytes() != before


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_end_a_command_and_leave_nothing(
    place: Workplace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
) -> None:
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip("no such signal here")
    signal.signal(number, signal.SIG_DFL)  # under nohup, SIGHUP would be ignored
    monkeypatch.setattr("latentpress.files.os.fsync", lambda _: signal.raise_signal(number))
    assert main(["compress", "photos", "-m", "model", "-o", str(tmp_path / "x.lpz")]) == 128 + number
    assert not list(tmp_path.iterdir()) and f"ended by {name}" in capfd.readouterr().err
    assert signal.getsignal(number) is signal.SIG_DFL


def test_an_input_is_no_output(place: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "in" / "lake.png"
    photo.parent.mkdir()
    before = Path("photos/lake.png").read_bytes()
    photo.write_bytes(before)
    for path in (photo, photo.parent):
        assert main(["compress", str(path), "-m", "model", "-o", str(photo), "-f"]) == 1
        assert "is one of the inputs" in capfd.readouterr().err and photo.read_bytes() == before
    inside = ["compress", str(photo.parent), "-m", "model", "-o", str(photo.with_name("x.lpz")), "-f"]
    assert main(inside) == main(inside) == 0  # an earlier archive in the folder is none of its items


def test_what_would_be_missed_is_refused_or_skipped(
    place: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here.png").write_bytes(Path("photos/lake.png").read_bytes())
    try:
        (tmp_path / "gone.png").symlink_to("nowhere")
    except OSError:
        pytest.skip("no links here")
    press = ["compress", str(tmp_path), "-m", "model", "-o", str(tmp_path / "x.lpz")]
    assert main(press) == 1 and not (tmp_path / "x.lpz").exists()
    assert "would be left out: gone.png (a link to nothing)" in capfd.readouterr().err
    assert main([*press, "--skip"]) == 0
    assert "left out gone.png: a link to nothing" in capfd.readouterr().err


def test_damage_is_one_line(archive: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(Path(archive).read_bytes())
    data[len(data) // 2] ^= 1
    Path(archive).write_bytes(data)
    capfd.readouterr()
    assert main(["verify", archive, "-m", "model"]) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("latentpress: ") and err.count("\n") == 1


def test_inspect(place: Workplace, archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["inspect", archive, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in told["items"]] == list(place.names)
    assert told["bytes"] == Path(archive).stat().st_size
    assert main(["inspect", "model", "--json"]) == 0
    model = json.loads(capsys.readouterr().out)
    assert model["ids"]["codes"] == told["ids"]["codes"]
    assert model["config"]["item"]["size"] == [16, 16]
    for path in (archive, "model"):
        assert main(["inspect", path]) == 0
        assert told["ids"]["codes"] in capsys.readouterr().out


def test_generate(place: Workplace, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    draw = ["generate", "model", "--seed", "5"]
    assert main([*draw, "-n", "2", "-o", str(tmp_path / "new")]) == 0
    new = restored(tmp_path / "new")
    assert len(new) == 2 and all(image.shape == (16, 16, 3) for image in new.values())
    assert main([*draw, "-n", "2", "-o", str(tmp_path / "new")]) == 1
    capfdbinary.readouterr()
    assert main([*draw, "-n", "1", "-o", "-"]) == 0
    assert np.array_equal(pixels_of(capfdbinary.readouterr().out), new[min(new)])
    assert main([*draw, "-n", "1", "-o", str(tmp_path / "big"), "--size", "8x40"]) == 0
    (big,) = restored(tmp_path / "big").values()
    assert big.shape == (8, 40, 3)
    assert main([*draw, "-o", str(tmp_path / "cat"), "--label", "cat"]) == 1


def test_generate_shows_how_far_it_is(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[object, ...]] = []
    monkeypatch.setattr("latentpress.cli.progress.StageBar.show", lambda _, *call: shown.append(call))
    assert main(["generate", "model", "-n", "2", "-o", str(tmp_path)]) == 0
    codes, symbols = 2 * 2 * 2 * 2, 2 * 16 * 16 * 3  # images, rows, columns, codebooks or channels
    assert ("draw", codes, codes) in shown and shown[-1] == ("decode", symbols, symbols)


def test_evaluate(place: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.html"
    command = ["evaluate", "model", "photos", "--against", "jpeg", "--report", str(report)]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_items"] == 3 and told == json.loads(report.with_suffix(".json").read_text())
    assert report.read_text().startswith("<!doctype html>")
    assert main(command) == 1
    assert main(["evaluate", "model", "photos", "--against", "none"]) == 0
    assert "bits/dim" in capsys.readouterr().out
    assert main(["evaluate", "model", "photos", "--against", "gif"]) == 1


def test_train_takes_settings_and_labels(place: Workplace, tmp_path: Path) -> None:
    more = [
        "--set=model.latents.vectors.weight=0.5",
        "--set=model.latents.vectors.kind=learned",
    ]
    train = ["train", "photos", "-o", str(tmp_path / "model"), *QUICK, *more]
    assert main(train) == 0
    config = load(tmp_path / "model", "cpu").config
    assert isinstance(config, VQVAEConfig) and config.latents.vectors == LearnedConfig(weight=0.5)
    assert config.labels == (LabelConfig(values=("photos", "town")),)
    assert main([*train, "--seed", "1"]) == 1  # another run


def test_train_reads_toml(place: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.toml"
    config.write_text("[codec]\nlerning_rate = 1\n")
    assert main(["train", "photos", "-o", str(tmp_path / "m"), "--config", str(config)]) == 1
    assert "codec.lerning_rate: there is no such setting" in capsys.readouterr().err
    assert main(["train", "photos", "-o", str(tmp_path / "m"), "--preset", "huge"]) == 1
    assert "no preset 'huge'" in capsys.readouterr().err


def test_train_warns_once_and_fails_where_it_was_stopped(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, progress: Callable[[Progress], None], **__: object) -> TrainResult:
        for step in range(3):
            progress(Progress("codec", step, 0.1, 1.0, warning="few codes in use"))
        model = load("model", "cpu")
        return TrainResult(model, tmp_path, 3, 1.0, finished=False, figures={})

    monkeypatch.setattr("latentpress.train.run", stopped)
    assert main(["train", "photos", "-o", str(tmp_path / "m"), *QUICK]) == 1
    err = capsys.readouterr().err
    assert err.count("few codes in use") == 1 and "stopped; the same command continues" in err


def test_demo_leaves_other_folders_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    precious = tmp_path / "images" / "cat.png"
    precious.parent.mkdir()
    precious.touch()
    assert main(["demo", "-o", str(tmp_path), "--time", "1s"]) == 1
    assert "give another folder" in capsys.readouterr().err and precious.exists()


def test_demo_says_how_it_marks_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--help"]) == 0
    assert ".latentpress-demo" in capsys.readouterr().out


def test_demo_replaces_an_earlier_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("latentpress.data.demo.demo_images", none)
    assert main(["demo", "-o", str(tmp_path)]) == 130
    (tmp_path / "images").mkdir()
    assert main(["demo", "-o", str(tmp_path)]) == 130
    assert [path.name for path in tmp_path.iterdir()] == [".latentpress-demo"]


def test_generate_completes_an_image(place: Workplace, tmp_path: Path) -> None:
    photo, out = place.folder / "photos" / "lake.png", tmp_path / "endings"
    model = str(place.folder / "model")
    assert (
        main(["generate", model, "-n", "2", "-o", str(out), "--complete", str(photo), "--keep", "0.5"]) == 0
    )
    whole = read_png(photo)
    kept = round(len(whole) / 2)
    for file in out.iterdir():
        drawn = read_png(file)
        assert drawn.shape == whole.shape and np.array_equal(drawn[:kept], whole[:kept])
    assert main(["generate", model, "-o", str(tmp_path / "x"), "--keep", "0.5"]) == 2
