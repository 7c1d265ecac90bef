# `make run` and `make test` set up what is missing; `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -o errexit -o pipefail -c

# A version for uv to find, or to download where it may; or the path of a Python 3.11.
PYTHON ?= 3.11
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

$(VENVS)/seldon/ready: tests/seldon/requirements.txt | $(VENVS)/uv
	@scripts/make-environment $(PYTHON) seldon $<

$(VENVS)/models/ready: benchmarks/models/requirements.txt | $(VENVS)/uv
	@scripts/make-environment $(PYTHON) models $<

$(VENVS)/watching/ready: benchmarks/watching/requirements.txt | $(VENVS)/uv
	@scripts/make-environment $(PYTHON) watching $<

$(VENVS)/audit/ready: scripts/audit.txt | $(VENVS)/uv
	@scripts/make-environment $(PYTHON) audit $<

$(VENVS)/mutants/ready: scripts/mutants.txt | $(VENVS)/uv
	@scripts/make-environment $(PYTHON) mutants $<

.PHONY: lock
lock: $(VENVS)/uv ## Compile the dependency groups of pyproject.toml into the hashed locks
	@for name in $(ENVIRONMENTS); do scripts/lock $$name images/$$name/requirements.txt; done
	@scripts/lock cuda images/train/cuda.txt images/train/requirements.txt
	@scripts/lock dev tests/requirements.txt
	@scripts/lock seldon tests/seldon/requirements.txt
	@scripts/lock models benchmarks/models/requirements.txt images/train/requirements.txt
	@scripts/lock watching benchmarks/watching/requirements.txt
	@scripts/lock uv scripts/uv.txt
	@scripts/lock audit scripts/audit.txt
	@scripts/lock mutants scripts/mutants.txt

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
pipelines: setup ## Compile the pipelines to look at, and write the READMEs of components and pipelines
	@scripts/with-plain-images $(TOOLS)/cd4ml compile --output pipelines/compiled
	@scripts/with-plain-images $(TOOLS)/python scripts/write_readmes.py

.PHONY: images
images: ## Build the images (BASE=NAME on another base, CUDA=0 without the libraries of GPUs)
	@scripts/build-images

.PHONY: load-images
load-images: ## Give the images to the cluster that CD4ML_TEST_LOAD loads into
	@scripts/load-images

.PHONY: audit
audit: $(VENVS)/audit/ready ## Look for known vulnerabilities in what the images hold
	@scripts/audit-images $(VENVS)/audit/bin

.PHONY: sbom
sbom: $(VENVS)/audit/ready ## Write what the images hold to runs/sbom/, as CycloneDX
	@scripts/write-sboms $(VENVS)/audit/bin runs/sbom

OVERLAY ?= .
.PHONY: apply
apply: ## Apply the manifests to the cluster of the current context; asks first (OVERLAY=FOLDER for another)
	@scripts/apply $(OVERLAY)

.PHONY: lint-tools
lint-tools: $(VENVS)/kube-score ## Build the linter of the manifests (needs Go)
$(VENVS)/kube-score:
	@GOBIN=$(CURDIR)/$(VENVS) go install github.com/zegl/kube-score/cmd/kube-score@v1.20.0

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

.PHONY: test
test: ## Run every check and test
	@$(MAKE) --silent test-local
	@$(MAKE) --silent test-cluster

# Two at a time, the longest first; what each prints is shown when it ends.
.PHONY: test-local
test-local: lint ## Run every check and test that needs no cluster
	@$(MAKE) --silent --jobs=2 --output-sync=target $(LOCAL_TESTS)

# Each environment runs the tests of its own libraries; the tools environment runs all others.
OF_ENVIRONMENTS := $(addprefix test-,$(filter-out tools,$(ENVIRONMENTS)))
LOCAL_TESTS := test-pipelines test-evaluate test-unit $(filter-out test-evaluate,$(OF_ENVIRONMENTS))

.PHONY: test-unit test-pipelines $(OF_ENVIRONMENTS)
test-unit test-pipelines: test-%: $(READY)
	@echo "$@" && $(TOOLS)/python -m pytest tests/$*
test-serve: $(VENVS)/seldon/ready
$(OF_ENVIRONMENTS): test-%: $(READY)
	@echo "$@" && $(VENVS)/$*/bin/python -m pytest tests/environments/$*

# Where no cluster is named, these tests say so and are skipped; in CI they fail.
.PHONY: test-cluster
test-cluster: setup
	@if [ -n "$$CD4ML_TEST_LOAD" ]; then $(MAKE) --silent images load-images; fi
	@echo "$@" && $(TOOLS)/python -m pytest tests/cluster

.PHONY: bench
bench: setup $(if $(filter serving,$(NAME)),$(VENVS)/seldon/ready) $(if $(filter models watching,$(NAME)),$(VENVS)/$(NAME)/ready) ## Measure against what a user would pick instead (NAME=ingest, tasks, evaluation, intervals, statistics, audit, drift, run, records, router, capture, load, monitoring, prediction, prequential, training, trees, models, watching or serving; docs/benchmarks.md)
	@PYTHONPATH=benchmarks$(if $(filter models,$(NAME)),:$(VENVS)/models/lib/python3.11/site-packages) $(if $(filter evaluation intervals prediction,$(NAME)),$(VENVS)/evaluate/bin,$(if $(filter statistics audit drift,$(NAME)),$(VENVS)/validate/bin,$(if $(filter training trees models prequential,$(NAME)),$(VENVS)/train/bin,$(TOOLS))))/python benchmarks/$(NAME)/bench.py

SAMPLE ?= 20
.PHONY: mutants
mutants: setup $(VENVS)/mutants/ready ## Break the code of the last commit here and there, and see that tests fail (ROOM=NAME, SAMPLE=PLACES or 0 for all)
	@$(VENVS)/mutants/bin/python scripts/mutate.py --sample $(SAMPLE) $(if $(ROOM),--rooms $(ROOM))

# The folders that `cd4ml run` makes: PIPELINE-DATE-TIME.
EMPTY :=
PIPELINES := $(patsubst pipelines/%/pipeline.py,%,$(wildcard pipelines/*/pipeline.py))
MADE_RUNS := runs/($(subst $(EMPTY) $(EMPTY),|,$(PIPELINES)))-[0-9]{8}-[0-9]{6}(-[0-9]+)?

.PHONY: clean
clean: ## Remove the environments, the runs and the example's data; the store stays, and all that was not made here
	rm -rf $(VENVS) $(PLAYERS) runs/.cache runs/images runs/sbom
	@if [ -d runs ]; then find runs -maxdepth 1 -type d -regextype posix-extended -regex '$(MADE_RUNS)' -exec rm -rf {} +; fi
	@rmdir --ignore-fail-on-non-empty $(wildcard runs $(dir $(PLAYERS))) 2>/dev/null || true
