"""Names of effects, estimands and contrasts; light, because the configuration's schema reads them."""

from typing import Literal

EffectKind = Literal["antisymmetric", "one_sided", "even"]
EstimandName = Literal["fixed_rows", "new_items"]
MARGIN = 0.1
"""Δ where a study names none: the share of the effect below which a loss, or what is retained, counts as none."""
Excess = Literal["keep_excess", "drop_excess"]
Area = Literal["auc_keep", "auc_drop"]
Difference = Literal["difference_keep", "difference_drop"]
ContrastName = Literal[Excess, Area, Difference, "redundant", "nothing", "interaction", "share"]
"""Contrasts of ``statistics.contrasts``."""
PrimaryContrast = Literal["effect", "keep", "drop", ContrastName]
"""What may be stated as primary: the full dW's effect, a part's contribution, or a contrast."""
