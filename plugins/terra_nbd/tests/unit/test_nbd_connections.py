"""What ss(8) says of connections."""

from __future__ import annotations

from terra_nbd.connections import Connection, parse_connections

SHOWN = """\
0      0      10.0.10.4:20002 10.0.10.50:41810
\t cubic wscale:10,10 rto:204 rtt:0.123/0.062 mss:1348 bytes_sent:43800 bytes_acked:43801 bytes_received:906 segs_out:20
0      0           [::ffff:10.0.10.4]:20003 [::ffff:10.0.10.51]:41816
\t cubic wscale:10,10 rto:204
0      0      [fe80::1]%br0:20004   [fe80::2%br0]:41817
\t cubic bytes_sent:7
another line
"""


def test_each_connection_has_its_ends_and_its_bytes() -> None:
    assert list(parse_connections(SHOWN)) == [
        Connection(20002, "10.0.10.50", 43800),
        Connection(20003, "10.0.10.51", 0),
        Connection(20004, "fe80::2", 7),
    ]
    assert list(parse_connections("")) == []
