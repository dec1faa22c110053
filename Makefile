# `make run` and `make test` set everything up from nothing but Python and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Libraries of models are apart: Lightning imports transformers where it finds it, in each process.
MODELS := $(VENV)/models

.PHONY: run test lint clean

run: $(VENV)/.ready
	$(BIN)/python -m sweeps suite=quick out=runs/quick

test: lint $(MODELS)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --ignore=tests/models
	OMP_NUM_THREADS=1 $(MODELS)/bin/python -m pytest -n auto --dist worksteal tests/models

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tests/plain_english.py

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Switchyard needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(MODELS)/.ready: $(VENV)/.ready
	$(PYTHON) -m venv $(MODELS)
	$(BIN)/python -c "import site; print(*site.getsitepackages(), sep='\n')" \
		> "$$($(MODELS)/bin/python -c 'import site; print(site.getsitepackages()[0])')/base.pth"
	$(MODELS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[timm,transformers]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
