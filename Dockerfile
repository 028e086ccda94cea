# The image of all our programs: they, the few libraries that they load, the system's certificates, and no shell.
#
#   docker build --tag telemeter .
#   docker run telemeter                                      what there is to run
#   docker run --entrypoint /usr/bin/telemeter-client telemeter --help
#
# A CA bundle of yours, mounted at /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem, replaces the system's.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils ca-certificates g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# With .cargo, whose settings for jemalloc are built into the programs: heap profiles need them.
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package telemeter --bin telemeter --bin telemeter-client && scripts/image-root /image

FROM scratch
COPY --from=build /image /
USER 65534:65534
ENTRYPOINT ["/usr/bin/telemeter"]
CMD ["--help"]
