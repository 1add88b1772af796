import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from bench.efficiency import hyperbolicity
from bench.efficiency.hyperbolicity import ALL, FIRST, PUBLIC, measure_hyperbolicity
from bench.geometry.hyperbolicity import relative_delta
from bench.tracking.record import efficiency_metrics


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hyperbolicity, "SIZES", {24: 4, 40: 1})
        patch.setattr(hyperbolicity, "_peak", lambda name, points: points**3)
        return json.loads(json.dumps(measure_hyperbolicity(prompts=5, rounds=2)))


def test_the_public_routine_is_delta_from_the_first_point():
    points = np.random.default_rng(0).normal(size=(30, 8))
    matrix = np.linalg.norm(points[:, None] - points[None], axis=-1)
    assert hyperbolicity.public_relative_delta(matrix) == pytest.approx(relative_delta(points))


def test_the_public_routine_holds_the_cube_of_its_points():
    points = 200
    # In one process, since to start one takes seconds; first the routine of the lower peak.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        ours, public = pool.map(hyperbolicity._growth, (FIRST, PUBLIC), (points, points))
    assert ours < 3 * points**3 < public


def test_every_size_has_speed_memory_and_agreement_of_the_routines(found):
    for size in found["sizes"]:
        assert list(size["routines"]) == [PUBLIC, FIRST, ALL]
        assert all(r["ratio"] > 0 and r["peak_bytes"] >= 0 for r in size["routines"].values())
        assert size["routines"][PUBLIC]["ratio"] == 1
        assert size["difference"] < 1e-5
    assert found["seconds"] > 0 and (found["prompts"], found["tokens"]) == (5, 64)
    metrics = efficiency_metrics({"cases": [], "hyperbolicity": found})
    ratio = found["sizes"][0]["routines"][FIRST]["ratio"]
    assert metrics["ratio/delta_24/ours first point"] == ratio
