"""A made-up study with the result tables' columns: claims are identified, dilemmas are not."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import t

from dwatlas.statistics.comparison import compare
from dwatlas.statistics.schemas import CONTROLS_SCHEMA, DOSES_SCHEMA, MISSING_SCHEMA, RETAINED_SCHEMA, SEEDS_SCHEMA
from dwatlas.tables.study import StudyTables

MODEL, BEHAVIOUR = "tiny-qwen", "agreement"
ADAPTERS = ("lora-r1", "lora-r8")
TRAINABLE = {MODEL: {"lora-r1": 2304, "lora-r8": 18432}}
SEEDS = range(5)
FULL = {("lora-r1", "claims"): (-4.2, 0.5), ("lora-r8", "claims"): (-5.9, 1.4)} | {
    (adapter, "dilemmas"): (0.1, 0.4) for adapter in ADAPTERS
}
ENERGY = {
    "layers": {"layer-0": 0.1, "layer-1": 0.2, "layer-2": 0.45, "layer-3": 0.25, "band-1-of-3": 0.1,
               "band-2-of-3": 0.65, "band-3-of-3": 0.25},
    "modules": {"attention": 0.35, "mlp": 0.65, "q_proj": 0.05, "k_proj": 0.04, "v_proj": 0.12, "o_proj": 0.14,
                "gate_proj": 0.2, "up_proj": 0.25, "down_proj": 0.2, "read": 0.66, "write": 0.34},
    "own_svd": {"top-1": 0.5, "top-2": 0.68, "top-4": 0.84, "top-8": 0.95, "energy-50": 0.52, "energy-90": 0.91,
                "tail-2": 0.32, "tail-8": 0.05},
}  # fmt: skip
KINDS = {"layers": ("mask", "norm"), "modules": ("mask", "norm"), "own_svd": ("sub", "norm")}
ALPHAS = (-2.0, -1.0, -0.5, -0.25, 0.25, 0.5, 1.0, 2.0)


def study_tables() -> StudyTables:
    """All frames, the same at every call."""
    random = np.random.default_rng(0)
    retained, seeds, controls = [], [], []
    for (adapter, name), (mean, sd) in FULL.items():
        full = mean + sd * random.standard_normal(len(SEEDS))
        key = {"model": MODEL, "behaviour": BEHAVIOUR, "adapter": adapter, "eval": name, "effect": "antisymmetric"}
        anchor = {**key, "lens": "anchors", "component": "full", "mode": "full"}
        cells = [(anchor, full, 1.0, ("norm",))]
        for lens, component, mode in _parts():
            energy = ENERGY[lens][component]
            share = energy**0.7 if mode == "keep" else 1 - energy**1.3
            effects = full * share + 0.3 * sd * random.standard_normal(len(SEEDS))
            cells.append(({**key, "lens": lens, "component": component, "mode": mode}, effects, energy, KINDS[lens]))
        for cell, effects, energy, kinds in cells:
            spread = 0.2 + 0.1 * abs(mean) * energy
            centre = full.mean() * {"keep": energy, "drop": 1 - energy, "full": 0.0}[cell["mode"]]
            percentile = {"keep": 97.0, "drop": 98.0, "full": 99.0}[cell["mode"]] if sd < 1 else 40.0
            retained += [_retained(cell, estimand, effects, full, energy, kinds[0], percentile) for estimand in
                         ("fixed_rows", "new_items")]  # fmt: skip
            seeds += [
                {**cell, "seed": s, "effect_nats": e, "full_effect_nats": f, "energy_frac": energy}
                for s, e, f in zip(SEEDS, effects, full, strict=True)
            ]
            controls += [
                {**cell, "control": kind, "n_draws": 20, "mean_nats": centre, "sd_nats": spread,
                 "q05_nats": centre - 1.64 * spread, "q95_nats": centre + 1.64 * spread,
                 "full_effect_nats": full.mean(), "percentile": percentile, "energy_frac": energy}
                for kind in kinds
            ]  # fmt: skip
    seeds, doses = pd.DataFrame(seeds)[SEEDS_SCHEMA.names], _doses(random)[DOSES_SCHEMA.names]
    compared = compare(seeds, doses, "claims", TRAINABLE)
    return StudyTables(
        pd.DataFrame(retained)[RETAINED_SCHEMA.names],
        seeds,
        pd.DataFrame(controls)[CONTROLS_SCHEMA.names],
        doses,
        pd.DataFrame(columns=MISSING_SCHEMA.names),
        compared.adapters,
        compared.ranking,
        compared.noise,
    )


def _parts():
    return [(lens, part, mode) for lens, parts in ENERGY.items() for part, mode in product(parts, ("keep", "drop"))]


def _retained(cell, estimand, effects, full, energy, control, percentile) -> dict:
    size = len(effects)
    quantile = t.ppf(0.975, size - 1) * (1.0 if estimand == "fixed_rows" else 1.25)
    covariance = np.cov(effects, full) / size
    n, d = effects.mean(), full.mean()
    g = quantile**2 * covariance[1, 1] / d**2
    a, b = d**2 * (1 - g), n * d - quantile**2 * covariance[0, 1]
    root = np.sqrt(max(b**2 - a * (n**2 - quantile**2 * covariance[0, 0]), 0))
    known = g < 1
    half = quantile * np.sqrt(covariance[0, 0])
    return {
        **cell, "estimand": estimand, "n_seeds": size, "n_items": 40, "effect_nats": n, "effect_lo": n - half,
        "effect_hi": n + half, "full_effect_nats": d, "retained": n / d if known else np.nan,
        "lo": (b - root) / a if known else np.nan, "hi": (b + root) / a if known else np.nan, "g": g,
        "verdict": "not_identified" if not known else "weak" if g >= 0.25 else "identified", "p": 0.01, "q": 0.02,
        "control": control, "control_mean": 0.0, "control_sd": 1.0, "control_percentile": percentile,
        "energy_frac": energy, "rank": 4.0, "params_frac": energy,
    }  # fmt: skip


def _doses(random) -> pd.DataFrame:
    rows = []
    for adapter, seed in product(ADAPTERS, SEEDS):
        wobble = 1 + 0.2 * random.standard_normal()
        for alpha in (0.0, *ALPHAS):
            values = {
                ("claims", "effect"): wobble * FULL[adapter, "claims"][0] * np.tanh(alpha / 1.5),
                ("dilemmas", "effect"): 0.4 * (wobble - 1) * alpha,
                **{(name, "pmass"): 0.99 - 0.06 * alpha**2 for name in ("claims", "dilemmas")},
                **{(name, "kl_base"): 0.4 * wobble * alpha**2 for name in ("claims", "dilemmas")},
                ("knowledge", "accuracy"): 1 - 0.2 * min(alpha**2, 2) * abs(wobble),
                ("knowledge", "nll"): 0.05 + 0.7 * alpha**2 * abs(wobble),
            }
            draws = [("", -1, 1.0)] + [("norm", draw, 0.1 * random.standard_normal()) for draw in range(4) if alpha]
            for (control, draw, scale), ((name, metric), value) in product(draws, values.items()):
                base = 0.0 if metric == "effect" else value
                rows.append(
                    {"model": MODEL, "behaviour": BEHAVIOUR, "adapter": adapter, "eval": name, "control": control,
                     "draw": draw, "seed": seed, "alpha": alpha, "metric": metric,
                     "value": base + scale * (value - base)}
                )  # fmt: skip
    return pd.DataFrame(rows)
