# Textmill in an image: the same one serves as worker, as the pod of a flow run, and as a process of a training.
#
#   docker build -t textmill .                                   for CPUs
#   docker build -t textmill:cuda --build-arg VARIANT=cuda .     for NVIDIA's cards; the host brings the driver
#   --build-arg EXTRAS=pdf,docx,s3                               extras of pyproject.toml; s3 for a store in a bucket
#   --build-arg PACKAGES=prefect-kubernetes                      packages beside them
#
# The usual torch for Linux carries CUDA's libraries, and computes on CPUs as well.
ARG PYTHON=3.12
ARG VARIANT=cpu
FROM python:${PYTHON}-slim AS base

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN useradd --create-home --uid 1000 mill && mkdir -p /srv/textmill /store /prefect && chown mill /store /prefect
WORKDIR /srv/textmill

FROM base AS cpu
ENV CUDA_VISIBLE_DEVICES=""

# Compiling the training step needs a C compiler; the driver is mounted by NVIDIA's container toolkit.
FROM base AS cuda
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM ${VARIANT} AS textmill
ARG EXTRAS=""
ARG PACKAGES=""
# What is pinned first: these layers stay while only our own files change.
COPY constraints.txt pyproject.toml README.md ./
RUN mkdir flows tasks gpt data \
    && touch flows/__init__.py tasks/__init__.py gpt/__init__.py data/__init__.py \
    && pip install --constraint constraints.txt --editable ".${EXTRAS:+[$EXTRAS]}" $PACKAGES
COPY . .
RUN python -c "import flows.pipeline" && python -m flows recipes

ENV TEXTMILL_STORE=/store TEXTMILL_CACHE=/store/.remote PREFECT_HOME=/prefect \
    DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_CLI_PROMPT=false \
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 PREFECT_WORKER_QUERY_SECONDS=1 PREFECT_LOGGING_EXTRA_LOGGERS=data,gpt
USER mill
VOLUME ["/store", "/prefect"]
CMD ["textmill", "doctor"]
