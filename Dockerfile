# One image for every process; the command says which. Runs as a user without rights.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/runtime.txt requirements/
RUN python -m venv /opt/paidonce \
 && /opt/paidonce/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY . .
RUN /opt/paidonce/bin/pip install --no-cache-dir setuptools wheel \
 && /opt/paidonce/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/paidonce/bin/pip uninstall --yes setuptools wheel

FROM python:3.13-slim
# 10001: no user of the host has it. The two folders take their owner into the volumes mounted there.
RUN useradd --uid 10001 --no-create-home paidonce \
 && install -d -o paidonce -m 0700 /run/paidonce /var/lib/paidonce
COPY --from=build /opt/paidonce /opt/paidonce
ENV PATH=/opt/paidonce/bin:$PATH PYTHONUNBUFFERED=1
USER paidonce
ENTRYPOINT ["paidonce"]
