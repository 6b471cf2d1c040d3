"""What processes of tests call that stand for agents of a sweep."""

from reports.wandb.agents import remember_run_id
from reports.wandb.place import Place


def remember_many(directory, agent, count):
    """Remember so many runs, one by one, as an agent does that trains one trial after the other."""
    for number in range(count):
        remember_run_id(directory, Place(group="study"), f"trial-{agent}-{number}", f"run-{agent}-{number}")
