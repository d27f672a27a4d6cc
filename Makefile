# make demo         pretrain and finetune on the embedded digits
# make demo-cifar   finetune on 5 % of CIFAR-10's labels, with and without Selfie
# make test         all tests but the long ones (make slow runs those)
# make slow         the tests that take minutes
# make lint         style and types
# make bench        a pretraining step of ours beside PyTorch's, on this machine
# make bench-test   the steps' costs on TPUs beside those written down
# make launch-test  launch/ beside the schemas of SkyPilot and JobSet
# make clean        delete all that these make here; your own runs stay
# make help         this list

# Neither too old nor too new for the packages.
FITS := -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
  $$python $(FITS) 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
# Whatever the caller has set: each start would compile all that it imports.
export PYTHONDONTWRITEBYTECODE =
# Most of what comes along is never imported; Python compiles what is.
QUICKLY := --quiet --disable-pip-version-check --no-compile

# Make's own error is one line, before anything is installed.
need_python = $(if $(shell { $(PYTHON) $(FITS); } 2>/dev/null && echo fits),,\
$(error $(or $(PYTHON),python3) is \
$(or $(shell { $(or $(PYTHON),python3) -V; } 2>/dev/null),not there)\
; the packages need Python 3.11, 3.12 or 3.13: \
install one, or type make PYTHON=/path/to/python3.13))

# Alone, make lists its targets.
.DEFAULT_GOAL := help
.PHONY: help demo demo-cifar test slow lint bench bench-test launch-test clean

demo: $(VENV)/.run
	$(BIN)/python main.py --config=configs/digits_pretrain.py \
	  --workdir=runs/demo/digits_pretrain
	$(BIN)/python main.py --config=configs/digits_finetune.py \
	  --config.init_from=runs/demo/digits_pretrain \
	  --workdir=runs/demo/digits_finetune
	$(BIN)/python main.py --config=configs/digits_finetune.py \
	  --workdir=runs/demo/digits_supervised
	$(BIN)/python -m selfie_jax.compare runs/demo/digits_pretrain \
	  runs/demo/digits_finetune runs/demo/digits_supervised
	@echo
	@echo 'Digits are too easy to show a gain. CIFAR-10 shows one: make demo-cifar'

FEW_LABELS := --config=configs/cifar_finetune.py:small \
  --config.label_fraction=0.05 --config.validation_fraction=0 \
  --config.total_steps=300 --config.eval_every=60

demo-cifar: $(VENV)/.run
	$(BIN)/python main.py $(FEW_LABELS) --workdir=runs/demo/cifar_supervised
	$(BIN)/python main.py $(FEW_LABELS) --workdir=runs/demo/cifar_selfie \
	  --config.init_from=docs/pretrained/cifar_small \
	  --config.optimizer.learning_rate=0.1
	$(BIN)/python -m selfie_jax.visualize --count=24 \
	  --checkpoint=runs/demo/cifar_selfie
	$(BIN)/python -m selfie_jax.compare runs/demo/cifar_supervised \
	  runs/demo/cifar_selfie --picture=runs/demo/cifar.png

help:
	@sed -n 's/^# make/make/p' Makefile

test: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal

slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)-bench/.bench
	$(VENV)-bench/bin/python -m benchmarks.torch_baseline \
	  --config=configs/cifar_pretrain.py \
	  --config.batch_size=32 --config.dtype=float32

bench-test: $(VENV)-bench/.bench
	$(VENV)-bench/bin/python -m pytest tests/benchmarks/hlo_test.py tests/benchmarks/tpu_cost_test.py

# Without conftest.py, whose libraries SkyPilot's environment lacks.
launch-test: $(VENV)-launch/.launch
	$(VENV)-launch/bin/python -m pytest --noconftest \
	  tests/launch/manifests_test.py

# By name: an environment elsewhere (VENV=...) may be anybody's.
clean:
	rm -rf .venv .venv-bench .venv-launch
	rm -rf .jax_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf runs/demo
	rmdir runs 2>/dev/null || true
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.run: requirements.txt
	$(need_python)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(QUICKLY) -r requirements.txt
	touch $@

$(VENV)/.test: requirements-test.txt $(VENV)/.run
	$(BIN)/python -m pip install $(QUICKLY) -r requirements-test.txt
	touch $@

# An environment of its own: the TPU compiler in it would slow every start.
$(VENV)-bench/.bench: requirements-bench.txt requirements-test.txt requirements.txt
	$(need_python)
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install $(QUICKLY) -r requirements-bench.txt
	touch $@

$(VENV)-launch/.launch: requirements-launch.txt
	$(need_python)
	$(PYTHON) -m venv $(VENV)-launch
	$(VENV)-launch/bin/python -m pip install $(QUICKLY) -r requirements-launch.txt
	touch $@
