# The two commands of a fresh machine are `make demo` and `make test`; each sets up what is missing and compiles nothing.
# PYTHON= names another interpreter (3.11 to 3.13, which the pinned packages want). Every step leaves a stamp in .venv, so an
# interrupted set-up goes on where it stopped, and a changed requirement runs only its step and what follows.

PYTHON ?= python3
# STACK=compiled: mmcv with its ops, which takes a C++ compiler and 5 to 15 minutes; STACK=classic: torch 2.1 with numpy 1;
# STACK=forks: the maintained forks of OpenMMLab. Each has an environment of its own.
STACK ?= default
STACKS := default compiled classic forks
ifeq ($(filter $(STACK),$(STACKS)),)
$(error STACK must be one of: $(STACKS); got $(STACK))
endif
WANTED := requirements/$(STACK)
VENV := $(CURDIR)/.venv$(if $(filter-out default,$(STACK)),-$(STACK))
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
STAMPS := $(VENV)/stamps
# LOCKED=1: exactly the files of lock.txt, each checked by its hash (Linux x86_64, Python 3.11).
LOCK := $(if $(LOCKED),--require-hashes --no-deps -r $(WANTED)/lock.txt)
TORCH := $(shell sed -n 's/^torch==//p' $(WANTED)/torch.txt)
# Only the stacks with a file mmcv.txt compile mmcv's ops.
MMCV := $(shell sed -n 's/ .*//p' $(WANTED)/mmcv.txt 2>/dev/null)
# The number of steps of the set-up.
N := $(if $(MMCV),5,4)
OPS := $(if $(MMCV),$(STAMPS)/$(MMCV)-torch-$(TORCH),$(STAMPS)/torch)
DEV := $(firstword $(wildcard $(WANTED)/dev.txt) requirements/dev.txt)

DOCS := $(CURDIR)/.venv-docs
# `make lint` takes .venv where it is up to date, else a small environment without torch and mmcv.
LINT := $(shell [ .venv/stamps/openmmlab -nt requirements/lint.txt ] && echo $(CURDIR)/.venv || echo $(CURDIR)/.venv-lint)

.PHONY: help install demo test lab slow faults benchmark docs lint format clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo     set up, then train, refocus, fuse and test on two synthetic data sets (4 minutes after set-up)'
	@echo 'make test     set up, then run the tests (about 6 minutes after set-up)'
	@echo 'make lab      set up, then run the tests of the laboratory (lab/README.md)'
	@echo 'make slow     set up, then run the long tests: every set of configs trains, fuses and tests (10 to 20 minutes)'
	@echo 'make faults   set up, then the long campaign of faults: kills, full disks, damaged files (under an hour)'
	@echo 'make install  only set up .venv (2 to 6 minutes, most of it downloads; seconds when done before)'
	@echo 'make benchmark  set up, then measure what refocusing costs (45 minutes after set-up; goes on where it was)'
	@echo 'make docs     build the documentation into build/docs (a minute the first time; no torch)'
	@echo 'make lint     ruff and mypy (a minute the first time; no torch);   make format  let ruff rewrite'
	@echo 'STACK=compiled, classic or forks behind each of these: another set of libraries (docs/versions.md)'
	@echo 'make clean    remove what was set up or built, and work_dirs'

$(STAMPS)/venv:
	@echo '==> [1/$(N)] $(VENV) with $(PYTHON) (seconds)'
	@command -v $(PYTHON) >/dev/null || { echo 'no $(PYTHON); name an interpreter with PYTHON='; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "the pinned packages need Python 3.11 to 3.13, this is " + sys.version)'
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/torch: $(WANTED)/torch.txt | $(STAMPS)/venv
	@echo '==> [2/$(N)] torch $(TORCH) (1 to 5 minutes)'
	@$(PIP) $(or $(LOCK),-r $(WANTED)/torch.txt)
	@touch $@

ifneq ($(MMCV),)
$(STAMPS)/$(MMCV)-torch-$(TORCH): requirements/build_mmcv.sh requirements/mmcv_target.py $(WANTED)/mmcv.txt $(STAMPS)/torch
	@echo '==> [3/$(N)] $(MMCV) with its ops, compiled for this torch (5 to 15 minutes on two cores, once for all checkouts)'
	@requirements/build_mmcv.sh $(VENV) $(WANTED)/mmcv.txt
	@touch $@
endif

$(STAMPS)/openmmlab: $(WANTED)/openmmlab.txt $(DEV) requirements/lint.txt $(OPS)
	@echo '==> [$(if $(MMCV),4,3)/$(N)] mmengine, mmdet, mmsegmentation, mmpretrain and test tools (1 to 3 minutes)'
	@$(if $(MMCV),,$(PY) -m pip uninstall --quiet --yes mmcv)
	@$(PIP) $(or $(LOCK),-r $(WANTED)/torch.txt -r $(WANTED)/openmmlab.txt -r $(DEV) $(MMCV))
	@touch $@

$(STAMPS)/project: setup.py refconv_mm/version.py $(STAMPS)/openmmlab
	@echo '==> [$(N)/$(N)] refconv_mm itself (seconds)'
	@$(PIP) --no-build-isolation --no-deps -e .
	@$(PY) -W ignore -c 'import refconv_mm; print("    refconv_mm", refconv_mm.__version__, "is ready in $(VENV)")'
	@touch $@

install: $(STAMPS)/project

demo: install
	@$(PY) -W ignore -m demo

test: install
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lab: install
	@$(PIP) -r lab/requirements.txt
	@OMP_NUM_THREADS=1 $(PY) -m pytest tests/lab -n 2 --dist loadfile

slow: install
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 -m slow

faults: install
	@OMP_NUM_THREADS=1 $(PY) -m pytest tests/faults -m faults -n 2 --timeout 3600

benchmark: install
	@$(PY) -W ignore -m lab benchmark

# An environment of a few wheels: $(call small,FOLDER,REQUIREMENTS)
define small
	@command -v $(PYTHON) >/dev/null || { echo 'no $(PYTHON); name an interpreter with PYTHON='; exit 1; }
	@echo '==> $(1) with $(2) (about a minute, once)'
	@$(PYTHON) -m venv --clear $(1)
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check -r $(2)
	@touch $(1)/stamp
endef

$(CURDIR)/.venv-lint/stamp: requirements/lint.txt
	$(call small,$(CURDIR)/.venv-lint,requirements/lint.txt)

$(DOCS)/stamp: requirements/docs.txt
	$(call small,$(DOCS),requirements/docs.txt)

# A warning is an error: a broken link, a page without a place, a public name without documentation.
docs: $(DOCS)/stamp
	@rm -rf build/docs build/doctrees  # a cached page would not repeat its warnings
	@$(DOCS)/bin/python -m sphinx --quiet --fail-on-warning --keep-going -d build/doctrees docs build/docs
	@echo 'open build/docs/index.html'

LINT_READY := $(filter-out $(VENV)/stamp,$(LINT)/stamp)

lint: $(LINT_READY)
	@$(LINT)/bin/ruff check .
	@$(LINT)/bin/ruff format --check .
	@$(LINT)/bin/mypy

format: $(LINT_READY)
	@$(LINT)/bin/ruff format .
	@$(LINT)/bin/ruff check --fix .

clean:
	rm -rf .venv .venv-compiled .venv-classic .venv-forks .venv-lint .venv-docs build work_dirs
