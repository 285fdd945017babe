"""`tgvae prepare` as a script: python scripts/prepare.py ..."""

import sys

from tgvae.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
