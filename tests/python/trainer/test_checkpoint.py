"""Checkpoints: exact, whole or not there, and never silently another one."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import toy

import tiny_policy
from icpo import CheckpointError
from icpo.trainer.checkpoint import Checkpoint, Checkpoints

TOKENIZER = toy.tokenizer()


def trained(make=tiny_policy.qwen3, *, seed=0, steps=3, adapters=False):
    """A model and its optimizer, some steps in."""
    model = make(seed, scale=1.0)
    if adapters:
        peft = pytest.importorskip("peft")
        settings = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
        model = peft.get_peft_model(model, settings)
    ours = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(ours, lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        advance(model, optimizer)
    return model, optimizer


def advance(model, optimizer) -> float:
    ids = torch.randint(3, tiny_policy.VOCABULARY, (2, 7))
    loss = model(input_ids=ids, labels=ids).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def bits(model, optimizer) -> dict[str, bytes]:
    """Everything, byte for byte."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer.{number}.{name}": value for name, value in state.items()})
    return {name: value.numpy().tobytes() for name, value in tensors.items()}


def save(checkpoints: Checkpoints, step: int, *, state=None, **kind) -> Checkpoint:
    model, optimizer = trained(seed=step, **kind)
    return checkpoints.save(step, model, TOKENIZER, optimizer, state or {"n": step})


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


##### What comes back


@pytest.mark.parametrize(
    ("make", "adapters"),
    [(tiny_policy.qwen3, False), (tiny_policy.llama, False), (tiny_policy.qwen3, True)],
)
def test_restored_bit_by_bit(tmp_path, make, adapters):
    model, optimizer = trained(make, adapters=adapters)
    saved = Checkpoints(tmp_path / "c", keep=1).save(3, model, TOKENIZER, optimizer, {})
    # The same base, as a resumed run loads it; what is trained starts from something else.
    other, other_optimizer = trained(make, steps=5, adapters=adapters)
    assert bits(other, other_optimizer) != bits(model, optimizer)
    saved.restore(other, other_optimizer)
    assert bits(other, other_optimizer) == bits(model, optimizer)
    # And the next steps are the same.
    for _ in range(3):
        with torch.random.fork_rng():
            loss = advance(model, optimizer)
        assert advance(other, other_optimizer) == loss
    assert bits(other, other_optimizer) == bits(model, optimizer)


def test_tied_parameters_stay_tied(tmp_path):
    model, optimizer = trained()
    saved = Checkpoints(tmp_path, keep=1).save(1, model, TOKENIZER, optimizer, {})
    other, other_optimizer = trained(steps=1)
    saved.restore(other, other_optimizer)
    assert other.lm_head.weight.data_ptr() == other.model.embed_tokens.weight.data_ptr()


def test_a_checkpoint_is_a_model_folder(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, optimizer = trained()
    saved = Checkpoints(tmp_path, keep=1).save(1, model, TOKENIZER, optimizer, {})
    loaded = AutoModelForCausalLM.from_pretrained(saved.folder)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert AutoTokenizer.from_pretrained(saved.folder)("Q red").input_ids == [1, 3, 5]


def test_state_comes_back_as_it_was(tmp_path):
    generator = np.random.default_rng(3)
    state = {
        "generator": generator.bit_generator.state,  # integers of 128 bits
        "share": 0.1 + 0.2,
        "none": None,
        "text": "é\n",
        "list": [1, [True]],
        "never": float("inf"),  # of a clip
    }
    saved = save(Checkpoints(tmp_path, keep=1), 7, state=state)
    assert saved.state() == state
    assert saved.step == 7


def test_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "a" / "b", keep=2)
    assert checkpoints.latest() is None
    for step in (8, 9, 10, 100, 1_000_000, 2_000_000):
        save(checkpoints, step, steps=0)
    assert [found.step for found in checkpoints.all()] == [1_000_000, 2_000_000]
    assert checkpoints.latest().step == 2_000_000
    checkpoints.clear()
    assert names(tmp_path / "a" / "b") == []
    assert checkpoints.latest() is None


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "step-3-mine").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "step-000009").write_text("a file")
    checkpoints = Checkpoints(tmp_path, keep=1)
    save(checkpoints, 1, steps=0)
    save(checkpoints, 2, steps=0)
    assert names(tmp_path) == ["notes", "step-000002", "step-000009", "step-3-mine"]


