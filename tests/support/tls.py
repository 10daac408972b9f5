"""TLS for the proxy in front of a job server."""

from __future__ import annotations

import ssl

import trustme


def tls_for(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """What a server of that name speaks, with a certificate from the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def require_certificate(context: ssl.SSLContext, authority: trustme.CA) -> ssl.SSLContext:
    """Refuse clients without a certificate from the authority."""
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    return context
