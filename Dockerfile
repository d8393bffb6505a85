# One image for every node: `docker build -t herring .`
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package herring \
    && cp target/release/herring /usr/local/bin/herring

FROM debian:bookworm-slim
# As root the mount needs no helper; fuse3 is for those who run the container as another user.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates fuse3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/herring /usr/local/bin/herring
# The data. A node without --data-dir keeps it in $XDG_DATA_HOME/herring.
ENV XDG_DATA_HOME=/var/lib
VOLUME /var/lib/herring
EXPOSE 7070/tcp 7071/udp
ENTRYPOINT ["herring"]
CMD ["node"]
