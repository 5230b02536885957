"""Photographs beside JPEG, WebP and AVIF, each image at the bytes that it takes in the archive.

    python benchmarks/photographs.py --data DATA/bsds500-train.zip --photographs DATA/kodak \
        --model runs/photos [--train-time 22m]

The model is trained on DATA where its folder is missing, with the command that is shown, and measured
on the photographs: bits a pixel, PSNR and MS-SSIM.
"""

from pathlib import Path

from measuring import measure, parser, train_where_missing


def main() -> None:
    options = parser(__doc__, model="runs/photos", train_time="22m")
    options.add_argument("--data", type=Path, required=True, help="what to train on")
    options.add_argument("--photographs", type=Path, required=True, help="what to measure on")
    chosen = options.parse_args()
    train_where_missing(lambda: chosen.data, "photos", chosen)
    measure([chosen.photographs], chosen)


if __name__ == "__main__":
    main()
