"""LLM-Adapters' layout in a dataset on the Hugging Face hub."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from bench.errors import InputError, reason
from bench.progress import has_terminal


@lru_cache(maxsize=64)  # every run of a sweep needs the same files
def hub_folder(hub: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """The folder of a dataset at a commit in the hub's cache; missing files are downloaded.

    Args:
        hub: dataset id, owner/name.
        revision: a commit hash; the contents of a branch can change.
        patterns: patterns of the files to download; some may match nothing.

    Raises:
        InputError: the revision is not a commit hash, or files can be neither found nor downloaded.
    """
    if not re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        raise InputError(
            f"data.hub={hub} needs data.revision=COMMIT, the 40 hexadecimal digits of a commit in "
            f"the dataset's history (a branch can change), got {revision}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    if not has_terminal():
        disable_progress_bars()
    try:
        folder = snapshot_download(
            hub, repo_type="dataset", revision=revision, allow_patterns=list(patterns)
        )
    except Exception as error:  # errors of the hub, its network library and the disk
        raise InputError(
            f"data.hub={hub} at {revision} is not in the cache and can't be downloaded: "
            f"{reason(error)} Run the same command once with a network connection, or give "
            "data.root=FOLDER"
        ) from error
    return Path(folder)
