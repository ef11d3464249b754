"""nginx in front of Skyquay: what it answers, passes on, tries again and writes down."""

import os
import re
import signal
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from service.contract.base import MAX_WAIT_S
from tests.nginx import (
    FILES,
    answer_ok,
    hang_up,
    run_nginx,
    run_upstream,
    write_files,
)
from tests.support import SKYQUAY, a_key, eventually

pytestmark = pytest.mark.spawns


@pytest.fixture
def nginx(tmp_path, live_server):
    """nginx in front of the real application."""
    with run_nginx(tmp_path, urlsplit(live_server.url).netloc) as running:
        yield running


@pytest.fixture
def tls_nginx(tmp_path, live_server):
    """nginx with HTTPS in front of the real application."""
    with run_nginx(tmp_path, urlsplit(live_server.url).netloc, tls=True) as running:
        yield running


@pytest.fixture
def deaf():
    """The address of a socket that is held and listens to nobody: connections are refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield "{}:{}".format(*held.getsockname())


@pytest.fixture
def lonely_nginx(tmp_path, deaf):
    """nginx in front of nothing."""
    with run_nginx(tmp_path, deaf) as running:
        yield running


@pytest.fixture
def upstream():
    """A stand-in for the application that answers 200 to everything."""
    with run_upstream(answer_ok) as running:
        yield running


def greet(nginx, *, ciphers="ALL", alpn=("http/1.1",), oldest=None, newest=None):
    """Shake hands over TLS as an old or a new client; return the version and protocol agreed on."""
    context = ssl.create_default_context(cafile=nginx.folder / "fullchain.pem")
    context.set_alpn_protocols(alpn)
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.minimum_version = oldest or context.minimum_version
    context.maximum_version = newest or context.maximum_version
    address = urlsplit(nginx.tls_url)
    with (
        socket.create_connection((address.hostname, address.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=address.hostname) as secure,
    ):
        return secure.version(), secure.selected_alpn_protocol()


def test_nginx_accepts_the_files(tmp_path):
    """
    The nginx of Debian finds nothing wrong with the site, HTTPS and the upstream.
    """
    command = write_files(
        tmp_path, upstreams=["127.0.0.1:8000"], listen="127.0.0.1:80", listen_tls="127.0.0.1:443"
    )

    result = subprocess.run(
        [*command, "-t"], capture_output=True, text=True, timeout=30, check=False
    )

    assert (0, False) == (result.returncode, "[warn]" in result.stderr), result.stderr


def test_root_is_json_through_nginx(nginx):
    """
    GET / answers 200 and JSON without a key: clients do not start without it.
    """
    answer = requests.get(f"{nginx.url}/", timeout=10)

    assert (200, "application/json") == (answer.status_code, answer.headers["Content-Type"])
    assert dict is type(answer.json())


def test_nginx_does_not_tell_its_version(nginx):
    """
    The Server header has no version number in it.
    """
    answer = requests.get(f"{nginx.url}/", timeout=10)

    assert "nginx" == answer.headers["Server"]


def test_delete_with_a_body_reaches_the_application(nginx, live_server):
    """
    The body of a DELETE is passed on: the application answers about the id that stands in it.
    """
    answer = requests.delete(
        f"{nginx.url}/api/instance/delete",
        json={"id": "i-that-is-nowhere"},
        headers={"x-api-key": live_server.key},
        timeout=30,
    )

    assert 400 == answer.status_code
    assert "i-that-is-nowhere" in answer.text


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 4 * 1024 * 1024], ids=["a little", "much"])
def test_a_body_that_is_too_large_is_refused_in_json(nginx, live_server, size):
    """
    Just past 1 MiB the application answers 413, well past it nginx does: in JSON both.
    """
    answer = requests.post(
        f"{nginx.url}/api/getUser",
        data=b'{"type": "email", "value": "' + b"x" * size + b'"}',
        headers={"x-api-key": live_server.key, "Content-Type": "application/json"},
        timeout=30,
    )

    assert 413 == answer.status_code
    assert {"error", "code", "details"} <= set(answer.json())


def test_a_body_of_the_limit_passes_nginx(nginx, live_server):
    """
    nginx lets a body of just under 1 MiB through: it is the application that reads and judges it.
    """
    value = "x" * (1024 * 1024 - 100)

    answer = requests.post(
        f"{nginx.url}/api/getUser",
        json={"type": "email", "value": value},
        headers={"x-api-key": live_server.key},
        timeout=30,
    )

    assert 400 == answer.status_code


def test_a_request_id_comes_back(nginx):
    """
    The id that a client gives its request is passed on, and stands in the answer and in the log.
    """
    answer = requests.get(f"{nginx.url}/", headers={"X-Request-Id": "order-66.a_B"}, timeout=10)

    assert "order-66.a_B" == answer.headers["X-Request-Id"]
    assert '"request_id":"order-66.a_B"' in nginx.quit()


@pytest.mark.parametrize("sent", [None, "", "two words", "x" * 65, 'quo"te'])
def test_a_request_without_a_usable_id_gets_one(nginx, sent):
    """
    Where no id is given, or one that is not safe to log, nginx makes one.
    """
    answer = requests.get(f"{nginx.url}/", headers={"X-Request-Id": sent}, timeout=10)

    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_json_is_compressed(nginx):
    """
    A long JSON answer is compressed for clients that can read it, and is the same.
    """
    url = f"{nginx.url}/openapi.json"

    packed = requests.get(url, headers={"Accept-Encoding": "gzip"}, timeout=10)
    plain = requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=10)

    assert ("gzip", None) == tuple(a.headers.get("Content-Encoding") for a in (packed, plain))
    assert plain.json() == packed.json()


def test_no_key_of_a_node_is_logged(nginx):
    """
    Enrolling a node sends its keys in the query string; nginx logs the path without them.
    """
    query = "authKey=old-hunter2&configureKey=once-hunter2&accessKey=new-hunter2"

    requests.post(f"{nginx.url}/nodes/configure?{query}", timeout=10)

    logs = nginx.quit()
    assert '"path":"/nodes/configure"' in logs
    assert "hunter2" not in logs


def test_an_absent_application_is_answered_in_json(lonely_nginx):
    """
    While Skyquay is away nginx answers 503 in JSON, says when to try again and keeps the id.
    """
    answer = requests.get(
        f"{lonely_nginx.url}/api/users", headers={"X-Request-Id": "order-66"}, timeout=10
    )

    assert 503 == answer.status_code
    assert {"error", "code", "details"} <= set(answer.json())
    assert ("2", "order-66") == (answer.headers["Retry-After"], answer.headers["X-Request-Id"])


@pytest.mark.parametrize("path", ["/nodes/configure", "/nodes/configure/"])
def test_no_key_of_a_node_is_logged_while_the_application_is_absent(lonely_nginx, path):
    """
    The error log, too, stays free of the keys of nodes when a request for it fails.
    """
    requests.post(f"{lonely_nginx.url}{path}?accessKey=new-hunter2", timeout=10)

    logs = lonely_nginx.quit()
    assert f'"path":"{path}"' in logs
    assert "hunter2" not in logs


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [("x" * 20_000, "short", 414), ("", "x" * 40_000, 400)],
    ids=["a long URL", "a long header"],
)
def test_what_nginx_cannot_take_is_answered_in_json(lonely_nginx, path, header, status):
    """
    A request that nginx itself refuses is answered in JSON as well.
    """
    answer = requests.get(f"{lonely_nginx.url}/{path}", headers={"X-Long": header}, timeout=10)

    assert status == answer.status_code
    assert {"error", "code", "details"} <= set(answer.json())


# HTTPS


def test_https_is_served(tls_nginx):
    """
    The real application answers over TLS with the certificate of the files.
    """
    trusted = tls_nginx.folder / "fullchain.pem"

    answer = requests.get(f"{tls_nginx.tls_url}/healthz", verify=trusted, timeout=10)

    assert (200, {"status": "ok"}) == (answer.status_code, answer.json())


@pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["http/1.1"]])
def test_http_2_is_spoken_with_who_can(tls_nginx, offered):
    """
    HTTP/2 is agreed on with clients that offer it, HTTP/1.1 with others; with TLS 1.3 if they can.
    """
    agreed = greet(tls_nginx, alpn=offered)

    assert ("TLSv1.3", offered[0]) == agreed


def test_tls_1_2_is_spoken(tls_nginx):
    """
    A client that knows no TLS 1.3 is served with 1.2.
    """
    version, _ = greet(tls_nginx, newest=ssl.TLSVersion.TLSv1_2)

    assert "TLSv1.2" == version


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_tls_is_refused(tls_nginx, version):
    """
    There is no agreement with a client that knows nothing newer than TLS 1.1.
    """
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        greet(tls_nginx, oldest=version, newest=version)


def test_weak_ciphers_are_refused(tls_nginx):
    """
    With TLS 1.2 nothing is agreed on that has no forward secrecy or no AEAD.
    """
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        greet(tls_nginx, ciphers="ALL:!AESGCM:!CHACHA20", newest=ssl.TLSVersion.TLSv1_2)


def test_who_comes_in_the_clear_is_sent_to_https(tls_nginx):
    """
    With HTTPS, port 80 sends who brings no key to the same place there, by a redirect that keeps
    the method.
    """
    answer = requests.get(
        f"{tls_nginx.url}/docs/?a=b",
        headers={"Host": "skyquay.test"},
        allow_redirects=False,
        timeout=10,
    )

    assert (308, "https://skyquay.test/docs/?a=b") == (
        answer.status_code,
        answer.headers["Location"],
    )


@pytest.mark.parametrize(("header", "scheme"), [("x-api-key", ""), ("Authorization", "Bearer ")])
def test_a_key_that_comes_in_the_clear_is_refused(tls_nginx, live_server, header, scheme):
    """
    With HTTPS, a key on port 80 is a 403 in JSON: its owner must notice that it can be read. It is
    the same key that HTTPS takes, and nginx logs it on neither way.
    """
    headers = {header: f"{scheme}{live_server.key}"}
    path = "/api/users"

    plain = requests.get(f"{tls_nginx.url}{path}", headers=headers, timeout=10)
    secure = requests.get(
        f"{tls_nginx.tls_url}{path}",
        headers=headers,
        verify=str(tls_nginx.folder / "fullchain.pem"),
        timeout=10,
    )

    assert (403, "https_required") == (plain.status_code, plain.json()["code"])
    assert 200 == secure.status_code
    logged = tls_nginx.quit()
    assert ('"status":403' in logged, live_server.key in logged) == (True, False)


def test_one_address_has_so_many_requests_at_a_time(tmp_path):
    """
    Who has too many under way is refused one more, in JSON, until others are answered.
    """
    site = FILES.joinpath("skyquay.conf").read_text()
    limit = int(re.search(r"limit_conn skyquay_addresses (\d+);", site)[1])
    waiting, go_on = threading.Semaphore(0), threading.Event()

    def wait(request):
        waiting.release()
        go_on.wait(30)
        answer_ok(request)

    with (
        run_upstream(wait) as upstream,
        run_nginx(tmp_path, upstream.address) as nginx,
        ThreadPoolExecutor(limit) as clients,
    ):
        others = [clients.submit(requests.get, nginx.url, timeout=30) for _ in range(limit)]
        for _ in others:
            assert waiting.acquire(timeout=30)
        refused = requests.get(nginx.url, timeout=30)
        go_on.set()
        statuses = {other.result().status_code for other in others}

    assert (429, {200}) == (refused.status_code, statuses)
    assert {"error", "code", "details"} == set(refused.json())


# What reaches the application


def test_connections_to_the_application_are_kept(tmp_path, upstream):
    """
    Fifty clients one after the other share one connection from nginx to the application.
    """
    with run_nginx(tmp_path, upstream.address) as nginx:
        for _ in range(50):
            requests.get(nginx.url, timeout=10)

    assert (50, 1) == (len(upstream.requests), upstream.connections)


def test_a_client_cannot_say_who_it_is(tmp_path, upstream):
    """
    The last of X-Forwarded-For is who called nginx; what the client wrote there stands before it.
    """
    with run_nginx(tmp_path, upstream.address) as nginx:
        spoofed = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        requests.get(nginx.url, headers=spoofed, timeout=10)

    _, _, headers = upstream.requests[0]
    assert ("203.0.113.9, 127.0.0.1", "http") == (
        headers["X-Forwarded-For"],
        headers["X-Forwarded-Proto"],
    )


def test_the_application_learns_of_https(tmp_path, upstream):
    """
    What came over TLS is told so, whatever the client says, and which host was asked.
    """
    with run_nginx(tmp_path, upstream.address, tls=True) as nginx:
        trusted = nginx.folder / "fullchain.pem"
        spoofed = {"X-Forwarded-Proto": "http", "Host": "skyquay.test"}
        requests.get(nginx.tls_url, headers=spoofed, verify=trusted, timeout=10)

    _, _, headers = upstream.requests[0]
    assert ("https", "skyquay.test") == (headers["X-Forwarded-Proto"], headers["Host"])


def test_the_application_is_told_the_request_id(tmp_path, upstream):
    """
    The id that a client gives its request reaches the application.
    """
    with run_nginx(tmp_path, upstream.address) as nginx:
        requests.get(nginx.url, headers={"X-Request-Id": "order-66"}, timeout=10)

    assert "order-66" == upstream.requests[0][2]["X-Request-Id"]


def test_nginx_is_as_patient_as_clients_may_be():
    """
    nginx waits longer for an answer than the longest `?wait=` that the API allows.
    """
    site = FILES.joinpath("skyquay.conf").read_text()

    assert MAX_WAIT_S + 10 < int(re.search(r"proxy_read_timeout (\d+)s", site)[1])


def test_a_stream_is_passed_on_as_it_comes(tmp_path):
    """
    With X-Accel-Buffering: no, an event is with the client before the next one is made.
    """
    seen = threading.Event()

    def stream(request):
        request.send_response_only(200)
        request.send_header("Content-Type", "text/event-stream")
        request.send_header("X-Accel-Buffering", "no")
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(b"data: 1\n\n")
        if seen.wait(20):
            request.wfile.write(b"data: 2\n\n")
        request.close_connection = True

    with (
        run_upstream(stream) as upstream,
        run_nginx(tmp_path, upstream.address) as nginx,
        requests.get(nginx.url, stream=True, timeout=10) as answer,
    ):
        events = answer.iter_lines(chunk_size=1, delimiter=b"\n\n")
        first = next(events)
        seen.set()

        assert [b"data: 1", b"data: 2"] == [first, *filter(None, events)]


# What is tried again


def test_a_read_that_got_no_answer_is_tried_on_the_other_process(tmp_path, upstream):
    """
    A GET whose process died before it answered is answered by the other one.
    """
    with (
        run_upstream(hang_up) as dying,
        run_nginx(tmp_path, dying.address, upstream.address) as nginx,
    ):
        statuses = [requests.get(nginx.url, timeout=10).status_code for _ in range(10)]

    assert ([200] * 10, 10) == (statuses, upstream.count("GET"))
    assert dying.requests


def test_a_read_is_tried_again_where_processes_share_an_address(tmp_path):
    """
    A GET whose process died is sent to the same address again, where another process takes it.
    """

    def answer_the_second(request):
        (hang_up if upstream.count("GET") == 1 else answer_ok)(request)

    with (
        run_upstream(answer_the_second) as upstream,
        run_nginx(tmp_path, upstream.address) as nginx,
    ):
        answer = requests.get(nginx.url, timeout=10)

    assert (200, 2) == (answer.status_code, upstream.count("GET"))


def test_a_write_that_got_no_answer_is_not_sent_again(tmp_path, upstream):
    """
    A POST whose process died may have been carried out: it is a 503, and sent to nobody else.
    """
    with (
        run_upstream(hang_up) as dying,
        run_nginx(tmp_path, dying.address, upstream.address) as nginx,
    ):
        statuses = [requests.post(nginx.url, b"{}", timeout=10).status_code for _ in range(10)]

    assert {503: dying.count("POST"), 200: upstream.count("POST")} == Counter(statuses)
    assert (10, True) == (len(upstream.requests) + len(dying.requests), bool(dying.requests))


def test_a_write_that_was_not_sent_is_tried_on_the_other_process(tmp_path, upstream, deaf):
    """
    A POST that a process did not even accept is answered by the other one.
    """
    with run_nginx(tmp_path, deaf, upstream.address) as nginx:
        statuses = [requests.post(nginx.url, b"{}", timeout=10).status_code for _ in range(10)]

    assert ([200] * 10, 10) == (statuses, upstream.count("POST"))


@contextmanager
def run_api(config, *, processes=1) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve the test's database with so many processes; tell where, once they listen."""
    environ = {
        **os.environ,
        "SKYQUAY_MONGODB_URI": config.mongodb_uri,
        "SKYQUAY_DATABASE": config.database,
        "SKYQUAY_SECRET_KEY": "a-secret-key-of-tests",
        "SKYQUAY_LISTEN": "127.0.0.1:0",
    }
    command = [SKYQUAY, "serve", "--no-worker", "--processes", str(processes)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield urlsplit(process.stdout.readline().split()[-1]).netloc, process
        finally:
            process.terminate()


class Readers:
    """Four clients that list the users again and again, two of them on connections they keep."""

    def __init__(self, url, key):
        self.statuses = Counter()
        self._url = f"{url}/api/users"
        self._headers = {"x-api-key": key}
        self._over = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self):
        self._threads = ThreadPoolExecutor(4)
        self._work = [self._threads.submit(self._read, kept) for kept in (True, True, False, False)]
        return self

    def __exit__(self, *_):
        self._over.set()
        self._threads.shutdown()
        for work in self._work:
            work.result()

    def await_more(self, number):
        """Wait until this many more answers have come."""
        enough = self.statuses.total() + number
        assert eventually(lambda: self.statuses.total() >= enough, timeout_s=60)

    def _read(self, kept):
        with requests.Session() as session:
            while not self._over.is_set():
                ask = session if kept else requests
                answer = ask.get(self._url, headers=self._headers, timeout=30)
                with self._lock:
                    self.statuses[answer.status_code] += 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_read_fails_while_one_process_ends(tmp_path, config, store, number):
    """
    Under load one of two processes is killed, or told to end: every GET is answered all the same.
    """
    with (
        run_api(config) as (first, doomed),
        run_api(config) as (second, _),
        run_nginx(tmp_path, first, second) as nginx,
        Readers(nginx.url, a_key(store)) as readers,
    ):
        readers.await_more(200)
        doomed.send_signal(number)
        doomed.wait(30)
        readers.await_more(200)

    assert {200} == set(readers.statuses)


@pytest.mark.slow
def test_no_read_fails_while_a_process_of_one_address_dies(tmp_path, config, store):
    """
    Under load one of the two processes of `skyquay serve` is killed: every GET is answered.
    """
    with (
        run_api(config, processes=2) as (address, parent),
        run_nginx(tmp_path, address) as nginx,
        Readers(nginx.url, a_key(store)) as readers,
    ):
        readers.await_more(200)
        doomed = psutil.Process(parent.pid).children()[0]
        doomed.kill()
        readers.await_more(200)

    assert {200} == set(readers.statuses)


@pytest.mark.slow
def test_no_read_fails_while_all_processes_are_replaced(tmp_path, config, store):
    """
    Under load SIGHUP replaces the processes of `skyquay serve`: every GET is answered.
    """
    with (
        run_api(config, processes=2) as (address, parent),
        run_nginx(tmp_path, address) as nginx,
        Readers(nginx.url, a_key(store)) as readers,
    ):
        readers.await_more(200)
        before = psutil.Process(parent.pid).children()
        parent.send_signal(signal.SIGHUP)
        assert eventually(lambda: not any(each.is_running() for each in before), timeout_s=60)
        readers.await_more(200)

    assert {200} == set(readers.statuses)
