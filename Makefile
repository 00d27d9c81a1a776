# Two commands are enough: `make run` and `make test`.

PYTHON ?= python3
PORT ?= 8000
CONFIG ?= config/development.toml
# `python3` has the virtual environment .venv, and `make test PYTHON=python3.13` uses .venv-python3.13.
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
# Versions that pyenv has installed can be used without being activated.
export PYENV_VERSION ?= $(shell { pyenv version-name; pyenv versions --bare; } 2>/dev/null | paste -s -d : -)
SOURCES := educa_chat templates config examples tests benchmarks

.PHONY: install run test check format lock chaos bench pictures clean

install: $(VENV)/installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-for-tests: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/installed-for-checks: $(VENV)/installed-for-tests
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[check]'
	touch $@

run: install
	@$(BIN)/educa-chat serve --config $(CONFIG) --port $(PORT) --demo

# All tests run in WORKERS processes. `make test TESTS=tests/test_room.py` runs those tests alone, in one process.
TESTS ?=
WORKERS ?= $(if $(TESTS),0,4)
# Without bytecode, each process would compile all modules again, even where the environment disables writing it.
test: $(VENV)/installed-for-tests build/axe.min.js build/openid/installed build/open-edx/installed
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

# axe checks the accessibility of the pages.
build/axe.min.js:
	mkdir -p $(@D)
	@if command -v npm >/dev/null; then npm pack --silent --pack-destination $(@D) axe-core@4 >/dev/null \
	&& tar -xzf $(@D)/axe-core-*.tgz -C $(@D) --strip-components 1 package/axe.min.js; \
	else echo "SKIPPED: the accessibility checks, because npm is not installed"; fi

# A test platform runs Open edX's code, which has other requirements than we do.
build/open-edx/installed: tests/open_edx/requirements.txt
	mkdir -p $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# A real OpenID provider, with which users sign in to the chat.
build/openid/installed: tests/openid/package.json
	mkdir -p $(@D)
	@if command -v npm >/dev/null; then cp $< $(@D) && npm install --prefix $(@D) --silent --no-fund --no-audit && touch $@; \
	else echo "SKIPPED: signing in with OpenID Connect, because npm is not installed"; fi

check: $(VENV)/installed-for-checks
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	@if command -v npx >/dev/null; then npx --yes --package typescript@5 -- tsc -p educa_chat/static/js/jsconfig.json; \
	else echo "SKIPPED: the types of the scripts, because npx is not installed"; fi

format: $(VENV)/installed-for-checks
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

# The versions that production installs, with their hashes.
lock: $(VENV)/installed-for-checks
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --custom-compile-command 'make lock' --output-file deploy/requirements.txt setup.cfg

SECONDS ?= 60
SEED ?=
chaos: $(VENV)/installed-for-tests
	$(BIN)/python -m tests.faults.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# `make bench BENCH="fan-out --quick"` selects the measurements and their thoroughness.
bench: $(VENV)/installed-for-tests build/bench/load build/bench/limit build/bench/peers-installed build/bench/node-installed
	$(BIN)/python -m benchmarks $(BENCH)

build/bench/%: benchmarks/c/%.c
	mkdir -p $(@D)
	$(CC) -std=c11 -O2 -Wall -Wextra -o $@ $<

build/bench/peers-installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv build/bench/peers
	build/bench/peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

build/bench/node-installed: benchmarks/peers/package.json
	mkdir -p $(@D)
	cp $< $(@D)
	npm install --prefix $(@D) --silent --no-fund --no-audit
	touch $@

# Take the pictures of the README and the guides again.
pictures: $(VENV)/installed-for-tests
	$(BIN)/python -m tests.browser.pictures

clean:
	rm -rf .venv .venv-* var build *.egg-info
