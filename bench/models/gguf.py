"""Bases in GGUF files of llama.cpp, which are converted to safetensors once.

The copy is kept under the sha256 of the file, dequantised to float32, with the tokenizer and its
chat template. transformers reads the weights; what it would read wrongly is refused.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import tempfile
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

from bench.errors import InputError, missing_extra, reason
from bench.files import locked, replaced, write_text
from bench.models.hashes import file_hash
from bench.progress import has_terminal

CONVERSION = 1  # raised when the copies change
CACHE = "HYPLORA_BENCH_CACHE"
SUFFIX = ".gguf"
FLOAT32_BYTES = 4

# Names of llama.cpp for how byte-level vocabularies split a text before its merges: as GPT-2, and
# as GPT-2 with each digit on its own. transformers has regular expressions for others, and splits
# all that it does not know like GPT-2.
LIKE_GPT2 = ("gpt-2", "mpt", "olmo", "jais", "phi-2")
SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone")
TOKENS = "tokenizer.ggml.tokens"
ENDS = ("eos", "eot", "eom")  # special tokens that end an answer


def cache_folder() -> Path:
    """The folder of downloaded and converted bases, outside the project."""
    return Path(os.environ.get(CACHE) or "~/.cache/hyplora-bench").expanduser()


def content(path: Path) -> str:
    """sha256 of a file; kept, since a large one takes seconds."""
    return file_hash(path, cache_folder() / "hashes.json")


def copy_of(path: Path) -> Path:
    """The folder of a file's converted copy, whether or not it exists yet."""
    return cache_folder() / "gguf" / f"{content(path)[:32]}-{CONVERSION}"


def convert(path: Path) -> Path:
    """The folder of a file's converted copy, which is created if it does not exist yet.

    Raises:
        InputError: the extra [gguf] is not installed, the file is damaged, transformers does not
            read it as its model was trained, or there is no room for the copy.
    """
    try:
        folder = copy_of(path)
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"model.path={path} can't be converted: {error}. {CACHE}=FOLDER puts the copy into "
            f"another folder than {cache_folder()}"
        ) from error
    if importlib.util.find_spec("gguf") is None:
        raise missing_extra(f"model.path={path}", "gguf")
    with locked(folder.with_suffix(".lock"), f"the conversion of {path.name}"):
        if not folder.is_dir():
            print(f"converting {path.name} to safetensors, once ...", flush=True)
            with replaced(folder) as partial:
                _write(path, partial)
    return folder


def _write(path: Path, folder: Path) -> None:
    elements, fields = _read(path)
    _check_room(path, elements, folder)
    try:
        tokenizer, model, missing = _load(path)
    except MemoryError:
        raise
    except Exception as error:  # transformers raises anything for what it does not know
        raise _refused(path, f"transformers can't load it: {reason(error)}") from error
    _check_complete(path, model, missing, elements, fields)
    ends = dict.fromkeys(fields.get(f"tokenizer.ggml.{name}_token_id") for name in ENDS)
    model.generation_config.update(eos_token_id=[int(end) for end in ends if end is not None])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _correct_tokenizer(path, folder / "tokenizer.json", fields)


def _load(path: Path) -> tuple[Any, Any, list[str]]:
    """The tokenizer and the model of a file, and the names of the weights that it lacks."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # Its bar of the tensors can't be switched off.
    quiet = nullcontext() if has_terminal() else redirect_stderr(io.StringIO())
    # Alone in a folder: transformers would also read a tokenizer_config.json next to the file.
    with tempfile.TemporaryDirectory() as alone, quiet:
        (Path(alone) / path.name).symlink_to(path.resolve())
        given: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
        try:
            tokenizer = AutoTokenizer.from_pretrained(alone, **given)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                alone,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                **given,
            )
        finally:
            logging.set_verbosity(verbosity)
    model, loading = loaded
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return tokenizer, model, sorted(loading["missing_keys"])


def _read(path: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """The number of elements of each tensor, and plain fields, of a file; of TOKENS the number."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        elements = {str(tensor.name): int(tensor.n_elements) for tensor in reader.tensors}
        plain = (field for field in reader.fields.values() if len(field.types) == 1)
        fields = {str(field.name): field.contents() for field in plain}
        fields[TOKENS] = len(reader.fields[TOKENS].data)
    except Exception as error:  # numpy and the reader raise anything for damaged bytes
        raise _refused(path, f"it is damaged, or not a GGUF file ({reason(error)})") from error
    if not elements:
        raise _refused(path, "it has no tensors")
    return elements, fields


def _check_room(path: Path, elements: dict[str, int], folder: Path) -> None:
    needed, free = FLOAT32_BYTES * sum(elements.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise _refused(
            path,
            f"its copy in float32 takes {needed / 1e9:.1f} GB, and {cache_folder()} has "
            f"{free / 1e9:.1f} GB left ({CACHE}=FOLDER chooses another folder)",
        )


def _check_complete(
    path: Path, model: Any, missing: list[str], elements: dict[str, int], fields: dict[str, Any]
) -> None:
    """Refuse a model of other weights than those of the file; transformers leaves some out."""
    if missing:
        raise _refused(path, f"it lacks {len(missing)} weights, such as {missing[0]}")
    rope = getattr(model.config, "rope_parameters", None) or {}
    scaled = any(
        ".rope.scal" in key and value not in ("none", 1.0) for key, value in fields.items()
    )
    if "rope_freqs.weight" in elements or (scaled and rope.get("rope_type") == "default"):
        raise _refused(path, "transformers does not read its scaled rotary embedding")
    # An output layer that is tied may be in the file as well.
    tied = elements.get("output.weight", 0) if model.config.tie_word_embeddings else 0
    given, loaded = sum(elements.values()) - tied, model.num_parameters()
    if given != loaded:
        raise _refused(path, f"it has {given:,} weights, but transformers reads only {loaded:,}")


def _correct_tokenizer(path: Path, tokenizer: Path, fields: dict[str, Any]) -> None:
    """Correct the tokenizer.json that transformers writes for a byte-level vocabulary.

    It adds GPT-2's <|endoftext|> to a vocabulary without it, beyond the rows of the embedding, and
    splits texts like GPT-2 where it does not know how the vocabulary was trained.
    """
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    if fields.get("tokenizer.ggml.model") != "gpt2":
        return
    name = fields.get("tokenizer.ggml.pre", LIKE_GPT2[0])
    if name not in (*LIKE_GPT2, *SINGLE_DIGITS, *GGUF_PRE_TOKENIZER_SPLITS):
        raise _refused(
            path,
            f"its tokenizer splits texts like {name!r}, which transformers does not know: it "
            "would split them like GPT-2",
        )
    state = json.loads(tokenizer.read_text(encoding="utf-8"))
    state["added_tokens"] = [t for t in state["added_tokens"] if t["id"] < fields[TOKENS]]
    if name in SINGLE_DIGITS:
        digits = {"type": "Digits", "individual_digits": True}
        steps = [digits, state["pre_tokenizer"]]
        state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    write_text(tokenizer, json.dumps(state, ensure_ascii=False))


def _refused(path: Path, why: str) -> InputError:
    return InputError(
        f"model.path={path} can't be converted: {why}. Give a folder with config, tokenizer and "
        "safetensors instead"
    )
