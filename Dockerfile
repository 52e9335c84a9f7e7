# syntax=docker/dockerfile:1
# The image of the chart: one binary with the libraries that it is linked with, in an empty root, not as root.
#   docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/crescendo:0.1.0 --push .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p cli \
 && scripts/image-root.sh target/release/crescendo /image

FROM scratch
COPY --from=build /image /
USER 65532:65532
WORKDIR /data
EXPOSE 2269 6443 9090
ENTRYPOINT ["/usr/bin/crescendo"]
CMD ["--help"]
