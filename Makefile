# Everything this project does, as commands: `make` alone lists them.
# Made for Linux, macOS, whose GNU make is 3.81, and GNU make in Git Bash on Windows. Needs Python 3.11
# or later and git.

# PYTHON makes .venv. ARGS goes to the command behind a target: make test ARGS="-k clipping"
ARGS ?=
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := Scripts/python.exe
else
PYTHON ?= python3
BIN := bin/python
endif

# An active virtualenv or conda environment is used as it is (conda's base is nobody's work space);
# without one, .venv is made here.
ifneq ($(VIRTUAL_ENV),)
ENV := $(subst \,/,$(VIRTUAL_ENV))
else ifneq ($(filter-out base,$(CONDA_DEFAULT_ENV)),)
ENV := $(subst \,/,$(CONDA_PREFIX))
BIN := $(subst Scripts/,,$(BIN))
else
ENV := .venv
NEW_ENV := .venv/$(BIN)
endif
RUN := "$(ENV)/$(BIN)" -m
PIP := $(RUN) pip --disable-pip-version-check -qq

# A stamp tells what is installed. It carries a checksum of this folder's path, so that a folder that
# was moved, or another one that shares the environment, is installed again.
space := $(subst ,, )
STAMP := $(subst $(space),\ ,$(ENV))/.teachkit-$(shell pwd | cksum | cut -d' ' -f1)
DEV_STAMP := $(STAMP)-dev
CLASSIC_STAMP := .classic/.installed
# These folders serve one environment at a time, since a library fits one version of Python: their
# stamps carry a checksum of its path, so that another one installs them again.
OWNER := $(shell echo "$(if $(NEW_ENV),$(CURDIR)/.venv,$(ENV))" | cksum | cut -d' ' -f1)
COLAB_STAMP := .colab/.installed-$(OWNER)
ORACLES_STAMP := .oracles/.installed-$(OWNER)
OLDEST_STAMP := .oldest/.installed-$(OWNER)

# Each file of tests stays in one process, since its tests share a browser or a chapter. ARGS=-n0: one alone.
PARALLEL := --numprocesses=auto --maxprocesses=4 --dist=loadfile

# Pictures reach the browser sooner: tools/prompt_kernel.py says why.
PROMPT := --ServerApp.kernel_websocket_connection_class=tools.prompt_kernel.PromptConnection

# `make test-oldest` fills its environment from another list.
REQUIREMENTS := requirements.txt
TORCH := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' $(REQUIREMENTS))
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: help lab test test-python test-oldest lint format types notebooks student colab screenshot results bench fuzz colab-env classic-env oldest-env oracles clean

help:  ## List the commands
	@awk 'BEGIN {FS = ":.*  ## "} /^[a-z-]+:.*  ## / {printf "make %-11s  %s\n", $$1, $$2}' Makefile

lab: $(STAMP)  ## Open the tutorial in JupyterLab
	@$(RUN) jupyterlab $(PROMPT) notebooks/00_start_here.ipynb $(ARGS)

test: $(DEV_STAMP) $(COLAB_STAMP) $(CLASSIC_STAMP) $(OLDEST_STAMP) $(ORACLES_STAMP)  ## Run all tests: code, chapters, browser, style, types
	@$(RUN) pytest $(PARALLEL) $(ARGS)

# An environment of its own for each: what `make test` sets up in .venv stays as it is.
test-python:  ## Run all tests on another Python: make test-python PYTHON=python3.13
	@$(call check_python,$(PYTHON))
	@test -x .venv-$(notdir $(PYTHON))/$(BIN) || $(PYTHON) -m venv .venv-$(notdir $(PYTHON))
	@VIRTUAL_ENV="$(CURDIR)/.venv-$(notdir $(PYTHON))" $(MAKE) --no-print-directory test

test-oldest:  ## Run the tests that need no browser on the oldest libraries, torch too; PYTHON=python3.11
	@$(call check_oldest_python,$(PYTHON)) || { \
	echo 'The oldest libraries need Python 3.11, and $(PYTHON) is another one or missing: name' \
	'one as in make test-oldest PYTHON=python3.11' >&2; exit 1; }
	@test -x .venv-oldest/$(BIN) || $(PYTHON) -m venv .venv-oldest
	@VIRTUAL_ENV="$(CURDIR)/.venv-oldest" $(MAKE) --no-print-directory REQUIREMENTS=requirements-oldest.txt run-oldest

# The second half of test-oldest, in its environment. Left out: what the versions cannot change, the
# chapters' numbers, which were measured on newer ones, and what compares with JAX, which needs them.
run-oldest: $(STAMP)
	@sed '/^-r /d; /^pandas-stubs/d' requirements-dev.txt > "$(ENV)/dev.txt"
	@$(PIP) install --constraint $(REQUIREMENTS) --requirement "$(ENV)/dev.txt"
	@$(RUN) pytest --ignore=tests/browser --ignore=tests/tools --ignore=tests/test_style.py \
	--ignore-glob='tests/notebooks/*claims*' --ignore=tests/test_framework_rules.py \
	--deselect tests/test_frameworks.py::test_a_backend_that_a_reader_chose_draws \
	--deselect tests/test_clipping.py::test_optax_makes_the_same_of_it $(ARGS)

lint: $(DEV_STAMP)  ## Check the style of all Python files
	@$(RUN) ruff check . $(ARGS)

