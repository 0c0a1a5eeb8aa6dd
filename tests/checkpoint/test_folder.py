"""What may lie in a checkpoint's folder: class 7 (links, pipes) and class 8 (code) of the reliability facts."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mens.checkpoint.storage.faults import FaultyCheckpoint
from mens.checkpoint.storage.folder import open_checkpoint
from mens.checkpoint.storage.index import NAME
from mens.checkpoint.storage.sources import SparseSource, TensorInfo
from mens.contracts.door import InvalidDocument
from mens.contracts.errors import ContractError, MensError, ResourceError, UnsupportedError, UsageError

Folder = Callable[..., Path]


def refused(folder: Path) -> MensError:
    with pytest.raises(MensError) as error:
        open_checkpoint(folder)
    return error.value


def told(folder: Path) -> tuple[str, str, int]:
    error = refused(folder)
    return error.code, error.what, error.exit_code


def test_a_single_file_opens(checkpoint: Folder, tensors: list[TensorInfo]) -> None:
    folder = checkpoint()
    opened = open_checkpoint(str(folder))
    assert (opened.index, opened.folder, opened.quantised) == (None, folder, None)
    assert opened.config.model.model_type == "llama"
    assert opened.metadata == {"format": "pt"}
    found = {TensorInfo(*tensor[:3]) for tensor in opened.tensors.values()}
    assert found == set(tensors)


def test_harmless_files_and_folders_do_not_matter(checkpoint: Folder) -> None:
    folder = checkpoint()
    for name in ("README.md", "tokenizer.json", "LICENSE", "consolidated.safetensors", "onnx/model.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not looked at")
    assert len(open_checkpoint(folder).tensors) == 5


@pytest.mark.parametrize(
    "name", ["model.bin", "a.pt", "a.pth", "a.pkl", "a.pickle", "a.ckpt", "UPPER.BIN", "training_args.bin"]
)
def test_pickles_are_refused(name: str, checkpoint: Folder) -> None:
    folder = checkpoint()
    (folder / name).write_bytes(b"")
    assert told(folder) == ("MENS-C031", f"'{name}' is a pickle, which runs code when it is loaded", 4)


@pytest.mark.parametrize("name", ["modeling_x.py", "a.pyc", "a.so", "A.PY"])
def test_code_is_refused(name: str, checkpoint: Folder) -> None:
    folder = checkpoint()
    (folder / name).write_bytes(b"")
    assert told(folder) == ("MENS-C032", f"'{name}' is code, which mens never runs", 4)


def test_the_folder_that_upstream_runs_code_from_is_refused(checkpoint: Folder) -> None:
    folder = checkpoint()
    (folder / "custom_generate").mkdir()
    assert told(folder) == ("MENS-C032", "the folder 'custom_generate' holds code, which mens never runs", 4)


@pytest.mark.parametrize("field", ["auto_map", "custom_generate", "trust_remote_code", "_attn_implementation_internal"])
@pytest.mark.parametrize("file", ["tokenizer_config.json", "generation_config.json", "processor_config.json"])
def test_a_configuration_that_names_code_is_refused(file: str, field: str, checkpoint: Folder) -> None:
    folder = checkpoint()
    (folder / file).write_text(json.dumps({"deep": [{field: {"AutoTokenizer": "x.Y"}}]}))
    code, what, exit_code = told(folder)
    assert (code, exit_code) == ("MENS-R008", 4)
    assert what.startswith(f"{file}: '{field}' makes a loader run code")
    (folder / file).write_text(json.dumps({field: None}))
    open_checkpoint(folder)


def test_a_config_that_names_code_is_refused(checkpoint: Folder) -> None:
    folder = checkpoint(config={"model_type": "llama", "auto_map": {"AutoModel": "modeling_x.Model"}})
    error = refused(folder)
    assert isinstance(error, InvalidDocument)
    assert (error.code, error.exit_code) == ("MENS-R008", 4)


def test_a_config_that_is_none_is_refused_by_the_door(checkpoint: Folder) -> None:
    folder = checkpoint()
    (folder / "config.json").write_text('{"model_type": "llama",}')
    error = refused(folder)
    assert (error.code, error.exit_code, error.where) == ("MENS-S001", 1, f"{folder / 'config.json'}:1:23")
    (folder / "config.json").write_text("{}")
    assert refused(folder).code == "MENS-V002"


def test_a_broken_configuration_beside_it_is_a_broken_document(checkpoint: Folder) -> None:
    folder = checkpoint()
    (folder / "tokenizer_config.json").write_text('{"a": 1, "a": 2}')
    error = refused(folder)
    assert isinstance(error, ContractError)
    assert (error.code, error.where) == ("MENS-S001", f"{folder / 'tokenizer_config.json'}:1:10")


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "adapter_manifest.json", "adapter_meta_v2.json"]
)
def test_an_adapter_is_no_base(name: str, checkpoint: Folder) -> None:
    folder = checkpoint()
    (folder / name).write_text("{}")
    error = refused(folder)
    assert isinstance(error, UnsupportedError)
    assert (error.code, error.exit_code) == ("MENS-C033", 3)
    assert error.what == f"{name} makes this an adapter's folder; a whole checkpoint is needed"


def test_a_folder_without_config_or_weights_says_both(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert isinstance(error, FaultyCheckpoint)
    assert [fault.message for fault in error.faults] == ["there is no config.json", "there are no safetensors weights"]
    assert {fault.code for fault in error.faults} == {"MENS-C030"}


def test_shards_without_an_index_say_so(checkpoint: Folder) -> None:
    folder = checkpoint(max_shard_bytes=400)
    (folder / NAME).unlink()
    assert told(folder) == ("MENS-C030", f"2 shards lie here without {NAME}", 4)


def test_weights_without_a_tensor_are_none(checkpoint: Folder) -> None:
    assert told(checkpoint(source=SparseSource([]))) == ("MENS-C030", "the weights hold no tensor", 4)


def test_two_sets_of_weights_are_refused(checkpoint: Folder) -> None:
    sharded, single = checkpoint("sharded", max_shard_bytes=400), checkpoint("single")
    shutil.copy(single / "model.safetensors", sharded)
    what = f"'model.safetensors' holds weights that '{NAME}' does not name"
    assert told(sharded) == ("MENS-C034", what, 4)
    shutil.copy(sharded / "model-00001-of-00002.safetensors", single)
    error = refused(single)
    assert error.code == "MENS-C034"
    assert error.what == (
        "'model-00001-of-00002.safetensors' holds weights that 'model.safetensors', "
        "which stands without an index, does not name"
    )


def test_a_single_file_may_have_an_index(checkpoint: Folder, tensors: list[TensorInfo]) -> None:
    folder = checkpoint()
    (folder / NAME).write_text(json.dumps({"weight_map": {tensor.name: "model.safetensors" for tensor in tensors}}))
    opened = open_checkpoint(folder)
    assert opened.index is not None
    assert opened.index.shards == ["model.safetensors"]


def test_all_that_is_wrong_with_a_folder_is_told(checkpoint: Folder) -> None:
    folder = checkpoint()
    (folder / "config.json").unlink()
    for name in ("a.pt", "b.py"):
        (folder / name).write_bytes(b"")
    error = refused(folder)
    assert isinstance(error, FaultyCheckpoint)
    assert [fault.code for fault in error.faults] == ["MENS-C031", "MENS-C032", "MENS-C030"]


def test_what_is_no_folder_is_a_wrong_command(tmp_path: Path, checkpoint: Folder) -> None:
    file = checkpoint() / "model.safetensors"
    error = refused(file)
    assert isinstance(error, UsageError)
    assert (error.code, error.what) == ("MENS-C037", "a checkpoint is named by its folder, and this is none")
    assert refused(tmp_path / "none").code == "MENS-P004"
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe").code == "MENS-C037"
    assert isinstance(refused(tmp_path / ("x" * 300)), ResourceError)
    assert isinstance(refused(Path("a\0b")), ResourceError)


# Class 7: links, pipes, devices


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer_config.json", "unread.txt"])
def test_pipes_and_sockets_are_refused_without_waiting(name: str, checkpoint: Folder) -> None:
    folder = checkpoint()
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert told(folder) == ("MENS-C036", f"'{name}' is neither a file nor a folder", 4)


def test_a_socket_and_a_device_are_refused(checkpoint: Folder) -> None:
    folder = checkpoint("b")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(folder / "s"))
    (folder / "zero.json").symlink_to("/dev/zero")
    error = refused(folder)
    assert isinstance(error, FaultyCheckpoint)
    assert [fault.code for fault in error.faults] == ["MENS-C036", "MENS-C036"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "notes.txt"])
def test_a_link_out_of_the_folder_is_refused(name: str, checkpoint: Folder, tmp_path: Path) -> None:
    folder = checkpoint()
    outside = tmp_path / "outside"
    if (folder / name).exists():
        shutil.move(folder / name, outside)
    else:
        outside.write_text("")
    (folder / name).symlink_to(outside)
    assert told(folder) == (
        "MENS-C035",
        f"the link '{name}' leads out of the folder; put the file itself there",
        4,
    )
    (folder / name).unlink()
    (folder / name).symlink_to("../outside")
    assert refused(folder).code == "MENS-C035"


def test_a_link_within_the_folder_and_to_the_folder_will_do(checkpoint: Folder, tmp_path: Path) -> None:
    folder = checkpoint()
    (folder / "model.safetensors").rename(folder / "kept.safetensors")
    (folder / "model.safetensors").symlink_to("kept.safetensors")
    (tmp_path / "alias").symlink_to(folder)
    assert len(open_checkpoint(tmp_path / "alias").tensors) == 5


def test_links_to_nothing_and_in_a_circle_are_refused(checkpoint: Folder) -> None:
    folder = checkpoint()
    (folder / "gone.json").symlink_to("nothing")
    (folder / "loop.json").symlink_to("loop.json")
    error = refused(folder)
    assert isinstance(error, FaultyCheckpoint)
    assert [fault.message for fault in error.faults] == [
        "the link 'gone.json' leads to nothing",
        "the link 'loop.json' leads to nothing",
    ]


@pytest.mark.parametrize("shared_store", [False, True])
def test_a_snapshot_of_the_hub_cache_opens(shared_store: bool, checkpoint: Folder, tmp_path: Path) -> None:
    """Snapshots are links to blobs; with the store that repositories share, those are links themselves."""
    folder = checkpoint()
    repository = tmp_path / "hub" / "models--Org--Name"
    snapshot = repository / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for at, file in enumerate(sorted(folder.iterdir())):
        blob = repository / "blobs" / f"{at:064x}"
        if shared_store:
            stored = tmp_path / "hub" / "blobs" / "ab" / f"{at:064x}"
            stored.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, stored)
            blob.symlink_to(f"../../blobs/ab/{at:064x}")
        else:
            shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(f"../../blobs/{at:064x}")
    assert len(open_checkpoint(snapshot).tensors) == 5
    (snapshot / "README.md").symlink_to("/etc/hostname")
    assert refused(snapshot).code == "MENS-C035"


# Class 8: nothing in a checkpoint ever runs

CANARY = "open({path!r}, 'w').close()\n"
OPEN = """
import sys
events = []
sys.addaudithook(lambda event, arguments: events.append(event) if event.startswith("socket.") else None)
from mens.checkpoint.storage.folder import open_checkpoint
from mens.contracts.errors import MensError
try:
    open_checkpoint(sys.argv[1])
