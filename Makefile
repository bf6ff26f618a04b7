PYTHON ?= python3
CORES ?= 2
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

ROUNDS ?= 20

.PHONY: study test test-slurm test-kills bench lint clean

study: .venv/installed
	snakemake --cores $(CORES)

test: .venv/installed
	OMP_NUM_THREADS=1 pytest --numprocesses $(CORES) --dist loadfile tests/unit
	pytest tests/dag tests/study

test-slurm: .venv/slurm
	tests/slurm/install
	pytest tests/slurm

test-kills: .venv/installed
	DWATLAS_KILL_ROUNDS=$(ROUNDS) pytest tests/study/test_kills.py

bench: .venv/installed
	PYTHONPATH=workflow:tests python -m bench $(NAMES)

lint: .venv/installed
	ruff check . && ruff format --check . && snakefmt --check workflow Snakefile && snakemake --lint

.venv/installed: envs/requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --requirement envs/requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

.venv/slurm: .venv/installed envs/slurm.txt
	$(BIN)/pip install --quiet --requirement envs/slurm.txt
	touch $@

clean:
	rm -rf .venv .snakemake results
