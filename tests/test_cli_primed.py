"""`latentpress evaluate --train-data`: codecs that know what the model has learned from."""

import json

import pytest

from latentpress.cli import main
from workplace import TEXT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folders `train` and `test` of texts, and `model`, trained on the first for moments."""
    there = tmp_path_factory.mktemp("primed")
    for name, first, last in (("train", 0, 8), ("test", 8, 10)):
        (there / name).mkdir()
        for number in range(first, last):
            line = f"Line %d of letter {number} is much like that of another letter.\n"
            (there / name / f"{number}.txt").write_text("".join(line % n for n in range(30)))
    assert main(["train", str(there / "train"), "-o", str(there / "model"), *TEXT]) == 0
    return there


def test_rows_of_primed_codecs(folder, tmp_path, capsys):
    pytest.importorskip("zstandard")
    pytest.importorskip("pyppmd")
    model, train, test = (str(folder / name) for name in ("model", "train", "test"))
    command = ["evaluate", model, test, "--train-data", train, "--against", "zstd,ppmd"]
    capsys.readouterr()
    assert main(command) == 0
    told = capsys.readouterr().out
    for codec in ("zstd -19 dictionary", "zstd -19 primed", "ppmd o16 primed"):
        assert f"| {codec}, files" in told and f"| {codec}, tar" in told
        assert f"training texts that {codec} knows, bytes: " in told
    report = tmp_path / "report.html"
    assert main([*command, "--json", "--report", str(report)]) == 0
    tree = json.loads(capsys.readouterr().out)
    sizes = {each["codec"]: each["size_bytes"] for each in tree["comparisons"] if each["layout"] == "files"}
    assert sizes["zstd -19 primed"] < sizes["zstd -19"] and sizes["ppmd o16 primed"] < sizes["ppmd o16"]
    trained = sum(path.stat().st_size for path in (folder / "train").iterdir())
    known = {each["codec"]: each["training_bytes"] for each in tree["comparisons"]}
    assert known["ppmd o16 primed"] == trained and known["ppmd o16"] == 0
    page = report.read_text()
    assert "ppmd o16 primed, files" in page and f"--train-data {train}" in page


def test_training_data_are_for_codecs_that_can_know_them(workplace, capsys):
    photos = str(workplace.folder / "photos")
    assert main(["evaluate", str(workplace.folder / "model"), photos, "--train-data", photos]) == 1
    assert "no codec of images" in capsys.readouterr().err
