"""Errors of TLS certificates in words that say which side has to mend them."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

_NOT_YET_VALID, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED, of OpenSSL's x509_vfy.h."""


def explain(error: ssl.SSLCertVerificationError, hint: str) -> tuple[str, str]:
    """Return what goes on from the words "its certificate", and what to do about it.

    :param hint: what to do about an authority that is not known.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if error.verify_code == _NOT_YET_VALID:
        return "is not valid yet", f"this machine's clock says {now}: if that is wrong, set it"
    if error.verify_code == _EXPIRED:
        return "has expired", f"its server needs a new one, unless this machine's clock is wrong: it says {now}"
    return f"is not trusted: {error.verify_message}", hint
