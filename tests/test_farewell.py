"""Closing connections so that nothing that was answered is lost."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

from gearmancmd.connection import ServerConnection
from gearmancmd.farewell import part


def test_what_is_on_its_way_to_us_does_not_cost_the_server_our_last_answer():
    """A plain close() with unread data in the socket makes TCP reset the connection."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        connection = ServerConnection(*listener.getsockname())
        connection.connect()
        server, _ = listener.accept()
        with closing(server):
            server.sendall(b"x" * 1000)
            connection.write(b"answer")
            parting = threading.Thread(target=part, args=([connection],))
            parting.start()
            received = b""
            while piece := server.recv(100):
                received += piece
            server.shutdown(socket.SHUT_RDWR)
            parting.join()
    assert received == b"answer"
    assert not connection.connected


def test_a_server_that_does_not_react_is_left_all_the_same():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        connection = ServerConnection(*listener.getsockname())
        connection.connect()
        part([connection])
    assert not connection.connected
