"""TLS to nodes: what is made of the certificates that somebody sent for one."""

import ssl

from service.model.tls import load_pair


def make_context(
    *, ca: str | None = None, cert: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Make what a client needs to speak TLS: whom it trusts, and who it is.

    Without `ca` it trusts whom the system trusts. Raises ssl.SSLError for what cannot be used.
    """
    context = ssl.create_default_context(cadata=ca)
    # Newer versions of Python are strict with fields that private CAs often leave out.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cert is not None and key is not None:
        load_pair(context, cert=cert, key=key)
    return context
