"""Who may talk to the viewer: its own page, and beyond this machine whoever has the token."""

import http.client
import http.server
import threading
from contextlib import closing

import pytest
import viser
import websockets.sync.client
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request

from nerf_jax.app.viewer import open_viewer
from nerf_jax.app.viewer.access import guarded, is_loopback, make_token, refusal
from nerf_jax.app.viewer.server import free_port
from tests.app.viewer.pages import ball_scene
from tests.browser import fixture

PROTOCOL = f"viser-v{viser.__version__}"


@pytest.fixture(scope="module")
def browser():
    yield from fixture()


@pytest.fixture(scope="module", params=["127.0.0.1", "0.0.0.0"])
def viewer(request, tmp_path_factory):
    scene = ball_scene(tmp_path_factory.mktemp("run"))
    with closing(open_viewer(scene, free_port(25_000), request.param)) as viewer:
        yield viewer


def handshake(port: int, headers: dict[str, str]) -> int:
    """The status of a websocket's handshake."""
    try:
        with websockets.sync.client.connect(
            f"ws://127.0.0.1:{port}", subprotocols=[PROTOCOL], additional_headers=headers
        ):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_token(host: str):
    assert is_loopback(host)
    assert make_token(host) is None


def test_every_token_is_new_and_long():
    assert not is_loopback("192.168.1.7")
    tokens = {make_token("0.0.0.0") for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 32


SOCKET = {"Upgrade": "websocket"}


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Host": "127.0.0.1:80", "Origin": "http://127.0.0.1:80"}, True),
        ({"Host": "localhost:9", "Origin": "http://localhost:9"}, True),
        ({"Host": "[::1]:80", "Origin": "http://[::1]:80"}, True),
        ({"Host": "127.0.0.1:80"}, True),  # no browser: a script of this machine
        ({"Host": "127.0.0.1:80", "Origin": "http://localhost:80"}, False),
        ({"Host": "127.0.0.1:80", "Origin": "http://127.0.0.1:81"}, False),
        ({"Host": "127.0.0.1:80", "Origin": "http://evil.example"}, False),
        ({"Host": "127.0.0.1:80", "Origin": "null"}, False),
        ({"Host": "evil.example:80", "Origin": "http://evil.example:80"}, False),  # rebinding
        ({"Host": "127.0.0.1.evil.example", "Origin": "http://127.0.0.1.evil.example"}, False),
        ({"Host": "evil.example@127.0.0.1", "Origin": "http://evil.example"}, False),
        ({}, False),
    ],
)
def test_the_origin_is_the_viewer_s_page_under_a_name_of_this_machine(headers, allowed: bool):
    assert (refusal(Request("/", Headers(headers | SOCKET)), None) is None) == allowed


@pytest.mark.parametrize(
    ("path", "cookie", "allowed"),
    [
        ("/?token=secret", "", True),
        ("/", "nerf_jax_token_a_example=secret", True),
        ("/", "a=b; nerf_jax_token_a_example=secret", True),
        ("/", 'a={"x":1}; b:@=1; nerf_jax_token_a_example=secret', True),
        ("/?token=wrong", "nerf_jax_token_a_example=secret", True),
        ("/", "", False),
        ("/?token=", "nerf_jax_token_a_example=", False),
        ("/?token=secre", "other=secret", False),
        ("/", "nerf_jax_token_a_example_8080=secret", False),
        ("/?token=%C3%A9", "nerf_jax_token_a_example=é", False),
    ],
)
def test_a_token_is_in_the_address_or_in_a_cookie(path: str, cookie: str, allowed: bool):
    headers = Headers({"Host": "a.example", "Origin": "http://a.example", "Cookie": cookie})
    assert (refusal(Request(path, headers), "secret") is None) == allowed


def test_a_server_refuses_others(viewer):
    own, port = f"127.0.0.1:{viewer.port}", viewer.port
    token = viewer.url.partition("token=")[2]
    cookie = {"Cookie": f"nerf_jax_token_127_0_0_1_{port}={token}"} if token else {}
    assert handshake(port, cookie | {"Origin": f"http://{own}"}) == 101
    assert handshake(port, cookie | {"Origin": "http://evil.example"}) == 403
    assert handshake(port, {"Origin": f"http://{own}"}) == (403 if token else 101)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as page:
        page.request("GET", "/")
        with page.getresponse() as response:
            assert response.status == (403 if token else 200)
            assert token == "" or token not in response.read().decode()


EVIL = b"""<script>
const socket = new WebSocket("ws://127.0.0.1:%d", "%s");
socket.onopen = () => document.title = "open";
socket.onerror = () => document.title = "refused";
</script>"""


@pytest.mark.slow
def test_a_page_of_another_origin_cannot_talk_to_the_viewer_and_its_own_can(browser, viewer):
    class Evil(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(EVIL % (viewer.port, PROTOCOL.encode()))

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Evil) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # A cookie is sent to every port of its host, so the token alone would not keep it out.
        context = browser.new_context()
        own, other = context.new_page(), context.new_page()
        with own.expect_websocket() as connection:
            own.goto(viewer.url.replace(viewer.url.split("/")[2], f"127.0.0.1:{viewer.port}"))
        connection.value.wait_for_event("framereceived", timeout=20_000)
        other.goto(f"http://127.0.0.1:{server.server_port}/")
        other.wait_for_function("document.title != ''", timeout=20_000)
        assert other.title() == "refused"
        context.close()
        server.shutdown()


def test_a_viser_that_starts_no_server_this_way_is_refused():
    with pytest.raises(RuntimeError, match="install viser"), guarded(None):
        pass
