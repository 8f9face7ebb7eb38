"""Profile: where a variant's time goes, what bounds it, and what it takes in energy; with --profile."""

import math

import pytest

from fixtures import power
from fixtures.memory import on_gpus
from fixtures.peaks import arithmetic, bandwidth
from fixtures.workload import Workload, prompt

pytestmark = [pytest.mark.profiled, pytest.mark.needs("generate", "profile")]

WORK = Workload(32, 16)


def test_where_the_time_goes(variant, text, settings, judge):
    [ids] = prompt(text.ids, WORK)
    device = variant.variant.device

    with power.used(device, lambda: on_gpus(variant.worker.pid)) as used:
        variant.call("generate", batch=[ids], n=WORK.new)
    found = variant.call("profile", ids=ids, n=WORK.new)

    peaks = {
        "bytes_per_second": bandwidth(device, settings.threads),
        "operations_per_second": arithmetic(device, settings.threads),
        "bytes_per_token": variant.facts["bytes_read_per_token"],
    }
    energy = {
        "joules": used.joules if math.isfinite(used.joules) else None,
        "utilisation": used.utilisation,
        "gpu_memory": used.held,
    }
    measured = judge("profiled_time", WORK, [found["seconds"]], details={**found, **peaks, **energy})
    assert measured.value > 0
    assert sum(found["layers"].values()) > 0
