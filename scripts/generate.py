"""`tgvae generate` as a script: python scripts/generate.py ..."""

import sys

from tgvae.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["generate", *sys.argv[1:]]))
