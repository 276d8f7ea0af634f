import pytest
from hypothesis import given
from hypothesis import strategies as st

from gis_grid.geo.codes import CodePattern, GridCode, InvalidCodePattern, MalformedGridCode

MINHANG = CodePattern()
BOSTON = CodePattern(r"\d{4}")


def digits(count):
    return st.text("0123456789", min_size=count, max_size=count)


def test_a_standard_code_is_district_town_community_and_sequence():
    assert MINHANG.parse("310112001012003") == GridCode("310112", "001", "012", "003")


def test_area_codes_are_the_beginnings_of_the_grid_code():
    assert MINHANG.district_code_of("310112001012003") == "310112"
    assert MINHANG.town_code_of("310112001012003") == "310112001"
    assert MINHANG.community_code_of("310112001012003") == "310112001012"


@given(digits(15))
def test_formatting_what_was_parsed_gives_the_code_back(code):
    assert MINHANG.format(MINHANG.parse(code)) == code


@given(st.builds(GridCode, digits(6), digits(3), digits(3), digits(3)))
def test_parsing_what_was_formatted_gives_the_parts_back(parts):
    assert MINHANG.parse(MINHANG.format(parts)) == parts


def test_a_thousandth_grid_in_a_community_has_no_code():
    with pytest.raises(MalformedGridCode):
        MINHANG.format(GridCode("310112", "001", "012", "1000"))


def test_parts_that_make_a_code_with_other_borders_are_refused():
    with pytest.raises(MalformedGridCode, match="not the parts"):
        MINHANG.format(GridCode("3101120", "01", "012", "003"))


@pytest.mark.parametrize(
    "code",
    [
        "",
        "31011200101200",
        "3101120010120031",
        "310112001012003\n",
        " 310112001012003",
        "31011200101200x",
        "３１０１１２００１０１２００３",
        "31011200101200\x00",
        "31011200101200\ud800",
        310112001012003,
        None,
    ],
)
def test_what_is_not_15_ascii_digits_is_malformed(code):
    assert not MINHANG.matches(code)
    with pytest.raises(MalformedGridCode, match="grid code"):
        MINHANG.parse(code)


def test_a_city_without_levels_has_codes_without_areas():
    assert BOSTON.parse("1714") == GridCode(None, None, None, "1714")
    assert BOSTON.format(BOSTON.parse("1714")) == "1714"
    assert BOSTON.town_code_of("1714") is None


def test_a_pattern_may_name_only_some_levels():
    wards = CodePattern(r"(?P<town>\d{2})(?P<sequence>\d{2})")

    assert wards.parse("1714") == GridCode(None, "17", None, "14")
    assert (wards.town_code_of("1714"), wards.community_code_of("1714")) == ("17", None)


@pytest.mark.parametrize("regex", [r"(", r"(?P<ward>\d{4})", r"(?P<sequence>\d{2})(?P<town>\d{2})"])
def test_a_pattern_that_cannot_work_is_refused_when_it_is_made(regex):
    with pytest.raises(InvalidCodePattern, match="code pattern"):
        CodePattern(regex)


def test_a_pattern_whose_groups_leave_something_out_is_refused():
    with pytest.raises(InvalidCodePattern, match="not the whole"):
        CodePattern(r"W(?P<town>\d{2})-(?P<sequence>\d{2})").parse("W17-14")
