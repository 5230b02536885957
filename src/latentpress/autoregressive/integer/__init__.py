"""The integer forms of the causal network, of its decoder and conditioner, and of the anti-causal encoder."""

__all__: list[str] = []
