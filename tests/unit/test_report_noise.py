"""What the report says of noise: nothing."""

from itertools import product

import pandas as pd
import pytest
from test_statistics_tables import typed

from dwatlas.report.seed_noise import answers
from dwatlas.report.sentences import findings
from dwatlas.seeds import rng
from dwatlas.statistics import schemas
from dwatlas.statistics.comparison import compare
from dwatlas.statistics.retained import summarise
from dwatlas.tables.study import StudyTables
from dwatlas.tables.tables import build

SEEDS, ITEMS, DRAWS, STUDIES = 5, 6, 4, 40
PARTS = {f"layer-{k}": 0.25 for k in range(4)}
CLAIMS = ("does more than", "costs more than", "Does in part", "Does more together", "shown to", "carries more",
          "carries less")  # fmt: skip


def scores(stream: int, effect: float) -> pd.DataFrame:
    """Parts that are one more draw of their stand-ins: each does its share of the full effect, its own noise."""
    random = rng("test", "report noise", stream)
    cells = [("anchors", "full", "full", "", "", -1, 1.0), ("anchors", "zero", "zero", "", "", -1, 0.0)]
    for (name, share), side in product(PARTS.items(), ("keep", "drop")):
        left = share if side == "keep" else 1 - share
        cells.append(("layers", name, side, "", "", -1, left))
        cells += [("layers", name, "control", "mask", side, draw, left) for draw in range(DRAWS)]
    lines = []
    for seed in range(SEEDS):
        D = effect + 0.3 * random.normal() + 0.3 * random.normal(size=ITEMS)
        for *cell, share in cells:
            E = share * D + (0.2 * random.normal(size=ITEMS) + 0.2 * random.normal() if share else 0)
            for alpha in (-1.0, 1.0) if share else (0.0,):
                lines += [(seed, *cell, alpha, f"item-{i}", f"row-{i}", 1, alpha * E[i]) for i in range(ITEMS)]
    columns = [
        "seed",
        "lens",
        "component",
        "mode",
        "control",
        "stands_for",
        "draw",
        "alpha",
        "item",
        "row",
        "label",
        "lr",
    ]
    names = {"model": "tiny-qwen", "behaviour": "agreement", "adapter": "lora-r1", "eval": "claims"}
    sizes = {"pmass": 0.9, "kl_base": 0.1, "energy_frac": 0.25, "rank": 2, "rank_frac": 0.4, "params_frac": 0.25}
    return typed(pd.DataFrame(lines, columns=columns).assign(**names, **sizes))


@pytest.fixture(scope="module")
def told():
    """Sentences of 40 studies of noise: (verdict of the full effect, text about the parts)."""
    empty = {name: schema.empty_table().to_pandas() for name, schema in schemas.SCHEMAS.items()}

    def of(stream, effect):
        tables = summarise(scores(stream, effect), nulls={"layers": "mask"})
        found = findings(build(StudyTables(**{**empty, **vars(tables)})))
        (finding,) = found["tiny-qwen", "agreement"]
        return finding.headline, " ".join(sentence for some in finding.by_lens.values() for sentence in some)

    return {effect: [of(stream, effect) for stream in range(STUDIES)] for effect in (0.0, 3.0)}


def test_of_pure_noise_no_effect_is_claimed_beyond_the_level(told):
    claimed = [headline for headline, _ in told[0.0] if "not identified" not in headline]
    assert len(claimed) <= 6, "2 of 40 are expected at 5 %"
    assert all(text == "" for headline, text in told[0.0] if "not identified" in headline)


def test_parts_that_do_what_their_stand_ins_do_are_not_claimed(told):
    assert all("identified)" in headline for headline, _ in told[3.0])
    claims = [text for _, text in told[3.0] if any(words in text for words in CLAIMS)]
    assert len(claims) <= 10, "three families at 5 % each: 6 of 40 are expected at most"
    assert sum("No part (4 in all) can be told" in text for _, text in told[3.0]) >= 30


def test_adapters_that_differ_by_seed_noise_are_not_told_apart():
    random, claims = rng("test", "adapters of noise"), 0
    for _ in range(STUDIES):
        effects = 3 + 0.3 * random.normal(size=5) + 0.3 * random.normal(size=(3, 5))
        lines = [
            {"model": "m", "behaviour": "b", "adapter": f"a{a}", "eval": "claims", "lens": lens, "component": component,
             "mode": mode, "effect": "antisymmetric", "seed": seed, "full_effect_nats": effects[a, seed],
             "effect_nats": share * effects[a, seed] + (0.2 * random.normal() if lens == "layers" else 0)}
            for a, seed in product(range(3), range(5))
            for lens, component, mode, share in (("anchors", "full", "full", 1.0),
                                                 *(("layers", name, "drop", 0.2 * k) for k, name in enumerate(PARTS)))
        ]  # fmt: skip
        seeds = pd.DataFrame(lines).reindex(columns=schemas.SEEDS_SCHEMA.names)
        found = compare(seeds, schemas.DOSES_SCHEMA.empty_table().to_pandas(), "claims", {"m": dict.fromkeys(
            ("a0", "a1", "a2"), 1)})  # fmt: skip
        (answer,) = answers(found.noise, found.ranking)["m", "b"]
        text = " ".join([answer.headline, *(one for some in answer.by_lens.values() for one in some)])
        claims += "is more than seed noise" in text or "by more than seed noise (" in text
    assert claims <= 8, "two tests at 5 %: 4 of 40 are expected"
