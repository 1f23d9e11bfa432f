"""What every Terra daemon shares: the HTTP application, tokens, TLS, readiness and metrics."""
