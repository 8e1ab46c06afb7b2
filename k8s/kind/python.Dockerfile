# A stand-in for PYTHON_IMAGE where it cannot be pulled: Python 3.13 from the packages of Debian 13.
# `scripts/images` builds it.
ARG DEBIAN_IMAGE
FROM ${DEBIAN_IMAGE}
# The base may be Debian 12: its sources are replaced by those of Debian 13, and Python's dependencies are upgraded.
# hadolint ignore=DL3008
RUN sed -i 's/bookworm/trixie/g' /etc/apt/sources.list.d/debian.sources \
    && apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        python3 python3-pip python3-venv tzdata >/dev/null \
    && rm -rf /var/lib/apt/lists/* /usr/lib/python3.*/EXTERNALLY-MANAGED /usr/share/doc /usr/share/man \
    && ln -s /usr/bin/python3 /usr/local/bin/python && ln -s /usr/bin/python3 /usr/local/bin/python3 \
    && python -m pip --version
ENV LANG=C.UTF-8
CMD ["python3"]
