"""Checks of the stand-in server, on which tests of W&B rely: it records unknown fields and other hosts."""

import json
import urllib.error
import urllib.request

import pytest
from wandb_clients import run_python
from wandb_server import KEY, WandbServer

pytestmark = pytest.mark.slow


def ask(server, query, variables=None, key=KEY):
    """Return status and content of the answer to a GraphQL request."""
    request = urllib.request.Request(
        f"{server.url}/graphql",
        json.dumps({"query": query, "variables": variables or {}}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_unknown_operations_and_fields_are_recorded():
    with WandbServer() as server:
        assert ask(server, "query Who { viewer { entity } }") == (200, {"data": {"viewer": {"entity": "loopback"}}})
        assert ask(server, "query Odd($n: Int) { teapots(n: $n) { id } }", {"n": 3}) == (
            200,
            {"data": {"teapots": None}},
        )
        assert ask(server, "query Half { viewer { shoeSize } }") == (200, {"data": {"viewer": {"shoeSize": None}}})
        assert server.operations() == ["Who", "Odd", "Half"]
        assert (server.requests[1].method, server.requests[1].path) == ("POST", "/graphql")
        assert server.requests[1].variables == {"n": 3}
        assert server.unknown == ["Odd: teapots", "Half: viewer.shoeSize"]


def test_an_error_in_the_server_is_raised_when_it_closes():
    with pytest.raises(KeyError, match="groupless"), WandbServer() as server:
        assert (
            ask(server, 'mutation { createAgent(input: {sweep: "groupless", host: "h"}) { agent { id } } }')[0] == 501
        )


@pytest.mark.parametrize("address", ["http://wandb.invalid", "https://wandb.invalid"])
def test_the_trap_records_hosts_that_w_and_b_s_client_wants(address):
    with WandbServer() as server:
        code = """
import wandb
try:
    wandb.init(entity="lab", project="digits", settings=wandb.Settings(console="off", init_timeout=3, quiet=True))
except wandb.errors.CommError:
    print("not reached")
"""
        done = run_python(server, code, WANDB_BASE_URL=address)
        assert done.stdout.splitlines()[0] == "not reached"
        assert {host.removesuffix(":443") for host in server.trap.hosts} == {"wandb.invalid"}
        assert server.requests == []


def test_the_trap_records_hosts_that_python_wants():
    with WandbServer() as server:
        code = """
import urllib.request
try:
    urllib.request.urlopen("https://somewhere.invalid/x", timeout=10)
except OSError as error:
    print(error)
"""
        assert "403" in run_python(server, code).stdout
        assert server.trap.hosts == ["somewhere.invalid:443"]


def test_clients_write_to_the_server_s_folder_only(wandb_server, tmp_path):
    code = "import os, tempfile, pathlib; print(pathlib.Path.home(), tempfile.gettempdir(), os.environ['WANDB_DIR'])"
    for folder in run_python(wandb_server, code, TMP="/", TEMP="/").stdout.split():
        assert folder.startswith(f"{wandb_server.folder}/")
