"""The places of verl that the plugin hooks into: all there, all listed, and changes noticed."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect

import pytest
import verl_fakes as fakes
from transfer_queue import KVBatchMeta

from icpo.verl import checks, expert, given, hooks, lessons, loss, plugin, rollout, trainer
from icpo.verl.hooks import HOOKS, HookError, check_hooks, plain_class

pytestmark = pytest.mark.verl

assert fakes  # skips this module where verl is not installed

MODULES = [trainer, rollout, loss, expert, given, lessons]


def found(module, path):
    place = importlib.import_module(module)
    for name in path.split("."):
        place = plain_class(getattr(place, name))
    return place


##### The installed verl


def test_installed_verl_has_every_hook():
    assert check_hooks() == importlib.metadata.version("verl")
    plugin.check_registered()


def test_hooks_are_listed_once():
    places = [row[:2] for row in HOOKS]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("version", ["0.8.3", "0.10.0", "0.10.1", "1.0", "0.10.0.dev0", "0.10rc1"])
def test_other_versions_are_refused(monkeypatch, version):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    with pytest.raises(HookError, match=rf"verl>=0\.9,<0\.10.*{version}$"):
        check_hooks()


@pytest.mark.parametrize("version", ["0.9.0", "0.9.1", "0.9.7.post1", "0.9.2.dev0", "0.9.1+local"])
def test_supported_versions(monkeypatch, version):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert check_hooks() == version


def replace(monkeypatch, module, path, replacement):
    """Puts `replacement` at the place of a hook; None: nothing is there."""
    owner = importlib.import_module(module)
    *classes, name = path.split(".")
    for part in classes:
        owner = plain_class(getattr(owner, part))
    if replacement is not None:
        monkeypatch.setattr(owner, name, replacement)
        return
    for base in getattr(owner, "__mro__", [owner]):
        if name in vars(base) and base is not object:
            monkeypatch.delattr(base, name)


@pytest.mark.parametrize("row", HOOKS, ids=lambda row: row[1])
def test_changed_signature_is_noticed(monkeypatch, row):
    module, path, expected = row

    def other(self, *, what_came_instead):
        return None

    replace(monkeypatch, module, path, other)
    with pytest.raises(HookError) as raised:
        check_hooks()
    message = str(raised.value)
    assert f"{module}.{path} takes (self, what_came_instead)" in message
    assert f"expected ({', '.join(expected)})" in message


@pytest.mark.parametrize(
    "row", [row for row in HOOKS if not row[1].endswith("__init__")], ids=lambda row: row[1]
)
def test_missing_hook_is_noticed(monkeypatch, row):
    module, path, _ = row
    replace(monkeypatch, module, path, None)
    with pytest.raises(HookError, match=rf"expected {module}\.{path}, which icpo extends"):
        check_hooks()


def test_missing_module_is_noticed(monkeypatch):
    row = ("verl.trainer.ppo.v9.trainer", "PPOTrainer.fit", ("self",))
    monkeypatch.setattr(hooks, "HOOKS", (row,))
    with pytest.raises(HookError, match=r"verl\.trainer\.ppo\.v9\.trainer\.PPOTrainer\.fit"):
        check_hooks()


@pytest.mark.parametrize("registry", ["TRAINER_REGISTRY", "POLICY_LOSS_REGISTRY"])
def test_what_was_not_registered_is_noticed(monkeypatch, registry):
    from verl.trainer.ppo import core_algos
    from verl.trainer.ppo.v1 import trainer_base

    owner = trainer_base if registry == "TRAINER_REGISTRY" else core_algos
    name = checks.TRAINER if registry == "TRAINER_REGISTRY" else checks.LOSS
    monkeypatch.delitem(getattr(owner, registry), name)
    with pytest.raises(HookError, match=repr(name)):
        plugin.check_registered()


def test_error_is_one_of_icpos_and_of_imports():
    """Whoever catches either kind finds it."""
    from icpo.errors import IcpoError

    assert issubclass(HookError, IcpoError)
    assert issubclass(HookError, ImportError)


##### Nothing is hooked into that is not listed


def verl_bases(cls):
    return [base for base in cls.__mro__ if base.__module__.split(".")[0] == "verl"]


def classes(module):
    """The classes that a module derives from verl's, actors included."""
    own = (plain_class(value) for value in vars(module).values())
    return [
        cls
        for cls in dict.fromkeys(cls for cls in own if isinstance(cls, type))
        if cls.__module__ == module.__name__ and verl_bases(cls)
    ]


