.PHONY: check fix test slow ray

check:  ## format, lint, types and tests: what pre-commit and CI run
	uv run ruff format --check . && uv run ruff check . && uv run mypy && uv run pytest

fix:  ## mend what the formatter and the linter can mend
	uv run ruff format . && uv run ruff check --fix .

slow:  ## the tests that take longer
	uv run pytest -m slow

ray:  ## the tests of the Ray runner, on a cluster of two nodes on this machine
	uv run --extra ray pytest -m ray tests/experiments/runners
