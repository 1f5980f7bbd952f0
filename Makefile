# Everything this project does, as commands: `make` alone lists them.
# Made for Linux and macOS, whose GNU make is 3.81. Needs Python 3.11 or later and git.

# PYTHON makes .venv. ARGS goes to the command behind a target: make test ARGS="-k clipping"
PYTHON ?= python3
ARGS ?=

# An active virtualenv or conda environment is used as it is (conda's base is nobody's work space);
# without one, .venv is made here.
ifneq ($(VIRTUAL_ENV),)
ENV := $(VIRTUAL_ENV)
else ifneq ($(filter-out base,$(CONDA_DEFAULT_ENV)),)
ENV := $(CONDA_PREFIX)
else
ENV := .venv
NEW_ENV := .venv/bin/python
endif
RUN := "$(ENV)/bin/python" -m
PIP := $(RUN) pip --disable-pip-version-check -qq

# A stamp tells what is installed. It carries a checksum of this folder's path, so that a folder that
# was moved, or another one that shares the environment, is installed again.
space := $(subst ,, )
STAMP := $(subst $(space),\ ,$(ENV))/.teachkit-$(shell pwd | cksum | cut -d' ' -f1)
DEV_STAMP := $(STAMP)-dev
# These folders serve one environment at a time, since a library fits one version of Python: their
# stamps carry a checksum of its path, so that another one installs them again.
OWNER := $(shell echo "$(if $(NEW_ENV),$(CURDIR)/.venv,$(ENV))" | cksum | cut -d' ' -f1)
COLAB_STAMP := .colab/.installed-$(OWNER)
ORACLES_STAMP := .oracles/.installed-$(OWNER)

# Pictures reach the browser sooner: tools/prompt_kernel.py says why.
PROMPT := --ServerApp.kernel_websocket_connection_class=tools.prompt_kernel.PromptConnection

TORCH := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: help lab test test-python lint format types notebooks results bench colab-env oracles clean

help:  ## List the commands
	@awk 'BEGIN {FS = ":.*  ## "} /^[a-z-]+:.*  ## / {printf "make %-11s  %s\n", $$1, $$2}' Makefile

lab: $(STAMP)  ## Open the tutorial in JupyterLab
	@$(RUN) jupyterlab $(PROMPT) notebooks/00_start_here.ipynb $(ARGS)

test: $(DEV_STAMP) $(COLAB_STAMP) $(ORACLES_STAMP)  ## Run all tests: code, chapters, browser, style, types
	@$(RUN) pytest $(ARGS)

# An environment of its own for each: what `make test` sets up in .venv stays as it is.
test-python:  ## Run all tests on another Python: make test-python PYTHON=python3.13
	@$(call check_python,$(PYTHON))
	@test -x .venv-$(notdir $(PYTHON))/bin/python || $(PYTHON) -m venv .venv-$(notdir $(PYTHON))
	@VIRTUAL_ENV="$(CURDIR)/.venv-$(notdir $(PYTHON))" $(MAKE) --no-print-directory test

lint: $(DEV_STAMP)  ## Check the style of all Python files
	@$(RUN) ruff check . $(ARGS)

format: $(DEV_STAMP)  ## Format all Python files, and repair what ruff can repair
	@$(RUN) ruff check --fix-only --quiet .
	@$(RUN) ruff format .

types: $(DEV_STAMP)  ## Check the types
	@$(RUN) mypy $(ARGS)

notebooks: $(DEV_STAMP)  ## Build and execute the chapters; ARGS=04 builds one
	@$(RUN) tools.notebooks build $(ARGS)

results: $(STAMP)  ## Compute the precomputed results in data/results again
	@$(RUN) teachkit.experiments $(ARGS)

bench: $(DEV_STAMP) $(ORACLES_STAMP)  ## Compare speed with the project's bars, on a quiet machine
	@$(RUN) benchmarks.analyses
	@$(RUN) benchmarks.error_surface
	@$(RUN) benchmarks.replicas
	@$(RUN) benchmarks.experiments
	@$(RUN) benchmarks.slider
	@$(RUN) benchmarks.chapters

colab-env: $(COLAB_STAMP)  ## Install Colab's versions of the libraries into .colab

oracles: $(ORACLES_STAMP)  ## Install JAX and its libraries of layers into .oracles, for tests and bench

clean:  ## Remove what the other commands made, except the environment and the chapters
	rm -rf .colab .oracles .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist tests/browser/screenshots
	find benchmarks teachkit tests tools notebooks -name __pycache__ -prune -exec rm -rf {} +
	find notebooks -name .ipynb_checkpoints -prune -exec rm -rf {} +

# --- set-up ----------------------------------------------------------------------------------------

# $(call check_python,COMMAND) stops with one sentence where COMMAND is not a Python that will do.
check_python = $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo 'Python 3.11 or later is needed, and $(1) is older or missing: with no environment' \
	'active, name another one as in make lab PYTHON=python3.12' >&2; exit 1; }

.venv/bin/python:
	@$(call check_python,$(PYTHON))
	@$(PYTHON) -m venv --clear .venv || { rm -rf .venv; exit 1; }

# Where Linux has no NVIDIA driver, torch comes without the CUDA libraries (several GB). macOS has
# none anyway. Nothing is downloaded where this torch is installed already.
$(STAMP): pyproject.toml requirements.txt | $(NEW_ENV)
	@$(call check_python,"$(ENV)/bin/python")
	@echo "Installing into $(ENV), which takes some minutes the first time ..."
	@rm -f "$(ENV)"/.teachkit-*
	@if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
	$(PIP) install --no-deps --retries 1 --timeout 15 --index-url $(TORCH_CPU_INDEX) $(TORCH) 2>/dev/null || \
	echo "PyTorch's CPU index cannot be reached; pip's own index gives a torch with CUDA, a larger download."; \
	fi
	@$(PIP) install --requirement requirements.txt --editable .
	@touch "$@"

$(DEV_STAMP): $(STAMP) requirements-dev.txt
	@$(PIP) install --requirement requirements-dev.txt
	@touch "$@"

$(COLAB_STAMP): $(STAMP) requirements-colab.txt
	@rm -rf .colab
	@$(PIP) install --no-deps --target .colab --requirement requirements-colab.txt
	@touch "$@"

$(ORACLES_STAMP): $(STAMP) requirements-oracles.txt
	@rm -rf .oracles
	@$(PIP) install --no-deps --target .oracles --requirement requirements-oracles.txt
	@touch "$@"
