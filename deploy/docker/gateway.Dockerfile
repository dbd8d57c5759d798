# The gateway: data plane and admin API.
FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
RUN python -m venv /opt/banyan
COPY requirements/gateway.txt requirements/
RUN /opt/banyan/bin/pip install --require-hashes -r requirements/gateway.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN /opt/banyan/bin/pip install --no-deps .
# The data path of what was installed (-P: not of the copy in this folder) as machine code; the compiler stays behind.
COPY requirements/compile.txt requirements/
RUN python -m pip install --require-hashes --target /opt/compile -r requirements/compile.txt \
    && PYTHONPATH=/opt/compile /opt/banyan/bin/python -P -m gateway compile

FROM python:3.11-slim
RUN groupadd --gid 10001 banyan \
    && useradd --uid 10001 --gid banyan --no-create-home --home-dir /var/lib/banyan --shell /usr/sbin/nologin banyan \
    && install -d -o banyan -g banyan /var/lib/banyan /var/lib/banyan/gateway /var/lib/banyan/streams
COPY --from=build /opt/banyan /opt/banyan
ENV PATH=/opt/banyan/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/banyan
EXPOSE 8000 8001
CMD ["python", "-m", "gateway", "serve"]
