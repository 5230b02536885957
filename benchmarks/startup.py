"""How long `latentpress --help` takes, beside the import of click that it cannot do without.

    python benchmarks/startup.py [--runs 30]

Prints the medians and their ratio, and fails where `--help` or `import latentpress` brings in torch.
The two commands take turns, so that a machine that slows down slows both.
"""

import argparse
import statistics
import subprocess
import sys
import time

HELP = [sys.executable, "-m", "latentpress", "--help"]
CLICK = [sys.executable, "-c", "import click"]
HEAVY = ("torch", "pydantic", "numpy", "PIL", "matplotlib", "tqdm")
PROBE = f"""
import sys
import latentpress
from latentpress.cli import main
main(["--help"])
print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


def seconds(command: list[str]) -> float:
    """Runs `command` and returns the wall-clock time that it took."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def heavy_imports() -> list[str]:
    """Returns those of the heavy packages that `latentpress --help` imports."""
    done = subprocess.run([sys.executable, "-c", PROBE], check=True, capture_output=True, text=True)
    return done.stderr.split()


def main() -> None:
    """Measures, prints, and checks the imports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=30)
    runs = parser.parse_args().runs
    for command in (HELP, CLICK):
        seconds(command)  # the first run writes byte code
    pairs = [(seconds(HELP), seconds(CLICK)) for _ in range(runs)]
    help_time, click_time = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"latentpress --help   {1e3 * help_time:7.1f} ms, median of {runs}")
    print(f"import click         {1e3 * click_time:7.1f} ms, median of {runs}")
    print(f"ratio                {help_time / click_time:7.2f}")
    if heavy := heavy_imports():
        sys.exit(f"--help imports {', '.join(heavy)}")
    print(f"not imported         {', '.join(HEAVY)}")


if __name__ == "__main__":
    main()
