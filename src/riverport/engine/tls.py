"""TLS for TCP hosts: the daemon's certificate and, where clients must show one, the authority that signs theirs."""

from typing import TYPE_CHECKING

from riverport.base.settings import ConfigError, invalid

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from riverport.engine.settings import Settings


def server_context(settings: "Settings") -> "ssl.SSLContext | None":
    """None without `tls`. Raises ConfigError for files that are missing, unreadable, or not of each other."""
    if not settings.tls:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _readable("tlscert", settings.tls_certificate)
    _readable("tlskey", settings.tls_key)
    try:
        context.load_cert_chain(str(settings.tls_certificate), str(settings.tls_key))
    except ssl.SSLError as error:
        problem = f"it and the key {settings.tls_key} are no pair of PEM files ({error.reason or error})"
        raise ConfigError(invalid("tlscert", settings.tls_certificate, problem)) from error
    if settings.tls_verify:
        _readable("tlscacert", settings.tls_ca)
        try:
            context.load_verify_locations(str(settings.tls_ca))
        except ssl.SSLError as error:
            raise ConfigError(invalid("tlscacert", settings.tls_ca, "it holds no certificate (PEM)")) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _readable(key: str, path: "Path | None") -> None:
    assert path is not None, key  # settings.load refuses TLS without its files
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ConfigError(invalid(key, path, f"{error.strerror}")) from error
