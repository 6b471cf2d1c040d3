"""Exit codes of the command, each with its meaning."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit code of the command. Numbers never change their meaning, since scripts depend on them."""

    DONE = 0
    SOME_FAILED = 1
    WRONG_INPUT = 2
    CLAIM_NOT_MET = 3
    OUTPUT_ERROR = 74
    CHECKPOINTED = 75
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.SOME_FAILED: "some trials failed, a gradient differs, or W&B differs from the ledger",
    ExitCode.WRONG_INPUT: "the input is wrong, or the cluster is gone",
    ExitCode.OUTPUT_ERROR: "output cannot be written, as on a full disk",  # EX_IOERR of sysexits.h
    ExitCode.INTERRUPTED: "interrupted; the same command continues",
}

RESERVED = {
    ExitCode.CLAIM_NOT_MET: "a required claim is not met",
    ExitCode.CHECKPOINTED: "checkpointed; the same command continues",  # EX_TEMPFAIL
}
"""Codes that no command returns yet."""


def describe_exit_codes() -> str:
    """Describe all codes in use in one sentence.

    >>> describe_exit_codes()[:27]
    'Exit codes: 0 done; 1 some '
    """
    return f"Exit codes: {'; '.join(f'{code.value} {text}' for code, text in MEANINGS.items())}."
