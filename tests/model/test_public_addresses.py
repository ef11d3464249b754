"""What a player types."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.public_addresses import find_host, parse_host, print_endpoint


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("play.example.org", "play.example.org"),
        (" play.example.org. ", "play.example.org"),
        ("localhost", "localhost"),
        ("192.168.0.7", "192.168.0.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a" * 63 + ".org", "a" * 63 + ".org"),
    ],
)
def test_a_host_is_a_name_or_an_address(text, host):
    """Without the brackets, which stand around it where there is a port."""
    assert host == parse_host(text)


@pytest.mark.parametrize(
    "text",
    ["", ".", "play.example.org:25565", "https://example.org", "1.2.3", "1.2.3.999", "a b",
     "-a.org", "a-.org", "a..org", "a" * 64 + ".org", "a." * 127 + "org", "bücher.example", "a/b",
     "u@h", "[a.org]", "[::1", "fe80::1%eth0", "unix:///x", "a\0"],
)  # fmt: skip
def test_what_is_no_host_is_refused(text):
    """Neither a port nor a scheme nor a path is a part of one."""
    with pytest.raises(ValueError, match="host name or an IP address"):
        parse_host(text)


@given(text=st.text(max_size=300))
def test_a_host_is_read_as_itself(text):
    """Whatever is read is read again as it is."""
    try:
        host = parse_host(text)
    except ValueError:
        return

    assert host == parse_host(host)


@pytest.mark.parametrize(
    ("public", "address", "host"),
    [
        ("play.example.org", "10.0.0.7", "play.example.org"),
        ("10.0.0.7", "node.example.org", "10.0.0.7"),
        (None, "node.example.org", "node.example.org"),
        (None, "8.8.8.8", "8.8.8.8"),
        (None, "[2606:4700::1111]", "2606:4700::1111"),
        (None, "10.0.0.7", None),
        (None, "127.0.0.1", None),
        (None, "169.254.1.1", None),
        (None, "::1", None),
        (None, "fd00::1", None),
        (None, "localhost", None),
        (None, "dockerhost", None),
        (None, "node.internal", None),
        (None, "unix:///var/run/docker.sock", None),
        (None, "2130706433", None),
        (None, "", None),
    ],
)
def test_a_host_is_what_players_can_use(public, address, host):
    """What is said of it, or an address that is not only of a private network."""
    assert host == find_host({"public_address": public, "address": address})


def test_an_endpoint_has_brackets_around_colons():
    """Else nobody could say where the port begins."""
    assert ("a.org:1", "[2001:db8::1]:2") == (
        print_endpoint("a.org", 1),
        print_endpoint("2001:db8::1", 2),
    )
