"""Names of the study's tables; light, because the Snakefile reads them."""

TABLES = ("summary", "retained", "capability", "missing")
FORMATS = ("csv", "md", "tex")
