# Every command that developers and CI run. `make` lists them.
# Beforehand a machine needs only Rust, Python and a C compiler (the linker of Rust programs);
# everything else is installed into $(VENV) by the first target that needs it.

PYTHON ?= python3
VENV   ?= .venv
EXTRAS ?= torch,plots,logs,lora,verl,dev
# Of the fuzzer: a million take about a minute.
EXECUTIONS ?= 1000000
SEED       ?= 1

bin    := $(abspath $(VENV))/bin
python := $(bin)/python

# An active conda environment makes maturin refuse to choose between it and $(VENV).
unexport CONDA_PREFIX
# The path lets maturin find zig, which pip puts into the environment.
maturin = VIRTUAL_ENV="$(abspath $(VENV))" PATH="$(bin):$$PATH" maturin
# In CI a Cargo.lock that does not match Cargo.toml is an error; elsewhere cargo mends it.
locked := $(if $(CI),--locked)
# On Linux zig links against an old glibc, so that the wheel is manylinux2014 wherever it is built.
zig    := $(if $(filter Linux,$(shell uname -s)),--zig)

# Stamps lie inside the environment: whoever deletes the environment deletes them too.
installed := $(VENV)/.installed
built     := $(VENV)/.built
# Math-Verify, to compare with. Packages that others want beside it break it, so it lives alone.
peer_venv := .venv-peer
peer      := $(peer_venv)/.installed
extension_sources := Cargo.toml Cargo.lock $(shell find src kernels -type f 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help prerequisites setup build fmt fmt-check lint lint-rust lint-python types \
	test test-rust test-python test-notebooks test-verl test-standin test-peer fuzz kernels wheel sdist wheel-test \
	bench bench-gpu bench-reward demo ablation notebooks clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) EXTRAS=$(EXTRAS) EXECUTIONS=$(EXECUTIONS) SEED=$(SEED)"

##### Set-up

prerequisites:
	@scripts/prerequisites.sh "$(PYTHON)"

$(installed): pyproject.toml | prerequisites
	"$(PYTHON)" -m venv "$(VENV)"
	"$(python)" -m pip install --quiet --upgrade pip
	@echo "Installing [$(EXTRAS)]: with torch this downloads several GB"
	"$(python)" -m pip install --quiet --editable ".[$(EXTRAS)]"
	@touch $@

$(built): $(installed) $(extension_sources)
	$(maturin) develop --release $(locked)
	@touch $@

setup: $(installed)  ## Create the environment with all dependencies

build: $(built)  ## Compile the extension into the environment

##### Checks

fmt: $(installed)  ## Format Rust and Python
	cargo fmt
	$(bin)/ruff check --select I --fix
	$(bin)/ruff format

fmt-check: $(installed)  ## Check the format
	cargo fmt --check
	$(bin)/ruff format --check

lint: lint-python lint-rust  ## Run ruff and clippy

lint-python: $(installed)
	$(bin)/ruff check

# PYO3_PYTHON: otherwise PyO3 asks whichever python3 comes first, which may be too old.
lint-rust: | prerequisites
	cargo clippy $(locked) --all-targets -- -D warnings
	PYO3_PYTHON="$(PYTHON)" cargo clippy $(locked) --all-targets --features python,cuda -- -D warnings

types: $(built)  ## Check the Python types, and the stub against the binary
	$(python) -m mypy
	$(python) -m mypy.stubtest icpo._core --mypy-config-file pyproject.toml

# Without the feature `python`: an extension module leaves libpython's symbols open, a test can't.
test-rust: | prerequisites  ## Run the Rust tests
	cargo test --profile tested $(locked) --features cuda

# Verdicts, invariants, the slowest texts, and resident memory along the way and at its peak; then
# the time and memory of texts made to be hostile. ICPO_FUZZ_CORPUS names a file of further texts.
fuzz: | prerequisites  ## Try EXECUTIONS mutated texts on the checker
	ICPO_FUZZ_EXECUTIONS=$(EXECUTIONS) ICPO_FUZZ_SEED=$(SEED) cargo test --release $(locked) \
		--test reward_fuzz --test reward_hostile -- --nocapture

