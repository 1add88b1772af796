"""What the README shows runs as it stands there."""

import re

from bench.config import PROJECT
from tests.helpers import python


def test_the_program_with_peft_calls_runs_and_leaves_an_adapter(tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.S)
    assert len(program.strip().splitlines()) <= 25
    (tmp_path / "bench").symlink_to(PROJECT / "bench")
    done = python("-c", program, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"loss ([\d.]+)", done.stdout)[1]) < 1.5
    assert (tmp_path / "my-adapter" / "adapter_model.safetensors").is_file()
