# docker build -t audit . && docker run --rm --network none -v "$PWD/loras:/loras:ro" audit check /loras
# docker run --rm -p 8080:8080 --read-only --tmpfs /tmp audit serve --host 0.0.0.0
# --build-arg PYTHON=… takes another image of Python, 3.11 or newer, from another registry.
ARG PYTHON=python:3.12-slim
FROM ${PYTHON} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY auditor auditor
COPY reference_sets reference_sets
RUN pip wheel --no-cache-dir --wheel-dir /wheels ".[service,attest]"

FROM ${PYTHON}
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels "lora-style-audit[service,attest]" && rm -r /wheels \
    && useradd --create-home --uid 10001 audit
USER audit
WORKDIR /home/audit
EXPOSE 8080
ENTRYPOINT ["audit"]
CMD ["--help"]
