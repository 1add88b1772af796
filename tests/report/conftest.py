import pytest

SETS = {"mawps": ("MAWPS", 100), "SVAMP": ("SVAMP", 300)}


@pytest.fixture
def record():
    """Make a finished run's record; `correct` gives the right answers of each set, in order."""

    def make(method="lora", seed=0, correct=(90, 240), curvature=None, sets=SETS, **changes):
        trained = method != "none"
        seed = seed if trained else None
        made = {
            "identity": f"{method}-{curvature}-{seed}",
            "run_id": f"run-{method}-{curvature}-{seed}",
            "method": method,
            "curvature": curvature,
            "seed": seed,
            "model": "tiny",
            "published_base": None,
            "data": "synthetic",
            "protocol": "fast",
            "scores": {
                key: {
                    "label": label,
                    "n": n,
                    "correct": right,
                    "accuracy": 100 * right / n,
                    "format_rate": 98.0,
                    "too_long": 0,
                    "chance": None,
                }
                for (key, (label, n)), right in zip(sets.items(), correct, strict=True)
            },
            "parameters": {"trainable": 20_000 if trained else 0, "total": 2_000_000},
            "seconds": {"finetune": 41.2 if trained else None, "evaluate": 6.3},
            "device": "cpu",
            "git": {"commit": "a" * 40, "dirty": False},
            "train": {"lr": 0.01, "epochs": 3, "precision": "32"} if trained else {},
            "rows": {"train": 1500, "train_too_long": 0},
        }
        return made | changes

    return make
