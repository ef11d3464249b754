"""Commands that speak with a server: what is sent, what is said of its answers, and how long."""

import json
import ssl

import pytest
from click.testing import CliRunner

from service import cli
from service.cli.login_file import Login, path, write
from service.cli.over_http import is_exposed
from tests.cli.doubles import ME, serving
from tests.support import free_port
from tests.tls import SERVER, Authority

KEY = "a-key-of-the-tests"
NOT_FOUND = {"error": "There is no such user.", "code": "user_not_found", "details": {"id": ["?"]}}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """A configuration folder, and none of the settings that name a server."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("SKYQUAY_URL", raising=False)
    monkeypatch.delenv("SKYQUAY_KEY", raising=False)


def run(*words, typed=None, **env):
    """Run the command."""
    return CliRunner().invoke(cli.main, [str(word) for word in words], input=typed, env=env)


def at(double, *words, typed=None):
    """Run the command at a server."""
    return run("--url", double.url, "--key", KEY, *words, typed=typed)


def test_a_login_is_kept_for_its_owner_alone():
    """The key comes from standard input, is tried, and lies in a file of mode 0600."""
    with serving(("json", 200, ME)) as double:
        outcome = run("login", double.url, typed=f"{KEY}\n")

        [(_, asked, headers, _)] = double.seen
        kept = json.loads(path().read_text())
    assert (0, "/api/me", KEY) == (outcome.exit_code, asked, headers["x-api-key"])
    assert {"url": double.url, "key": KEY} == kept
    assert (0o600, 0o700) == (path().stat().st_mode & 0o777, path().parent.stat().st_mode & 0o777)
    assert KEY not in outcome.output
    assert [path()] == list(path().parent.iterdir())


def test_a_key_that_is_rejected_is_not_kept():
    """The login fails, and the one before stays."""
    write(Login("https://other.example.org", "other-key"))
    problem = {"error": "No.", "code": "unauthorized", "details": {}}
    with serving(("json", 401, problem)) as double:
        outcome = run("login", double.url, typed=f"{KEY}\n")

    assert (3, "other-key") == (outcome.exit_code, json.loads(path().read_text())["key"])


def test_a_logout_forgets_the_login():
    """Nothing is left, and a second one says so."""
    write(Login("https://skyquay.example.org", KEY))

    first, second = run("logout"), run("logout")

    assert (False, "Logged out of https://skyquay.example.org.\n") == (
        path().exists(),
        first.output,
    )
    assert "Nobody was logged in.\n" == second.output


def test_a_broken_login_is_a_sentence():
    """A file that is none is named."""
    path().parent.mkdir(parents=True)
    path().write_text("{")

    outcome = run("users", "list")

    assert (1, True) == (outcome.exit_code, str(path()) in outcome.output)


def test_commands_use_the_login():
    """They send its key to its server."""
    with serving(("json", 200, [])) as double:
        write(Login(double.url, KEY))
        outcome = run("users", "list")

        [(method, asked, headers, _)] = double.seen
    assert (0, "GET", "/api/users", KEY) == (outcome.exit_code, method, asked, headers["x-api-key"])


@pytest.mark.parametrize("env", [{}, {"SKYQUAY_URL": "https://a.example", "SKYQUAY_KEY": "a-key"}])
def test_a_key_is_sent_to_its_own_server_only(env):
    """Neither the login's nor the environment's goes to a server that is named otherwise."""
    write(Login("https://other.example.org", "other-key"))
    with serving(("json", 200, [])) as double:
        outcome = run("users", "list", "--url", double.url, **env)

    assert (2, []) == (outcome.exit_code, double.seen)
    assert f"There is no API key for {double.url}" in outcome.output


def test_a_key_of_the_environment_is_used():
    """SKYQUAY_URL and SKYQUAY_KEY are enough."""
    with serving(("json", 200, [])) as double:
        outcome = run("users", "list", SKYQUAY_URL=double.url, SKYQUAY_KEY=KEY)

    assert (0, KEY) == (outcome.exit_code, double.seen[0][2]["x-api-key"])


def test_a_key_acts_for_a_user():
    """Whoever --as names is sent with each request."""
    with serving(("json", 200, [])) as double:
        at(double, "users", "list", "--as", "ada-1")

    assert "ada-1" == double.seen[0][2]["Act-As"]


def test_a_filter_may_be_given_several_times():
    """Each is a parameter of its own, and true is JSON's."""
    with serving(("json", 200, [])) as double:
        at(double, "instances", "list", "--label", "a:1", "--label", "b:2", "--suspended")

    assert "/api/instances?label=a%3A1&label=b%3A2&suspended=true" == double.seen[0][1]


