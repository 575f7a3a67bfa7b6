# Every verb of the project; CI runs the same ones. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON := .venv/bin/python
LOCAL := $(PYTHON) -m local
READY := .venv/.ready
BENCHES := bench-engine bench-latency bench-recovery bench-ingest
.PHONY: $(BENCHES) sim help setup lock up down flink-up flink-down status reset dashboard client demo verify-demo browser format docs check types boundaries manifests unit client-current test

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## the Python environment, pinned and checked by hash
	@:

$(READY): requirements.lock pyproject.toml
	@python3 -c 'import ensurepip, venv' 2>/dev/null || (echo "installing python3-venv (Debian)"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null)
	@test -x $(PYTHON) || python3 -m venv .venv
	@echo "installing the packages of requirements.lock into .venv"
	@$(PYTHON) -m pip install -qq --require-hashes -r requirements.lock
	@$(PYTHON) -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

lock: ## resolve the dependencies anew and pin them
	$(PYTHON) -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --group dev --group demo pyproject.toml --output-file requirements.lock

up: setup ## start the servers and the services
	@$(LOCAL) up

down: ## stop everything that `up` started; the data stays
	@test ! -x $(PYTHON) || $(LOCAL) down

flink-up: setup ## start a Flink session cluster with its SQL gateway, for KPIs of `engine: flink`
	@$(LOCAL) flink-up

flink-down: ## stop it, with its jobs
	@test ! -x $(PYTHON) || $(LOCAL) flink-down

status: setup ## what runs, and how it is
	@$(LOCAL) status

reset: down ## stop everything and forget all data
	@$(LOCAL) reset

dashboard: ## build the web app
	@$(MAKE) --no-print-directory dashboard/dist/.stamp

dashboard/node_modules/.stamp: dashboard/package-lock.json
	cd dashboard && npm ci
	@touch $@

dashboard/dist/.stamp: dashboard/node_modules/.stamp $(shell find dashboard -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)
	cd dashboard && npm run build
	@touch $@

client: setup dashboard/node_modules/.stamp ## generate the dashboard's types from the gateway's OpenAPI
	cd dashboard && npm run client

demo: setup dashboard up ## the demonstration: a year of real flights
	@$(PYTHON) -m demo

verify-demo: setup ## compare every value of the demonstration with plain SQL
	@$(PYTHON) -m demo.verify

browser: setup ## Chromium for the browser tests
	@$(LOCAL) browser

format: setup ## format and mend what can be mended
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

docs: setup ## write the pages that derive from code
	@$(PYTHON) -m local.documents

check: setup ## format, lint, types, boundaries, unit tests, contracts; no servers, a minute or two
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target types boundaries manifests unit client-current

types:
	@.venv/bin/basedpyright

boundaries:
	@.venv/bin/lint-imports --no-logo

manifests:
	@$(PYTHON) -m local.manifests

client-current: # where the dashboard's packages are installed; `make test` installs them
	@test ! -d dashboard/node_modules || (cd dashboard && npm run --silent client -- --check)

unit: # of every property few cases, or with examples=all as many as it asks for
	@$(if $(examples),,SEXTANT_FEWER_EXAMPLES=10) $(PYTHON) -m pytest -q -n auto --dist worksteal tests/unit tests/contracts

bench-engine: ## events/s and CPU beside the peers (runs=N peers=flink,kstreams only=PART)
bench-latency: ## closing event to readable record, beside the peers
bench-recovery: ## kill -9 to first output, beside the peers; memory per open key
bench-ingest: ## events pushed over HTTP until acks=all, beside Go; memory under overload (overload=SECONDS)
$(BENCHES): bench-%: setup
	@$(PYTHON) -m bench.$* $(if $(runs),--runs $(runs)) $(if $(peers),--peers $(peers)) $(if $(only),--only $(only)) $(if $(overload),--overload $(overload))

sim: setup ## the detector in virtual time, with faults from seeds (seeds=N first=K, or seed=K)
	@$(PYTHON) -m tests.sim $(if $(seeds),--seeds $(seeds)) $(if $(first),--first $(first)) $(if $(seed),--seed $(seed))

test: setup browser dashboard ## everything, against the real servers
	@$(MAKE) --no-print-directory check examples=all
	@cd dashboard && npm run --silent client -- --check && npm test --silent
	@failed=0; for part in generated sim integration system; do \
		$(PYTHON) -m pytest tests/$$part || failed=1; \
	done; exit $$failed # each on servers of its own: what one left behind is no load on the next
