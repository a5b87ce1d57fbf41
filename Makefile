# Everything from zero: Python ≥ 3.11, make and a package index are all that is needed.
# uv is used for speed where it is installed; plain pip does the same.

PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null)

.PHONY: run test docs bench lint check install format clean

# What trains is enough for this; where the tools of development are installed, they have it all.
run: $(if $(wildcard .venv/.installed),install,.venv/.train) ## MNIST in the competition's shape: train, explain, predict, score
	$(BIN)/tenfold run

# A process a core, one thread each: threads of several processes would wait for each other.
test: install         ## the whole test suite, on real digits
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 \
		--dist loadfile --no-loadscope-reorder

docs: install         ## run the course, chapter by chapter: docs/build/*.html, docs/tutorial/*.ipynb
	$(BIN)/python docs/build.py

bench: install        ## the comparisons in a quick form, table and figure in runs/bench
	$(BIN)/python benchmarks/bench.py

lint: install         ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test docs ## what must be green before a commit

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: .venv/.installed

.venv/.installed: EXTRA := dev
.venv/.train: EXTRA := train
.venv/.installed .venv/.train: pyproject.toml constraints.txt
	@echo "installing tenfold[$(EXTRA)] into .venv: PyTorch is large, this takes a minute or more"
ifdef UV
	@$(UV) venv --quiet --allow-existing --seed --python $(PYTHON) .venv
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt \
		--editable '.[$(EXTRA)]'
else
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[$(EXTRA)]'
endif
	@touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
