"""A base on the hub: which commit is loaded, whether it can be had, and why not, told plainly."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, errors

from bench.errors import InputError
from bench.models.checkpoint import INDEX, WEIGHTS
from bench.models.footprint import gigabytes
from bench.models.settings import ModelSettings

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")  # one is enough
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
SMALL = (".json", ".model", ".txt", ".jinja", ".py")  # what is downloaded beside the weights

UNREACHABLE = (
    errors.LocalEntryNotFoundError,
    errors.OfflineModeIsEnabled,
    errors.RevisionResolutionError,
    errors.HTTPError,  # no answer; HfHubHTTPError, an answer that is an error, is asked for first
)


def obtainable(settings: ModelSettings) -> tuple[str, bool]:
    """The commit of a hub model that is loaded, once it is known that it can be.

    A commit is asked for once, so that weights and tokenizer are of the same, and the record can
    name it.

    Args:
        settings: of a base that is no local folder.

    Returns:
        The commit, and whether all of it is in the cache, so that no hub is needed.

    Raises:
        InputError: the hub does not give it, it has no safetensors, or the disk is too small.
    """
    api = huggingface_hub.HfApi()
    try:
        commit = str(api.resolve_revision(settings.path, revision=settings.revision).resolved)
        cached = _cached(settings.path, commit)
        if not cached:
            listing = api.model_info(settings.path, revision=commit, files_metadata=True)
            _check_files(settings, {f.rfilename: f.size or 0 for f in listing.siblings or []})
    except (OSError, ValueError, *UNREACHABLE) as error:
        if isinstance(error, InputError):
            raise
        # Not `from error`: requests and their addresses have no place in a record.
        raise unobtainable(settings, error) from None
    return commit, cached


def unobtainable(settings: ModelSettings, error: BaseException) -> InputError:
    """What to tell a person of an error on the way to a base.

    Args:
        settings: which base; a local folder has fewer ways to fail.
        error: as huggingface_hub or transformers raised it, with what caused it.
    """
    if settings.folder is None:
        for cause in _causes(error):
            told = _told(settings, cause)
            if told:
                return InputError(told)
    where = settings.folder or settings.path
    told = error if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {error}"
    return InputError(without_tokens(f"the base model '{where}' can't be loaded: {told}"))


def without_tokens(text: str) -> str:
    """A text in which no access token stands, be it of the environment or look like one."""
    for token in (huggingface_hub.get_token(), os.environ.get("HF_TOKEN")):
        if token:
            text = text.replace(token, "***")
    return re.sub(r"hf_[A-Za-z0-9]{8,}", "hf_***", text)


def _told(settings: ModelSettings, error: BaseException) -> str | None:
    """The message for an error of the hub; None for any other."""
    base, page = settings.path, f"{constants.ENDPOINT}/{settings.path}"
    token = "HF_TOKEN=... before the command, or `hf auth login` once"
    # The order matters: a gated repository is to huggingface_hub a kind of one not found.
    if isinstance(error, errors.GatedRepoError):
        return (
            f"model.path={base} is gated: accept its terms on {page} with your account, make a "
            f"token on {constants.ENDPOINT}/settings/tokens, and give it as {token}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"model.path={base}: the hub has no such repository, or it is private, or your token "
            f"is not valid. Look at {page}; a private one needs {token}; a local folder is given "
            "as /path or ./path"
        )
    if isinstance(error, errors.DisabledRepoError):
        return f"model.path={base}: the hub has disabled this repository ({page})"
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"model.revision={settings.revision}: {base} has no such branch, tag or commit (any "
            f"more). {page}/commits/main lists what it has; model.revision=null takes its newest"
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _offline(settings)
    if isinstance(error, errors.EntryNotFoundError):
        return (
            f"model.path={base}: a file that a base needs is not there; {page}/tree/main lists "
            "what is. It takes config.json, a tokenizer and *.safetensors"
        )
    if isinstance(error, errors.HFValidationError):
        return f"model.path={base} is no hub id: give OWNER/NAME, or a folder as /path or ./path"
    if isinstance(error, errors.HfHubHTTPError):
        status = getattr(error.response, "status_code", "an error")
        return f"model.path={base}: the hub answered {status}; try again later, or look at {page}"
    if isinstance(error, UNREACHABLE):
        return _offline(settings)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"model.path={base}: the disk of {_cache()} is full; {_elsewhere()}"
    return None


def _offline(settings: ModelSettings) -> str:
    base = settings.path
    at = f" --revision {settings.revision}" if settings.revision else ""
    why = "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else "the hub can't be reached"
    return (
        f"model.path={base}: {why}, and this base is not in the cache {_cache()}. Where there is a "
        f"network, type `hf download {base}{at} --include '*.json' '*.safetensors' '*.model' "
        "'*.txt' '*.jinja'` with the same HF_HOME, or copy that folder here, or give a local "
        "folder: model=local model.path=/path"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _cache() -> Path:
    return Path(constants.HF_HUB_CACHE)


def _elsewhere() -> str:
    return "free some, or give HF_HOME=/a/folder/with/space before the command"


def _cached(repository: str, commit: str) -> bool:
    """Whether a commit's config, tokenizer and weights are on this machine.

    Weights are loaded last, so where they are complete the small files about them are, too.
    """
    config, single, index, *vocabulary = (
        huggingface_hub.try_to_load_from_cache(repository, name, revision=commit)
        for name in ("config.json", WEIGHTS, INDEX, *TOKENIZERS)
    )
    if not isinstance(config, str) or not any(isinstance(file, str) for file in vocabulary):
        return False
    if isinstance(single, str) or not isinstance(index, str):
        return isinstance(single, str)
    shards = set(json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values())
    return all((Path(index).parent / shard).is_file() for shard in shards)


def _check_files(settings: ModelSettings, sizes: dict[str, int]) -> None:
    """Refuse a repository without safetensors, and one that the disk has no room for."""
    weights = [WEIGHTS] if WEIGHTS in sizes else [n for n in sizes if SHARD.fullmatch(n)]
    if not weights:
        raise InputError(
            f"model.path={settings.path}: has no {WEIGHTS} and no shards of one. Pickled weights "
            "are not loaded, since they can run code: look for a revision or another repository "
            "with safetensors, or convert them once with transformers' save_pretrained"
        )
    small = [name for name in sizes if "/" not in name and name.endswith(SMALL)]
    needed = sum(sizes[name] for name in {*weights, *small})
    folder = _cache()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    # Shards that are there already count, too: what is told is at most too much.
    if needed > free:
        raise InputError(
            f"model.path={settings.path}: its files take {gigabytes(needed)}, and {_cache()} has "
            f"{gigabytes(free)} left; {_elsewhere()}"
        )
