#!/bin/sh
# Fails when the schema has changes that no migration has: drizzle-kit would write one.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r migrations "$scratch/migrations"
npx --no-install drizzle-kit generate --dialect postgresql --schema ./src/meta/schema.ts \
  --out "$(realpath --relative-to=. "$scratch/migrations")" --name drift >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }
if ! diff -rq migrations "$scratch/migrations"; then
  echo "The schema has changes without a migration: run make migrations m='...'" >&2
  exit 1
fi
