"""`tgvae train` as a script: python scripts/train.py ..."""

import sys

from tgvae.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
