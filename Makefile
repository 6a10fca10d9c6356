# One folder for everything that is installed; `make clean` removes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests mostly trace and compile, which takes one core: one process a core.
PYTEST := $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile \
	tests

# Whose demo: vqvae2, hr_vqvae, ...
SYSTEM ?= vqvae2
DEMO := $(patsubst emoji_vqvae2,emoji,emoji_$(SYSTEM)).flags

.PHONY: demo smoke test test-all lint format clean

demo: $(VENV)/installed
	$(BIN)/python experiments/train.py --flagfile=$(DEMO)

# The pipeline at the smallest size, from the start each time.
smoke: $(VENV)/installed
	$(BIN)/python experiments/train.py --flagfile=$(DEMO) \
		--flagfile=smoke.flags --overwrite

# Both backends are tested even if the first one fails.
test: $(VENV)/installed-dev
	$(PYTEST); tensorflow=$$?; \
	KERAS_BACKEND=jax $(PYTEST) -m "any_backend and not large" && \
	exit $$tensorflow

# The slow tests too, and all but them once more with runs in bfloat16.
test-all: $(VENV)/installed-dev
	$(PYTEST) -m "large or not large"; tensorflow=$$?; \
	VQVAE2_TEST_PRECISION=bfloat16 $(PYTEST); bfloat16=$$?; \
	KERAS_BACKEND=jax $(PYTEST) -m any_backend && \
	exit $$((tensorflow + bfloat16))

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Editable, so that experiments/ and tests/ see the checkout's package.
$(VENV)/installed: setup.py
	$(PYTHON) -c 'import sys; \
		sys.exit(not (3, 11) <= sys.version_info < (3, 14) and \
		"error: Python 3.11 to 3.13 is needed; name one with PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV)
