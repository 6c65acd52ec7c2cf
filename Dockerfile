# One image for every role: the API, the workers, Flower and the migration differ in their command only.

FROM python:3.13-slim AS wheels
WORKDIR /build
COPY requirements.txt .
RUN pip wheel --no-cache-dir --require-hashes --wheel-dir /wheels -r requirements.txt

FROM python:3.13-slim
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/data
RUN groupadd --gid 10001 chatrelay \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin chatrelay \
    && install -d -o 10001 -g 10001 -m 0700 /data
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --no-deps /wheels/*.whl
# What tokens are counted by; no worker fetches it at run time. Where the builder cannot reach it, build with
# --build-arg TIKTOKEN_ENCODINGS= and tokens are estimated.
ARG TIKTOKEN_ENCODINGS="o200k_base cl100k_base"
ENV TIKTOKEN_CACHE_DIR=/usr/local/share/tiktoken
RUN python -c "import sys, tiktoken; [tiktoken.get_encoding(name) for name in sys.argv[1:]]" $TIKTOKEN_ENCODINGS
WORKDIR /app
COPY alembic.ini gunicorn.conf.py ./
COPY migrations migrations
COPY shared shared
COPY api api
COPY workers workers
# The code is root's: the process that serves strangers cannot change it.
USER 10001:10001
EXPOSE 8000
CMD ["gunicorn", "-c", "gunicorn.conf.py", "api.app:create_app()"]
