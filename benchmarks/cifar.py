"""CIFAR-10's 10,000 test images as one archive, beside JPEG, WebP and AVIF at equal total bytes.

    python benchmarks/cifar.py --data DATA/cifar10.zip --model runs/cifar [--train-time 40m]

DATA is a zip archive with cifar10/train/CLASS/*.jpg and cifar10/test/CLASS/*.jpg. The model is trained
on the first where its folder is missing, with the command that is shown. The other codecs get the
archive's bytes twice: for one mosaic of all test images, so that headers cost them nothing, and for one
file an image.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from measuring import extract, measure, parser, train_where_missing


def main() -> None:
    options = parser(__doc__, model="runs/cifar", train_time="40m")
    options.add_argument("--data", type=Path, required=True, help="cifar10.zip")
    chosen = options.parse_args()
    with TemporaryDirectory() as folder:
        train_where_missing(
            lambda: extract(chosen.data, "cifar10/train", Path(folder)), "images-small", chosen
        )
        measure([extract(chosen.data, "cifar10/test", Path(folder))], chosen)


if __name__ == "__main__":
    main()
