"""How to read each kind of figure, in words."""

CAPTIONS = {
    "forest": (
        "What is left of the full dW's effect without each part (R_drop) and with it alone (R_keep). Dots are seeds, "
        "each divided by the same mean full effect; the tick is the ratio of means, the bar its 95 % Fieller interval "
        "over seeds, the thin line the interval over new items too. Grey bands hold 5–95 % of random stand-ins. "
        "Hatched rows are not identified: the full effect cannot be told from zero, so no ratio is drawn."
    ),
    "map": (
        "The share of the full effect that is lost without each part (1 − R_drop) and left with it alone (R_keep), "
        "with its spread over seeds. A dot marks q < 0.05 (Benjamini–Hochberg within the lens); hatched cells are "
        "not identified."
    ),
    "energy": (
        "The effect of each part against its share of ‖dW‖². Filled circles are R_keep, hollow diamonds 1 − R_drop; "
        "y = e is what a random partition gives on average, y = √e a uniform shrink of dW. Grey: random stand-ins, "
        "5–95 %."
    ),
    "dose": (
        "The effect of α·dW over the dose α, with every seed, and below it what the dose costs: probability mass on "
        "the answers, divergence from the base model, and capability. Ribbons hold 5–95 % of random dW with the same "
        "norm in every tensor."
    ),
}
