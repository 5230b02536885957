"""Classes through the command line: a model that knows two, and sources of one."""

from pathlib import Path

import pytest

from latentpress.cli import main
from latentpress.model import VQVAE
from latentpress.press import inspect_archive
from workplace import QUICK, Workplace

CONDITIONAL = "--set=model.prior.class_conditional=true"


@pytest.fixture
def place(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.chdir(workplace.folder)
    return workplace


def test_one_class_alone_is_pressed_under_its_label(place: Workplace, tmp_path: Path) -> None:
    model, archive = str(tmp_path / "model"), str(tmp_path / "x.lpz")
    assert main(["train", "photos", "-o", model, *QUICK, CONDITIONAL]) == 0
    assert VQVAE.from_pretrained(model, "cpu").config.labels == ("photos", "town")
    assert main(["compress", "photos/town", "-m", model, "-o", archive]) == 0
    assert [item.label for item in inspect_archive(archive).items] == [1]
    assert main(["verify", archive, "-m", model]) == 0
    assert main(["evaluate", model, "photos/town", "--against", "none"]) == 0


def test_a_prior_of_one_class_is_refused(
    place: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", "photos/town", "-o", str(tmp_path / "model"), *QUICK]
    assert main([*train, CONDITIONAL]) == 1
    assert "no classes to tell apart; put the items into one folder a class" in capsys.readouterr().err
    assert main(train) == 0
    assert VQVAE.from_pretrained(tmp_path / "model", "cpu").config.labels == ()
