"""What the benchmarks of whole models share: training through the command line, and evaluation."""

import argparse
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from latentpress.cli.evaluate import write_report
from latentpress.cli.progress import progress_bar
from latentpress.data import Source, open_sources
from latentpress.evaluate import evaluate
from latentpress.evaluate.tables import evaluation_table
from latentpress.model import load


def parser(description: str | None, *, model: str, train_time: str) -> argparse.ArgumentParser:
    """Returns a parser with the options that both benchmarks take."""
    options = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    options.add_argument("--model", type=Path, default=Path(model), help="trained first where it is missing")
    options.add_argument(
        "--train-time", default=train_time, metavar="20m", help="for codec and prior together"
    )
    options.add_argument("--device", default="auto")
    options.add_argument("--against", help="codecs, such as jpeg,webp; all that are installed by default")
    options.add_argument(
        "--limit", type=int, metavar="N", help="take only N test images, evenly, for a trial"
    )
    options.add_argument("--json", type=Path, help="write all figures here")
    options.add_argument("--report", type=Path, help="write the HTML report here, and JSON beside it")
    return options


def train_where_missing(
    data: Callable[[], Path], preset: str, options: argparse.Namespace, *more: str
) -> None:
    """Trains the model with `latentpress train`, unless it is there; shows the command."""
    if (options.model / "model.safetensors").exists():
        return
    command = ["train", str(data()), "-o", str(options.model), "--preset", preset]
    command += ["--time", options.train_time, "--device", options.device, *more]
    print("$ latentpress", shlex.join(command), file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "latentpress", *command], check=True)


def extract(archive: Path, prefix: str, folder: Path) -> Path:
    """Extracts the part of a zip archive below `prefix` into `folder` and returns where it is."""
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if name.startswith(f"{prefix}/")]
        if not names:
            sys.exit(f"{archive} has nothing below {prefix}/")
        opened.extractall(folder, names)
    return folder / prefix


def measure(data: Sequence[Path], options: argparse.Namespace) -> None:
    """Evaluates the model on `data`, prints the table, and writes what was asked for."""
    model = load(options.model, options.device)
    source = limited(open_sources(data, model.item), options.limit)
    with progress_bar() as progress:
        evaluation = evaluate(model, source, against=codecs(options), progress=progress)
    print(evaluation_table(evaluation))
    if options.json:
        options.json.write_text(evaluation.to_json() + "\n", encoding="utf-8")
    if options.report:
        title = f"{options.model.name} on {', '.join(path.name for path in data)}"
        again = shlex.join(["python", *sys.argv])
        write_report(options.report, options.model, model, source, evaluation, title=title, again=again)


def limited(source: Source, limit: int | None) -> Source:
    """Returns `limit` items of a source, evenly; all where it is None."""
    return source if limit is None else source.evenly(limit)


def codecs(options: argparse.Namespace) -> list[str] | None:
    """Returns the names of the codecs to compare with, of which there may be 'none'; None for all."""
    if options.against in (None, "none"):
        return None if options.against is None else []
    return options.against.split(",")
