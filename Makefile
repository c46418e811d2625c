# make help says what there is. Everything runs from .venv, which setup makes and keeps up to date.
SHELL := /bin/bash -eu -o pipefail
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-adapters soak check bench bench-full bench-plots bench-peers bench-guard flame sanitize test-clones clean

PYTHON ?= python3
ARGS ?=
SECONDS ?= 360
ADAPTERS ?= sb3 torchrl tianshou rllib
STAMP := .venv/.memfarm-setup
HEADERS := $(wildcard memfarm/*.h memfarm/kernels/*.h)
export PYTHONUNBUFFERED := 1

help: ## what you are reading
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

setup: $(STAMP) ## .venv with memfarm (editable, kernels compiled) and its tools, as pinned in constraints.txt

$(STAMP): pyproject.toml setup.py constraints.txt memfarm/kernels.cpp $(HEADERS)
	@command -v $(PYTHON) >/dev/null || { echo "memfarm needs python3 (3.11 or newer), which is not on PATH" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"memfarm needs Python 3.11 or newer, got {v.major}.{v.minor}; name one: make setup PYTHON=python3.11")'
	@$(PYTHON) -c 'import pathlib, sys, sysconfig; h = pathlib.Path(sysconfig.get_path("include"), "Python.h"); h.exists() or sys.exit(f"the kernels need the headers of Python, there is no {h}; install them (Debian: apt install python3-dev)")'
	@$(PYTHON) -c 'import ensurepip, sys, venv' 2>/dev/null || { echo "$(PYTHON) cannot make a virtual environment; install venv (Debian: apt install python3-venv)" >&2; exit 1; }
	@command -v $${CXX:-g++} >/dev/null || { echo "the kernels need a C++17 compiler, there is no $${CXX:-g++} on PATH; install one (Debian: apt install g++) or name it in CXX" >&2; exit 1; }
	.venv/bin/python -c '' 2>/dev/null || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --progress-bar off --constraint constraints.txt --editable '.[dev,demo]'
	touch $@

demo: setup ## build a world from a real elevation map, train in it, write runs/demo/ (ARGS="--seconds 30 …")
	.venv/bin/memfarm demo $(ARGS)

# The second run leaves out the tests marked `once`, which no kernel can change.
test: setup ## the suite on the compiled kernels, then on their NumPy twins (ARGS="-k grid …")
	.venv/bin/python -m pytest $(ARGS)
	MEMFARM_KERNELS=reference .venv/bin/python -m pytest -m "not once" $(ARGS)

# A trainer's environment is .venv with the trainer laid over it: what both have is the trainer's version. So is the peers'.
INSTALLED = --constraint requirements/$*.txt 'memfarm[$*]'
.venv-adapters/peers/.ready: INSTALLED = --requirement requirements/peers.txt
.venv-adapters/%/.ready: requirements/%.txt $(STAMP)
	rm -rf .venv-adapters/$*
	.venv/bin/python -m venv --without-pip .venv-adapters/$*
	cd .venv-adapters/$*/lib/python3*/site-packages && echo "import site; site.addsitedir('$$($(CURDIR)/.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" > memfarm_core.pth
	.venv/bin/python -m pip --python .venv-adapters/$*/bin/python install --progress-bar off $(INSTALLED)
	touch $@

# POGEMA needs a NumPy and a pydantic that memfarm cannot use: nothing lies below its environment.
.venv-adapters/pogema/.ready: requirements/pogema.txt $(STAMP)
	rm -rf $(@D)
	.venv/bin/python -m venv --without-pip $(@D)
	.venv/bin/python -m pip --python $(@D)/bin/python install --progress-bar off --requirement requirements/pogema.txt
	touch $@

test-adapters: $(ADAPTERS:%=.venv-adapters/%/.ready) ## train with each trainer in a venv of its own (ADAPTERS="sb3 torchrl")
	for name in $(ADAPTERS); do .venv-adapters/$$name/bin/python -m pytest -s tests/adapters/test_$$name*.py; done

soak: export MEMFARM_DOSE := full
soak: setup ## the faults and the fuzzers in full dose, counts printed, then lives of environments (SECONDS=3600: an hour)
	.venv/bin/python -m pytest -s tests/faults tests/fuzz tests/test_grid_stateful.py tests/test_world_stateful.py \
		tests/test_resume.py tests/test_clones.py tests/test_rollout.py tests/test_sharded.py tests/test_snapshots.py $(ARGS)
	.venv/bin/python -m benchmarks.soak --seconds $(SECONDS)

check: setup ## ruff, its formatter, mypy --strict and the direction of imports; changes nothing
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup ## the figures, each beside its baseline (ARGS goes to python -m benchmarks)
	.venv/bin/python -m benchmarks $(ARGS)

bench-peers: setup .venv-adapters/peers/.ready .venv-adapters/pogema/.ready ## the figures beside other packages', in venvs of their own (ARGS="--quick")
	.venv/bin/python -m benchmarks.peers $(ARGS)
	.venv-adapters/peers/bin/python -m benchmarks.storage_peers $(filter --quick,$(ARGS))

bench-full: setup ## every hot path by pytest-benchmark, then the curves: a quarter of an hour (ARGS goes to pytest)
	.venv/bin/python -m pytest --config-file=benchmarks/pytest.ini benchmarks $(ARGS)
	$(MAKE) bench-plots

bench-plots: setup ## steps a second by agents and side, memory by side, measured and drawn into docs/figures
	.venv/bin/python -m benchmarks.curves
	.venv/bin/python -m benchmarks.plots

flame: setup ## where the time of a Forage step goes, by part, and docs/figures/flame.png (ARGS="--agents 1000")
	.venv/bin/python -m benchmarks.flame $(ARGS)

sanitize: setup ## the kernels' tests on kernels built with the address and undefined-behaviour sanitizers
	.venv/bin/python -m benchmarks.variants sanitized sanitized-baseline

test-clones: setup ## the kernels' tests on each clone of the kernels that this processor has
	.venv/bin/python -m benchmarks.variants avx512 avx2 baseline

bench-guard: setup ## instructions of the hot kernels against benchmarks/guard.json (ARGS="--write", "--runs 20")
	.venv/bin/python -m benchmarks.guard $(ARGS)

clean: ## remove .venv and whatever was built or cached; runs/ stays
	rm -rf .venv .venv-adapters build dist memfarm.egg-info memfarm/_kernels*.so
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find memfarm envs wrappers tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
