# Every target sets up what it needs: an environment in .venv, and environments with real torch in a cache folder
# outside the checkout ($MPS_PATCHER_CACHE, or ~/.cache/mps-patcher). `make PYTHON=/path/to/python3.12` chooses the Python.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/ready
PIP := -m pip --disable-pip-version-check install --quiet
# A worker that has nothing left takes over what another one has not begun.
TESTS := -m pytest -n auto --dist worksteal
# Options for pytest, such as ARGS='-k locate -x'. Where they choose none of the tests, pytest exits with 5.
ARGS ?=
RELEASES ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:
	@echo 'make test                the tests, also those that need real torch; the same inputs in every run'
	@echo 'make test-models         run, template, evaluate, the reports and the whole round on models and real torch'
	@echo 'make test-seed           those of the pair of the first bug report: torch 2.1.0 + transformers 4.45.1'
	@echo 'make test-compatibility  compare docs/compatibility.json with fresh runs (RELEASES=all or some; else a sample),'
	@echo '                         and the operators of torch 2.1 with its macOS wheel'
	@echo 'make test-container      build examples/container as real images, run them, compare them'
	@echo 'make test-installers     follow every hint, the hook, and recipes for poetry, GitHub and GitLab, with the real tools'
	@echo 'make test-recipes        follow docs/environments.md with the real tools; install the wheel; try action.yml'
	@echo 'make test-browser        open the report of evaluate in headless Chromium'
	@echo 'make test-fleet          play examples/ansible on twelve hosts of its own over SSH, minutes'
	@echo 'make test-faults         kill and fail apply and revert at every system call; replay losses of power'
	@echo 'make test-races          sixteen processes and installers on one target, two minutes'
	@echo 'make test-fuzz           more than 100,000 hostile inputs (ARGS="--seed 2" for others)'
	@echo
	@echo 'make compatibility       run every release anew and write docs/compatibility.md (RELEASES=... only these)'
	@echo 'make operators       read the macOS wheels of torch anew and write patcher/selftest/*.tsv (1.1 GB, once)'
	@echo 'make emulation       compare that table with what others say of MPS and write docs/emulation.md'
	@echo 'make session         run a session anew and write it into README.md and docs/session.svg'
	@echo 'make demo        find, patch, prove and revert a real transformers 4.45.1 in a throwaway environment'
	@echo 'make demo-evaluate  compare a real model on the CPU and an emulated MPS device, and write a report'
	@echo 'make benchmark   how long the commands take'
	@echo 'make man         write docs/mps-patcher.1 from the help of the commands'
	@echo 'make lint        ruff and mypy'
	@echo 'make coverage    run the tests of .venv and show the branches that they miss'
	@echo 'make clean       remove .venv and what the tools left'
	@echo
	@echo 'PYTHON=...       the Python (3.11 or newer) to set up with; now: $(PYTHON)'
	@echo "ARGS=...         options for pytest, such as ARGS='-k locate -x'"

# The stamp is written last, so a set-up that was cut off is done again.
$(READY): pyproject.toml
	@command -v '$(PYTHON)' >/dev/null || { echo 'error: there is no $(PYTHON); set PYTHON=/path/to/python3.12' >&2; exit 1; }
	@'$(PYTHON)' scripts/check_python.py
	@echo 'setting up $(VENV)'
	@rm -rf $(VENV)
	@'$(PYTHON)' -m venv $(VENV)
	@$(PY) $(PIP) -e '.[dev]'
	@touch $@

.PHONY: test
test: $(READY)
	$(PY) $(TESTS) $(ARGS) || test $$? -eq 5
	@torch=$$($(PY) tests/support/torch_env.py current) && set -x && { "$$torch" $(TESTS) tests/integration/torch $(ARGS) || test $$? -eq 5; }

.PHONY: test-models
test-models: $(READY)
	$(PY) $(TESTS) -m 'models and not seed' $(ARGS) || test $$? -eq 5

.PHONY: test-seed
test-seed: $(READY)
	$(PY) $(TESTS) -m seed $(ARGS) || test $$? -eq 5
	@torch=$$($(PY) tests/support/torch_env.py seed) && set -x && { "$$torch" $(TESTS) tests/integration/torch $(ARGS) || test $$? -eq 5; }

.PHONY: test-races
test-races: $(READY)
	$(PY) -m pytest -m races tests/robustness/races $(ARGS)

# Whether test-container can run at all.
.PHONY: can-container
can-container: $(READY)
	@$(PY) tests/support/images.py

.PHONY: test-container
test-container: $(READY)
	$(PY) -m pytest -m container tests/integration/container $(ARGS)

.PHONY: test-installers
test-installers: $(READY)
	$(PY) $(TESTS) -m installers $(ARGS) || test $$? -eq 5

.PHONY: test-recipes
test-recipes: $(READY)
	$(PY) -m pytest -m 'recipes and not installers' $(ARGS)

# Whether test-fleet can run at all.
.PHONY: can-fleet
can-fleet: $(READY)
	@$(PY) tests/support/fleet.py

.PHONY: test-fleet
test-fleet: $(READY)
	$(PY) -m pytest -m fleet tests/integration/fleet $(ARGS)

# Whether test-browser can run at all.
.PHONY: can-browser
can-browser: $(READY)
	@$(PY) tests/support/browser.py

.PHONY: test-browser
test-browser: $(READY)
	$(PY) -m pytest -m browser tests/integration/browser $(ARGS)

.PHONY: test-compatibility
test-compatibility: $(READY)
	@$(PY) scripts/compatibility.py --check $(RELEASES)
	@$(PY) scripts/operators.py --check 2.1

.PHONY: test-faults
test-faults: $(READY)
	$(PY) scripts/faults.py

.PHONY: test-fuzz
test-fuzz: $(READY)
	@$(PY) scripts/fuzz.py $(ARGS)

.PHONY: compatibility
compatibility: $(READY)
	@$(PY) scripts/compatibility.py $(RELEASES)

.PHONY: operators
operators: $(READY)
	@$(PY) scripts/operators.py

.PHONY: emulation
emulation: $(READY)
	@$(PY) scripts/emulation.py

.PHONY: benchmark
benchmark: $(READY)
	@$(PY) benchmarks/command.py $(ARGS)

.PHONY: session
session: $(READY)
	@$(PY) scripts/session.py

.PHONY: demo
demo: $(READY)
	@$(PY) scripts/demo.py

.PHONY: demo-evaluate
demo-evaluate: $(READY)
	@$(PY) scripts/demo_evaluate.py $(ARGS)

.PHONY: man
man: $(READY)
	@$(PY) scripts/man_page.py > docs/mps-patcher.1

.PHONY: lint
lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy patcher scripts benchmarks tests --exclude '^(patcher/(runtime|selftest|evaluator)|tests/integration/torch)/'
	@torch=$$($(PY) tests/support/torch_env.py current) && set -x && \
	$(PY) -m mypy --python-executable "$$torch" --cache-dir .mypy_cache/torch patcher/runtime patcher/selftest patcher/evaluator patches $(wildcard tests/integration/torch/*.py)

.PHONY: coverage
coverage: $(READY)
	$(PY) -m pytest --cov --cov-report=term-missing $(ARGS)

.PHONY: clean
clean:
	rm -rf $(VENV) dist build demo-evaluation .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
