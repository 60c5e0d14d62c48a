"""The hub's question-answering task: its parameters as our options, our answers as its own."""

from qa.answering.answer import Answer
from qa.answering.answerer import QuestionAnswerer
from qa.answering.options import Options
from qa.answering.work import Ask
from qa.errors import UserError, spelled
from qa.serving.batching import RequestJob
from qa.serving.schemas import HubAnswer, HubParameters, HubRequest


def from_hub_request(request: HubRequest, answerer: QuestionAnswerer) -> RequestJob:
    """The question with its options, for an answerer with the windows that are asked for. Errors: UserError."""
    parameters, usual = request.parameters or HubParameters(), answerer.answering
    if (length := parameters.max_seq_len or usual.max_length) > usual.max_length:
        raise UserError(f"max_seq_len={length}: the model was trained with {usual.max_length}; give that or less")
    stride = usual.stride if length == usual.max_length else min(usual.stride, length // 2)
    try:
        cut = answerer.cut(length, stride if parameters.doc_stride is None else parameters.doc_stride)
    except UserError as error:
        raise UserError(spelled(str(error), {"max_length": "max_seq_len", "stride": "doc_stride"})) from None
    question = request.inputs.question
    if parameters.max_question_len is not None:
        question = answerer.shortened(question, parameters.max_question_len)
    options = Options(
        top_k=parameters.top_k or 1,
        max_answer_length=parameters.max_answer_len,
        handle_impossible_answer=parameters.handle_impossible_answer,
        whole_words=bool(parameters.align_to_words),
    )
    return RequestJob([Ask(question, [request.inputs.context])], [parameters.language], options, cut)


def to_hub_answer(answer: Answer, top_k: int) -> HubAnswer | list[HubAnswer]:
    """One answer, or a list of them where more than one is asked for, as the hub's client documents it."""
    answers = [HubAnswer(**one.to_dict()) for one in (answer, *answer.alternatives)]
    return answers if top_k > 1 else answers[0]
