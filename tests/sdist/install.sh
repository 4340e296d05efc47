#!/usr/bin/env bash
# Build the source distribution, install from it into a clean environment, and run the program: `make sdist`.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-.venv/bin/python}
("$python" -c 'import sys, setuptools.build_meta as build; build.build_sdist(sys.argv.pop())' "$work/dist" >/dev/null)
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "$work"/dist/*.tar.gz
cd "$work" # nothing of the checkout may be found by accident
"$work/venv/bin/briefcase" --version
"$work/venv/bin/briefcase" help receipt-chain | head -1
"$work/venv/bin/python" -c 'import briefcase._native.match, briefcase.daemon.composition; print("installed from", briefcase._native.match.__file__)'
