"""A run that is over goes on with more steps: from the end of its first stage, the others anew."""

from pathlib import Path

import pytest

from latentpress.errors import TrainingError
from latentpress.train import Progress
from small.training import Case, dying_at, train, weights

CASE = Case("colour", "vq", "both")


def stages_of(folder: Path, **options) -> tuple[list[str], list[int]]:
    """The stages that were trained, and the steps at which something was reported."""
    seen: list[Progress] = []
    result = train(CASE, folder, progress=seen.append, **options)
    assert result.finished
    return list(dict.fromkeys(each.stage for each in seen)), [each.step for each in seen] + [result.steps]


def test_more_steps_go_on_where_the_first_stage_ended(tmp_path: Path):
    stages_of(tmp_path, steps=8)
    before = weights(tmp_path)
    assert {path.name for path in (tmp_path / "run").glob("end-*")} == {
        "end-codec",
        "end-prior",
        "end-decoder",
    }
    stages, steps = stages_of(tmp_path, steps=16)
    assert stages == ["codec", "prior", "decoder"] and steps[-1] == 16
    assert min(steps) >= 2, "the first steps of the codec are not trained again"
    assert weights(tmp_path) != before
    assert stages_of(tmp_path, steps=16) == ([], [16]) or stages_of(tmp_path, steps=16)[1] == [16]


def test_what_is_cut_off_then_ends_as_if_it_were_not(tmp_path: Path):
    for name in ("whole", "cut"):
        train(CASE, tmp_path / name, steps=8)
    train(CASE, tmp_path / "whole", steps=16)
    with pytest.raises(SystemExit):
        train(CASE, tmp_path / "cut", steps=16, progress=dying_at(9), checkpoint_seconds=0.0)
    train(CASE, tmp_path / "cut", steps=16)
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")


def test_a_run_that_is_not_over_takes_more_steps(tmp_path: Path):
    with pytest.raises(SystemExit):
        train(CASE, tmp_path, steps=8, progress=dying_at(1), checkpoint_seconds=0.0)
    assert stages_of(tmp_path, steps=12)[1][-1] == 12


def test_fewer_steps_are_another_run(tmp_path: Path):
    train(CASE, tmp_path, steps=8)
    before = weights(tmp_path)
    with pytest.raises(TrainingError, match="steps differ"):
        train(CASE, tmp_path, steps=7)
    with pytest.raises(TrainingError, match=r"seconds.* differ"):
        train(CASE, tmp_path, seconds=100)
    assert weights(tmp_path) == before


def test_a_run_without_the_end_of_its_first_stage_cannot_go_on(tmp_path: Path):
    train(CASE, tmp_path, steps=8)
    (tmp_path / "run" / "end-codec").unlink()
    before = weights(tmp_path)
    with pytest.raises(TrainingError, match="no checkpoint of the end of its first stage"):
        train(CASE, tmp_path, steps=16)
    assert weights(tmp_path) == before and (tmp_path / "run" / "finished").exists()
