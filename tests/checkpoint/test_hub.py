"""The local hub cache, laid out by huggingface_hub itself wherever it has a function for it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub import scan_cache_dir, try_to_load_from_cache
from huggingface_hub._local_folder import get_local_download_paths, read_download_metadata, write_download_metadata
from huggingface_hub.file_download import _cache_commit_hash_for_specific_revision, _create_symlink, repo_folder_name

from mens.checkpoint.storage.hub import Found, cache_folder, declared, located, resolve
from mens.contracts.errors import UnsupportedError, UsageError

COMMIT, OTHER = "0123456789abcdef0123456789abcdef01234567", "f" * 40
FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"weights", "tokenizer.json": b"{}"}
SHA256 = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def download(cache: Path, repo: str, commit: str = COMMIT, revision: str | None = "main", store: bool = False) -> Path:
    """What a download leaves: blobs, links to them, and a reference if a branch or tag was asked for."""
    folder = cache / repo_folder_name(repo_id=repo, repo_type="model")
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    for name, data in FILES.items():
        etag = SHA256 if name.endswith(".safetensors") else hashlib.sha1(data).hexdigest()
        blob, pointer = folder / "blobs" / etag, folder / "snapshots" / commit / name
        pointer.parent.mkdir(parents=True, exist_ok=True)
        if store and name.endswith(".safetensors"):
            stored = cache / "blobs" / "ab" / ("ab" * 32)
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_bytes(data)
            blob.symlink_to(os.path.relpath(stored, blob.parent))
        else:
            blob.write_bytes(data)
        _create_symlink(str(blob), str(pointer), new_blob=False)
    if revision is not None:
        _cache_commit_hash_for_specific_revision(str(folder), revision, commit)
    return folder / "snapshots" / commit


@pytest.mark.parametrize("repo", ["Org/Name-3.5-4B", "gpt2"])
def test_a_downloaded_model_is_found(repo: str, cache: Path) -> None:
    snapshot = download(cache, repo)
    for reference in (repo, f"{repo}@main", f"{repo}@{COMMIT}"):
        assert resolve(reference) == Found(snapshot, repo, COMMIT)
    assert try_to_load_from_cache(repo, "config.json", cache_dir=cache) == str(snapshot / "config.json")


@pytest.mark.parametrize("revision", ["v1.0", "refs/pr/3", "feature/x"])
def test_branches_tags_and_requests_are_found(revision: str, cache: Path) -> None:
    snapshot = download(cache, "Org/Name", revision=revision)
    assert resolve(f"Org/Name@{revision}") == Found(snapshot, "Org/Name", COMMIT)


def test_a_path_that_exists_wins(cache: Path, tmp_path: Path) -> None:
    download(cache, "Org/Name")
    (tmp_path / "Org" / "Name").mkdir(parents=True)
    assert resolve("Org/Name") == Found(Path("Org/Name"), None, None)
    (tmp_path / "Org" / "Name@main").mkdir()
    assert resolve("Org/Name@main").repo is None


def test_a_snapshot_named_by_its_path_is_known_for_what_it_is(cache: Path, tmp_path: Path) -> None:
    snapshot = download(cache, "Org/Name")
    assert resolve(str(snapshot)) == Found(snapshot, "Org/Name", COMMIT)
    (tmp_path / "alias").symlink_to(snapshot)
    assert resolve("alias") == Found(Path("alias"), "Org/Name", COMMIT)
    assert located(tmp_path) == Found(tmp_path, None, None)


def test_a_link_in_a_circle_is_left_to_who_opens_it(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert resolve("loop") == Found(Path("loop"), None, None)


def test_home_is_expanded(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base").mkdir()
    assert resolve("~/base").folder == tmp_path / "base"


def test_what_was_not_downloaded_is_refused_with_what_is_needed(cache: Path) -> None:
    with pytest.raises(UnsupportedError) as error:
        resolve("Org/Name@v2")
    assert (error.value.code, error.value.exit_code, error.value.where) == ("MENS-C050", 3, "Org/Name@v2")
    assert error.value.what == f"neither a folder here nor a model in {cache}"
    assert error.value.fix == "Download it first: hf download Org/Name --revision v2"


def test_a_revision_that_is_not_there_is_refused_with_those_that_are(cache: Path) -> None:
    download(cache, "Org/Name", revision=None)
    folder = cache / "models--Org--Name"
    for reference, revision in (("Org/Name", "main"), ("Org/Name@v2", "v2"), (f"Org/Name@{OTHER}", OTHER)):
        with pytest.raises(UnsupportedError) as error:
            resolve(reference)
        assert (error.value.code, error.value.exit_code) == ("MENS-C051", 3)
        assert error.value.what == f"revision '{revision}' is not in {folder}, which has {COMMIT}"
        assert error.value.fix == f"Download it first: hf download Org/Name --revision {revision}"
    for at in range(7):
        (folder / "snapshots" / f"{at:040x}").mkdir()
    with pytest.raises(UnsupportedError) as error:
        resolve("Org/Name")
    assert error.value.what.endswith(" and 3 more")


@pytest.mark.parametrize("text", [b"", b"../../../etc", b"\xff", b"x" * 10_000, b"0123456789abcdef"])
def test_a_reference_that_is_no_commit_leads_nowhere(text: bytes, cache: Path) -> None:
    download(cache, "Org/Name")
    (cache / "models--Org--Name" / "refs" / "main").write_bytes(text)
    with pytest.raises(UnsupportedError) as error:
        resolve("Org/Name")
    assert error.value.code == "MENS-C051"


@pytest.mark.parametrize(
    "reference",
    [
        "/no/such/folder", "./base", "../base", "a/b/c", "Org/", "/Name", "", "@main", "~/none", "a\0b", "Org/Na me",
        "Org--Name", "Org/Na..me", "Org/Name.git", "Org/.hidden", "x" * 97, "..", ".",
    ],
)  # fmt: skip
def test_what_can_be_neither_path_nor_model_is_a_wrong_command(reference: str, cache: Path) -> None:
    if reference in ("..", "."):
        assert resolve(reference).repo is None
        return
    with pytest.raises(UsageError) as error:
        resolve(reference)
    assert (error.value.code, error.value.exit_code) == ("MENS-C052", 2)
    assert error.value.what == (
        "is neither a folder that exists nor the name of a model, as in Organisation/Model@revision"
    )


@pytest.mark.parametrize("revision", ["", "../x", "/x", "a//b", "a\nb", "..", "~x", "a\\b"])
def test_a_revision_cannot_lead_out_of_the_cache(revision: str, cache: Path) -> None:
    download(cache, "Org/Name")
    with pytest.raises(UsageError) as error:
        resolve(f"Org/Name@{revision}")
    assert error.value.code == "MENS-C052"
    assert error.value.what.endswith("cannot be a revision")


ENVIRONMENTS = [
    {},
    {"XDG_CACHE_HOME": "/xdg"},
    {"HF_HOME": "/hf"},
    {"HF_HOME": "~/hf", "XDG_CACHE_HOME": "/xdg"},
    {"HF_HOME": "$BASE/hf", "BASE": "/base"},
    {"HUGGINGFACE_HUB_CACHE": "/old"},
    {"HF_HUB_CACHE": "/new", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/hf"},
    {"HF_HUB_CACHE": "~/${BASE}", "BASE": "b"},
]


@pytest.mark.parametrize("given", ENVIRONMENTS, ids=str)
def test_the_cache_is_where_huggingface_hub_has_it(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE", "BASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert str(cache_folder()) == done.stdout.strip()
    assert huggingface_hub.constants.HF_HUB_CACHE


# What downloads declare


@pytest.mark.parametrize("store", [False, True])
def test_blobs_declare_the_digests_of_weights(store: bool, cache: Path) -> None:
    """Only weights are stored by their SHA-256, small files by their git hash; a shared store has yet another hash."""
    snapshot = download(cache, "Org/Name", store=store)
    said = declared(snapshot, FILES)
    assert (said.repo, said.revision, said.sha256) == ("Org/Name", COMMIT, {"model.safetensors": SHA256})
    if not store:
        assert {repo.repo_id for repo in scan_cache_dir(cache).repos} == {"Org/Name"}


def test_a_file_put_into_a_snapshot_declares_nothing(cache: Path) -> None:
    snapshot = download(cache, "Org/Name")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").write_bytes(b"other")
    assert declared(snapshot, FILES).sha256 == {}
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(f"/elsewhere/{SHA256}")
    assert declared(snapshot, FILES).sha256 == {}


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """What `hf download --local-dir` leaves."""
    folder = tmp_path / "local"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
        etag = SHA256 if name.endswith(".safetensors") else hashlib.sha1(data).hexdigest()
        write_download_metadata(folder, name, COMMIT, etag)
    return folder


def test_download_metadata_declares_the_same(local: Path) -> None:
    said = declared(local, FILES)
    assert (said.repo, said.revision, said.sha256) == (None, COMMIT, {"model.safetensors": SHA256})


def test_records_that_no_longer_hold_are_ignored_as_the_hub_ignores_them(local: Path) -> None:
    for seconds, holds in ((0.5, True), (5, False)):
        later = time.time() + seconds
        os.utime(local / "model.safetensors", (later, later))
        assert (read_download_metadata(local, "model.safetensors") is not None) is holds
        assert (declared(local, FILES).sha256 == {"model.safetensors": SHA256}) is holds
    assert declared(local, FILES).revision is None, "not every file has a record that holds"
    assert declared(local, ["config.json"]).revision == COMMIT


def test_records_of_two_commits_declare_no_revision(local: Path) -> None:
    write_download_metadata(local, "config.json", OTHER, "e" * 40)
    said = declared(local, FILES)
    assert (said.revision, said.sha256) == (None, {"model.safetensors": SHA256})


@pytest.mark.parametrize(
    "text",
    [
        "", "\n\n\n", f"{COMMIT}\n{SHA256}", f"{COMMIT}\n{SHA256}\nsoon\n", f"{COMMIT}\n{SHA256}\nnan\n",
        f"{COMMIT}\n{SHA256}\ninf\n", f"main\n{SHA256}\n9999999999\n", f"{COMMIT}\n{SHA256[1:]}\n9999999999\n",
        f"{COMMIT}\n../../{SHA256}\n9999999999\n", "\0" * 10_000,
    ],
)  # fmt: skip
def test_damaged_records_declare_nothing_and_stay(text: str, local: Path) -> None:
    record = get_local_download_paths(local, "model.safetensors").metadata_path
    record.write_text(text)
    assert declared(local, FILES).sha256 == {}
    assert record.read_text() == text, "reading changes nothing"


def test_a_record_that_is_a_pipe_is_not_waited_for(local: Path) -> None:
    record = get_local_download_paths(local, "model.safetensors").metadata_path
    record.unlink()
    os.mkfifo(record)
    assert declared(local, FILES).sha256 == {}


def test_a_plain_folder_declares_nothing(tmp_path: Path) -> None:
    said = declared(tmp_path, ["model.safetensors"])
    assert (said.repo, said.revision, dict(said.sha256)) == (None, None, {})


def test_finding_a_model_imports_no_client(cache: Path) -> None:
    download(cache, "Org/Name")
    code = (
        "import sys; from mens.checkpoint.storage.hub import resolve, declared; "
        "declared(resolve('Org/Name').folder, ['model.safetensors']); "
        "print({'huggingface_hub', 'numpy', 'torch', 'ssl', 'http'} & set(sys.modules))"
    )
    environ = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "HF_HUB_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
