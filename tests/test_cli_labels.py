"""Labels through the command line: a model that knows two classes, and sources of one."""

from pathlib import Path

import pytest

from latentpress.cli import main
from latentpress.coding import inspect_archive
from latentpress.config import LabelConfig
from latentpress.model import load
from workplace import QUICK, Workplace, read_png

CONDITIONAL = '--set=model.prior.labels=["class"]'


@pytest.fixture(scope="module")
def model(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("classes") / "model")
    assert main(["train", str(workplace.folder / "photos"), "-o", folder, *QUICK, CONDITIONAL]) == 0
    return folder


def test_one_class_alone_is_compressed_under_its_label(
    model: str, workplace: Workplace, tmp_path: Path
) -> None:
    assert load(model, "cpu").config.labels == (LabelConfig(values=("photos", "town")),)
    town, archive = str(workplace.folder / "photos" / "town"), str(tmp_path / "x.lpz")
    assert main(["compress", town, "-m", model, "-o", archive]) == 0
    assert [item.labels for item in inspect_archive(archive).items] == [(1,)]
    assert main(["verify", archive, "-m", model]) == 0
    assert main(["evaluate", model, town, "--against", "none"]) == 0


@pytest.mark.parametrize("label", ["class=town", "town"])
def test_items_are_drawn_under_a_label(label: str, model: str, tmp_path: Path) -> None:
    assert main(["generate", model, "--label", label, "-n", "1", "-o", str(tmp_path / "new")]) == 0
    (drawn,) = (tmp_path / "new").iterdir()
    assert read_png(drawn).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("cow", "no class 'cow'; the model has: photos, town"),
        ("speaker=7", "conditioned by a label 'speaker'"),
    ],
)
def test_labels_that_the_model_does_not_know_are_refused(
    label: str, said: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", model, "--label", label, "-n", "1", "-o", str(tmp_path / "new")]) == 1
    assert said in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_a_prior_of_one_class_is_refused(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", str(workplace.folder / "photos" / "town"), "-o", str(tmp_path / "model"), *QUICK]
    assert main([*train, CONDITIONAL]) == 1
    assert "no label 'class'" in capsys.readouterr().err
    assert main(train) == 0
    assert load(tmp_path / "model", "cpu").config.labels == ()


def test_a_training_says_which_labels_nothing_looks_at(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", str(workplace.folder / "photos"), "-o"]
    assert main([*train, str(tmp_path / "idle"), *QUICK]) == 0
    said = "note: nothing in the model looks at the items' label 'class' (2 values): --set 'model.prior"
    assert said in capsys.readouterr().err
    assert main([*train, str(tmp_path / "used"), *QUICK, CONDITIONAL]) == 0
    assert "nothing in the model looks at" not in capsys.readouterr().err
