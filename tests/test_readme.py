"""The program in the README runs."""

import re

from bench.config import PROJECT


def test_the_program_with_peft_calls_runs_and_leaves_an_adapter(tmp_path, monkeypatch, capsys):
    (program,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.S)
    assert len(program.strip().splitlines()) <= 25
    (tmp_path / "bench").symlink_to(PROJECT / "bench")
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    assert float(re.search(r"loss ([\d.]+)", capsys.readouterr().out)[1]) < 1.5
    assert (tmp_path / "my-adapter" / "adapter_model.safetensors").is_file()
