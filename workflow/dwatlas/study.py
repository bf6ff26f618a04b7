"""A resolved study as Snakemake needs it: the matrix of targets, and for each job its slice of the config.

Everything here is ordinary Python over names and options; no torch, no files except the package's own source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path

from dwatlas import paths
from dwatlas.adapters.base import Adapter
from dwatlas.config.load import Resolved, load_study
from dwatlas.config.schema import BuiltIn, FileQuestions, HubModel
from dwatlas.errors import UserError
from dwatlas.figures.names import FigureKey, figure_keys
from dwatlas.fingerprint import job_fingerprint
from dwatlas.lenses.base import Need
from dwatlas.pairs.poles import POLES
from dwatlas.provenance import canonical_json
from dwatlas.registry import kinds, plugin
from dwatlas.tables.names import TABLES
from dwatlas.tasks import Task

_RUNTIME = {"dtype", "tokens_per_batch", "edits_at_once"}
"""How a model is run; no part of what it is."""
_MAKERS = {"built-in": "pretrain", "hub": "fetch", "local": "local"}
"""Kind of model → the rule that makes it."""
_NEEDED = {
    "pair": {
        pole + ending: pattern.replace("{pole}", pole)
        for pole in POLES
        for ending, pattern in (("", paths.CHECKPOINT), ("_config", paths.CHECKPOINT_CONFIG))
    },
    "persona_activations": {"persona_activations": paths.PERSONA_ACTIVATIONS},
    "steered_activations": {"steered_activations": paths.STEERED_ACTIVATIONS},
}
"""What a lens may need → names of a job's inputs → patterns of files."""
Absent = dict[tuple[str, str, str, int], dict[str, str]]
"""(model, behaviour, adapter, seed) → lens → why it is missing; the lens ``""`` stands for the whole run."""


