"""Cache of parsed sections: equal to parsing each section whole, with fewer parses."""

import copy
import itertools

import pytest
import torch
import user_module
from jsonargparse import Namespace
from slow import slow_except

from experiments import build_cells, load_study, shipped_studies
from experiments.config.instantiate import _parse, make_model, resolve
from experiments.config.parse_cache import ParseCache, Section


class Parser:
    """Parser that doubles every argument and keeps what it was given."""

    def __init__(self, read=lambda arguments: {name: 2 * value for name, value in arguments.items()}):
        self.read = read
        self.seen = []

    def __call__(self, section, content):
        self.seen.append(copy.deepcopy(content))
        if section == "trainer":
            return Namespace(trainer=Namespace(**self.read(content)))
        arguments = Namespace(**self.read(content["init_args"]))
        return Namespace({section: Namespace(class_path=content["class_path"], init_args=arguments)})


def parser_with_cache(parser):
    cache = ParseCache(parser, Namespace)
    return lambda kind, content: cache.parse(Section.of(kind, content))


def model(**arguments):
    return {"class_path": "M", "init_args": arguments}


GRID = [dict(zip("abc", values, strict=True)) for values in itertools.product(range(10), repeat=3)]


def test_a_grid_costs_a_parse_for_each_value_and_not_for_each_mixture():
    parser, whole = Parser(), Parser()
    parse = parser_with_cache(parser)
    for arguments in GRID:
        assert parse("model", model(**arguments)) == whole("model", model(**arguments))
        assert parse("trainer", arguments) == whole("trainer", arguments)
    assert len(parser.seen) == 2 * (1 + 3 * 9 + 4)  # the first, each other value, a mixture of ab, ac, bc and abc


def test_another_class_and_other_argument_names_have_their_own_template():
    parser = Parser()
    parse = parser_with_cache(parser)
    contents = [model(a=1), model(a=1, b=1), model(), {"class_path": "N", "init_args": {"a": 1}}]
    for content in [*contents, *contents]:
        parse("model", content)
    assert parser.seen == contents


def test_arguments_that_depend_on_each_other_are_parsed_whole():
    def read(arguments):
        return {"a": arguments["a"], "b": arguments["b"], "c": arguments["a"] * arguments["b"]}

    parse = parser_with_cache(Parser(read))
    for arguments in GRID:
        assert parse("model", model(**arguments)) == Parser(read)("model", model(**arguments))


def test_an_error_of_the_parser_is_raised_and_other_values_stay_cached():
    def read(arguments):
        if arguments["a"] == 3:
            raise ValueError(f"3 is wrong beside {arguments['b']}")
        return dict(arguments)

    parser = Parser(read)
    parse = parser_with_cache(parser)
    for a, b in itertools.product([1, 3, 4], [5, 6]):
        if a == 3:
            with pytest.raises(ValueError, match=f"3 is wrong beside {b}"):
                parse("model", model(a=a, b=b))
        else:
            assert parse("model", model(a=a, b=b)) == Namespace(
                model=Namespace(class_path="M", init_args=Namespace(a=a, b=b))
            )


@pytest.mark.parametrize("make", [lambda value: {value}, lambda value: ([value],), torch.tensor])
def test_values_that_could_be_changed_are_parsed_each_time(make):
    parser = Parser(lambda arguments: {name: make(value) for name, value in arguments.items()})
    parse = parser_with_cache(parser)
    assert parse("model", model(a=1)).model.init_args.a is not parse("model", model(a=1)).model.init_args.a


def test_the_cache_can_be_cleared():
    parser = Parser()
    cache = ParseCache(parser, Namespace)
    for _ in range(2):
        cache.parse(Section.of("model", model(a=1)))
        cache.clear()
    assert len(parser.seen) == 2


@pytest.mark.parametrize(
    "content",
    [None, "M", 3, {}, {"class_path": "M"}, model(), model(b=[1], a=None), {"class_path": "M", "init_args": 3}],
)
def test_sections_keep_their_content_and_compare_by_it(content):
    section = Section.of("model", content)
    assert section.content == content
    assert {section: 1}[Section.of("model", copy.deepcopy(content))] == 1
    assert section != Section.of("data", content)
    assert section != Section.of("model", model(a=1, b=[1]))


def test_sections_do_not_depend_on_the_order_of_their_keys():
    assert Section.of("model", model(a=1, b={"c": 1, "d": 2})) == Section.of("model", model(b={"d": 2, "c": 1}, a=1))


@pytest.mark.parametrize("name", slow_except(shipped_studies(), "quickstart", "batch_size"))
def test_every_cell_of_the_shipped_studies_is_parsed_as_without_the_cache(name):
    parse = parser_with_cache(_parse)
    for cell in build_cells(load_study(name)):
        for section in ("model", "data", "trainer"):
            content = cell.config[section]
            filled = resolve(Section.of(section, content))
            assert parse(section, content) == _parse(section, copy.deepcopy(content))
            assert parse(section, filled) == _parse(section, copy.deepcopy(filled))


def test_objects_share_nothing_that_can_be_changed():
    config = {"model": {"class_path": "user_module.KeepsItsList", "init_args": {"sizes": [1, 2]}}}
    first = make_model(config, None)
    first.sizes.append(3)
    assert make_model(config, None).sizes == [1, 2]
    assert isinstance(first, user_module.KeepsItsList)
