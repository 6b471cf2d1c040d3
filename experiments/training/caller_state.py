"""State of a process that training changes, preserved for the caller."""

import contextlib
import logging
import os
from collections.abc import Iterator

import torch

from .seeding import preserve_generators

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # Lightning sets it for a deterministic Trainer


@contextlib.contextmanager
def preserve_caller_state() -> Iterator[None]:
    """Restore threads, random generators, log levels and torch's global switches after the block.

    The inline runner trains in its caller's process, such as a notebook.
    """
    num_threads = torch.get_num_threads()
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    dtype = torch.get_default_dtype()
    benchmark = torch.backends.cudnn.benchmark
    workspace = os.environ.get(_WORKSPACE)
    named = logging.root.manager.loggerDict.values()
    loggers = [logging.root, *(logger for logger in named if isinstance(logger, logging.Logger))]
    levels = [logger.level for logger in loggers]
    try:
        with preserve_generators():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        torch.set_default_dtype(dtype)
        torch.backends.cudnn.benchmark = benchmark
        os.environ.pop(_WORKSPACE, None)
        os.environ |= {} if workspace is None else {_WORKSPACE: workspace}
        torch.use_deterministic_algorithms(is_deterministic, warn_only=warns_only)
        if torch.get_num_threads() != num_threads:
            torch.set_num_threads(num_threads)
