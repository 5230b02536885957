"""The integer form of the causal network, of its conditioner and of the anti-causal encoder."""

__all__: list[str] = []
