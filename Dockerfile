# The image of load pods (`meshmark run --backend kubernetes --client-image IMAGE`): meshmark and what its load needs.
#   docker build -t REGISTRY/meshmark:VERSION . && docker push REGISTRY/meshmark:VERSION
FROM docker.io/library/python:3.13-slim
COPY pyproject.toml README.md LICENSE /src/
COPY meshmark /src/meshmark
RUN pip install --no-cache-dir /src "confluent-kafka>=2.12" "crc32c>=2.7" "kio>=0.6.5,<0.7" && rm -r /src
USER 1000:1000