format: $(DEV_STAMP)  ## Format all Python files, and repair what ruff can repair
	@$(RUN) ruff check --fix-only --quiet .
	@$(RUN) ruff format .

types: $(DEV_STAMP)  ## Check the types
	@$(RUN) mypy $(ARGS)

notebooks: $(DEV_STAMP)  ## Build and execute the chapters; ARGS=04 builds one
	@$(RUN) tools.notebooks build $(ARGS)

student: $(DEV_STAMP)  ## Copy the chapters without solutions into dist/student; ARGS=05 copies one
	@$(RUN) tools.student $(ARGS)

# REPO=owner/name also stamps "Open in Colab" badges for that repository on GitHub into README.md and
# the chapters, with a cell that installs teachkit from there; REPO=none takes them off again.
colab: $(DEV_STAMP)  ## Write each chapter as one file for Colab into dist/colab; REPO=owner/name adds badges
	@$(RUN) tools.colab $(if $(filter command,$(origin REPO)),--repo "$$REPO") $(ARGS)

screenshot: $(DEV_STAMP)  ## Film the lab of the README in JupyterLab; needs Chromium
	@$(RUN) tools.screenshot

results: $(STAMP)  ## Compute the precomputed results in data/results again
	@$(RUN) teachkit.experiments $(ARGS)

bench: $(DEV_STAMP) $(ORACLES_STAMP)  ## Compare speed with the project's bars, on a quiet machine
	@$(RUN) benchmarks.analyses
	@$(RUN) benchmarks.error_surface
	@$(RUN) benchmarks.replicas
	@$(RUN) benchmarks.experiments
	@$(RUN) benchmarks.slider
	@$(RUN) benchmarks.frames
	@$(RUN) benchmarks.chapters

fuzz: $(DEV_STAMP)  ## Try 1,000 random settings of every lab; ARGS="--lab wall" of one
	@$(RUN) tests.labs.fuzzing $(ARGS)

colab-env: $(COLAB_STAMP)  ## Install Colab's versions of the libraries into .colab

classic-env: $(CLASSIC_STAMP)  ## Install a page with ipywidgets 7 into .classic, for tests

oldest-env: $(OLDEST_STAMP)  ## Install the oldest libraries, without torch, into .oldest, for tests

oracles: $(ORACLES_STAMP)  ## Install JAX and its libraries of layers into .oracles, for tests and bench

clean:  ## Remove what the other commands made, except the environment and the chapters
	rm -rf .classic .colab .oldest .oracles .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist tests/browser/screenshots
	find benchmarks teachkit tests tools notebooks -name __pycache__ -prune -exec rm -rf {} +
	find notebooks -name .ipynb_checkpoints -prune -exec rm -rf {} +

# --- set-up ----------------------------------------------------------------------------------------

# $(call check_python,COMMAND) stops with one sentence where COMMAND is not a Python that will do.
check_python = $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo 'Python 3.11 or later is needed, and $(1) is older or missing: with no environment' \
	'active, name another one as in make lab PYTHON=python3.12' >&2; exit 1; }

# $(call check_oldest_python,COMMAND) is true for the one Python that has wheels of the oldest libraries.
check_oldest_python = $(1) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null

.venv/$(BIN):
	@$(call check_python,$(PYTHON))
	@$(PYTHON) -m venv --clear .venv || { rm -rf .venv; exit 1; }

# Where Linux has no NVIDIA driver, torch comes without the CUDA libraries (several GB). macOS has
# none anyway. Nothing is downloaded where this torch is installed already.
$(STAMP): pyproject.toml $(REQUIREMENTS) | $(NEW_ENV)
	@$(call check_python,"$(ENV)/$(BIN)")
	@echo "Installing into $(ENV), which takes some minutes the first time ..."
	@rm -f "$(ENV)"/.teachkit-*
	@if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
	$(PIP) install --no-deps --retries 1 --timeout 15 --index-url $(TORCH_CPU_INDEX) $(TORCH) 2>/dev/null || \
	echo "PyTorch's CPU index cannot be reached; pip's own index gives a torch with CUDA, a larger download."; \
	fi
	@$(PIP) install --requirement $(REQUIREMENTS) --editable .
	@touch "$@"

$(DEV_STAMP): $(STAMP) requirements-dev.txt
	@$(PIP) install --requirement requirements-dev.txt
	@touch "$@"

$(COLAB_STAMP): $(STAMP) requirements-colab.txt
	@rm -rf .colab
	@$(PIP) install --no-deps --target .colab --requirement requirements-colab.txt
	@touch "$@"

# Pure Python, which serves every environment.
$(CLASSIC_STAMP): requirements-classic.txt | $(STAMP)
	@rm -rf .classic
	@$(PIP) install --no-deps --target .classic --requirement requirements-classic.txt
	@touch "$@"

# Another Python gets an empty folder, and the test that needs it says so.
$(OLDEST_STAMP): $(STAMP) requirements-oldest.txt
	@rm -rf .oldest
	@mkdir .oldest
	@sed '/^torch==/d' requirements-oldest.txt > .oldest/requirements.txt
	@if $(call check_oldest_python,"$(ENV)/$(BIN)"); then \
	$(PIP) install --no-deps --target .oldest --requirement .oldest/requirements.txt; fi
	@touch "$@"

$(ORACLES_STAMP): $(STAMP) requirements-oracles.txt
	@rm -rf .oracles
	@$(PIP) install --no-deps --target .oracles --requirement requirements-oracles.txt
	@touch "$@"
