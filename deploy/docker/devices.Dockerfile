# The devices service.
FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/banyan
COPY requirements/devices.txt requirements/
RUN /opt/banyan/bin/pip install --require-hashes -r requirements/devices.txt
COPY pyproject.toml README.md LICENSE ./
COPY services/__init__.py services/
COPY services/chassis services/chassis
COPY services/devices services/devices
RUN /opt/banyan/bin/pip install --no-deps .

FROM python:3.11-slim
RUN groupadd --gid 10001 banyan \
    && useradd --uid 10001 --gid banyan --no-create-home --home-dir /var/lib/banyan --shell /usr/sbin/nologin banyan \
    && install -d -o banyan -g banyan /var/lib/banyan
COPY --from=build /opt/banyan /opt/banyan
ENV PATH=/opt/banyan/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/banyan
EXPOSE 8020
CMD ["granian", "--interface", "asgi", "--host", "0.0.0.0", "--port", "8020", "--workers", "1", "--backlog", "4096", "--backpressure", "25000", "services.devices.app:app"]
