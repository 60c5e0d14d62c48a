"""The log of a service, on the error output: faults, and a line for each request, as text or JSON."""

import json
import logging
import time

UNLOGGED_PATHS = {"/health", "/ready", "/metrics"}  # asked every few seconds
requests = logging.getLogger("qa.requests")


def set_up_log(as_json: bool) -> None:
    """Sends all log lines to the error output, with their time."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    requests.setLevel(logging.INFO)


def log_request(method: str, path: str, status: int, address: str, seconds: float, request_id: str) -> None:
    """Logs a request that ended; `path`: one that the service has, or "other"."""
    if path in UNLOGGED_PATHS and status < 400:
        return
    fields = {"method": method, "path": path, "status": status, "address": address, "request_id": request_id}
    fields |= {"milliseconds": round(1000 * seconds)}
    requests.info(" ".join(map(str, fields.values())) + " ms", extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """A line of JSON for each record; a request's has its fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%FT%TZ", time.gmtime(record.created)),
            "level": record.levelname,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