def test_a_change_may_depend_on_what_was_read():
    """--if-match sends the ETag with the change."""
    with serving(("json", 200, {"userId": "ada-1"})) as double:
        at(double, "users", "edit", "ada-1", "--admin", "--if-match", '"r5"')

    assert '"r5"' == double.seen[0][2]["If-Match"]


def test_a_post_whose_connection_broke_is_sent_again():
    """Both copies have the same Idempotency-Key, so it is done once."""
    user = {"userId": "ada-1"}
    with serving(("hang_up",), ("json", 201, user)) as double:
        outcome = at(double, "users", "create", "ada", "a@example.org", "--password", "long enough")

        keys = [headers["Idempotency-Key"] for _, _, headers, _ in double.seen]
    assert (0, "ada-1\n", 2, 1) == (outcome.exit_code, outcome.output, len(keys), len(set(keys)))


def test_a_patch_whose_connection_broke_is_not_sent_again():
    """Nothing says whether it was done, so its user is told."""
    with serving(("hang_up",)) as double:
        outcome = at(double, "users", "edit", "ada-1", "--admin")

    assert (5, 1) == (outcome.exit_code, len(double.seen))


def test_a_request_that_still_runs_is_waited_for():
    """A repeat that comes too early is repeated, until it is answered."""
    busy = {"error": "Wait.", "code": "idempotency_in_progress", "details": {}}
    with serving(("json", 409, busy), ("json", 200, {"id": "op-2"})) as double:
        outcome = at(double, "operations", "retry", "op-1")

    assert (0, 2) == (outcome.exit_code, len(double.seen))


def test_a_server_that_keeps_no_idempotency_keys_is_asked_without():
    """It has no secret key, and has done nothing."""
    problem = {"error": "No secret key.", "code": "no_secret_key", "details": {}}
    with serving(("json", 500, problem), ("json", 200, {"id": "op-2"})) as double:
        outcome = at(double, "operations", "retry", "op-1")

    assert (0, False) == (outcome.exit_code, "Idempotency-Key" in double.seen[1][2])


@pytest.mark.parametrize("answer", ["be_silent", "drip"])
def test_a_server_that_never_answers_ends_the_command(answer):
    """One that says nothing, and one that never comes to an end, are told alike."""
    with serving((answer,)) as double:
        outcome = at(double, "users", "list", "--timeout", "0.2")

    assert (5, f"Error: {double.url} did not answer within 0.2 s.\n") == (
        outcome.exit_code,
        outcome.output,
    )


def test_a_change_that_is_not_answered_may_be_done():
    """That is said, so that nobody repeats it blindly."""
    with serving(("be_silent",)) as double:
        outcome = at(double, "users", "edit", "ada-1", "--admin", "--timeout", "0.2")

    assert (5, True) == (outcome.exit_code, "It may have done it all the same" in outcome.output)


def test_a_server_that_is_not_there_is_named():
    """Where nobody listens, one sentence says so."""
    url = f"http://127.0.0.1:{free_port()}"

    outcome = run("users", "list", "--url", url, "--key", KEY)

    assert (5, f"Error: {url} cannot be reached: Connection refused.\n") == (
        outcome.exit_code,
        outcome.output,
    )


def test_a_key_follows_no_redirect():
    """Where it leads is said, and nothing is sent there."""
    with serving(("json", 200, [])) as other, serving(("lead_to", other.url)) as double:
        outcome = at(double, "users", "list")

    assert (5, []) == (outcome.exit_code, other.seen)
    assert f"leads to {other.url}" in outcome.output


@pytest.mark.parametrize("answer", [("html", 200), ("html", 404), ("json", 404, {"message": "?"})])
def test_another_server_is_told_from_skyquay(answer):
    """Its answers are no answers."""
    with serving(answer) as double:
        outcome = at(double, "users", "list")

    assert (5, True) == (outcome.exit_code, "is not Skyquay" in outcome.output)


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "invalid_input", 1),
        (409, "conflict", 1),
        (500, "node_offline", 1),
        (401, "unauthorized", 3),
        (403, "forbidden", 3),
        (404, "user_not_found", 4),
        (400, "operation_not_found", 4),
        (429, "too_many_requests", 5),
        (503, "busy", 5),
    ],
)
def test_an_error_has_its_exit_code(status, code, exit_code):
    """The message and each wrong field are printed."""
    problem = {"error": "It is wrong.", "code": code, "details": {"a": ["One.", "Two."]}}
    with serving(("json", status, problem)) as double:
        outcome = at(double, "users", "show", "ada-1")

    assert (exit_code, "Error: It is wrong.\n  a: One.\n  a: Two.\n") == (
        outcome.exit_code,
        outcome.output,
    )


