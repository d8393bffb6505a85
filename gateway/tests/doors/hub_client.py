"""What a user of huggingface_hub does; HF_ENDPOINT and HF_HOME come from the test."""

import sys

from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError


def snapshot(repo, revision="main", **more):
    print(snapshot_download(repo, revision=revision, **more))


def file(repo, name, kind="model", revision="main", subfolder=None):
    print(hf_hub_download(repo, name, repo_type=kind, revision=revision, subfolder=subfolder or None))


def files(repo):
    print("\n".join(HfApi().list_repo_files(repo)))


def history(repo):
    api = HfApi()
    print(" ".join(branch.name for branch in api.list_repo_refs(repo).branches))
    print(" ".join(commit.title for commit in api.list_repo_commits(repo)))


def filesystem(repo, name, start):
    hub = HfFileSystem()
    found = sorted(path.rsplit("/", 1)[1] for path in hub.find(repo))
    assert hub.info(f"{repo}/{name}")["type"] == "file" and hub.isdir(f"{repo}/sub") and not hub.exists(f"{repo}/none")
    print(" ".join(found))
    with hub.open(f"{repo}/{name}", block_size=1 << 20) as file:
        file.seek(int(start))
        print(file.read(10).hex())


def refused(expected, repo, name, revision="main"):
    errors = (GatedRepoError, EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError)
    try:
        hf_hub_download(repo, name, revision=revision)
    except errors as error:
        assert expected in (known.__name__ for known in type(error).__mro__), repr(error)
        print(error)
    else:
        raise AssertionError("it was downloaded")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
