# The commands of this project: the same by hand, from a hook and in CI.
#
# PYTHON names the interpreter of a new environment, ARGS is passed on to the demo, the tests and the benchmarks:
#   make demo PYTHON=python3.12        make test ARGS="-k ledger"

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

# jaxlib takes its LAPACK from OpenBLAS, whose threads make small factorisations erratic, up to 20 times slower and
# never much faster.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 MPLBACKEND=Agg

# XLA's newer emitters of fused loops take longer than all else in compiling a run, and these programs run once.
OLD_EMITTERS := --xla_cpu_use_fusion_emitters=false

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: help demo test lint lint-check lint-format lint-types docs bench test-matrix clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "  make %-13s %s\n", $$1, $$2 }'

demo: $(VENV)/.installed-examples ## install what the demo needs and run it
	$(BIN)/flowmod demo $(ARGS)

# Two processes, each with whole files: most of the time is tracing and compiling, which take one core of a process.
# Most programs run once, so that XLA's dearer passes cost more than they save.
test: $(VENV)/.installed-test ## run the tests
	$(ONE_THREAD) XLA_FLAGS="$(OLD_EMITTERS) --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true" \
	  $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: lint-check lint-format lint-types ## check style, format and types

lint-check: $(VENV)/.installed-lint
	$(BIN)/ruff check

lint-format: $(VENV)/.installed-lint
	$(BIN)/ruff format --check

lint-types: $(VENV)/.installed-lint
	$(BIN)/pyright --pythonpath $(BIN)/python

# A page of an example that was renamed or removed would stay in the gallery, so it is built from nothing.
docs: $(VENV)/.installed-docs ## run the examples and build the pages into docs/_build
	rm -rf docs/gallery docs/_build
	$(ONE_THREAD) XLA_FLAGS="$(OLD_EMITTERS)" $(BIN)/python -m sphinx -W --keep-going -q -b html -d docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

# These two variables choose OpenBLAS kernels and block sizes: what a benchmark prints must not depend on them.
bench: $(VENV)/.installed-bench ## run the benchmarks
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(ONE_THREAD) $(BIN)/python -m benchmarks $(ARGS)

test-matrix: ## run the tests on every supported Python found, each with the newest JAX
	@.ci/matrix $(ARGS)

clean: ## remove what these commands made, environments too
	rm -rf .venv .venv-* docs/_build docs/gallery build dist *.egg-info
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment: one folder, and a stamp for each extra that is installed in it ---

$(VENV)/.installed-%: pyproject.toml $(VENV)/.created
	@echo "installing flowmod[$*] into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "flowmod needs Python 3.11 or newer, and \`$(PYTHON)\` is $$($(PYTHON) --version 2>/dev/null || echo "not one that starts")." \
	    "Name another one: make $(firstword $(MAKECMDGOALS)) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "\`$(PYTHON)\` cannot make environments. Install its venv package (on Debian: apt install python3-venv)," \
	    "or name another one: make $(firstword $(MAKECMDGOALS)) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@
