"""What the README shows runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def test_the_program_with_peft_calls_runs_and_leaves_an_adapter(tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.S)
    assert len(program.strip().splitlines()) <= 25
    (tmp_path / "bench").symlink_to(PROJECT / "bench")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"loss ([\d.]+)", done.stdout)[1]) < 1.5
    assert (tmp_path / "my-adapter" / "adapter_model.safetensors").is_file()
