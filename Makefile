# make demo    a task on a real table, from the question to the audit notebook; needs no key
# make lab     JupyterLab with the Cellwright kernel
# make test    checks and all tests, two files at a time; PYTEST="..." adds to pytest's options
# make check   lint, types, layers
# make bench   benchmarks
# Each sets up what it needs and can be run again. PY=python3.12 chooses another Python (3.11 or newer).

PY ?= python3
BIN := .venv/bin
LAB ?= results/demo

.PHONY: demo lab test check bench setup model packages
.DEFAULT_GOAL := demo

demo: setup model
	$(BIN)/python notebooks/demo.py

lab: setup
	@$(BIN)/cellwright model list
	@mkdir -p $(LAB)
	$(BIN)/jupyter lab --ServerApp.root_dir=$(LAB) $(if $(filter 0,$(shell id -u)),--allow-root)

test: packages check model-or-skip
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST)

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.bench model
	$(BIN)/python -m benchmarks $(BENCH)

setup: .venv/.installed

.venv/.installed: pyproject.toml
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; choose one with: make PY=python3.12 ...")'
	[ -x $(BIN)/python ] || $(PY) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	$(BIN)/cellwright install --sys-prefix
	@touch $@

.venv/.bench: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

model: setup
	$(BIN)/cellwright model pull

.PHONY: model-or-skip
model-or-skip: setup
	$(BIN)/cellwright model pull || echo "Tests that need the embedded model are skipped."

packages:
	@sh .ci/packages
