"""`tgvae summarize` as a script: python scripts/summarize.py ..."""

import sys

from tgvae.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["summarize", *sys.argv[1:]]))
