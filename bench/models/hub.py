"""Base models on the hub: the commit that is loaded, and error messages that say what to do."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, errors

from bench.errors import InputError
from bench.models.checkpoint import INDEX, WEIGHTS
from bench.models.footprint import gigabytes
from bench.models.settings import ModelSettings

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")  # one is enough
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
FREE_SPACE = "free some space, or set HF_HOME=/a/folder/with/space before the command"
SMALL = (".json", ".model", ".txt", ".jinja", ".py")  # downloaded in addition to the weights

UNREACHABLE = (
    errors.LocalEntryNotFoundError,
    errors.OfflineModeIsEnabled,
    errors.RevisionResolutionError,
    errors.HTTPError,  # no answer; the subclass HfHubHTTPError is an answer with an error status
)


def resolve_commit(settings: ModelSettings) -> tuple[str, bool]:
    """The commit of a hub model, after checking that it can be loaded.

    Returns:
        The commit, for weights, tokenizer and record, and whether all of it is cached.

    Raises:
        InputError: the hub refuses it, it has no safetensors, or the disk is too small.
    """
    api = huggingface_hub.HfApi()
    try:
        commit = str(api.resolve_revision(settings.path, revision=settings.revision).resolved)
        cached = _cached(settings.path, commit)
        if not cached:
            listing = api.model_info(settings.path, revision=commit, files_metadata=True)
            _check_files(settings, {f.rfilename: f.size or 0 for f in listing.siblings or []})
    except InputError:
        raise
    except (OSError, ValueError, *UNREACHABLE) as error:
        # Not `from error`: requests and their addresses must not get into a record.
        raise loading_error(settings, error) from None
    return commit, cached


def loading_error(settings: ModelSettings, error: BaseException) -> InputError:
    """The InputError for an exception of huggingface_hub or transformers during loading."""
    cause = error if settings.folder is None else None
    while cause is not None:
        if message := _hub_message(settings, cause):
            return InputError(message)
        cause = cause.__cause__
    base = settings.folder or settings.path
    kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
    return InputError(without_tokens(f"the base model '{base}' can't be loaded: {kind}{error}"))


def without_tokens(text: str) -> str:
    """Mask access tokens: those of the environment, and whatever looks like one."""
    for token in (huggingface_hub.get_token(), os.environ.get("HF_TOKEN")):
        if token:
            text = text.replace(token, "***")
    return re.sub(r"hf_[A-Za-z0-9]{8,}", "hf_***", text)


def _hub_message(settings: ModelSettings, error: BaseException) -> str | None:
    """The message for an error of the hub; None for any other error."""
    base, page = settings.path, f"{constants.ENDPOINT}/{settings.path}"
    login = "HF_TOKEN=... before the command, or `hf auth login` once"
    status = getattr(getattr(error, "response", None), "status_code", "an error")
    # The first match counts: a GatedRepoError is also a RepositoryNotFoundError.
    messages: dict[type[BaseException] | tuple[type[BaseException], ...], str] = {
        errors.GatedRepoError: f"is gated: accept its terms on {page} with your account, create a "
        f"token on {constants.ENDPOINT}/settings/tokens and pass it as {login}",
        errors.RepositoryNotFoundError: "the hub has no such repository, or it is private, or your "
        f"token is not valid. See {page}; a private one needs {login}; a local folder is given as "
        "/path or ./path",
        errors.DisabledRepoError: f"the hub has disabled this repository ({page})",
        errors.RevisionNotFoundError: "has no such branch, tag or commit (any more): "
        f"model.revision={settings.revision}. {page}/commits/main lists the commits; "
        "model.revision=null takes the newest",
        errors.LocalEntryNotFoundError: _offline(settings),
        errors.EntryNotFoundError: f"a required file is missing; {page}/tree/main lists the files. "
        "A base needs config.json, a tokenizer and *.safetensors",
        errors.HFValidationError: "is no hub id: use OWNER/NAME, or /path or ./path for a folder",
        errors.HfHubHTTPError: f"the hub answered {status}; try again later, or see {page}",
        UNREACHABLE: _offline(settings),
    }
    for kinds, message in messages.items():
        if isinstance(error, kinds):
            return f"model.path={base}: {message}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"model.path={base}: the disk of {constants.HF_HUB_CACHE} is full; {FREE_SPACE}"
    return None


def _offline(settings: ModelSettings) -> str:
    revision = f" --revision {settings.revision}" if settings.revision else ""
    why = "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else "the hub can't be reached"
    return (
        f"{why}, and this base is not in the cache {constants.HF_HUB_CACHE}. On a machine with a "
        f"network, run `hf download {settings.path}{revision} --include '*.json' '*.safetensors' "
        "'*.model' '*.txt' '*.jinja'` with the same HF_HOME or copy that folder here; or use a "
        "local folder: model=local model.path=/path"
    )


def _cached(repository: str, commit: str) -> bool:
    """Whether config, tokenizer and weights of a commit are in the cache.

    Weights are downloaded last: if they are complete, so are the smaller files.
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
    """Refuse a repository without safetensors, or one that does not fit on the disk."""
    weights = [WEIGHTS] if WEIGHTS in sizes else [n for n in sizes if SHARD.fullmatch(n)]
    if not weights:
        raise InputError(
            f"model.path={settings.path}: has no {WEIGHTS} and no shards of it. Pickled weights "
            "are not loaded, since they can run code: choose a revision or another repository "
            "with safetensors, or convert them once with transformers' save_pretrained"
        )
    small = [name for name in sizes if "/" not in name and name.endswith(SMALL)]
    needed = sum(sizes[name] for name in {*weights, *small})
    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    # Shards that are already cached are counted, too: an upper bound.
    if needed > free:
        raise InputError(
            f"model.path={settings.path}: its files take {gigabytes(needed)}, and "
            f"{constants.HF_HUB_CACHE} has {gigabytes(free)} left; {FREE_SPACE}"
        )
