"""What several verbs share: options, durations, labels, and `-` for stdin and stdout."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentpress.cli.streams import stdin_bytes
from latentpress.errors import LatentpressError

if TYPE_CHECKING:
    from latentpress.config import AnyModelConfig
    from latentpress.data import Source
    from latentpress.items.base import Item

__all__ = ["NEW_FILE", "NEW_FOLDER", "OLD_FILE", "OLD_FOLDER", "OLD_PATH", "STREAM", "Duration"]
__all__ += ["convert_option", "debug_option", "device_option", "force_option", "input_file", "json_option"]
__all__ += ["Size", "limit_memory", "max_memory_option", "max_samples_option"]
__all__ += [
    "labels_of",
    "model_option",
    "open_items",
    "refuse_overwrite",
    "seed_option",
    "temperature_option",
]

STREAM = Path("-")
OLD_PATH = click.Path(exists=True, allow_dash=True, path_type=Path)
OLD_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
OLD_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, allow_dash=True, path_type=Path)
_SECONDS = {"s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType):
    """A time such as `90s`, `20m`, `1.5h`, in seconds; a bare number is seconds.

    >>> Duration().convert("20m", None, None)
    1200.0
    """

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the seconds that `value` says."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(value).strip())
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r} is no time: write 90s, 20m or 2h", param, ctx)
        return float(match[1]) * _SECONDS[match[2] or "s"]


def _set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.obj["debug"] = True


convert_option = click.option(
    "--convert",
    is_flag=True,
    help="Take items that lose something on the way, such as an alpha channel, or colour for a grey model.",
)
debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_set_debug,
    help="Show the traceback of an error.",
)
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ..."
)
force_option = click.option("-f", "--force", is_flag=True, help="Overwrite what is there.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout.")
model_option = click.option("-m", "--model", required=True, type=OLD_FOLDER, help="The model folder.")
temperature_option = click.option(
    "--temperature",
    type=click.FloatRange(0.01, 100),
    default=1.0,
    show_default=True,
    help="Of draws: below 1 for likelier items, above 1 for more varied ones.",
)
seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Seed of the random numbers.",
)


def labels_of(config: AnyModelConfig, labels: Sequence[str]) -> dict[str, str]:
    """Labels that are written NAME=VALUE, or VALUE alone for the model's first one."""
    first = config.labels[0].name if config.labels else "class"
    named = (label if "=" in label else f"{first}={label}" for label in labels)
    return {name: value for name, _, value in (label.partition("=") for label in named)}


def refuse_overwrite(path: Path, force: bool) -> None:
    """Raises, before any work is done, where `path` is neither free nor stdout nor may be overwritten."""
    if path != STREAM and path.exists() and not force:
        raise LatentpressError(f"{path} exists already; -f overwrites it")


class Size(click.ParamType):
    """A number of bytes such as `500MB`, `2GB` or `1GiB`.

    >>> Size().convert("2GB", None, None)
    2000000000
    """

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the bytes that `value` says."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)(i?)B?", str(value).strip())
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r} is no size: write 500MB or 2GB", param, ctx)
        return int(float(match[1]) * (1024 if match[3] else 1000) ** " kMGT".index(match[2] or " "))


def limit_memory(most: int | None) -> None:
    """Lets this process, which has loaded what it works with, have no more memory than that.

    Raises `LatentpressError` where it has more already, or the system has no such limit.
    """
    if most is None:
        return
    try:
        import resource

        held = int(re.search(r"VmData:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10  # type: ignore[index]
    except (ImportError, OSError, TypeError):
        raise LatentpressError("--max-memory: this system has no such limit") from None
    if held > most:
        raise LatentpressError(
            f"--max-memory: PyTorch and the model take {held >> 20:,} MiB, and {most >> 20:,} are allowed"
        )
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


max_samples_option = click.option(
    "--max-samples",
    type=click.IntRange(1),
    help="Refuse an archive whose items have more samples in all, before anything is decoded.",
)
max_memory_option = click.option(
    "--max-memory",
    type=Size(),
    metavar="SIZE",
    help="Give up if it takes more memory than 500MB, 2GB, ...; PyTorch and the model are part of it.",
)


@contextmanager
def input_file(path: Path, *, name: str = "stdin") -> Iterator[Path]:
    """Gives a path to read: `path` itself, or for `-` a temporary file called `name` with stdin's bytes."""
    if path != STREAM:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="latentpress-") as folder:
        spool = Path(folder) / name
        with open(spool, "wb") as file:
            shutil.copyfileobj(stdin_bytes(), file)
        yield spool


@contextmanager
def open_items(paths: Sequence[Path], item: Item, convert: bool) -> Iterator[Source]:
    """Gives the items in files and folders; `-` is one item on stdin."""
    from latentpress.data import open_sources

    with ExitStack() as stack:
        name = f"stdin{item.new_suffix}"
        inputs = [stack.enter_context(input_file(path, name=name)) for path in paths]
        yield open_sources(inputs, item, convert=convert)
