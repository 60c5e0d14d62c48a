"""Answers questions over HTTP, and on a page, with a trained model.

python -m qa.serve MODEL --port 8000
"""

import logging
import os
import signal
import socket
from ipaddress import ip_network
from pathlib import Path

from qa.console import console
from qa.errors import Flags, UserError, door
from qa.hub import model_folder
from qa.memory import return_freed_memory

log = logging.getLogger(__name__)

DEMO = Path("runs/demo/model")


def main() -> None:
    """Serves until it is stopped. Errors: UserError."""
    parser = Flags("qa.serve", __doc__)
    parser.add_argument("model", nargs="?", help=f"a folder such as RUN/model, or an id of the hub; default: {DEMO}")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at; 0.0.0.0: all of this machine")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    parser.add_argument("--name", action="append", default=[], help="by which clients call it; several times")
    proxy = "of a proxy or a network of them, whose X-Forwarded-For names the client; several times"
    parser.add_argument("--proxy", action="append", default=[], type=ip_network, metavar="ADDRESS", help=proxy)
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="until an answer is given up")
    parser.add_argument("--token-file", type=Path, help="with the token that clients must send; or QA_SERVE_TOKEN")
    parser.add_argument(
        "--corrections", type=Path, default=Path("corrections.jsonl"), metavar="FILE", help="of the page, for training"
    )
    parser.add_argument("--log", choices=("text", "json"), default="text", help="form of the log's lines")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # without it the first process of a container lives on
    if not 0 < arguments.timeout < float("inf"):
        raise UserError(f"--timeout {arguments.timeout:g}: give seconds, more than 0")
    if arguments.model is None and not DEMO.is_dir():
        raise UserError(f"no model given, and no {DEMO}; give one, or: make demo && make serve")
    token = _token(arguments.token_file)
    name = model_folder(arguments.model or str(DEMO))
    short = "/".join(part for part in Path(name).parts[-2:] if part != "/") or name
    try:
        from qa.serving.corrections import Corrections
        from qa.serving.limits import Limits
        from qa.serving.log import set_up_log
        from qa.serving.server import bind, listen, run

        bound = bind(arguments.host, arguments.port)
        corrections = Corrections(arguments.corrections)
        from qa.answering.answerer import QuestionAnswerer  # torch, which takes a while
        from qa.serving.app import make_app
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name}: is not installed; pip install --no-deps -r requirements.lock") from None
    set_up_log(as_json=arguments.log == "json")
    return_freed_memory()
    answerer = QuestionAnswerer.from_pretrained(name, arguments.device, arguments.dtype)
    answerer(["Is it warm?"] * 2, "It is warm.")  # the first answer of each lane is slow
    if not answerer.engine.trained_head:
        log.warning("%s was not trained on questions: its answers are random", name)
    if bound.getsockname()[0] not in ("127.0.0.1", "::1") and token is None:
        log.warning("everyone who reaches this machine can ask; --token-file FILE asks for a token")
    hosts = {"localhost", socket.gethostname(), *arguments.name}
    limits = Limits(seconds=arguments.timeout)
    app = make_app(answerer, short, corrections, limits, token, hosts)
    url = listen(bound)
    console.print(f"{name} answers at {url}   (Ctrl-C stops it)", soft_wrap=True)
    run(app, bound, limits, arguments.proxy)


def _token(path: Path | None) -> str | None:
    try:
        token = path.read_text("utf-8").strip() if path else os.environ.get("QA_SERVE_TOKEN", "").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--token-file {path}: cannot be read ({error}); give another") from None
    if path and not token:
        raise UserError(f"--token-file {path}: is empty; write a token into it")
    if not token.isascii() or len(token.split()) > 1:
        raise UserError("the token: give one word of ASCII characters")
    return token or None


if __name__ == "__main__":
    door(main)
