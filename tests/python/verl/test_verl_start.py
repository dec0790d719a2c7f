"""The check at the start: one line and exit code 1, before anything is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types

import pytest
import verl_fakes as fakes
import yaml

from icpo.verl import hooks, plugin
from icpo.verl.start import StartCheck

pytestmark = pytest.mark.verl

SOURCE = "icpo.demonstrations.source=demos.jsonl"


def stopped(*overrides, add=("+icpo=on", SOURCE)):
    """What the check says when it ends the program."""
    config = fakes.compose_config(*add, *overrides)
    with pytest.raises(SystemExit) as raised:
        StartCheck().on_run_start(config)
    assert isinstance(raised.value.code, str)  # to stderr, with exit code 1
    return raised.value.code


##### In this process


def source(folder, *rows):
    file = folder / "demos.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"icpo.demonstrations.source={file}"


def test_right_settings_pass(tmp_path):
    demos = source(tmp_path, {"question": "1 + 1?", "solution": "2"})
    StartCheck().on_run_start(fakes.compose_config("+icpo=on", demos))


def test_demonstrations_are_read(tmp_path):
    demos = source(tmp_path, {"question": "1 + 1?", "solution": "2"}, {"question": "1 + 2?"})
    message = stopped(demos, add=("+icpo=on",))
    assert message.startswith(f"icpo: icpo.demonstrations.source: {tmp_path}/demos.jsonl: line 2:")
    assert "can not be read" in stopped()  # there is no such file
    demos = source(tmp_path, {"question": "1 + 1?", "solution": "2"})
    assert "k: expected at most 1" in stopped(demos, "icpo.demonstrations.k=2", add=("+icpo=on",))


def test_the_flag_asks_for_the_check():
    from hydra.utils import get_class
    from test_verl_settings import text

    [callback] = yaml.safe_load(text())["hydra"]["callbacks"].values()
    assert get_class(callback["_target_"]) is StartCheck


@pytest.mark.parametrize(
    ("override", "begin"),
    [
        ("icpo.group=mixed", "icpo: icpo.group: expected"),
        ("trainer.v1.trainer_mode=sync", "icpo: trainer.v1.trainer_mode: expected 'icpo_sync'"),
        ("critic.enable=true", "icpo: critic.enable: expected"),
        ("+icpo.n_of=2", "icpo: icpo.n_of: no such setting"),
    ],
)
def test_wrong_setting_ends_the_program(override, begin):
    message = stopped(override)
    assert message.startswith(begin)
    assert "\n" not in message


def test_changed_hook_ends_the_program(monkeypatch):
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    monkeypatch.setattr(PPOTrainer, "_compute_advantage", lambda self, data: None)
    message = stopped()
    assert "PPOTrainer._compute_advantage takes (self, data)" in message
    assert "\n" not in message


def test_other_version_ends_the_program(monkeypatch):
    monkeypatch.setattr(hooks, "VERSIONS", ("0.7", "0.8"))
    assert "expected verl>=0.7,<0.8" in stopped()


@pytest.mark.parametrize("policy", ["none", "NONE", "other, another"])
def test_plugins_switched_off_end_the_program(monkeypatch, policy):
    monkeypatch.delitem(sys.modules, "icpo.verl.plugin")
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", policy)
    message = stopped()
    assert message.startswith("icpo: VERL_USE_EXTERNAL_PLUGINS: expected 'auto'")
    assert message.endswith(repr(policy))


@pytest.mark.parametrize("error", [ImportError("no such part"), AttributeError("gone"), ValueError])
def test_plugin_that_fails_to_load_ends_the_program(monkeypatch, error):
    class Failing(types.ModuleType):
        def __getattr__(self, name):
            raise error

    # What it imports first.
    monkeypatch.delitem(sys.modules, "icpo.verl.plugin")
    monkeypatch.setitem(sys.modules, "icpo.verl.checks", Failing("icpo.verl.checks"))
    message = stopped()
    assert message.startswith("icpo: icpo.verl.plugin can not be loaded: ")


def test_plugin_without_an_entry_point_ends_the_program(monkeypatch):
    monkeypatch.delitem(sys.modules, "icpo.verl.plugin")
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", "auto")
    monkeypatch.setattr("icpo.verl.start.importlib", types.SimpleNamespace(import_module=str))
    assert "entry point in 'verl.plugins'" in stopped()


def test_a_fault_of_the_check_ends_the_program_too(monkeypatch, capsys):
    """Hydra makes warnings of a callback's exceptions, and goes on."""

    def fault():
        raise RuntimeError("a fault")

    monkeypatch.setattr(plugin, "check_registered", fault)
    assert stopped().startswith("icpo: ")
    assert "RuntimeError: a fault" in capsys.readouterr().err


##### The program itself


def program(folder, *arguments, **environment):
    """verl's own program, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "verl.trainer.main_ppo", "+icpo=on", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def last_line(text):
    return text.strip().split("\n")[-1]


def test_program_ends_before_ray_starts(tmp_path):
    ended = program(tmp_path, SOURCE, "icpo.target=some")
    assert ended.returncode == 1
    assert last_line(ended.stderr).startswith("icpo: icpo.target: expected 'all' or")
    for trace in ("ray init kwargs", "Started a local Ray instance", "Traceback"):
        assert trace not in ended.stdout + ended.stderr
    assert not list(tmp_path.iterdir())


def test_program_whose_plugin_is_broken_ends(tmp_path):
    """A module of the plugin that can not be imported: verl says nothing of it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['icpo.verl.trainer'] = None  # makes its import fail\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ended = program(tmp_path, SOURCE, PYTHONPATH=path)
    assert ended.returncode == 1
    line = last_line(ended.stderr)
    assert line.startswith("icpo: icpo.verl.plugin can not be loaded: ")
    assert "icpo.verl.trainer" in line
    assert "ray init kwargs" not in ended.stdout


def test_program_with_plugins_switched_off_ends(tmp_path):
    ended = program(tmp_path, SOURCE, VERL_USE_EXTERNAL_PLUGINS="none")
    assert ended.returncode == 1
    assert last_line(ended.stderr).startswith("icpo: VERL_USE_EXTERNAL_PLUGINS: expected 'auto'")
    assert "ray init kwargs" not in ended.stdout
