"""Pretrain a built-in model and save it in Hugging Face layout, with its manifest."""

from pathlib import Path

from dwatlas.jobs.base import Job
from dwatlas.models.folder import save_model, write_manifest
from dwatlas.models.tiny import TinySpec
from dwatlas.pretrain.fit import pretrain


def work(job: Job) -> None:
    model, tokenizer = pretrain(TinySpec(**job.spec["model"]), job.say)
    folder = Path(job.outputs["manifest"]).parent
    save_model(folder, model, tokenizer)
    write_manifest(job.outputs["manifest"], folder, job.provenance())
