"""A folder of LLM-Adapters' layout that lies in a dataset on the hub."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from bench.errors import InputError
from bench.progress import has_terminal

_COMMIT = re.compile(r"[0-9a-f]{40}")


@lru_cache(maxsize=64)  # every run of a sweep asks for the same files
def hub_folder(hub: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """The folder in the hub's cache with a dataset's files at a commit, downloaded where missing.

    Args:
        hub: id of the dataset, owner/name.
        revision: a commit. A branch would be other data on another day.
        patterns: of the files that are needed, of which some may not be there.

    Raises:
        InputError: the revision is no commit, or the files are not in the cache and can't be had.
    """
    if not _COMMIT.fullmatch(revision or ""):
        raise InputError(
            f"data.hub={hub} needs data.revision=COMMIT, the 40 hexadecimal digits that the "
            f"dataset's page lists under its history (a branch moves), got {revision}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    if not has_terminal():
        disable_progress_bars()
    try:
        folder = snapshot_download(
            hub, repo_type="dataset", revision=revision, allow_patterns=list(patterns)
        )
    except Exception as error:  # the hub's own, its network library's, the disk's: all end here
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"data.hub={hub} at {revision} is not in the cache and can't be downloaded: {reason} "
            "Without a network run the same command once where there is one, or give "
            "data.root=FOLDER with the files in it"
        ) from error
    return Path(folder)
