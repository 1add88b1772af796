"""Recognition of the data files behind the published results, by their sha256."""

from __future__ import annotations

from collections.abc import Mapping

SAME = "the paper's file"
OTHER = "another file"
UNKNOWN = "not known"

# First 16 hexadecimal digits, identical in LLM-Adapters 8166572 and HypLoRA 4e91948. The hashes of
# their training files and of hellaswag are not known.
_HASHES = {
    "dataset/aqua/test.json": "de677f5f01393400",
    "dataset/mawps/test.json": "c1a708979cbf2b3d",
    "dataset/svamp/test.json": "ffed015784f738f3",
    "dataset/gsm8k/test.json": "2cc616a1e0b23ea1",
    "dataset/boolq/test.json": "89df2397cbca81dc",
    "dataset/piqa/test.json": "3860d11b9b42e590",
    "dataset/social_i_qa/test.json": "71543f4112745194",
    "dataset/winogrande/test.json": "6946f5209e7114c6",
    "dataset/arc-challenge/test.json": "4a89ce368ae01a71",
    "dataset/arc-easy/test.json": "3f32a84716ca6d57",
    "dataset/openbookqa/test.json": "8479930f7b8a2605",
}


def compare(files: Mapping[str, str]) -> dict[str, str]:
    """`SAME`, `OTHER` or `UNKNOWN` for each file.

    Args:
        files: sha256 by name below the root, ignoring case.
    """

    def state(name: str, sha256: str) -> str:
        if (known := _HASHES.get(name.casefold())) is None:
            return UNKNOWN
        return SAME if sha256.startswith(known) else OTHER

    return {name: state(name, sha256) for name, sha256 in files.items()}
