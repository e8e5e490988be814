# The gateway with the embedded ClickHouse's engine. To use a ClickHouse server instead, mount a settings file and
# append: serve --config /etc/tollgate/tollgate.yaml
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY config/ config/
COPY exporters/ exporters/
COPY gateway/ gateway/
COPY otlp/ otlp/
COPY processors/ processors/
COPY state/ state/
COPY supervision/ supervision/
RUN python -m venv /opt/tollgate && /opt/tollgate/bin/pip install --no-cache-dir -c constraints.txt '.[embedded]'

FROM python:3.13-slim
RUN useradd --system --uid 10001 --create-home tollgate && install -d -o tollgate /data
COPY --from=build /opt/tollgate /opt/tollgate
ENV PATH=/opt/tollgate/bin:$PATH \
    TOLLGATE_DATA=/data \
    TOLLGATE_HTTP_ENDPOINT=0.0.0.0:4318 \
    TOLLGATE_GRPC_ENDPOINT=0.0.0.0:4317 \
    TOLLGATE_TELEMETRY_ENDPOINT=0.0.0.0:13133
USER tollgate
VOLUME /data
EXPOSE 4318 4317 13133
HEALTHCHECK --start-period=60s --interval=10s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:13133/readyz', timeout=5)"]
ENTRYPOINT ["tollgate"]
CMD ["serve"]
