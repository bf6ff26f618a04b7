"""Train an adapter pair: both poles from the same initialisation, sharing one base model in memory."""

import json
from pathlib import Path

import torch
from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

from dwatlas.files import read_table, write_table, write_tensors, write_text
from dwatlas.jobs.base import Job
from dwatlas.models.anatomy import Anatomy
from dwatlas.models.folder import model_folder
from dwatlas.models.load import load_model, load_tokenizer
from dwatlas.pairs.sample import PAIRS_SCHEMA, POLES
from dwatlas.provenance import file_sha256
from dwatlas.registry import build
from dwatlas.seeds import rng, torch_seed
from dwatlas.train.batches import shared_lengths
from dwatlas.train.fit import TRAIN_SCHEMA, fit, split_held_out


def work(job: Job) -> None:
    spec, adapter = job.spec, build("adapters", job.spec["adapter"])
    names = (spec["cell"]["model"], spec["cell"]["behaviour"], spec["cell"]["adapter"])
    folder = model_folder(job.input("model"))
    tokenizer = load_tokenizer(folder)
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed("initialisation", *names, spec["initialisation_seed"]))
        model = get_peft_model(load_model(folder, spec["dtype"]), adapter.peft_config(Anatomy(**spec["anatomy"])))
    start = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(model).items()}
    pairs = read_table(job.input("pairs"), PAIRS_SCHEMA)
    split = split_held_out(pairs, adapter.training.held_out_share, rng("held-out", *names, spec["order_seed"]))
    lengths = shared_lengths(pairs)
    for pole in POLES:
        set_peft_model_state_dict(model, start)
        train, held_out = (part[part["pole"] == pole] for part in split)
        order = rng("order", *names, spec["order_seed"])
        log = fit(
            model,
            tokenizer,
            train,
            held_out,
            adapter.training,
            order,
            lambda text, pole=pole: job.say(f"{pole} {text}"),
            lengths[train.index].tolist(),
        )
        _save(model, Path(job.outputs[pole]).parent, job)
        write_table(job.outputs[f"{pole}_log"], log, TRAIN_SCHEMA, job.provenance())


def _save(model, folder: Path, job: Job) -> None:
    """A checkpoint that ``PeftModel.from_pretrained`` loads."""
    config = model.peft_config["default"].to_dict() | {
        "inference_mode": True,
        "base_model_name_or_path": str(model_folder(job.input("model"))),
    }
    about = folder / "adapter_config.json"
    write_text(about, json.dumps(config, indent=2, sort_keys=True, default=sorted) + "\n")
    tensors = {name: tensor.float().cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
    provenance = job.provenance(beside={about.name: file_sha256(about)})
    write_tensors(folder / "adapter_model.safetensors", tensors, provenance)
