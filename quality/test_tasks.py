"""Tasks: accuracy on lm-eval's tasks, for those who ask by `--tasks`."""

import pytest

from fixtures import tasks
from fixtures.interpreter import NotInstalled
from fixtures.launcher import WorkerError
from fixtures.session import plumbline


@pytest.fixture
def evaluated(request, task, variant, model_run, show):
    """What lm-eval makes of the variant's answers; a task that cannot be had fails in one sentence."""
    state = plumbline(request.config)
    try:
        with show(f"{variant.variant.id} {task}") as update:
            found, notes = tasks.run(task, variant, model_run.checkpoint, state.settings, update)
    except (NotInstalled, tasks.TaskError, WorkerError) as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    state.notes += [*notes, *(f"{variant.variant.id} {each}" for each in found)]
    return found


@pytest.mark.needs("score", "generate")
def test_task(evaluated, settings, judge):
    assert all(each.metrics for each in evaluated)
    for each in filter(lambda each: each.item_metric, evaluated):
        workload = f"{each.name}@{settings.task_limit}"
        judge("accuracy", workload, each.right, inputs=each.inputs, details=each.metrics)
