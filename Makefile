# make demo            everything set up, orders placed before your eyes, nothing left running
# make up / down       the platform in the background; DATA=dir PORT_BASE=n for another one beside it
#                      BLUEPRINT=name, also for demo, seed and env: one of `waybill blueprints`
DATA ?= .waybill
PORT_BASE ?= 8080
WHERE = --data '$(DATA)' --port-base $(PORT_BASE)
BLUEPRINT ?=
WHICH = $(if $(BLUEPRINT),--blueprint '$(BLUEPRINT)')
VENV = .venv/bin
# Its tests share one name, of which workers would run only the first: it runs beside them.
ONE_NAME = tests/http/test_specification.py

.DEFAULT_GOAL := help
.PHONY: help setup runtime demo env up down logs seed reset test test-faults mutants check format lock bench bench-ratios kafka-up kafka-down kafka-reset

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv with everything for development (done by the others when it is due)
	@scripts/setup dev

runtime:
	@scripts/setup runtime

demo: BEGAN := $(shell date +%s.%N)
demo: runtime ## Place orders of every kind, watch each one's way, read the sums
	@$(VENV)/waybill demo --since $(BEGAN) $(WHICH)

up: runtime ## Start the platform in the background
	@$(VENV)/waybill up --detach $(WHERE) $(WHICH)

down: runtime ## Stop it; data are kept
	@$(VENV)/waybill down $(WHERE)

logs: runtime ## Show and follow its log
	@$(VENV)/waybill logs --follow $(WHERE)

seed: runtime ## Fill its stock again and place some orders
	@$(VENV)/waybill seed $(WHERE) $(WHICH)

reset: runtime ## Stop it and drop its data
	@$(VENV)/waybill reset --yes $(WHERE)

env: runtime ## Write a .env with every variable and random passwords, for compose.yaml
	@$(VENV)/waybill env $(WHICH)

# Where nothing may be written beside the sources, each process that a test starts compiles anew.
test test-faults: export PYTHONDONTWRITEBYTECODE =
test: setup ## Run the tests: make test SERVICE=inventory, or ARGS="tests/platform -k lock"
ifneq ($(SERVICE),)
	@$(VENV)/pytest tests/commerce tests/http -k '$(SERVICE)' $(ARGS)
else ifeq ($(ARGS),)
	@$(VENV)/python -m scripts.kafka fetch
	@$(VENV)/pytest -q $(ONE_NAME) & one=$$!; \
	$(VENV)/pytest -n 4 --dist loadfile --no-loadscope-reorder --ignore=$(ONE_NAME); \
	all=$$?; wait $$one && exit $$all
else
	@$(VENV)/pytest $(ARGS)
endif

SHARD ?= 1/1
test-faults: setup ## Faults as long as they may last, 90 minutes a shard: make test-faults SHARD=1/3
	@$(VENV)/pytest tests/faults tests/blueprints tests/races tests/benchmark tests/acceptance/test_crash_points.py tests/acceptance/test_kill.py tests/acceptance/test_stop.py tests/acceptance/test_notify.py tests/acceptance/test_full_disk.py tests/platform/test_mysql_server.py tests/acceptance/test_every_crash_point.py tests/acceptance/test_notify_crash_points.py tests/acceptance/test_mariadb_crash_points.py tests/acceptance/test_bench.py tests/acceptance/test_specifications.py tests/acceptance/test_demo.py tests/messaging/postgres/test_growth.py tests/messaging/postgres/test_relay_kill.py tests/messaging/postgres/test_relay_orders.py tests/kafka tests/edge tests/observability tests/deployment tests/state_machine -m 'long or both' --shard '$(SHARD)' $(ARGS)

kafka-up: setup ## Start an Apache Kafka on port 29092, for this machine
	@$(VENV)/python -m scripts.kafka up

kafka-down: setup ## Stop it; data are kept
	@$(VENV)/python -m scripts.kafka down

kafka-reset: setup ## Stop it and drop its data
	@$(VENV)/python -m scripts.kafka reset

mutants: setup ## Plant faults in copies of the code, see that tests notice: ARGS="--only NAME"
	@$(VENV)/python -m mutants.run $(ARGS)

check: setup ## Format, lint, types, import contracts, locks, bill of materials
	@scripts/check

format: setup ## Format the code
	@$(VENV)/ruff format
	@$(VENV)/ruff check --fix

bench: setup ## Measure what it carries and what an order costs: make bench ARGS="--rate 100"
	@$(VENV)/waybill bench $(ARGS)

bench-ratios: setup ## Measure against DBOS and pgbench, an hour: make bench-ratios ARGS="--quick --only R7"
	@$(VENV)/python -m benchmarks $(ARGS)

lock: setup ## Resolve the dependencies again, and list them in sbom.cdx.json
	@$(VENV)/python scripts/lock.py
	@$(VENV)/python scripts/sbom.py
