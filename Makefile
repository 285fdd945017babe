# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint docs campaign install clean

demo: install
	$(BIN)/tgvae demo

test: install
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST_FLAGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site of docs/, in site/; warnings are errors.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Fault injection for hours: docs/reliability.md
campaign: install
	$(BIN)/pip install --quiet --constraint constraints.txt '.[campaigns]'
	OMP_NUM_THREADS=1 $(BIN)/python scripts/campaign.py all
	OMP_NUM_THREADS=1 $(BIN)/mutmut run

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,wiki]'
	touch $@

clean:
	rm -rf $(VENV) build site *.egg-info .mypy_cache .pytest_cache .ruff_cache