test-python: $(built)  ## Run the Python tests, but for those of the verl plugin
	$(python) -m pytest -m "not verl"

# Real runs of stock verl on the CPU: Ray, FSDP2, a rollout server.
test-verl: $(built)  ## Run the tests of the verl plugin
	$(python) -m pytest -m verl

# At reduced size; nothing is written into them.
test-notebooks: $(built)  ## Run the notebooks of examples/
	$(python) scripts/notebooks.py --quick

# In a process of its own, which takes the stand-in for a driver.
test-standin: $(built)  ## Run the CUDA path without a GPU, on a stand-in driver
	$(python) -m pytest tests/standin

test-peer: $(built) $(peer)  ## Run the checker's tests beside Math-Verify, and Math-Verify's own
	PYTHONPATH=python \
		ICPO_MATH_VERIFY_TESTS="$(abspath $(peer_venv))/math_verify-0.9.0/tests" \
		"$(peer_venv)/bin/python" -m pytest tests/python/reward

# Side by side what leaves a core idle by itself: downloads, and the linking of what ships.
test:  ## Run every check: what CI runs
	+@scripts/phases.sh "setup test-rust" fmt-check lint build types test-python \
		test-notebooks test-verl "test-standin wheel-test" test-peer

##### Distributions

# Wheels that are built afterwards contain them.
kernels: $(built)  ## Compile the kernels for common vocabularies into the package
	$(python) scripts/kernels.py --environment .venv-kernels

wheel: $(installed)  ## Build the abi3 wheel into dist/
	rm -f dist/*.whl
	$(maturin) build --release $(locked) $(zig) --out dist

sdist: $(installed)  ## Build the source distribution into dist/
	rm -f dist/*.tar.gz
	$(maturin) sdist --out dist

wheel-test: wheel sdist  ## Check what a user would download
	$(python) -m pytest tests/packaging

##### Programs

bench: $(built)  ## Time the objective, generation, edit distances, and ME-ICPO without a model
	$(python) benches/objective.py
	$(python) benches/generation.py
	$(python) benches/analysis.py
	$(python) benches/solve.py

bench-gpu: $(built)  ## Check and time the operators on a GPU; ARGS: see benches/gpu.py --help
	$(python) benches/gpu.py $(ARGS)

$(peer): | prerequisites
	"$(PYTHON)" -m venv "$(peer_venv)"
	"$(peer_venv)/bin/python" -m pip install --quiet math-verify==0.9.0 \
		antlr4-python3-runtime==4.13.2 latex2sympy2_extended==1.11.0 numpy 'pytest>=8' tomli
	"$(peer_venv)/bin/python" -m pip download --quiet --no-deps --no-binary :all: \
		--dest "$(peer_venv)" math-verify==0.9.0
	tar -xzf "$(peer_venv)"/math_verify-0.9.0.tar.gz -C "$(peer_venv)"
	@touch $@

bench-reward: $(built) $(peer)  ## Time the checker, and Math-Verify on the same pairs
	$(python) benches/reward.py --peer "$(abspath $(peer_venv))/bin/python"

# QUICK=1: one seed, fewer steps. ARGS: further options; examples/tiny/demo.py --help lists them.
demo: $(built)  ## Pretrain a tiny model, train it by GRPO and ICPO, and compare
	$(python) examples/tiny/demo.py $(if $(QUICK),--quick) $(ARGS)

ablation: $(built)  ## The same for all methods, with more seeds: half an hour on 2 cores
	$(python) examples/tiny/demo.py --out runs/ablation --seeds 0 1 2 3 4 5 --methods grpo \
		grpo_extra_rollouts icpo icpo:reference icpo_always icpo_bonus $(ARGS)

# ARGS: the beginnings of some names. At full size all of them take an hour on 2 cores.
notebooks: $(built)  ## Run the notebooks of examples/ at full size, and keep their outputs
	$(python) scripts/notebooks.py $(ARGS)

clean:  ## Delete everything that the other targets made
	rm -rf "$(VENV)" "$(peer_venv)" .venv-kernels python/icpo/kernels target dist .mypy_cache .pytest_cache .ruff_cache
	rm -f python/icpo/_core*.so
	find python tests scripts benches examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
