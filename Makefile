# Every target makes the virtual environment first when there is none.
#   make demo                               set-up, then the main job, then the explorer's address
#   make TORCH='<pip arguments>' demo       another build of PyTorch (see the README)
PYTHON ?= python3
TORCH  ?= torch==2.13.0
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-warn-script-location
RUN    ?= runs/demo
KILLS  ?= 500

.PHONY: demo explore test examples test-browser lint bench torture reproduce clean

demo: $(VENV)/.base
	$(BIN)/workbench demo --run $(RUN)

explore: $(VENV)/.base
	$(BIN)/workbench explore --run $(RUN)

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not browser and not reproduce and not examples" --ignore tests/reliability -n 2 --dist loadfile

examples: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m examples tests/test_docs.py tests/test_examples.py -n 2

test-browser: $(VENV)/.dev
	$(BIN)/python -m pytest -m browser

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

torture: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/reliability -n 2 --dist loadfile --kills $(KILLS)

reproduce: $(VENV)/.dev
	$(BIN)/workbench reproduce all --quick
	$(BIN)/python -m pytest -m reproduce -s

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache

# A stamp names what has been installed, so that an interrupted set-up is finished and not trusted.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) (budget 100 s)"; date +%s > $@.started
	@$(PIP) -c constraints.txt $(TORCH)
	@$(PIP) -c constraints.txt -e .
	@echo "    set-up took $$(( $$(date +%s) - $$(cat $@.started) )) s of 100 s"; mv $@.started $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.base
	$(PIP) -c constraints.txt -e '.[bench]'
	@touch $@