def test_an_error_has_its_request_id_when_asked():
    """That is for who asks the operator."""
    with serving(("json", 404, NOT_FOUND)) as double:
        outcome = at(double, "users", "show", "ada-1", "-v")

    assert "\n  request id: the-request-s-id\n" in outcome.output


def test_certificates_are_checked(tmp_path):
    """A server of an unknown authority gets no key, until that is named."""
    authority = Authority()
    pair = authority.issue(SERVER)
    for name, text in (("cert", pair.cert), ("key", pair.key), ("ca", authority.pem)):
        (tmp_path / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with serving(("json", 200, [])) as double:
        double.socket = context.wrap_socket(double.socket, server_side=True)
        url = double.url.replace("http:", "https:")
        unknown = run("users", "list", "--url", url, "--key", KEY)
        known = run("users", "list", "--url", url, "--key", KEY, "--ca", tmp_path / "ca")

    assert (5, True) == (unknown.exit_code, "cannot be trusted" in unknown.output)
    assert (0, 1) == (known.exit_code, len(double.seen))


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("http://skyquay.example.org", True),
        ("http://10.0.0.1:8080", True),
        ("http://127.0.0.1:8080", False),
        ("http://[::1]:8080", False),
        ("http://localhost", False),
        ("https://skyquay.example.org", False),
    ],
)
def test_a_key_that_others_can_read_is_warned_of(url, exposed):
    """Unencrypted, and not to this very machine."""
    assert exposed == is_exposed(url)


@pytest.mark.parametrize(
    "url",
    ["skyquay.example.org", "ftp://a", "http://", "http://a:b@c", "http://a?b", "http://a:port"],
)
def test_what_is_no_server_is_wrong_usage(url):
    """It is said, with what one is like."""
    outcome = run("users", "list", "--url", url, "--key", KEY)

    assert (2, True) == (outcome.exit_code, "is no URL of a server" in outcome.output)


@pytest.mark.parametrize("reference", ["", ".", ".."])
def test_no_reference_means_another_path(reference):
    """What a path would swallow is refused before anything is sent."""
    assert 2 == run("users", "delete", reference, "--yes", "--url", "http://127.0.0.1:1",
                    "--key", KEY).exit_code  # fmt: skip


def test_a_reference_stays_one_part_of_the_path():
    """Names may have any characters."""
    with serving(("json", 404, NOT_FOUND)) as double:
        at(double, "images", "show", "a/../b?c")

    assert "/api/images/a%2F..%2Fb%3Fc" == double.seen[0][1]


def test_json_is_what_the_api_answered():
    """Byte for byte, whatever else is shown."""
    user = {"userId": "ada-1", "new": {"of a later": ["version"]}}
    with serving(("json", 200, user)) as double:
        outcome = at(double, "users", "show", "ada-1", "--json")

    assert json.dumps(user) + "\n" == outcome.output


def test_nothing_of_others_commands_a_terminal():
    """Names with escape sequences are written out."""
    user = {"userId": "a\x1b[2Jb", "username": "c\nd"}
    with serving(("json", 200, [user])) as double:
        outcome = at(double, "users", "list", "--fields", "userId,username")

    assert r"a\x1b[2Jb  c\nd" + "\n" == outcome.output


def test_the_next_page_is_told():
    """The cursor is printed beside the list, as it can be given."""
    link = '<https://x/api/users?limit=1&cursor=ab%2Bc%3D>; rel="next"'
    with serving(("json", 200, [{"userId": "a"}], link)) as double:
        outcome = at(double, "users", "list", "--limit", "1", "--fields", "userId")

    assert "There are more: --cursor ab+c=\n" == outcome.stderr
    assert "a\n" == outcome.stdout


def test_what_destroys_is_not_done_unasked():
    """Without a terminal and without --yes nothing is sent."""
    words = [
        ("instances", "delete", "i1"),
        ("instances", "reinstall", "i1", "--no-keep-volume"),
        ("users", "delete", "ada-1"),
        ("nodes", "delete", "n1"),
        ("nodes", "resolve", "n1", "--remove", "i1"),
        ("images", "delete", "web"),
        ("keys", "revoke", "k1"),
    ]
    with serving(("json", 200, {})) as double:
        codes = [at(double, *each).exit_code for each in words]

    assert ([2] * len(words), []) == (codes, double.seen)
