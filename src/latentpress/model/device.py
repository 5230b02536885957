"""Where a model runs."""

from __future__ import annotations

import torch

from latentpress.errors import LatentpressError

__all__ = ["resolve_device"]


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Returns the device that `device` names; "auto" is the GPU where there is one, else the CPU.

    Raises:
        LatentpressError: there is no such device, or it cannot be used.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).tolist()
    except (RuntimeError, AssertionError, NotImplementedError):  # as torch says it, differently each time
        there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise LatentpressError(
            f"there is no device {str(device)!r} that can be used: auto, or one of {', '.join(there)}"
        ) from None
    return found
