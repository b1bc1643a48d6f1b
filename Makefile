# Set-up, tests and the demo. Every target sets up only what is missing and may be run again.
#
# The packages live in an environment in the user's cache folder, named by the lock files' hash: a second
# clone finds it there. `.venv` in the clone is thin: it reads that environment and holds the `icface` command.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
CACHE := $(or $(ICFACE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/icface)
LOCKED := $(shell { cat requirements.lock torch.lock; $(PYTHON) -V; uname -sm; } 2>&1 | sha256sum | cut -c1-16)
ENVIRONMENT := $(CACHE)/environments/$(LOCKED)
VENV := .venv
PYFEAT_LOCKED := $(shell { echo $(LOCKED); cat pyfeat.lock pyfeat-torch.lock; } | sha256sum | cut -c1-16)
PYFEAT_ENVIRONMENT := $(CACHE)/environments/pyfeat-$(PYFEAT_LOCKED)
PYFEAT_VENV := .venv-pyfeat
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest
# Two processes with a thread each, on two cores. The tests of a file run in one of them and share what they set up. Files
# come in their order: by their number of tests, the trainings would come last, and one core would wait.
IN_TWO := OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup: $(VENV)/$(LOCKED)  ## the environment, the system libraries, the sample clips and the weights

# Downloads happen here and nowhere later: packages, sample clips and weights.
$(VENV)/$(LOCKED): pyproject.toml setup.sh icface/weights.py
	@./setup.sh "$(PYTHON)" "$(ENVIRONMENT)" "$(VENV)"
	@ICFACE_CACHE="$(CACHE)" $(PY) -m icface.weights
	@touch $@

.PHONY: demo
demo: setup  ## clips to a moving portrait: preprocess, train, register, evaluate, animate
	@$(PY) -m orchestration demo

.PHONY: test
test: setup  ## the tests that need neither a cluster nor a server (under 20 minutes on 2 cores)
	@$(IN_TWO) -m "not system and not soak and not pyfeat"

.PHONY: test-system
test-system: setup $(CACHE)/axe-core-4.14.1/axe.min.js  ## the tests that kill processes and start servers or a browser
	@$(IN_TWO) -m "system and not soak"

# A browser for the page's tests, and the program that looks for barriers in it. Other files than these are refused.
$(CACHE)/axe-core-4.14.1/axe.min.js: setup-browser.sh
	@./setup-browser.sh 4.14.1 e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745 "$(CACHE)"
	@touch $@

.PHONY: setup-pyfeat test-pyfeat
setup-pyfeat: $(PYFEAT_VENV)/$(PYFEAT_LOCKED)  ## an environment with py-feat, for --analyzer pyfeat

$(PYFEAT_VENV)/$(PYFEAT_LOCKED): $(VENV)/$(LOCKED) pyproject.toml setup-pyfeat.sh
	@./setup-pyfeat.sh "$(PYTHON)" "$(ENVIRONMENT)" "$(PYFEAT_ENVIRONMENT)" "$(PYFEAT_VENV)"
	@touch $@

test-pyfeat: setup-pyfeat  ## the tests that run py-feat's own networks, in that environment
	@$(PYFEAT_VENV)/bin/python -m pytest -m pyfeat tests/icface/analyzers

.PHONY: soak
soak: setup  ## hours of random kills and mutated inputs; ICFACE_SOAK_SEEDS, ICFACE_SOAK_DONE take parts
	@$(PYTEST) -m soak

# Those that ask for nothing.
BENCHMARKS := $(patsubst %,benchmarks/%.py,planning preprocess loader train_step ddp tracking animate)
.PHONY: bench
bench: setup  ## speed, each against a baseline measured in the same run
	@failed=0; for program in $(BENCHMARKS); do \
	  echo "== $$program"; $(PY) $$program || failed=1; done; exit $$failed

.PHONY: check test-fast docs cli architecture
check: format lint types contract test-fast  ## before every commit: format, lint, types, contract, fast tests

# What imports neither Ray nor MLflow, and neither trains nor reads long clips.
FAST := tests/test_docs.py tests/test_docstrings.py tests/orchestration/test_command_line.py \
  tests/orchestration/test_config.py tests/orchestration/test_terminal.py tests/icface/test_attributes.py \
  tests/icface/test_bundle.py tests/icface/test_mappings.py tests/pipelines/test_config.py tests/icface/test_crop.py \
  tests/icface/test_images.py tests/icface/test_labels.py tests/icface/test_licences.py tests/icface/control \
  tests/icface/metrics tests/icface/networks/test_generators.py tests/icface/training/test_losses.py \
  tests/icface/training/test_validation.py tests/pipelines/test_format.py tests/pipelines/sources
test-fast: setup  ## the tests that take seconds
	@$(PYTEST) -q -m "not system and not soak and not pyfeat" $(FAST)

docs: setup cli architecture  ## the documentation site, into site/; warnings are errors
	@$(PY) -m mkdocs build --strict --quiet
cli: setup  ## docs/cli.md, from the command line's --help
	@$(PY) docs/write_cli.py
architecture: setup  ## the diagram and the table of folders in docs/architecture.md, from the code
	@$(PY) docs/write_architecture.py

.PHONY: format lint types contract
format: setup  ## rewrite the code in the project's format
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .
lint: setup  ## formatting, lint rules and spelling
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m codespell_lib
types: setup  ## mypy
	@$(PY) -m mypy
contract: setup  ## which package may import which
	@$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

# Whose files differ by index, and come with torch.
WITH_TORCH := torch triton cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-,\
  cublas cuda-cupti cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 \
  nccl-cu13 nvjitlink nvshmem-cu13 nvtx)
COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes -q --custom-compile-command "make lock" \
  $(addprefix --find-links ,$(PIP_FIND_LINKS)) $(addprefix --no-emit-package ,$(WITH_TORCH))

.PHONY: lock
lock:  ## resolve the dependencies again into requirements.lock and pyfeat.lock (needs uv on the PATH)
	$(COMPILE) pyproject.toml -c torch.lock $(addprefix --extra ,s3 identity onnx studio provenance dev) -o requirements.lock
	@# py-feat's lock holds what it needs beyond those.
	echo py-feat==2.1.5 | $(COMPILE) - -c requirements.lock -c pyfeat-torch.lock -o pyfeat.lock \
	  --no-emit-package torchvision \
	  $$(sed -nE 's/^([a-z0-9._-]+)==.*/--no-emit-package \1/p' requirements.lock | sort -u)
