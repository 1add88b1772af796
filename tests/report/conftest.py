import pytest


@pytest.fixture
def study(measurement):
    """The committed embedding study."""
    return measurement("embeddings")


@pytest.fixture
def untied(study):
    """The same of a base whose output embedding is another matrix, twice as long."""
    study["model"]["tied"] = False
    study["tokens"] = study["tokens"][::8]
    for token in study["tokens"]:
        token["output_norm"] = 2 * token["norm"]
    for part in ("correlations", "bins"):
        own = [row | {"role": "output"} for row in study["norms"][part] if row["role"] == "input"]
        study["norms"][part] += own
    return study
