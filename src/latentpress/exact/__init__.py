"""Integers that are the same on every machine: affine maps, their bounds, their tensors."""

__all__: list[str] = []
