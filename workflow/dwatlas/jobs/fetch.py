"""Download a model from the Hugging Face hub (the only rule that uses the network), with its manifest."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from dwatlas.errors import UserError
from dwatlas.jobs.base import Job
from dwatlas.models.folder import write_manifest

PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]


def work(job: Job) -> None:
    folder = Path(job.outputs["manifest"]).parent
    repository, revision = job.spec["repository"], job.spec["revision"]
    try:
        snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=PATTERNS)
    except (HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as fault:
        reason = str(fault).strip().splitlines()[0]
        raise UserError(f"models: cannot fetch {repository}@{revision} from the hub ({reason})") from fault
    write_manifest(job.outputs["manifest"], folder, job.provenance())
