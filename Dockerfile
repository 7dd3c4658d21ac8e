# One image for the head and for workers: docker-compose.yml starts both.
FROM python:3.13-slim

# Add torch where a graph needs it: docker compose build --build-arg EXTRAS=sklearn,onnx,torch
ARG EXTRAS=sklearn,onnx

WORKDIR /opt/anabranch
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY anabranch anabranch
RUN pip install --no-cache-dir -c requirements.lock ".[${EXTRAS}]" \
    && useradd --create-home --uid 1000 anabranch \
    && install --directory --owner anabranch --mode 700 /data /tokens \
    && install --directory --owner anabranch --mode 755 /dashboards /discovery
COPY deploy/docker/anabranch-head /usr/local/bin/

# The home of the engine: the store, the token, bundles and logs. All other files may be read-only, but for /tmp.
ENV ANABRANCH_HOME=/data HOME=/data
VOLUME /data
USER anabranch
WORKDIR /data
EXPOSE 8000 9000
HEALTHCHECK --interval=5s --timeout=3s --start-period=90s CMD ["python", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=2)"]
CMD ["anabranch-head"]
