# `make run` and `make test` set up what is missing; `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -o errexit -o pipefail -c

PYTHON ?= python3.11
ENVIRONMENTS := tools validate train evaluate serve
VENVS := .venvs
READY := $(foreach name,$(ENVIRONMENTS) dev,$(VENVS)/$(name)/ready)
TOOLS := $(VENVS)/tools/bin
DEV := $(VENVS)/dev/bin

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

.PHONY: setup
setup: $(VENVS)/uv ## Make the environments whose lock has changed, into .venvs/
	@$(MAKE) --silent --jobs=$(words $(READY)) $(READY)

# The uv of this machine where there is one, else the one that scripts/uv.txt pins.
$(VENVS)/uv:
	@scripts/install-uv $(PYTHON) $@

# The file `ready` is written last: an environment without it is half made, and is made again.
$(VENVS)/%/ready: images/%/requirements.txt | $(VENVS)/uv
	@scripts/make-environment $(PYTHON) $* $<

$(VENVS)/dev/ready: tests/requirements.txt | $(VENVS)/uv
	@scripts/make-environment $(PYTHON) dev $<

.PHONY: lock
lock: $(VENVS)/uv ## Compile the dependency groups of pyproject.toml into the hashed locks
	@for name in $(ENVIRONMENTS); do scripts/lock $$name images/$$name/requirements.txt; done
	@scripts/lock dev tests/requirements.txt
	@scripts/lock uv scripts/uv.txt

PLAYERS := examples/promotions/data/players.parquet
ARGS ?= examples/promotions/training.yaml

.PHONY: data
data: setup $(PLAYERS) ## Make the data of the example

$(PLAYERS): examples/promotions/generate.py | setup
	@$(TOOLS)/python $< --output $@

.PHONY: run
run: data ## Run the training pipeline on the example, on this machine (ARGS=FILE for another)
	@$(TOOLS)/cd4ml run $(ARGS)

.PHONY: pipelines
pipelines: setup ## Compile the pipelines, and write the READMEs of components and pipelines
	@$(TOOLS)/cd4ml compile
	@$(TOOLS)/python scripts/write_readmes.py

.PHONY: format
format: setup ## Format the code
	@$(DEV)/ruff check --fix --quiet .
	@$(DEV)/ruff format --quiet .

.PHONY: lint
lint: setup ## Check style, types and the rules of the house
	@$(DEV)/ruff check --quiet .
	@$(DEV)/ruff format --check --quiet .
	@$(DEV)/mypy
	@PYTHONPATH=src $(DEV)/lint-imports

# Each environment runs the tests of its own libraries; the tools environment runs all others.
.PHONY: test
test: lint ## Run every check and test
	@$(TOOLS)/python -m pytest tests/unit
	@for name in validate train evaluate serve; do \
	    echo "tests of the $$name environment"; $(VENVS)/$$name/bin/python -m pytest tests/environments/$$name; done
	@$(TOOLS)/python -m pytest tests/pipelines

.PHONY: clean
clean: ## Remove the environments, the runs and the example's data; the store stays
	rm -rf $(VENVS) runs examples/*/data
