# Needs Python 3.11 or newer and make; the rest is installed into .venv, and again when pyproject.toml changes.
#   make test                      with python3
#   make test PYTHON=python3.13    with another interpreter
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test     pip's own variables work too

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: help demo test test-all lint bench clean

help:
	@echo "make demo    train VGG-11 and VGG-11-R on scikit-learn's digits and compare them (minutes, CPU)"
	@echo "make test    lint, then the quick tests"
	@echo "make test-all  the slow tests as well, with every oracle that can be installed (hours)"
	@echo "make lint    ruff, import-linter, mypy and the documentation (into site/)"
	@echo "make bench   the same comparison on CIFAR-10 (RECONFIG_DATA says where it is; hours, GPU)"
	@echo "make clean   remove .venv, caches and built packages; results stay"

demo: $(READY)
	$(BIN)/python benchmarks/run.py demo --out runs/demo-$$(date +%Y%m%d-%H%M%S)

bench: $(READY)
	$(BIN)/python benchmarks/run.py vgg11

test: lint
	$(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 8

# Everything, slow tests too, beside the oracles that are too large or too old for every day.
test-all: lint
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,oracles,clients,beyond]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'robustbench>=1.1'
	$(BIN)/python -m pytest -n auto --maxprocesses 8

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(READY): pyproject.toml | $(BIN)/pip
	@echo "Installing reconfig and what it needs into .venv (the first time takes a few minutes)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	@touch $@

# The target is pip, not python: a venv that could not be finished has only the latter.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("reconfig needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	@echo "Making .venv with $$($(PYTHON) --version)"
	$(PYTHON) -m venv --clear .venv

clean:
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
