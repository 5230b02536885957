"""An evaluation of ten small images, made up."""

from __future__ import annotations

from dataclasses import replace

import torch

from latentpress.evaluate import Comparison, Evaluation, ItemResult, LossyResult, Quality, RatePoint
from latentpress.items import Image
from latentpress.model.details import codebook_details

__all__ = ["an_evaluation", "with_lossy"]


def an_evaluation(size: int = 32) -> Evaluation:
    ours = Quality(27.5, 28.25, {"ssim": 0.9123})
    theirs = Quality(25.25, 26.0, {"ssim": 0.8765})
    curve = (RatePoint(400, 22.0), RatePoint(800, 25.25), RatePoint(1600, 29.0))
    details = codebook_details(torch.tensor([0] * 5 + [1] * 3 + [3])[:, None], 4)
    return Evaluation(
        words=Image.words,
        num_items=10,
        positions=10 * size * size,
        dims=30 * size * size,
        file_bytes=4000,
        archive_bytes=800,
        model_bits=6320.0,
        part_bytes={"codes": 700},
        fallbacks=0,
        duplicates=0,
        encode_seconds=1.0,
        decode_seconds=1.0,
        comparisons=(
            Comparison(
                codec="webp",
                layout="mosaic",
                budget_bytes=800,
                size_bytes=800,
                quality=theirs,
                curve=curve,
            ),
            Comparison(codec="jpeg", layout="files", budget_bytes=800, size_bytes=4321, quality=theirs),
        ),
        lossy=LossyResult(
            quality=ours,
            stochastic=False,
            latent_bytes=789.0,
            sample_bytes=11_000.0,
            details=details,
            items=tuple(ItemResult(f"{n}.png", (size, size), 80.0, 27.5, {"ssim": 0.9}) for n in range(10)),
        ),
    )


def with_lossy(evaluation: Evaluation, **changes) -> Evaluation:
    assert evaluation.lossy is not None
    return replace(evaluation, lossy=replace(evaluation.lossy, **changes))
