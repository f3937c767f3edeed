# Groupwise: set-up and checks. `make quickstart` and `make test` are all that is needed.
#
#   PYTHON=python3.12 make install       another interpreter (3.11 or newer)
#   TORCH_INDEX_URL=URL make install     take torch from another wheel index, such as PyTorch's CPU
#                                        index, where the default one would bring CUDA
#   JOBS=4 make test                     so many tests at once; each process takes about 2 GB

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
TORCH := $(shell grep -E '^torch==' requirements/cpu.txt)
LOCK := $(shell nvidia-smi -L >/dev/null 2>&1 && echo requirements/gpu.txt || echo requirements/cpu.txt)
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Tests of one file share their models, and stay in one process.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

# Two processes with spinning OpenMP threads on two cores can take a hundred times as long.
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 0

.PHONY: quickstart install dev gguf test test-fast test-long test-invariance test-emulated lint
.PHONY: format types lock clean

quickstart: install
	@$(BIN)/groupwise quickstart

install: $(VENV)/.installed
dev: $(VENV)/.dev-installed

$(VENV)/.installed: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "groupwise needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Try PYTHON=python3.12 make install"; exit 2; }
	@echo "[1/4] environment in $(VENV), with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV)
	@echo "[2/4] $(TORCH)$(if $(TORCH_INDEX_URL), from $(TORCH_INDEX_URL))"
	@$(PIP) install --quiet $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) $(TORCH)
	@echo "[3/4] $$(grep -c == $(LOCK)) packages of $(LOCK), about a minute"
	@$(PIP) install --quiet --no-deps -r $(LOCK)
	@echo "[4/4] groupwise itself"
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev-installed: requirements/dev.txt $(VENV)/.installed
	@echo "tools for tests: $$(grep -c == requirements/dev.txt) packages of requirements/dev.txt"
	@$(PIP) install --quiet --no-deps -r requirements/dev.txt
	@touch $@

# llama.cpp: its library, and from the same archive the converter, which is in no package. Its
# build has more parts than this takes.
gguf: $(VENV)/.gguf-installed
LLAMA := $(shell grep -E '^llama-cpp-python==' requirements/gguf.txt)
# The last two are for tests.
LLAMA_PARTS := convert_hf_to_gguf.py conversion gguf-py models/templates \
  models/ggml-vocab-llama-bpe.gguf
$(VENV)/.gguf-installed: requirements/gguf.txt $(VENV)/.installed
	@echo "llama.cpp, of $(LLAMA): compiles for about four minutes on two cores"
	@rm -rf $(VENV)/share/llama.cpp $(VENV)/llama-sdist
	@mkdir -p $(VENV)/share/llama.cpp
	@$(PIP) download --quiet --no-deps --no-binary llama-cpp-python --dest $(VENV)/llama-sdist $(LLAMA)
	@tar -xzf $(VENV)/llama-sdist/*.tar.gz -C $(VENV)/share/llama.cpp --strip-components 3 \
	  --wildcards $(LLAMA_PARTS:%=*/vendor/llama.cpp/%)
	@CMAKE_ARGS=-DLLAVA_BUILD=OFF $(PIP) install --quiet --no-deps $(VENV)/llama-sdist/*.tar.gz
	@$(PIP) install --quiet --no-deps -r requirements/gguf.txt
	@rm -r $(VENV)/llama-sdist
	@touch $@

test: lint types
	@$(PYTEST) -m "not long and not timing and not emulated"
	@$(BIN)/python -m pytest -q -m "timing and not stack"

test-fast: dev
	@$(PYTEST) -m "not stack and not long and not timing and not emulated"

# As on machines with older instructions; `make test` has the machine's own.
test-invariance: dev
	@ATEN_CPU_CAPABILITY=default $(BIN)/python -m pytest -q -n $(JOBS) -m invariance
	@ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 \
	  $(BIN)/python -m pytest -q -n $(JOBS) -m invariance

# Whole commands on Unsloth's GPU code, which runs on CPU tensors (tests/gpu_emulation.py); then the
# tests of the stack on it. Left out of these: sampling from plain models, which Unsloth did not
# load; findings of health, which are read from a log; and what emulates in processes of its own.
EMULATED := cli policy grpo_trainer trainers experiment run test_minimal_grpo.py
NOT_EMULATED := policy/test_policy_unsloth.py run/test_run_health.py run/test_run_health_provoked.py
test-emulated: dev
	@$(PYTEST) -m emulated
	@EMULATE_GPU=1 $(PYTEST) -m "stack and not long and not timing and not emulated" \
	  $(NOT_EMULATED:%=--ignore=tests/framework/%) $(EMULATED:%=tests/framework/%)

test-long: dev gguf
	@$(PYTEST) -m long

lint: dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache --no-logo # the order of the rooms

types: dev
	@$(BIN)/mypy

format: dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: dev
	@PATH="$(abspath $(BIN)):$$PATH" requirements/make_lock.sh

clean:
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
