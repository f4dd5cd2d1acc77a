# The definition of basic-svc: save it with `micro definition save examples/basic/basic.mu`.
id: basic-svc
image:
  name: micromesh/basic:latest
  internalPorts: [8090]
ports:
  - host: 8090
    internal: 8090
envars:
  - {key: MICRO_SERVER, value: http://gateway:8080}
  - {key: MICRO_SELF_URL, value: http://basic:8090}
  - {key: BASIC_DATABASE_URL, value: sqlite:/data/basic.db}
  - {key: BASIC_DATA, value: /data}
apiSpecs:
  - protocolType: OpenAPI
    version: 1.0.0
    url: /basic-svc/openapi.yaml
