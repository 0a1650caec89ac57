"""Cityloop over gRPC; see ``cityloop.proto``. The stubs beside it are made from it by `make protos`."""
