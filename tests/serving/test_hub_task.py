"""What the hub's parameters do to an answer."""

import pytest

from qa.answering.answer import Answer
from qa.serving.hub import as_hub
from qa.serving.schemas import HubAnswer, HubInputs, HubParameters, HubRequest

CONTEXT = "Call 4417 or ask Ada."


@pytest.mark.parametrize(
    ("part", "whole"), [("441", "4417"), ("41", "4417"), ("417 or as", "4417 or ask"), ("Ada", "Ada"), (" ", " ")]
)
def test_an_answer_is_widened_to_whole_words_where_that_is_asked_for(part: str, whole: str) -> None:
    start = CONTEXT.index(part)
    answer = Answer(part, start, start + len(part), 1.0, 0.5, 0)
    for align, expected in ((True, whole), (False, part), (None, part)):
        inputs = HubInputs(question="What?", context=CONTEXT)
        found = as_hub(answer, HubRequest(inputs=inputs, parameters=HubParameters(align_to_words=align)))
        assert isinstance(found, HubAnswer)
        assert (found.answer, CONTEXT[found.start : found.end]) == (expected, expected)
