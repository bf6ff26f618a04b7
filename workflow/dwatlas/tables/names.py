"""Names of the study's tables; light, because the Snakefile reads them."""

TABLES = ("summary", "retained", "capability")
FORMATS = ("csv", "md", "tex")
