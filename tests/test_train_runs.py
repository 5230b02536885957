import subprocess
import sys
from pathlib import Path

import pytest
import torch

from latentpress.errors import CheckpointError, LatentpressError, TrainingError
from latentpress.train.runs import Checkpoint, Position, RunFolder, locked

IDENTITY = {"model": {"width": 8, "strides": (2, 2)}, "seed": 0}


def checkpoint(step: int) -> Checkpoint:
    tensors = {"model.a": torch.randn(3, 4), "model.b": torch.tensor(step)}
    return Checkpoint(Position("codec", step, step, 0.1 * step, 0.0), tensors)


def damages(data: bytes) -> list[bytes]:
    """Cut, emptied, without its counters, with a flipped bit in a weight, and in its counters."""
    bit, renamed = bytes([data[-1] ^ 1]), data.replace(b"position", b"pxsition", 1)
    counted = data.replace(b"stage_step", b"stage_stap", 1)
    return [data[: len(data) // 2], data[:3], renamed, data[:-1] + bit, counted]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    runs = RunFolder(tmp_path / "run")
    runs.claim(IDENTITY)
    return runs


def test_a_checkpoint_comes_back_bit_for_bit(folder: RunFolder):
    saved = checkpoint(7)
    folder.save(saved)
    read = folder.latest()
    assert read is not None and read.position == saved.position
    assert read.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(read.tensors[name], value) for name, value in saved.tensors.items())


def test_the_last_two_are_kept(folder: RunFolder):
    assert folder.latest() is None
    for step in (5, 9, 10, 100):
        folder.save(checkpoint(step))
    assert sorted(path.name for path in folder.path.glob("step-*")) == ["step-10", "step-100"]
    latest = folder.latest()
    assert latest is not None and latest.position.step == 100


def test_a_half_written_one_is_ignored_and_removed(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    folder.save(checkpoint(1))

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("latentpress.files.os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.save(checkpoint(2))
    monkeypatch.undo()
    (folder.path / ".0123.part").write_bytes(b"what a kill leaves")
    again = RunFolder(folder.path)
    again.claim(IDENTITY)
    latest = again.latest()
    assert latest is not None and latest.position.step == 1
    assert not list(folder.path.glob(".*"))
    again.save(checkpoint(2))


def test_another_run_is_refused_and_named(folder: RunFolder):
    folder.claim(IDENTITY)
    with pytest.raises(TrainingError, match=r"model\.width, seed differ.*another output folder"):
        folder.claim({"model": {"width": 9, "strides": (2, 2)}, "seed": 1})


def test_damage_is_one_clear_error(folder: RunFolder):
    folder.save(checkpoint(3))
    path = folder.path / "step-3"
    data = path.read_bytes()
    for damaged in damages(data):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="step-3 is damaged"):
            folder.latest()


def test_a_damaged_checkpoint_is_given_up_for_the_one_before(folder: RunFolder):
    for which in range(len(damages(b"..."))):
        folder.save(checkpoint(3))
        folder.save(checkpoint(5))
        path = folder.path / "step-5"
        path.write_bytes(damages(path.read_bytes())[which])
        with pytest.warns(UserWarning, match="step-5 is damaged .*; going back to step 3"):
            latest = folder.latest()
        assert latest is not None and latest.position.step == 3 and folder.steps() == [3]


def test_a_damaged_run_configuration_is_one_clear_error(folder: RunFolder):
    (folder.path / "config.json").write_text("{")
    with pytest.raises(TrainingError, match="delete"):
        folder.claim(IDENTITY)


def test_one_process_at_a_time_has_a_folder_and_a_dead_one_has_it_no_longer(tmp_path):
    folder = tmp_path / "a" / "b"
    code = f"""
from pathlib import Path
from latentpress.train.runs import locked
with locked(Path({str(folder)!r})):
    print("mine", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "mine\n"
        with pytest.raises(LatentpressError, match="another process is at work in"), locked(folder):
            pass
        other.kill()
    with locked(folder), pytest.raises(LatentpressError, match="another process"), locked(folder):
        pass
    with locked(folder):
        pass


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{",
        "[]",
        "7",
        "{}",
        '{"steps": 1}',
        '{"steps": "1", "seconds": 1.0, "figures": {}}',
        '{"steps": 1, "seconds": null, "figures": {}}',
        '{"steps": 1, "seconds": 1.0, "figures": []}',
        '{"steps": 1, "seconds": 1.0, "figures": {"a": "b"}}',
        '{"steps": 1, "seconds": 1.0, "figures": {}, "more": 1}',
    ],
)
def test_a_damaged_note_of_the_end_is_one_clear_error(folder: RunFolder, note: str):
    folder.finish(steps=3, seconds=1.5, figures={"loss": 2.0})
    assert folder.finished() == {"steps": 3, "seconds": 1.5, "figures": {"loss": 2.0}}
    (folder.path / "finished").write_text(note)
    with pytest.raises(CheckpointError, match="finished is damaged; delete it"):
        folder.finished()


def test_a_full_disk_costs_no_checkpoint(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    folder.save(checkpoint(3))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("latentpress.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.save(checkpoint(5))
    monkeypatch.undo()
    latest = folder.latest()
    assert latest is not None and latest.position.step == 3
    assert not list(folder.path.glob(".*"))
