# Everything starts here; each target sets up what it needs, and is quick the second time.
SHELL := /bin/sh
.DEFAULT_GOAL := help
CHECK ?=
ARGS ?=
# Where all tests of whole stacks are (tests/fixtures/places.py sees to it): each run reads only what it needs.
WHOLE := tests/e2e tests/drills
BANYAN := .venv/bin/banyan
# Tests and stacks start Python hundreds of times: compiling everything each time would take longer than the work.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-dev demo up down test test-long test-drill test-compiled test-quick check format compile bench-gateway requirements clean

help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

setup: ## Make .venv with what the stack needs.
	@tools/setup.sh stack

setup-dev: ## Make .venv with what tests and checks need too.
	@tools/setup.sh dev

demo: setup ## Move pricing to its service and back, live, and leave the console open (CHECK=1: verify and exit).
	@$(BANYAN) demo $(if $(CHECK),--check) $(ARGS)

up: setup ## Start the local stack in the background.
	@$(BANYAN) up --detach $(ARGS)

down: setup ## Stop the local stack.
	@$(BANYAN) down $(ARGS)

test: setup-dev ## Run the tests (real servers; installs missing system packages when it may).
	@tools/system-packages.sh chromium=chromium chromedriver=chromium-driver nginx=nginx wrk=wrk java=default-jre-headless mvn=maven
	@.venv/bin/pytest -m "not e2e and not alone and not long" $(WHOLE:%=--ignore=%) -n 4 --dist loadfile $(ARGS)
	@.venv/bin/pytest $(WHOLE) -m "not alone and not long" -n 2 --dist loadfile $(ARGS)
	@.venv/bin/pytest $(WHOLE) -m "alone and not long" $(ARGS)

test-long: setup-dev ## Run the tests that take long by their nature: whole journeys, crashes, time-outs, short benchmarks.
	@tools/system-packages.sh nginx=nginx wrk=wrk java=default-jre-headless mvn=maven
	@.venv/bin/pytest -m "long and not alone" -n 2 --dist loadfile $(ARGS)

test-drill: setup-dev ## Run the drill of the switch: each part killed, frozen, cut off and slowed, under load (10 minutes).
	@.venv/bin/pytest $(WHOLE) -m "long and alone" $(ARGS)

test-compiled: compile ## Run the gateway's tests on what was compiled.
	@GATEWAY_COMPILED=1 .venv/bin/pytest tests/conformance tests/fuzz tests/integration/gateway -m "not long" -n 4 --dist loadfile $(ARGS)

test-quick: setup-dev ## Run the tests without I/O only.
	@.venv/bin/pytest tests/unit -m "not long" $(ARGS)

check: setup-dev ## Lint, types, import contracts.
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache

format: setup-dev ## Format the code and mend what ruff can mend.
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

compile: setup-dev ## Compile the gateway's data path to machine code: a fifth more requests a second (needs a C compiler).
	@.venv/bin/python -m gateway compile

bench-gateway: setup-dev ## Measure the gateway beside Envoy and nginx.
	@tools/system-packages.sh nginx=nginx wrk=wrk
	@$(BANYAN) bench gateway $(ARGS)

requirements: setup-dev ## Pin the dependencies again (hashes, no index address).
	@tools/requirements.sh

clean: ## Stop the stack and remove what it made, its data too (not .venv).
	@if [ -x $(BANYAN) ]; then $(BANYAN) down --purge --yes; fi
