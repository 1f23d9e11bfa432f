"""What Terra's files say: frozen models of server.toml, node.toml and controller.toml, their values, and the loader."""
