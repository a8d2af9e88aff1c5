"""The cases, by kind of fault. Importing this package registers them all."""
from . import capture, checksum, drop, healthy, link, loss, pmtu, reset, service, several, stall    # noqa: F401
