"""The hash of what a study states as primary; light, because the command line prints it."""

import hashlib
from collections.abc import Mapping

from dwatlas.provenance import canonical_json


def digest(statement: Mapping) -> str:
    """SHA-256 of a statement's canonical JSON."""
    return hashlib.sha256(canonical_json(statement).encode()).hexdigest()
