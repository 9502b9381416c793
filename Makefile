# Everything happens in .venv, set up once from pyproject.toml and constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo quick test browser lowest lint format typecheck golden generated schema clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv with the pinned versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "flashgen needs Python 3.11 or later; name one with: make PYTHON=python3.12"; exit 1; }
	@echo "setting up .venv (about a minute, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## from a spec to a checked kernel, in under two minutes
	@$(BIN)/python -m flashgen demo

quick: lint typecheck ## what needs no compiler: under two minutes on two cores, for each change
	@$(BIN)/python -m pytest -q -n 2 --quick -rfE

test: lint typecheck browser lowest ## everything that CI runs
	@$(BIN)/python -m pytest -q -n 2

browser: ## Chromium for the explorer's tests; without it they are skipped
	@{ command -v chromium && command -v chromedriver; } >/dev/null || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo "installing Chromium (once)" && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
		chromium chromium-driver fonts-dejavu-core >/dev/null; } || \
		echo "no Chromium, so its tests are skipped; on Debian: apt-get install chromium chromium-driver"

lowest: $(STAMP) ## flashgen with the lowest versions that pyproject.toml allows; skipped without a package index
	@$(BIN)/python -m pytest -q tests/lowest.py

lint: $(STAMP) ## ruff's rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

typecheck: $(STAMP) ## mypy --strict
	@$(BIN)/mypy --strict

format: $(STAMP) ## apply ruff's format and safe fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

golden: $(STAMP) ## rewrite tests/golden from what the code gives now (read the diff!)
	@$(BIN)/python -m pytest -q -n 2 --update-golden

generated: $(STAMP) ## rewrite generated/ and specs/schema.json
	@$(BIN)/python -m flashgen generate

clean: ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist out
