"""The processes of one run: one alone, or the replicas that `torchrun` started.

Every replica holds the same model and takes the same steps, each on its share of every batch. Gradients
are averaged by one all-reduce after the last micro-batch of a step. The first replica alone writes files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

__all__ = ["Replicas", "join_replicas"]


@dataclass(frozen=True)
class Replicas:
    """This process among the run's `world`; `rank` 0 is the one that writes.

    >>> Replicas().agree(elapsed=1.5, stop=0)
    (1.5, 0)
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def average_gradients(self, parameters: Sequence[Parameter]) -> None:
        """Replaces every gradient by its mean over the replicas."""
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(piece.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        """Mean of a tensor over the replicas."""
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def agree(self, elapsed: float, stop: int) -> tuple[float, int]:
        """Returns the greatest elapsed seconds and stop signal of all: each must see the same ones."""
        if self.world == 1:
            return elapsed, stop
        both = torch.tensor([elapsed, stop], dtype=torch.float64)  # on the CPU: waits for no kernel
        dist.all_reduce(both, dist.ReduceOp.MAX)
        return float(both[0]), int(both[1])


@contextmanager
def join_replicas(device: torch.device) -> Iterator[tuple[Replicas, torch.device]]:
    """Joins the process group that `torchrun` describes; yields this process' place and its device.

    Without `torchrun` there is one process. A group that exists already is used and left open.
    """
    if dist.is_available() and dist.is_initialized():
        yield Replicas(dist.get_rank(), dist.get_world_size()), _placed(device)
    elif dist.is_available() and dist.is_torchelastic_launched() and os.environ["WORLD_SIZE"] != "1":
        device = _placed(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        try:
            yield Replicas(dist.get_rank(), dist.get_world_size()), device
        finally:
            dist.destroy_process_group()
    else:
        yield Replicas(), device


def _placed(device: torch.device) -> torch.device:
    """The GPU of this process on its machine, where `device` is a GPU without a number."""
    if str(device) == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return device