def class_tree(cls):
    [node] = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(inspect.getmodule(cls))))
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
    ]
    return node


def methods_used(cls):
    """Methods of verl that a class overrides, or calls on itself or ``super()``."""
    tree = class_tree(cls)
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    names |= {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        of = node.func.value
        on_self = isinstance(of, ast.Name) and of.id == "self"
        on_super = isinstance(of, ast.Call) and getattr(of.func, "id", "") == "super"
        if on_self or on_super:
            names.add(node.func.attr)
    return {
        name
        for name in names
        if any(inspect.isroutine(vars(base).get(name)) for base in verl_bases(cls))
    }


def functions_used(module):
    """Functions of verl that a module calls, those that register aside."""
    own = {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__.split(".")[0] == "verl"
    }
    tree = ast.parse(inspect.getsource(module))
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return {own[name] for name in called if name in own}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_method_in_use_is_listed(module):
    listed = [found(*row[:2]) for row in HOOKS]
    for cls in classes(module):
        for name in methods_used(cls):
            inherited = [base for base in verl_bases(cls) if name in vars(base)]
            # Where verl itself overrides, the one that ours stands for or calls.
            method = getattr(inherited[0], name)
            if name == "__init__":
                method = getattr(verl_bases(cls)[0], name)
            assert any(_same(method, hook) for hook in listed), f"{cls.__name__}.{name}"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_function_in_use_is_listed(module):
    listed = [found(*row[:2]) for row in HOOKS]
    for function in functions_used(module):
        assert any(function is hook for hook in listed), f"{module.__name__}: {function.__name__}"


def _same(method, hook):
    return inspect.unwrap(method) is inspect.unwrap(hook)


def test_the_introspection_sees_what_is_there():
    """That the tests above do not pass for want of anything to look at."""
    [cls] = classes(trainer)
    assert {"_balance_batch", "_dump_generations", "__init__"} <= methods_used(cls)
    workers = {cls.__name__: methods_used(cls) for cls in classes(rollout)}
    assert {"_run_prompt", "_compute_score", "_run_agent_loop"} <= workers["_GroupWorker"]
    assert workers["IcpoAgentLoopManager"] == {"__init__"}
    assert "ppo_loss" in {function.__name__ for function in functions_used(loss)}


def test_overrides_take_what_verl_passes():
    """An override takes every argument of the method that it stands for, by the same name."""
    for module in MODULES:
        for cls in classes(module):
            own = {name for name in methods_used(cls) if name in vars(cls)}
            for name in own - {"__init__"}:
                base = next(base for base in verl_bases(cls) if name in vars(base))
                theirs = inspect.signature(inspect.unwrap(vars(base)[name])).parameters
                ours = inspect.signature(inspect.unwrap(vars(cls)[name])).parameters
                kinds = {parameter.kind for parameter in ours.values()}
                for parameter in theirs.values():
                    taken = (
                        parameter.name in ours
                        or (parameter.kind is parameter.VAR_KEYWORD and parameter.kind in kinds)
                        or {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD} <= kinds
                        or (
                            parameter.default is not parameter.empty
                            and parameter.VAR_KEYWORD in kinds
                        )
                    )
                    assert taken, f"{cls.__name__}.{name}: {parameter.name}"


def test_queue_functions_are_there():
    """Of the transfer queue, which is a package of its own."""
    import transfer_queue

    for module in (trainer, rollout):
        tree = ast.parse(inspect.getsource(module))
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "tq"
        }
        assert used
        for name in used:
            assert callable(getattr(transfer_queue, name))
    batch = KVBatchMeta(keys=["a", "b"], tags=[{}, {}], partition_id="train")
    batch.reorder([1, 0])
    assert batch.keys == ["b", "a"]
