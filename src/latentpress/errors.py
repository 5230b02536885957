"""Every error that Latentpress raises for a user's input, in one tree.

An error's text is one line that says what is wrong and, where something can be done, what to do.
"""

__all__ = [
    "ArchiveError",
    "CheckpointError",
    "ConfigError",
    "ItemError",
    "LatentpressError",
    "MissingPartError",
    "TrainingError",
    "UnsafePathError",
    "WrongModelError",
]


class LatentpressError(Exception):
    """Root of the tree: catch this to catch all of them."""


class ConfigError(LatentpressError, ValueError):
    """A configuration has an unknown key, a value out of range, or parts that do not fit together."""


class ItemError(LatentpressError, ValueError):
    """A file is damaged, truncated, too large, or of a kind that cannot be read."""


class ArchiveError(LatentpressError, ValueError):
    """An archive is damaged, truncated, hostile, or of a version that this release does not know."""


class UnsafePathError(ArchiveError):
    """A name in an archive would be written outside the output folder, or onto a device."""


class WrongModelError(ArchiveError):
    """An archive was made with another model than the one given; the text names the one needed."""


class CheckpointError(LatentpressError, ValueError):
    """A model folder or a training checkpoint is incomplete, damaged, or does not fit its configuration."""


class MissingPartError(LatentpressError):
    """Half a model was asked for what the other half has.

    Args:
        half: which half it is, "encoder" or "decoder".
        part: what it lacks.
        use: what to use instead; by default the other half.

    >>> print(MissingPartError("encoder", "decoder"))
    this is the encoder half of a model: it has no decoder; use the decoder half or the whole model
    """

    def __init__(self, half: str, part: str, use: str = "") -> None:
        other = "decoder" if half == "encoder" else "encoder"
        use = use or f"the {other} half or the whole model"
        super().__init__(f"this is the {half} half of a model: it has no {part}; use {use}")


class TrainingError(LatentpressError, RuntimeError):
    """Training cannot go on: no usable items, a loss that is not finite, or a run folder of another run."""
