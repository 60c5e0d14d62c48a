"""Addresses that the page uses beside answers: texts and questions of files, grades, and corrections to learn from."""

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response

from qa.evaluation.metrics import v2_scores
from qa.serving.corrections import Correction, Corrections
from qa.serving.desk import Desk
from qa.serving.extraction import Extractor
from qa.serving.schemas import Corrected, Grade, GradeRequest, TextResponse, Withdrawn
from qa.serving.uploads import QuestionsResponse

FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
Name = Annotated[str, Query(min_length=1, max_length=1000)]  # of the file; its ending tells the kind


def add_learning(app: FastAPI, desk: Desk, corrections: Corrections) -> None:
    """Adds these addresses to a service."""
    extractor = Extractor()

    @app.post("/texts", openapi_extra=FILE)
    async def text(request: Request, name: Name) -> TextResponse:
        """The plain text of a file: txt, md, html, docx or pdf."""
        return TextResponse(name=name, text=await extractor.extract_text(name, await request.body()))

    @app.post("/questions", openapi_extra=FILE, response_model=QuestionsResponse)
    async def questions(request: Request, name: Name) -> Response:
        """The questions of a file of any kind that training reads."""
        content = await extractor.extract_questions(name, await request.body())
        return Response(content, media_type="application/json")  # FastAPI's own way takes seconds for a large file

    @app.post("/grade")
    async def grade(request: GradeRequest) -> Grade:
        """Grades a learner's answer."""
        exact, f1 = await asyncio.to_thread(v2_scores, request.given, request.answers)
        return Grade(exact_match=exact == 1, f1=100 * f1)

    @app.post("/corrections")
    async def correct(correction: Correction) -> Corrected:
        """Keeps the right answer of a question, for training."""
        name, added = await asyncio.to_thread(corrections.add, correction, desk.name, desk.content)
        return Corrected(id=name, corrections=corrections.count, added=added)

    @app.delete("/corrections")
    async def withdraw(name: Annotated[str, Query(alias="id", max_length=100)]) -> Withdrawn:
        """Undoes a correction by its id: training no longer reads it."""
        withdrawn = await asyncio.to_thread(corrections.withdraw, name)
        return Withdrawn(corrections=corrections.count, withdrawn=withdrawn)
