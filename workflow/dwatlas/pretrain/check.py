"""Whether a pretrained model shows what a study needs: personas that move its answers, facts that it knows."""

from __future__ import annotations

from collections.abc import Callable

from dwatlas.errors import UserError
from dwatlas.models.tiny import Thresholds
from dwatlas.scoring.scorer import Scorer
from dwatlas.seeds import rng
from dwatlas.world import wordings
from dwatlas.world.facts import World
from dwatlas.world.rows import claim_rows, dilemma_rows, knowledge_rows


def check(model, tokenizer, setting: World, thresholds: Thresholds, say: Callable[[str], None]) -> None:
    """Measure what the study needs on held-out objects; ``UserError`` names what falls short and by how much."""
    scorer = Scorer(model, tokenizer)
    draw = rng("check")
    shifts = {}
    for name, rows in (("claims", claim_rows(setting, draw)), ("dilemmas", dilemma_rows(setting, draw))):
        means = {}
        for stance in ("agree", "contradict"):
            system = {"role": "system", "content": wordings.PERSONAS[stance][0]}
            staged = rows.assign(messages=[[system, *messages] for messages in rows["messages"]])
            means[stance] = (scorer.prepare(staged).score()[0]["lr"] * rows["label"]).mean()
        shifts[name] = float(means["agree"] - means["contradict"])
    facts = float(scorer.prepare(knowledge_rows(setting)).score()[0]["correct"].astype(float).mean())
    measured = {"persona_claims": shifts["claims"], "persona_dilemmas": shifts["dilemmas"], "facts": facts}
    say("shows " + ", ".join(f"{name} {value:.2f}" for name, value in measured.items()))
    short = [
        f"{name} {value:.2f} < {getattr(thresholds, name):.2f}"
        for name, value in measured.items()
        if not value >= getattr(thresholds, name)
    ]
    if short:
        raise UserError(
            f"the trained model falls short: {', '.join(short)}; train longer (pretraining.steps) or lower "
            "the catalogue's thresholds"
        )
