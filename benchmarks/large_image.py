"""Peak memory of compressing and restoring one large photograph.

    python benchmarks/large_image.py [--model MODEL] [--megapixels 50]

The photograph is made up (smooth colours and noise) and written as PNG; without a model, an untrained
one of the preset `photos` stands in, which costs the same. Compression proves the archive as always.
Each verb runs in a process of its own, whose peak resident memory is printed beside the target.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

TARGET_GIB = 2.0


def write_photograph(path: Path, megapixels: float) -> None:
    """Writes a picture of 3:2 with structure at every scale."""
    import numpy as np

    from latentpress.items import Content, Image

    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    rows, columns = np.mgrid[:height, : height * 3 // 2].astype(np.float32)
    samples = np.empty((*rows.shape, 3), np.uint8)
    noise = np.random.default_rng(0)
    for channel, period in enumerate((31.0, 97.0, 541.0)):
        waves = 100 + 60 * np.sin(rows / period) + 60 * np.cos(columns / (period + 7))
        samples[..., channel] = waves + noise.integers(0, 24, rows.shape, np.uint8)
    with path.open("wb") as file:
        Image().write(Content.of(samples), file)


def write_untrained_model(folder: Path) -> None:
    """Writes a model of the preset `photos` with random weights and a prior in integer form."""
    import torch

    from latentpress.autoregressive.integer.network import IntegerNetwork
    from latentpress.config import VQVAEConfig
    from latentpress.config.presets import preset
    from latentpress.model import VQVAE, IntegerForms

    torch.manual_seed(0)
    config = preset("photos").model
    assert isinstance(config, VQVAEConfig)
    model = VQVAE(config)
    assert model.encoder is not None and model.prior is not None
    model.train().latents(model.encoder(torch.randn(8, config.item.channels, 128, 128)))
    model.eval()
    codes = torch.randint(model.alphabets[0], (2, 16, 16, len(model.alphabets)))
    model.integer = IntegerForms(prior=IntegerNetwork.convert(model.prior, codes))
    model.save_pretrained(folder)


def measure(*arguments: str) -> dict[str, float]:
    """Runs one verb in a process of its own; returns its seconds and its peak memory in GiB."""
    program = [sys.executable, __file__, "--run", *arguments]
    return json.loads(subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout)


def run(arguments: list[str]) -> None:
    """The child's side of `measure`."""
    from latentpress.cli import main as latentpress

    start = time.perf_counter()
    if code := latentpress(arguments):
        sys.exit(code)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_gib": peak}))


def main() -> None:
    """Measures and prints a line for each verb."""
    if sys.argv[1:2] == ["--run"]:
        return run(sys.argv[2:])
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--megapixels", type=float, default=50)
    chosen = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = chosen.model or folder / "model"
        if chosen.model is None:
            write_untrained_model(model)
        picture, archive = folder / "large.png", folder / "large.lpz"
        write_photograph(picture, chosen.megapixels)
        pressed = measure("compress", str(picture), "-m", str(model), "-o", str(archive))
        restored = measure("decompress", str(archive), "-m", str(model), "-o", str(folder / "restored"))
        print(f"{chosen.megapixels:g} megapixels, {picture.stat().st_size:,} bytes as PNG")
        for verb, figures in (("compress", pressed), ("decompress", restored)):
            print(
                f"{verb:11} {figures['seconds']:7.1f} s   peak {figures['peak_gib']:.2f} GiB"
                f"   (target: under {TARGET_GIB:g} GiB)"
            )
        if max(pressed["peak_gib"], restored["peak_gib"]) >= TARGET_GIB:
            sys.exit("over the target")


if __name__ == "__main__":
    main()
