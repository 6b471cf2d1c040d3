"""What the loopback W&B server is made of."""

import json
import subprocess
import time
import urllib.error
import urllib.request

import psutil
import pytest
from wandb_clients import run_python
from wandb_filters import matches
from wandb_graphql import execute, parse
from wandb_server import KEY, WandbServer
from wandb_store import StoredRun

pytestmark = pytest.mark.slow  # what the tests of W&B stand on, which fail when it does


def ask(server, query, variables=None, key=KEY):
    """The status and the content of a GraphQL request."""
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


def answer(query, root, **variables):
    missing = []
    return execute(parse(query), variables, root, missing.append), missing


def test_aliases_arguments_variables_and_defaults():
    root = {"sum": lambda arguments: sum(arguments["of"]["numbers"])}
    query = """query Add($one: Int, $other: Int = 5) {  # a comment
      first: sum(of: {numbers: [$one, $other]}), second: sum(of: {numbers: [1, -2]})
    }"""
    assert answer(query, root, one=2) == ({"first": 7, "second": -1}, [])


def test_fragments_apply_by_type_and_join():
    root = {"node": {"__typename": "Run", "project": {"id": "p", "name": "digits"}}, "nodes": [{"id": 1, "name": "a"}]}
    query = """
    { node { ...Ids project { name } ... on Sweep { state } ... on Run { project { id } } } nodes { id } ...Names }
    fragment Ids on Run { __typename }
    fragment Names on Query { nodes { name } }
    """
    assert answer(query, root) == (
        {"node": {"__typename": "Run", "project": {"name": "digits", "id": "p"}}, "nodes": [{"id": 1, "name": "a"}]},
        [],
    )


def test_fields_are_included_and_skipped():
    query = "query ($yes: Boolean!) { a @include(if: $yes) b @skip(if: $yes) ... @include(if: false) { c } }"
    assert answer(query, {"a": 1, "b": 2, "c": 3}, yes=True) == ({"a": 1}, [])


def test_what_is_missing_is_null_and_told_with_its_path():
    root = {"project": {"runs": [{"id": 1}, {"id": 2}]}, "none": None}
    query = "{ project { runs { id colour } } none { deeper } other }"
    assert answer(query, root) == (
        {"project": {"runs": [{"id": 1, "colour": None}, {"id": 2, "colour": None}]}, "none": None, "other": None},
        ["project.runs.colour", "project.runs.colour", "other"],
    )


@pytest.mark.parametrize("text", ["query {", "{ a(b: }", "query ? { a }"])
def test_what_is_not_graphql_is_refused(text):
    with pytest.raises(ValueError, match="GraphQL"):
        parse(text)


def run_with(**attributes):
    config = {"lr": {"value": 0.1}, "model": {"value": {"width": 8}}}
    return StoredRun(entity="e", project="p", run_id="r", storage_id="s", raw_config=config, **attributes)


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, True),
        ({"name": "r", "group": None}, True),
        ({"config.lr": 0.1, "config.model.value.width": 8}, True),
        ({"config.lr.value": {"$gt": 0.1}}, False),
        ({"config.absent": {"$exists": False}}, True),
        ({"config.absent": {"$lt": 1}}, False),
        ({"tags": "a"}, True),
        ({"tags": {"$in": ["c"]}}, False),
        ({"$or": [{"state": "finished"}, {"jobType": "train"}]}, True),
        ({"$nor": [{"jobType": "train"}]}, False),
        ({"$and": [{"state": "running"}, {"display_name": {"$ne": "x"}}]}, True),
    ],
)
def test_filters_of_runs(filters, passes):
    assert matches(run_with(tags=["a", "b"], job_type="train", name="n"), filters) is passes


@pytest.mark.parametrize("filters", [{"$where": 1}, {"name": {"$regex": "r"}}])
def test_a_filter_that_the_server_lacks_is_an_error(filters):
    with pytest.raises(ValueError, match="no filter"):
        matches(run_with(), filters)


def test_requests_are_recorded_in_order_and_unknown_ones_are_kept_apart():
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


def test_only_the_servers_key_is_accepted():
    with WandbServer() as server:
        status, content = ask(server, "{ viewer { id } }", key="f" * 40)
        assert (status, content["data"]) == (401, {"viewer": None})
        assert content["errors"][0]["message"] == "user is not logged in"
        with server.rejecting_key():
            assert ask(server, "{ viewer { id } }")[0] == 401
        assert ask(server, "{ viewer { id } }")[0] == 200


def test_faults_meet_the_operations_that_they_name_and_end():
    with WandbServer() as server:
        with server.failing("Who", status=503, times=2):
            statuses = [ask(server, f"query {name} {{ viewer {{ id }} }}")[0] for name in ("Who", "Else", "Who", "Who")]
        assert statuses == [503, 200, 503, 200]
        with server.failing():
            assert ask(server, "{ viewer { id } }")[0] == 500
        assert ask(server, "{ viewer { id } }")[0] == 200


def test_connections_are_refused_and_taken_again_on_the_same_port():
    with WandbServer() as server:
        port = server.port
        with server.refusing(), pytest.raises(urllib.error.URLError, match="refused"):
            ask(server, "{ viewer { id } }")
        assert ask(server, "{ viewer { id } }")[0] == 200
        assert (server.port, len(server.requests)) == (port, 1)


def test_answers_are_delayed():
    with WandbServer() as server:
        began = time.monotonic()
        with server.delaying(0.3, times=1):
            assert ask(server, "{ viewer { id } }")[0] == 200
        assert time.monotonic() - began >= 0.3


def test_an_error_of_the_server_itself_is_raised_at_its_end():
    with pytest.raises(KeyError, match="groupless"), WandbServer() as server:
        assert (
            ask(server, 'mutation { createAgent(input: {sweep: "groupless", host: "h"}) { agent { id } } }')[0] == 501
        )


@pytest.mark.parametrize("address", ["http://wandb.invalid", "https://wandb.invalid"])
def test_the_trap_sees_what_a_client_wants_beyond_loopback(address):
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


def test_the_trap_sees_python_clients():
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


def test_clients_write_to_the_folder_of_the_server_only(wandb_server, tmp_path):
    code = "import os, tempfile, pathlib; print(pathlib.Path.home(), tempfile.gettempdir(), os.environ['WANDB_DIR'])"
    for folder in run_python(wandb_server, code, TMP="/", TEMP="/").stdout.split():
        assert folder.startswith(f"{wandb_server.folder}/")


def test_a_client_that_hangs_is_killed_with_its_children(wandb_server):
    code = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
with open("child", "w") as file:
    file.write(str(child.pid))
time.sleep(1000)
"""
    with pytest.raises(subprocess.TimeoutExpired):
        run_python(wandb_server, code, timeout=10)
    child = int((wandb_server.folder / "child").read_text())
    until = time.monotonic() + 60  # it sleeps longer
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.02)