def test_the_same_step_again_takes_its_place(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 4, state={"n": 1})
    save(checkpoints, 4, state={"n": 2})
    assert names(tmp_path) == ["step-000004"]
    assert checkpoints.latest().state() == {"n": 2}


##### What does not fit


def test_another_model_is_refused(tmp_path):
    saved = save(Checkpoints(tmp_path, keep=1), 1)
    with pytest.raises(CheckpointError, match=r"step-000001: .*size mismatch"):
        saved.restore(*trained(tiny_policy.llama))
    wide = tiny_policy.qwen3()
    wide.resize_token_embeddings(31)
    with pytest.raises(CheckpointError, match=r"step-000001: .*size mismatch"):
        saved.restore(wide, torch.optim.AdamW(wide.parameters()))
    pytest.importorskip("peft")
    with pytest.raises(CheckpointError, match="step-000001: expected the parameters of the model"):
        saved.restore(*trained(adapters=True))


def test_another_optimizer_is_refused(tmp_path):
    saved = save(Checkpoints(tmp_path, keep=1), 1)
    model, _ = trained()
    with pytest.raises(CheckpointError, match=r"optimizer\.pt: "):
        saved.restore(model, torch.optim.AdamW([model.lm_head.weight]))


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGE = {
    "model cut short": ("model.safetensors", _cut, r"model\.safetensors: expected \d+ bytes, got"),
    "bit flipped": ("model.safetensors", _flip, r"model\.safetensors: the contents have changed"),
    "optimizer changed": ("optimizer.pt", _flip, r"optimizer\.pt: the contents have changed"),
    "state changed": ("state.json", _flip, r"state\.json: the contents have changed"),
    "tokenizer gone": ("tokenizer.json", Path.unlink, r"tokenizer\.json: the file is missing"),
    "no list": ("manifest.json", Path.unlink, r"manifest\.json: can not be read: No such file"),
    "list cut short": ("manifest.json", _cut, r"manifest\.json: expected JSON"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_nothing_falls_back(tmp_path, name):
    file, damage, message = DAMAGE[name]
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 2, 3):
        save(checkpoints, step, steps=1)
    damage(tmp_path / "step-000003" / file)
    damage(tmp_path / "step-000002" / file)
    with pytest.raises(CheckpointError, match=f"step-000003.{{1,2}}{message}") as raised:
        checkpoints.latest()
    assert "step-000001 is intact: to resume from it, remove the damaged folder" in str(
        raised.value
    )
    damage(tmp_path / "step-000001" / file)
    with pytest.raises(CheckpointError, match="no other one is intact"):
        checkpoints.latest()


def test_a_layout_of_another_version_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    saved = save(checkpoints, 1)
    manifest = json.loads((saved.folder / "manifest.json").read_text())
    (saved.folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(CheckpointError, match="expected format 1, got 99; it was written by"):
        checkpoints.latest()


##### Full disks and kills


def in_a_child(function, *arguments) -> int:
    child = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    child.start()
    child.join()
    return child.exitcode


def save_within(limit: int, folder: Path, answer: Path) -> None:
    """Saves step 2 where no file can have more than `limit` bytes."""
    torch.set_num_threads(1)
    model, optimizer = trained(seed=2)
    # A write beyond the limit fails like one to a full disk, if the signal for it is ignored.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        Checkpoints(folder, keep=1).save(2, model, TOKENIZER, optimizer, {"n": "x" * 60_000})
    except CheckpointError as error:
        answer.write_text(str(error)[-500:])


# In order of writing: config.json, model.safetensors (12 kB), tokenizer.json, optimizer.pt (30 kB),
# state.json (60 kB).
@pytest.mark.parametrize("limit", [600, 5_000, 50_000])
def test_a_full_disk_leaves_what_was_there(tmp_path, limit):
    folder, answer = tmp_path / "c", tmp_path / "answer"
    save(Checkpoints(folder, keep=1), 1)
    assert in_a_child(save_within, limit, folder, answer) == 0
    assert "the checkpoint can not be written: " in answer.read_text()
    assert "File too large" in answer.read_text()
    assert answer.read_text().endswith(f"{folder}/step-000001 is intact")
    assert names(folder) == ["step-000001"]
    Checkpoints(folder, keep=1).latest().restore(*trained())
    # The test can fail: with room, the same child replaces it.
    answer.unlink()
    assert in_a_child(save_within, 10**6, folder, answer) == 0
    assert names(folder) == ["step-000002"]
    assert not answer.exists()


def test_a_failure_of_another_kind_leaves_nothing_behind(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    model, optimizer = trained()
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoints.save(1, model, TOKENIZER, optimizer, {"bad": object()})
    assert names(tmp_path) == []


def test_nobody_clears_away_what_is_being_written(tmp_path):
    model, optimizer = trained()
    refused = []

    class Meanwhile:
        """A tokenizer that finds out what another process would see while a save goes on."""

        def save_pretrained(self, folder):
            with pytest.raises(CheckpointError, match=r"step-000001\.writing: .*another process"):
                Checkpoints(tmp_path, keep=1)
            refused.append(folder)

    Checkpoints(tmp_path, keep=1).save(1, model, Meanwhile(), optimizer, {})
    assert len(refused) == 1
    assert Checkpoints(tmp_path, keep=1).latest().step == 1


def test_a_folder_that_can_not_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    model, optimizer = trained()
    checkpoints = Checkpoints(tmp_path / "file" / "c", keep=1)
    with pytest.raises(CheckpointError, match=r"can not be written: .*; there is none before it"):
        checkpoints.save(1, model, TOKENIZER, optimizer, {})


def save_for_ever(folder: Path, first: int) -> None:
    torch.set_num_threads(1)
    checkpoints = Checkpoints(folder, keep=2)
    model, optimizer = trained()
    for step in range(first, first + 1000):
        for _ in range(2):  # to take the place of another has to survive a kill too
            checkpoints.save(step, model, TOKENIZER, optimizer, {"n": step})


def test_kills_at_any_moment_leave_whole_checkpoints(tmp_path):
    rng = np.random.default_rng()
    folder, step, left_behind = tmp_path / "c", 0, set()
    for _ in range(8):
        child = multiprocessing.get_context("fork").Process(
            target=save_for_ever, args=(folder, step + 1)
        )
        child.start()
        while child.is_alive() and not (folder / f"step-{step + 1:06d}").exists():
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        left_behind |= {name.partition(".")[2] for name in names(folder)}
        checkpoints = Checkpoints(folder, keep=2)
        latest = checkpoints.latest()  # checks every byte
        assert latest.step > step
        assert latest.state() == {"n": latest.step}
        assert all("." not in name for name in names(folder))
        step = latest.step
    # The kills did hit checkpoints that were being written.
    assert "writing" in left_behind


def test_all_is_there_before_it_gets_its_name(tmp_path, monkeypatch):
    named, rename = [], Path.rename

    def watched(self, target):
        Checkpoint(self, 1).check()
        assert not target.exists()
        named.append(target.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    save(Checkpoints(tmp_path, keep=1), 1)
    assert named == names(tmp_path) == ["step-000001"]


@pytest.mark.parametrize("there", [True, False])
def test_a_kill_between_the_renamings(tmp_path, there):
    """The checkpoint that was set aside comes back, unless the new one has taken its place."""
    checkpoints = Checkpoints(tmp_path, keep=2)
    saved = save(checkpoints, 1, state={"n": "old"})
    saved.folder.rename(tmp_path / "step-000001.replaced")
    if there:
        save(Checkpoints(tmp_path / "x", keep=1), 1, state={"n": "new"}).folder.rename(
            tmp_path / "step-000001"
        )
        (tmp_path / "x").rmdir()
    found = Checkpoints(tmp_path, keep=2)
    assert found.latest().state() == {"n": "new" if there else "old"}
    assert names(tmp_path) == ["step-000001"]
