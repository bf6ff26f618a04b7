"""Libraries whose versions are recorded, and the check that a table does not mix versions."""

from __future__ import annotations

from collections.abc import Mapping

from dwatlas.errors import UserError

VERSIONS = ("numpy", "pandas", "peft", "pyarrow", "scipy", "torch", "transformers")
NOT_MIXED = ("peft", "torch", "transformers")


def check_not_mixed(made_with: Mapping[str, Mapping[str, list[str]]]) -> None:
    """Refuse artefacts (path → library → versions that it was made with) that were made with different versions.

    Raises ``UserError`` that names an artefact of each version.
    """
    for library in NOT_MIXED:
        found: dict[str, str] = {}
        for path, versions in made_with.items():
            for version in versions.get(library, []):
                found.setdefault(version, path)
        if len(found) > 1:
            where = ", ".join(f"{version} ({path})" for version, path in sorted(found.items()))
            raise UserError(
                f"{library}: results of different versions would be mixed: {where}; delete what one of them made, "
                "models included, and run again, or set allow_mixed_versions: true"
            )
