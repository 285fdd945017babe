"""`tgvae evaluate` as a script: python scripts/evaluate.py ..."""

import sys

from tgvae.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
