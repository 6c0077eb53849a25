"""Where systems under test come from: each backend implements the protocols of `meshmark.cluster`."""