class Plan:
    """The study's targets, specs and inputs, by rule and wildcards."""

    def __init__(self, config: Mapping, catalogue: Path):
        self.resolved: Resolved = load_study(config, catalogue)
        self.study, self.catalogue = self.resolved.study, self.resolved.catalogue
        self.adapters = {
            (model, adapter): self._adapter(model, adapter)
            for model, adapter in product(self.study.models, self.study.adapters)
        }
        self._check_sizes()
        self._check_sources()
        self.components = {
            (model, adapter, lens): self._components(model, adapter, lens)
            for model, adapter, lens in product(self.study.models, self.study.adapters, self.study.lenses)
        }
        self.absent: Absent = {}

    def leave_out(self, absent: Absent) -> None:
        """Aggregate without what is missing; ``UserError`` when nothing is left."""
        self.absent = absent
        if not self.study_scores():
            why = next(iter(next(iter(absent.values())).values()))
            raise UserError(f"partial: no run of the study is finished yet (first: {why})")

    def _adapter(self, model: str, adapter: str) -> Adapter:
        """An adapter as it is trained on one model; ``UserError`` when it acts nowhere or cannot have the size."""
        method, anatomy = self.catalogue.adapters[adapter], self.resolved.anatomies[model]
        if not method.sites(anatomy):
            raise UserError(f"adapters.{adapter}.layers: covers no layer of {model}; widen the range")
        try:
            return method.sized(anatomy)
        except UserError as fault:
            raise UserError(f"adapters.{adapter}.{fault}") from fault

    def _check_sizes(self) -> None:
        """``UserError`` when the adapters were to be matched by trainable parameters and are not."""
        if self.study.match_parameters is None:
            return
        for model in self.study.models:
            counts = self.trainable_parameters(model)
            least, most = min(counts, key=counts.get), max(counts, key=counts.get)
            if counts[most] > (1 + self.study.match_parameters) * counts[least]:
                raise UserError(
                    f"match_parameters: on {model} {most} trains {counts[most]} parameters, {least} {counts[least]}; "
                    "change their sizes, or give trainable_parameters in their places"
                )

    def _check_sources(self) -> None:
        """``UserError`` when a lens is to look at other runs and the study has none."""
        for lens in self.study.lenses:
            axis = self.catalogue.lenses[lens].axis
            if axis is None:
                continue
            there, wanted = getattr(self.study, axis), self._sources(lens)
            for name in wanted:
                if name not in there:
                    raise UserError(
                        f"lenses.{lens}.sources: {name} is none of the study's {axis}; add it or leave it out"
                    )
            if lonely := [one for one in there if not set(wanted) - {one}]:
                raise UserError(
                    f"lenses.{lens}: needs dW of other {axis} than {lonely[0]}; name more {axis}, or leave the lens out"
                )

    def trainable_parameters(self, model: str) -> dict[str, int]:
        """How many parameters of a model each adapter of the study trains."""
        anatomy = self.resolved.anatomies[model]
        return {name: self.adapters[model, name].parameters(anatomy) for name in self.study.adapters}

    def _components(self, model: str, adapter: str, lens: str) -> list[str]:
        """Components of a lens for one model and adapter, in display order; ``UserError`` when one is unknown."""
        options, method = self.catalogue.lenses[lens], self.adapters[model, adapter]
        try:
            names = options.names(method, self.resolved.anatomies[model])
        except UserError as fault:
            raise UserError(f"lenses.{lens}: {model} with {adapter}: {fault}") from fault
        if not names:
            raise UserError(f"lenses.{lens}: has no component for {model} with {adapter}; ask for smaller parts of dW")
        for component in options.components or ():
            if component not in names:
                raise UserError(
                    f"lenses.{lens}.components: {model} with {adapter} has no {component!r}; there are "
                    f"{', '.join(names)}"
                )
        return [name for name in names if options.components is None or name in options.components]

    # Matrix

    @property
    def effect_evals(self) -> list[str]:
        """Evals that measure the behaviour."""
        return [name for name, entry in self.catalogue.evals.items() if entry.is_effect]

    def shards(self, model: str, adapter: str, lens: str) -> dict[str, list[str]]:
        """The jobs that a lens is split into: the suffix of a job's files → its components. One job has no suffix."""
        components, size = self.components[model, adapter, lens], self.study.components_per_job
        if not size:
            return {"": components}
        firsts = range(0, len(components), size)
        return {f"-{number}": components[first : first + size] for number, first in enumerate(firsts)}

    def runs(self, model: str, behaviour: str, adapter: str) -> dict[int, list[str]]:
        """Seeds that have scores, each with the lenses that it has."""
        gone = {seed: self.absent.get((model, behaviour, adapter, seed), {}) for seed in self.study.seeds}
        return {
            seed: [lens for lens in self.study.lenses if lens not in missing]
            for seed, missing in gone.items()
            if "" not in missing
        }

    @property
    def figures(self) -> dict[str, FigureKey]:
        """All the study's figures by their stems."""
        cells = []
        for model, behaviour in product(self.study.models, self.study.behaviours):
            runs = [self.runs(model, behaviour, adapter) for adapter in self.study.adapters]
            there = {lens for run in runs for lenses in run.values() for lens in lenses}
            if any(runs):
                lenses = [lens for lens in self.study.lenses if lens in there]
                cells.append((model, behaviour, self.effect_evals, lenses, sum(map(bool, runs))))
        return {key.stem: key for key in figure_keys(cells)}

    def in_study(self, pattern: str, **values: list[str]) -> list[str]:
        """The paths that a pattern gives for this study and every combination of the values."""
        return [
            pattern.format(study=self.study.study, **dict(zip(values, combination, strict=True)))
            for combination in product(*values.values())
        ]

    def cell_inputs(self, wildcards) -> dict[str, list[str]]:
        """All files of scores and shares of one (model, behaviour, adapter), by kind."""
        names = {key: getattr(wildcards, key) for key in ("model", "behaviour", "adapter")}
        there = self.runs(**names)
        runs = [names | {"seed": seed} for seed in there]
        lenses = [names | {"seed": seed, "lens": lens} for seed, some in there.items() for lens in some]
        shards = [
            lens | {"shard": shard}
            for lens in lenses
            for shard in self.shards(names["model"], names["adapter"], lens["lens"])
        ]
        return {
            "anchors": [paths.ANCHORS.format(**run) for run in runs],
            "components": [paths.COMPONENTS.format(**shard) for shard in shards],
            "controls": [paths.CONTROLS.format(**shard) for shard in shards],
            "shares": [paths.SHARES.format(**lens) for lens in lenses],
            "rows": [paths.EVAL.format(eval=name) for name in self.study.evals],
        }

    def study_scores(self) -> list[str]:
        """Gathered scores of every (model, behaviour, adapter) that has any."""
        return self._gathered(paths.SCORES)

    def study_shares(self) -> list[str]:
        """Gathered additive shares of the same."""
        return self._gathered(paths.STUDY_SHARES)

    def _gathered(self, pattern: str) -> list[str]:
        return [pattern.format(study=self.study.study, **cell) for cell in self._cells if self.runs(**cell)]

    @property
    def _cells(self) -> list[dict]:
        """Every (model, behaviour, adapter)."""
        cells = product(self.study.models, self.study.behaviours, self.study.adapters)
        return [dict(zip(("model", "behaviour", "adapter"), cell, strict=True)) for cell in cells]

    @property
    def all_runs(self) -> list[dict]:
        """The cells of all runs that have scores."""
        return [cell | {"seed": seed} for cell in self._cells for seed in self.runs(**cell)]

    def deltas(self) -> list[str]:
        """dW of every run that has scores."""
        return [paths.DELTA.format(**run) for run in self.all_runs]

    def tasks(self) -> Iterator[Task]:
        """All jobs of the study, each after those that it depends on."""
        study, name = self.study, self.study.study
        for model in study.models:
            yield Task.of(_MAKERS[self.catalogue.models[model].kind], model=model)
        yield from (Task.of("evals", eval=one) for one in study.evals)
        yield from (Task.of("base_scores", model=m, eval=one) for m, one in product(study.models, study.evals))
        pairs = [
            {"model": model, "behaviour": behaviour, "seed": seed}
            for model, behaviour, seed in product(study.models, study.behaviours, study.seeds)
        ]
        runs = [{**pair, "adapter": adapter} for pair in pairs for adapter in study.adapters]
        yield from (Task.of("pairs", **pair) for pair in pairs)
        for rule in ("train", "delta", "anchors"):
            yield from (Task.of(rule, **run) for run in runs)
        needs = self.needs(*study.lenses)
        for rule, cells in (("persona_activations", pairs), ("steered_activations", runs)):
            yield from (Task.of(rule, **one) for one in cells if rule in needs)
        for run, lens in product(runs, study.lenses):
            for shard in self.shards(run["model"], run["adapter"], lens):
                yield Task.of("ablate", **run, lens=lens, shard=shard)
            yield Task.of("shares", **run, lens=lens)
        yield from (Task.of("gather", study=name, **cell) for cell in self._cells)
        yield Task.of("overlap", study=name)
        yield Task.of("retained", study=name)
        yield Task.of("tables", study=name)
        yield from (Task.of("figures", study=name, figure=figure) for figure in self.figures)
        yield Task.of("report", study=name)

    # Inputs that depend on the config

    def rows(self, wildcards) -> list[str]:
        """Rows of the evals that a scoring job needs: all for the anchors, effect evals for a lens."""
        return [paths.EVAL.format(eval=name) for name in self._scored(wildcards)]

    def base(self, wildcards) -> list[str]:
        """Base scores of the same evals."""
        return [paths.BASE.format(model=wildcards.model, eval=name) for name in self._scored(wildcards)]

    def given(self, wildcards) -> dict[str, list[str]]:
        """What a lens is given beside dW: name → files."""
        lens, run = self.catalogue.lenses[wildcards.lens], _cell(wildcards, "model", "behaviour", "adapter", "seed")
        patterns = {name: pattern for need in lens.needs for name, pattern in _NEEDED[need].items()}
        files = {name: [pattern.format(**run)] for name, pattern in patterns.items()}
        if lens.axis:
            files["others"] = [paths.DELTA.format(**other) for other in self.others(wildcards)]
        return files

    def others(self, wildcards) -> list[dict]:
        """The runs whose dW a lens looks at beside the scored one: those that differ in the lens's axis."""
        lens, run = self.catalogue.lenses[wildcards.lens], _cell(wildcards, "model", "behaviour", "adapter", "seed")
        key = lens.axis.removesuffix("s")
        return [run | {key: one} for one in self._sources(wildcards.lens) if one != run[key]]

    def needs(self, *lenses: str) -> set[Need]:
        """What lenses are given beside dW; activations have a rule of the same name."""
        return {need for lens in lenses for need in self.catalogue.lenses[lens].needs}

    def _sources(self, lens: str) -> list:
        """The values of a lens's axis, sorted: those that it names, else the study's."""
        entry = self.catalogue.lenses[lens]
        return sorted(entry.sources or getattr(self.study, entry.axis))

    def given_files(self, wildcards) -> list[str]:
        """The files of ``given``."""
        return [path for files in self.given(wildcards).values() for path in files]

    def scoring_files(self, wildcards) -> list[str]:
        """``NAME=PATH`` arguments for the rows, base scores and what a lens is given, of a scoring job."""
        given = self.given(wildcards) if hasattr(wildcards, "lens") else {}
        named = {"rows": self.rows(wildcards), "base": self.base(wildcards), **given}
        return [f"{name}={path}" for name, files in named.items() for path in files]

    def eval_files(self, wildcards) -> list[str]:
        """Files that an eval's rows are made from."""
        return [path.as_posix() for path in self.catalogue.evals[wildcards.eval].files()]

    def question_files(self, wildcards) -> list[str]:
        """Files that a behaviour's questions come from."""
        questions = self.catalogue.behaviours[wildcards.behaviour].questions
        return [questions.file] if isinstance(questions, FileQuestions) else []

    def model_files(self, wildcards) -> list[str]:
        """Files of a local model's folder."""
        folder = Path(self.catalogue.models[wildcards.model].path)
        return sorted(path.as_posix() for path in folder.iterdir() if path.is_file() and path.name[0] != ".")

    def models_of(self, kind: str) -> str:
        """A pattern of the names of all models of one kind, for a rule's wildcard constraint."""
        names = [name.replace(".", r"\.") for name, entry in self.catalogue.models.items() if entry.kind == kind]
        return "|".join(names) or "(?!)"

    # Specs

    def spec(self, rule: str) -> Callable[..., str]:
        """A function of wildcards that gives a rule's canonical spec."""
        make = getattr(self, f"_spec_{rule}")
        return lambda wildcards: canonical_json(make(wildcards))

    def code(self, rule: str) -> Callable[..., str]:
        """A function of wildcards that gives a rule's code fingerprint."""
        make = getattr(self, f"_spec_{rule}")
        return lambda wildcards: job_fingerprint(rule, make(wildcards))

    def _spec_pretrain(self, wildcards) -> dict:
        model: BuiltIn = self.catalogue.models[wildcards.model]
        runtime = {"kind", *_RUNTIME}
        return {"cell": _cell(wildcards, "model"), "model": model.model_dump(mode="json", exclude=runtime)}

    def _spec_fetch(self, wildcards) -> dict:
        model: HubModel = self.catalogue.models[wildcards.model]
        return {"cell": _cell(wildcards, "model"), "repository": model.repository, "revision": model.revision}

    def _spec_local(self, wildcards) -> dict:
        return {"cell": _cell(wildcards, "model"), "path": self.catalogue.models[wildcards.model].path}

    def _spec_evals(self, wildcards) -> dict:
        return {"cell": _cell(wildcards, "eval"), "eval": _dump(self.catalogue.evals[wildcards.eval])}

    def _spec_pairs(self, wildcards) -> dict:
        return {
            "cell": _cell(wildcards, "model", "behaviour", "seed"),
            "behaviour": _dump(self.catalogue.behaviours[wildcards.behaviour]),
            "data_seed": self._seed(wildcards, "data"),
            "dtype": self.catalogue.models[wildcards.model].dtype,
        }

    def _spec_train(self, wildcards) -> dict:
        return {
            "cell": _cell(wildcards, "model", "behaviour", "adapter", "seed"),
            "adapter": _dump(self.adapters[wildcards.model, wildcards.adapter]),
            "anatomy": _dump(self.resolved.anatomies[wildcards.model]),
            "initialisation_seed": self._seed(wildcards, "initialisation"),
            "order_seed": self._seed(wildcards, "order"),
            "dtype": self.catalogue.models[wildcards.model].dtype,
        }

    def _spec_delta(self, wildcards) -> dict:
        return {
            "cell": _cell(wildcards, "model", "behaviour", "adapter", "seed"),
            "adapter": _dump(self.adapters[wildcards.model, wildcards.adapter]),
            "anatomy": _dump(self.resolved.anatomies[wildcards.model]),
            "initialisation_seed": self._seed(wildcards, "initialisation"),
        }

    def _spec_persona_activations(self, wildcards) -> dict:
        behaviour = self.catalogue.behaviours[wildcards.behaviour]
        return {
            "cell": _cell(wildcards, "model", "behaviour", "seed"),
            "personas": _dump(behaviour.personas),
            "max_new_tokens": behaviour.sampling.max_new_tokens,
            **self._observed(wildcards.model),
        }

    def _spec_steered_activations(self, wildcards) -> dict:
        cell = _cell(wildcards, "model", "behaviour", "adapter", "seed")
        return {"cell": cell, **self._observed(wildcards.model)}

    def _spec_base_scores(self, wildcards) -> dict:
        return {
            "cell": _cell(wildcards, "model", "eval"),
            "options": self._options([wildcards.eval])[0],
            "runtime": self._runtime(wildcards.model),
        }

    def _spec_anchors(self, wildcards) -> dict:
        return {
            **self._scoring(wildcards),
            "alphas": self.study.alphas.full,
            "controls": [{"kind": "norm"}],
            "draws": self.study.control_draws,
        }

    def _spec_ablate(self, wildcards) -> dict:
        return {
            **self._scoring(wildcards, "lens"),
            **self._split(wildcards),
            "alphas": self.study.alphas.ablation,
            "components": self.shards(wildcards.model, wildcards.adapter, wildcards.lens)[wildcards.shard],
            "controls": [{"kind": kind} for kind in self.catalogue.lenses[wildcards.lens].controls],
            "draws": self.study.control_draws,
        }

    def _spec_shares(self, wildcards) -> dict:
        scoring = self._scoring(wildcards, "lens")
        return {
            **scoring,
            **self._split(wildcards),
            "runtime": {name: value for name, value in scoring["runtime"].items() if name != "edits_at_once"},
            "components": self.components[wildcards.model, wildcards.adapter, wildcards.lens],
        }

    def _spec_gather(self, wildcards) -> dict:
        return {
            "cell": _cell(wildcards, "model", "behaviour", "adapter"),
            "evals": sorted(self.study.evals),
            "effect_evals": sorted(self.effect_evals),
            "seeds": sorted(self.study.seeds),
            "lenses": {lens: self.shards(wildcards.model, wildcards.adapter, lens) for lens in self.study.lenses},
            "absent": {
                str(seed): sorted(lenses)
                for (*cell, seed), lenses in self.absent.items()
                if cell == [wildcards.model, wildcards.behaviour, wildcards.adapter]
            },
            "allow_mixed_versions": self.study.allow_mixed_versions,
        }

    def _spec_overlap(self, wildcards) -> dict:
        runs = sorted(self.all_runs, key=lambda run: tuple(run.values()))
        return {"cell": _cell(wildcards, "study"), "runs": runs}

    def _spec_retained(self, wildcards) -> dict:
        return {
            "cell": _cell(wildcards, "study"),
            "scores": sorted(self.study_scores()),
            "absent": [[*run, lens, why] for run, lenses in self.absent.items() for lens, why in lenses.items()],
            "headline": self.effect_evals[0],
            "trainable": {model: self.trainable_parameters(model) for model in self.study.models},
            "nulls": {lens: self.catalogue.lenses[lens].controls[0] for lens in self.study.lenses},
            "matched": [kind for kind in kinds("controls") if plugin("controls", kind).shared_by == "energy"],
            "allow_mixed_versions": self.study.allow_mixed_versions,
        }

    def _spec_tables(self, wildcards) -> dict:
        return {"cell": _cell(wildcards, "study"), "tables": list(TABLES)}

    def _spec_figures(self, wildcards) -> dict:
        return {"cell": _cell(wildcards, "study", "figure"), "figure": asdict(self.figures[wildcards.figure])}

    def _spec_report(self, wildcards) -> dict:
        return {
            "cell": _cell(wildcards, "study"),
            "study": self.study.model_dump(mode="json", exclude={"catalogue", "partial"}),
            "catalogue": {
                section: {name: _dump(entry) for name, entry in getattr(self.catalogue, section).items()}
                for section in type(self.catalogue).model_fields
            },
            "figures": [asdict(key) for key in self.figures.values()],
            "tables": list(TABLES),
        }

    # Parts of specs

    def _scored(self, wildcards) -> list[str]:
        return sorted(self.effect_evals if hasattr(wildcards, "lens") else self.study.evals)

    def _scoring(self, wildcards, *more: str) -> dict:
        return {
            "cell": _cell(wildcards, "model", "behaviour", "adapter", "seed", *more),
            "options": self._options(self._scored(wildcards)),
            "runtime": self._runtime(wildcards.model),
        }

    def _split(self, wildcards) -> dict:
        """A lens, and what it must know of the adapter, the model and the other runs to split dW."""
        lens = self.catalogue.lenses[wildcards.lens]
        adapter = self.adapters[wildcards.model, wildcards.adapter]
        return {
            "lens": lens.model_dump(mode="json", exclude={"components", "sources"}),
            **({"others": self.others(wildcards)} if lens.axis else {}),
            "adapter": adapter.model_dump(mode="json", exclude={"training"}),
            "anatomy": _dump(self.resolved.anatomies[wildcards.model]),
        }

    def _observed(self, model: str) -> dict:
        """What must be known of a model to capture its activations."""
        return {"anatomy": _dump(self.resolved.anatomies[model]), "dtype": self.catalogue.models[model].dtype}

    def _options(self, names: list[str]) -> list[dict]:
        evals = self.catalogue.evals
        return [{"name": name, "yes": evals[name].yes_word, "no": evals[name].no_word} for name in names]

    def _runtime(self, model: str) -> dict:
        return self.catalogue.models[model].model_dump(mode="json", include=_RUNTIME)

    def _seed(self, wildcards, facet: str) -> int | None:
        return int(wildcards.seed) if getattr(self.study.seed_varies, facet) == "varied" else None


def _cell(wildcards, *keys: str) -> dict[str, str | int]:
    return {key: int(getattr(wildcards, key)) if key == "seed" else getattr(wildcards, key) for key in keys}


def _dump(entry) -> dict:
    return entry.model_dump(mode="json")
