# Ostler's App (`serve`) and its command line. The base image is named by its full version; whoever builds this for others should
# name it by its digest as well.
FROM python:3.11.14-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.lock ./
RUN python -I -m venv /opt/ostler \
    && /opt/ostler/bin/python -I -m pip install --only-binary :all: --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY bot ./bot
COPY templates ./templates
COPY action.yml ./
COPY .github/workflows/improve.yml ./.github/workflows/improve.yml
COPY docs/workflows ./docs/workflows
RUN /opt/ostler/bin/python -I -m pip install --no-index --no-deps --no-build-isolation /src


FROM python:3.11.14-slim-bookworm

# git is for `ostler run`; the App talks to GitHub over REST alone.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 ostler \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin ostler \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data
COPY --from=build /opt/ostler /opt/ostler

ENV PATH=/opt/ostler/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    OSTLER_HOST=0.0.0.0 \
    OSTLER_PORT=8080 \
    OSTLER_STATE_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080

HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/opt/ostler/bin/python", "-I", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
ENTRYPOINT ["/opt/ostler/bin/python", "-I", "-m", "bot"]
CMD ["serve"]
