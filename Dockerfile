# The service with a model, from the checkout:
#   docker build -t bert-qa .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/runs/demo/model:/model:ro" -v corrections:/data bert-qa
FROM python:3.13-slim

WORKDIR /app
COPY pyproject.toml README.md LICENSE requirements-export.lock ./
COPY qa qa
# what serves and exports, each file by its hash; torch for CPUs
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r requirements-export.lock \
    && pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 \
    && pip install --no-cache-dir --no-deps --no-build-isolation . \
    && useradd --uid 10001 --create-home qa \
    && install --directory --owner qa /data

USER 10001
WORKDIR /data
ENV HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
VOLUME /data
HEALTHCHECK --start-period=60s --timeout=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=3)"]
ENTRYPOINT ["python", "-m", "qa.serve", "--host", "0.0.0.0"]
CMD ["/model"]