except MensError as error:
    print(error.code, error.exit_code, events, sorted({"torch", "numpy", "transformers"} & set(sys.modules)))
"""


@pytest.mark.parametrize("flags", [[], ["-O"], ["-OO"]])
@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json", "beside"])
def test_code_by_configuration_never_runs(flags: list[str], where: str, checkpoint: Folder, tmp_path: Path) -> None:
    folder = checkpoint()
    canary = tmp_path / "canary"
    module = CANARY.format(path=str(canary))
    config = {"model_type": "llama", "auto_map": {"AutoConfig": "configuration_x.Config"}, "trust_remote_code": True}
    if where == "beside":
        (folder / "configuration_x.py").write_text(module)
    else:
        (folder / where).write_text(json.dumps(config))
    environ = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, *flags, "-c", OPEN, str(folder)], env=environ, capture_output=True, text=True, check=True
    )
    code = "MENS-C032" if where == "beside" else "MENS-R008"
    assert done.stdout == f"{code} 4 [] []\n", done.stderr
    assert not canary.exists()


# Quantised weights


@pytest.mark.parametrize(
    ("config", "names", "dtype", "expected"),
    [
        ({"quantization_config": {"quant_method": "fp8"}}, ["w.weight", "w.weight_scale"], "F8_E4M3", ("fp8", 8, 1)),
        ({}, ["w.weight", "w.weight_scale_inv"], "F8_E4M3", ("fp8", 8, 1)),
        ({}, ["w.weight"], "F8_E4M3", ("fp8", 8, 1)),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, ["w.qweight", "w.g_idx"], "I32", ("gptq", 4, 1)),
        ({}, ["w.qweight", "w.qzeros", "w.scales", "w.g_idx"], "I32", ("gptq", None, 1)),
        ({}, ["w.qweight", "w.qzeros", "w.scales"], "I32", ("awq", None, 1)),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, ["w.qweight"], "I32", ("awq", 4, 1)),
        ({"quantization_config": {"load_in_4bit": True}}, ["w.weight"], "U8", ("bitsandbytes", 4, 1)),
        ({}, ["w.weight", "w.weight.absmax"], "U8", ("bitsandbytes", None, 1)),
        ({"quantization_config": {"quant_method": "mxfp4"}}, ["w.weight"], "BF16", ("other", None, 0)),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, ["w.weight"], "BF16", ("fp8", 8, 0)),
        ({}, ["w.weight_packed", "w.weight_scale"], "I32", ("other", None, 1)),
        ({"quantization_config": None}, ["w.weight", "position_ids"], "BF16", None),
    ],
)  # fmt: skip
def test_quantised_weights_are_recognised(
    config: dict[str, object], names: list[str], dtype: str, expected: object, checkpoint: Folder
) -> None:
    source = SparseSource([TensorInfo(name, dtype, (4, 4)) for name in names])
    opened = open_checkpoint(checkpoint(source=source, config={"model_type": "llama", **config}))
    assert opened.quantisation == expected
    assert opened.quantised == (expected[0] if isinstance(expected, tuple) else None)


def test_a_plain_buffer_of_integers_is_not_quantised(checkpoint: Folder) -> None:
    source = SparseSource([TensorInfo("w.weight", "F32", (4, 4)), TensorInfo("attn.bias", "BOOL", (1, 1, 4, 4))])
    assert open_checkpoint(checkpoint(source=source)).quantised is None


def test_a_checkpoint_of_the_library_opens(tmp_path: Path) -> None:
    save_file({"a.weight": np.zeros((2, 3), np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    opened = open_checkpoint(tmp_path)
    assert opened.tensors["a.weight"].shape == (2, 3)
    assert opened.metadata == {}
