# The one image of Skyquay. It serves the API; with the command `skyquay worker` it works.

# The tag follows security fixes of Python 3.13; pass `python@sha256:...` for the same bytes always.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/skyquay
WORKDIR /src
# The dependencies change seldom, so they make a layer of their own. This lock is the one without
# the extra `embedded`: the database has a container of its own.
COPY requirements.lock ./
RUN /opt/skyquay/bin/pip install --require-hashes --only-binary=:all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY service ./service
RUN /opt/skyquay/bin/pip install --no-deps --no-build-isolation . \
    && /opt/skyquay/bin/pip check \
    && /opt/skyquay/bin/python -m pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
ENV PATH=/opt/skyquay/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin skyquay
COPY --from=build /opt/skyquay /opt/skyquay
USER 10001:10001
ENV SKYQUAY_LISTEN=0.0.0.0:8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["skyquay", "serve", "--no-worker"]
