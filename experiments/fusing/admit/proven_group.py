"""Groups that are proven: stacked, small enough for the memory, and with first steps equal to the unfused ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experiments.fusing.fit.fused_mechanisms import count_examples_to_keep
from experiments.fusing.fit.memory import MemoryEstimate, find_budget
from experiments.fusing.fit.setup import GroupSetup
from experiments.fusing.fit.step import StackedModels
from experiments.fusing.reading.batches import NoSeedGenerators, RowBatches, SeedGenerators, read_first
from experiments.fusing.reading.nested_tensors import select_row
from experiments.training.module_clone import clone_module

from .proof import NUM_STEPS, Proof
from .shapes import check_shapes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenGroup:
    """A group that may be trained fused.

    proof: goes on with the first batches of validation and test.
    batches: of training; first_batches: those that were read; first_epoch: all of epoch 0, these included.
    generators: of reading epoch 0.
    """

    setup: GroupSetup
    stacked: StackedModels
    proof: Proof
    memory: MemoryEstimate
    batches: RowBatches
    first_batches: list[Any]
    first_epoch: Iterator[Any]
    generators: SeedGenerators | NoSeedGenerators


def prove(setup: GroupSetup) -> ProvenGroup:
    """Stack the models of a group and compare its first training steps with the unfused ones.

    Raises:
        OtherShapes: trials have parameters of different shapes; those of equal ones can be trained.
        MemoryError: the group would take more than its budget; a smaller one can be trained.
        NotFusable: batches or models cannot be stacked, or a step differs.
    """
    check_shapes(setup)
    batches = setup.data.read_in_rows(setup.loaders, setup.rows)
    generators = setup.data.start_generators(0)
    num_examples = 0 if setup.mechanisms is None else count_examples_to_keep(setup.mechanisms)
    first_batches, first_epoch = read_first(batches.read_epoch(0, generators), NUM_STEPS, num_examples)
    model = clone_module(setup.models[0], setup.trainer_stub)
    memory = MemoryEstimate(model, select_row(first_batches[0], 0), find_budget(setup.data.device))
    num_trials = len(setup.models)
    if (needed := memory.estimate_bytes(num_trials)) > memory.budget and num_trials > 1:
        raise MemoryError(f"{num_trials} trials need {needed} of {memory.budget} bytes")
    stacked = StackedModels(setup.models, setup.rows.shape)
    proof = Proof(setup, stacked)
    proof.check_training(first_batches[:NUM_STEPS])
    return ProvenGroup(
        setup=setup,
        stacked=stacked,
        proof=proof,
        memory=memory,
        batches=batches,
        first_batches=first_batches,
        first_epoch=first_epoch,
        generators=generators,
    )
