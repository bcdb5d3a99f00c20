# The same targets serve developers and CI. Settings are passed as variables: make up PORT_BASE=9000
PYTHON ?= python3
VENV := .local/venv/bin
STACK := $(VENV)/python -m ops.dev

WITHOUT_PLATFORM := not (slow or processes or broker or kafka or e2e or chaos)

.DEFAULT_GOAL := help
.PHONY: help run up down reset status seed test test-fast coverage mutants chaos bench image compose prometheus lint release migrate docs schemas openapi client mails lock install

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: install  ## Run the whole platform in the foreground; Ctrl-C stops it
	@$(STACK) run

up: install  ## Start the platform in the background; return when it is ready
	@$(STACK) up

down: install  ## Stop the platform and keep its data
	@$(STACK) down

reset: install  ## Stop the platform and delete its data
	@$(STACK) reset

status: install  ## List the running processes
	@$(STACK) status

seed: install  ## Add demo courses, plans, bundles and coupons
	@$(VENV)/python -m ops.dev.seed

migrate: install  ## Apply the migrations
	@$(VENV)/python -m migrations upgrade

docs: install  ## Build the documentation site in .local/docs; a warning is an error
	@$(VENV)/python -m ops.docs_site

schemas: install  ## Write docs/schemas and docs/asyncapi.json from the events
	@$(VENV)/python -m ops.generate_schemas

openapi: install  ## Write docs/openapi.json and docs/errors.md from the routes
	@$(VENV)/python -m ops.generate_openapi

client: install  ## Write the generated modules of the Python client from docs/openapi.json
	@$(VENV)/python -m ops.generate_client

mails: install  ## Compile the layout of the mails from MJML to HTML
	@$(VENV)/python -m ops.compile_email_templates

test: lint  ## Lint, then run all tests except the slow ones; make test ARGS="-k webhook", make test ARGS="-m slow"
	@$(VENV)/python -m pytest -n 3 -m "not slow" $(ARGS)

test-fast: install  ## Run the tests that need no server, in about a minute
	@$(VENV)/python -m pytest -n 2 -m "unit or fakes" $(ARGS)

coverage: install  ## Report the statements and branches that the tests without processes of the platform execute; pages in .local/coverage
	@$(VENV)/coverage erase
	@$(VENV)/coverage run -m pytest -n 3 -m "$(WITHOUT_PLATFORM)" $(ARGS)
	@$(VENV)/coverage combine --quiet
	@$(VENV)/coverage html --quiet --skip-covered
	@$(VENV)/coverage report --skip-covered

mutants: install  ## Take out guards of docs/guarantees.md one at a time and check that their tests fail; make mutants ARGS="-j 2 inbox"
	@$(VENV)/python -m tests.mutants $(or $(ARGS),-j 2)

chaos: install  ## Kill processes at random, then check the invariants; make chaos MINUTES=10 SEED=7 ARGS=--apache
	@$(VENV)/python -m tests.chaos.random_kills --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) $(ARGS)

bench: install  ## Measure every target of speed; takes ten minutes; make bench ARGS="--rows 10000000"
	@$(VENV)/python -m bench.targets $(ARGS)

image: install  ## Build the container image without an engine and test it (as root; apt-get install buildah debootstrap)
	@$(VENV)/python -m pytest -m image -p no:cacheprovider tests/image

compose: install  ## Run ops/compose.yml in containers and test it (as root; apt-get install podman buildah debootstrap maven)
	@$(VENV)/python -m pytest -m compose -p no:cacheprovider tests/compose $(ARGS)

prometheus: install  ## Run Prometheus with the alert rules over the running stack (apt-get install prometheus)
	@$(VENV)/python -m ops.prometheus.local

release: install  ## Set the version, date the changelog, commit and tag; make release VERSION=0.1.0 ARGS=--dry-run
	@$(VENV)/python -m ops.release $(VERSION) $(ARGS)

lint: install  ## Check with ruff, mypy and the vocabulary
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports --no-logo
	@$(VENV)/python -m ops.vocabulary

COMPILE = $(VENV)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)

lock: install  ## Compile the requirements with hashes; make lock ARGS=--upgrade
	@$(COMPILE) --output-file requirements.txt requirements.in
	@$(COMPILE) --output-file requirements-tracing.txt requirements-tracing.in
	@$(COMPILE) --output-file requirements-local.txt requirements-local.in

install:
	@$(PYTHON) ops/dev/install.py
