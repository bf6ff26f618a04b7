"""Names of the study's tables; light, because the Snakefile reads them."""

TABLES = (
    "summary",
    "retained",
    "components",
    "curves",
    "additivity",
    "capability",
    "adapters",
    "ranking",
    "noise",
    "geometry",
    "across",
    "improvement",
    "missing",
)
FORMATS = ("csv", "md", "tex")
