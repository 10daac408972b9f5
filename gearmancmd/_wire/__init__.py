"""Packets and bytes, addresses and TLS, one connection, reconnecting: what workers and clients both stand on."""
