"""The primary analysis: stated, hashed, marked in the results, told on the page."""

import json

import pandas as pd
import pytest
from study_frames import study_tables
from test_report import FACTS
from test_statistics_tables import NULLS, make_scores

from dwatlas.provenance import canonical_json
from dwatlas.report.page import render
from dwatlas.report.primary import NONE_STATED, WHAT, is_primary, primary_sentences, statement
from dwatlas.statement import digest
from dwatlas.statistics import schemas
from dwatlas.statistics.contrasts import CONTRASTS
from dwatlas.statistics.registration import registration
from dwatlas.statistics.retained import summarise
from dwatlas.tables.primary import primary
from dwatlas.tables.study import StudyTables
from dwatlas.tables.tables import build

PRIMARY = {"eval": "claims", "effect": "antisymmetric", "estimand": "fixed_rows", "contrast": "keep_excess",
           "family": "layers"}  # fmt: skip
STATED = {"study": "small", "seeds": [0, 1, 2, 3, 4], "margin": 0.1, "primary": PRIMARY}


def stated(**changes):
    return {**STATED, "primary": {**PRIMARY, **changes}}


def tables_of(statement_):
    tables = summarise(make_scores({"layer-0": 0.1, "layer-1": 0.9}), nulls=NULLS, statement=statement_)
    empty = {name: schema.empty_table().to_pandas() for name, schema in schemas.SCHEMAS.items()}
    return StudyTables(**{**empty, **vars(tables), "registration": registration(statement_)})


@pytest.mark.parametrize(
    ("contrast", "family", "lines"),
    [
        ("keep_excess", "layers", 2),
        ("drop_excess", "layers", 2),
        ("keep", "layers", 2),
        ("redundant", "layers", 2),
        ("difference_drop", "layers", 1),
        ("effect", "anchors", 1),
    ],
)
def test_exactly_the_stated_lines_are_marked(contrast, family, lines):
    found = primary(tables_of(stated(contrast=contrast, family=family)))
    assert len(found) == lines
    assert set(found["contrast"]) == {contrast} and set(found["estimand"]) == {"fixed_rows"}


def test_without_a_statement_nothing_is_primary():
    tables = tables_of(None)
    assert primary(tables).empty and tables.registration.empty
    assert statement(None) == NONE_STATED and not is_primary(None, "claims", "layers")


def test_the_hash_is_that_of_the_canonical_statement_and_changes_with_it():
    (line,) = registration(STATED).to_dict("records")
    assert json.loads(line["statement"]) == STATED and line["statement"] == canonical_json(STATED)
    assert line["sha256"] == digest(json.loads(line["statement"]))
    assert len({digest(one) for one in (STATED, stated(contrast="keep"), {**STATED, "seeds": [0, 1]})}) == 3


def test_every_contrast_that_can_be_stated_has_words():
    assert set(WHAT) == {"effect", "keep", "drop", *CONTRASTS}


def test_the_page_tells_the_statement_its_answer_and_what_is_exploratory(tmp_path):
    tables = tables_of(stated(contrast="drop"))
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG")
    (registered,) = tables.registration.to_dict("records")
    page = render(build(tables), [("Title", "Caption", picture)], {**FACTS, "registered": registered})
    assert registered["sha256"] in page and "All else that is shown here is exploratory" in page
    assert "shown for 2 of 2, layer-0 0.90" in page
    assert "layers, of the primary analysis" in page and "modules, exploratory" not in page
    assert "exploratory." in render(build(study_tables()), [("Title", "Caption", picture)], FACTS)


def test_what_is_not_shown_or_not_identified_is_said():
    line = {"model": "m", "behaviour": "b", "adapter": "a", "eval": "e", "contrast": "keep", "component": "layer-0",
            "rival": "", "value": 0.5, "lo": 0.1, "hi": 0.9, "p": 0.2, "q": 0.3, "verdict": "weak"}  # fmt: skip
    of = {"summary": pd.DataFrame([line]), "registered": PRIMARY | {"eval": "e"}}
    assert primary_sentences(pd.DataFrame([line]), **of) == ["a (m, b): shown for none of 1 (least q 0.300)."]
    unknown = pd.DataFrame([{**line, "verdict": "not_identified"}])
    assert primary_sentences(unknown, **of) == [
        "a (m, b): not identified, as the full effect cannot be told from zero."
    ]
    none = primary_sentences(pd.DataFrame([line]).iloc[:0], **of)
    assert none == ["a (m, b): no result, as this study has no keep_excess of layers."]


def test_only_what_the_page_shows_can_be_of_the_primary_analysis():
    assert is_primary(PRIMARY, "claims", "layers")
    for other in ({"effect": "one_sided"}, {"estimand": "new_items"}, {"family": "modules"}, {"eval": "dilemmas"}):
        assert not is_primary(PRIMARY | other, "claims", "layers")
