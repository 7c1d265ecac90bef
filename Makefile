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
	@$(MAKE) --no-print-directory --jobs=$(words $(READY)) $(READY)

# The uv of this machine where there is one, else the one that scripts/uv.txt pins.
$(VENVS)/uv: scripts/uv.txt
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
