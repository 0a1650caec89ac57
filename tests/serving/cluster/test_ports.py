"""Free ports of this machine."""

import socket

from serving.cluster.ports import PORTS, free_ports


def test_free_ports_are_different_and_nobody_listens_there() -> None:
    found = free_ports(50)
    assert len(set(found)) == 50
    assert set(found) <= set(PORTS)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", found[0]))
        taken.listen()
        assert found[0] not in free_ports(len(PORTS) // 2)
