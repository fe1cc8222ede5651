# One image for every service: `waybill serve order` and so on. Built and run by compose.yaml.
# The wheels are the ones that the tests ran with: pinned by hash, nothing is compiled here.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /build
COPY requirements-setup.lock requirements.lock ./
RUN python -m pip install --no-cache-dir --require-hashes --only-binary :all: \
        -r requirements-setup.lock \
    && python -m venv --without-pip /opt/waybill
ENV VIRTUAL_ENV=/opt/waybill
RUN uv pip install --no-cache --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
# What built the wheel goes again: neither it nor pip is in the image.
RUN uv pip install --no-cache --offline --no-deps --no-build-isolation . \
    && uv pip uninstall editables hatchling pathspec pluggy tomlkit trove-classifiers \
    && uv pip check \
    && /opt/waybill/bin/python -m compileall -q /opt/waybill/lib \
    && /opt/waybill/bin/waybill --version

FROM python:${PYTHON}
RUN python -m pip uninstall --yes setuptools wheel pip \
    && groupadd --system --gid 10001 waybill \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin waybill \
    && mkdir /audit && chown 10001:10001 /audit
COPY --from=build /opt/waybill /opt/waybill
ENV PATH=/opt/waybill/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Numbers, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8081 8082 8083 8084 8085
STOPSIGNAL SIGTERM
ENTRYPOINT ["waybill"]
CMD ["--help"]
