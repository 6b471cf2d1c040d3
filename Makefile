.PHONY: lint test check fix slow ray package

lint:  ## format, lint and types: seconds; pre-commit runs it
	uv run ruff format --check . && uv run ruff check . && uv run mypy

test:  ## the default tests, in two processes
	uv run pytest

check: lint test  ## what CI runs first

fix:  ## mend what the formatter and the linter can mend
	uv run ruff format . && uv run ruff check --fix .

slow:  ## the tests that take longer
	uv run pytest -m slow

ray:  ## the tests of the Ray runner, on a cluster of two nodes on this machine
	uv run --extra ray pytest -m ray -n 0 tests/experiments/runners tests/packaging

package:  ## build wheel and sdist; install the wheel into an empty environment; run it from an empty folder
	bash .ci/package
