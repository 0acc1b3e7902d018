# `make run` and `make test` need Node >= 20.19 and npm, nothing else.
SHELL := /bin/sh
# The environment wins over .env, and .env over the default.
DATA_DIR := $(if $(BYTES_DATA_DIR)$(shell grep -s '^BYTES_DATA_DIR=' .env),,BYTES_DATA_DIR=./data)
NODE := $(DATA_DIR) node $(if $(wildcard .env),--env-file=.env)

.DEFAULT_GOAL := help
.PHONY: help run test utest itest faults check done build bench sbom tsa migrations migrate sql

help: ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

run: build ## Install, build and serve on http://127.0.0.1:8002
	@$(NODE) dist/main.js

test: tools ## Run all tests, on a throwaway Postgres and RabbitMQ
	@npx --no-install vitest run $(VITEST_FLAGS)

utest: node_modules/.installed ## Run the unit tests, which need no services
	@BYTES_TEST_ONLY=unit npx --no-install vitest run test/unit test/architecture.test.ts

itest: tools ## Run the tests that need services
	@npx --no-install vitest run test/integration test/acceptance test/faults test/abuse

faults: tools ## Run all faults and abuse, not only a sample: an hour or more
	@BYTES_FAULTS=full npx --no-install vitest run test/faults test/abuse $(VITEST_FLAGS)

check: node_modules/.installed ## Check types, format, lint and that the migrations fit the schema
	@npm run --silent typecheck
	@npx --no-install biome ci .
	@sh scripts/check-migrations.sh

done: check test ## Everything that must pass before a change is done

build: node_modules/.installed
	@npm run --silent build

bench: build tools ## Measure the service beside a bare server on this machine
	@node bench/run.mjs
	@node bench/large.mjs
	@node bench/encryption.mjs
	@node bench/rotation.mjs

sbom: node_modules/.installed ## Write the software bill of materials to sbom.spdx.json
	@npm sbom --sbom-format=spdx --omit=dev > sbom.spdx.json

tsa: ## Serve a timestamp authority for trying out, on http://127.0.0.1:3161/tsr
	@node scripts/tsa.mjs --dir data/tsa

migrations: build ## Write the migration for a changed schema: make migrations m='what changes'
	@test -n "$(m)" || { echo "usage: make migrations m='what changes'"; exit 2; }
	@npx --no-install drizzle-kit generate --name "$$(printf %s "$(m)" | tr -cs 'A-Za-z0-9' '_')"

migrate: build ## Apply missing migrations to the database of BYTES_DB_URI
	@$(NODE) dist/main.js migrate

sql: build ## Print the SQL of migrations: make sql [rev1=0] [rev2=1]
	@node dist/main.js sql $(if $(rev1),--from $(rev1)) $(if $(rev2),--to $(rev2))

.PHONY: tools
tools: node_modules/.installed
	@bash scripts/install-test-tools.sh

node_modules/.installed: package-lock.json
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@
