# The image of the operator, with the plugin in it. See `make image`.
#
#   BUILDER_IMAGE   Node with npm, of the major version of BASE_IMAGE
#   BASE_IMAGE      Node and nothing else; releases pin both by digest
#   VERSION, REVISION, CREATED, SOURCE   labels of the image
ARG BUILDER_IMAGE=docker.io/library/node:24-bookworm-slim
ARG BASE_IMAGE=gcr.io/distroless/nodejs24-debian12:nonroot

# What it builds is JavaScript, the same for every platform.
FROM ${BUILDER_IMAGE} AS builder
WORKDIR /build
COPY package.json package-lock.json ./
# Nothing that runs at installation is needed: no Node, as the image has it, and no compiler.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY hack/build.ts hack/build.ts
COPY hack/build hack/build
COPY src src
RUN node hack/build.ts

FROM ${BASE_IMAGE}
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="baseline-policy-operator" \
      org.opencontainers.image.description="Keeps a baseline of NetworkPolicies in every selected namespace" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
COPY --from=builder /build/dist /app/dist
COPY LICENSE /app/LICENSE
# Distroless images have Node in /nodejs/bin, others in a usual place.
ENV PATH=/nodejs/bin:/usr/local/bin:/usr/bin:/bin
WORKDIR /app
# By number, so that the kubelet can tell that it is not root.
USER 65532:65532
EXPOSE 8080 8081 8443
# As `npm run operator` starts it: less memory for hardly more time in the garbage collector.
ENTRYPOINT ["node", "--max-semi-space-size=8", "--single-threaded-gc", "/app/dist/main.js"]
