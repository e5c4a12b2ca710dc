"""The collected figures: found by name, and refused in one line where a file is damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ofa.errors import UserError
from ofa.files.vouched import write_vouched_json
from ofa.footprint import energy_label, tables
from ofa.footprint.energy_label import load_bounds
from ofa.footprint.tables import find_accelerator, find_device, find_grid, find_pue, find_route, read_grids, routes

GRID = "region,year,g_per_kwh,source\nmine,2024,120,own meter\n"


def test_a_grid_is_found_by_code_name_and_cloud_region() -> None:
    france = find_grid("FRA")
    assert (france.g_per_kwh, france.year, france.pue) == (56.039, "2023", None)
    assert find_grid("france") == find_grid("fra") == find_grid("FR") == france
    assert find_grid("de") == find_grid("DEU")
    cloud = find_grid("europe-west1")
    assert (cloud.region, cloud.g_per_kwh, cloud.pue) == ("gcp:europe-west1", 122.0, 1.09)
    assert find_grid("gcp:europe-west1") == cloud
    assert "Our World in Data" in france.sentence()
    assert "2023" in france.sentence()


def test_a_grid_may_be_given_as_its_intensity() -> None:
    grid = find_grid("56.5")
    assert (grid.g_per_kwh, grid.source) == (56.5, "the user")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("Frankreich", "grid 'Frankreich' is unknown; "),
        ("gcp:europe-west99", "nearest are gcp:europe-west9"),
        ("XX", "grid 'XX' is unknown; docs/footprint.md has the list; or give g CO2e/kWh"),
        ("", "grid '' is unknown"),
        ("-5", "grid is -5; .* at least 0"),
        ("nan", "grid is nan; .* at least 0"),
        ("inf", "grid is inf; .* at most 5000"),
        ("1e9", "grid is 1e9; .* at most 5000"),
    ],
)
def test_an_unknown_grid(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_grid(word)


def test_every_country_has_a_code_of_two_letters() -> None:
    countries = [grid for grid in tables.shipped_grids() if ":" not in grid.region and grid.region != "WLD"]
    assert len({grid.alpha_2 for grid in countries if len(grid.alpha_2) == 2}) == len(countries) == 211
    assert all(find_grid(grid.alpha_2) == grid for grid in countries)


def test_a_name_that_several_grids_have(tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_text(
        "region,name,alpha_2,year,g_per_kwh,source\nus:ga,Georgia,,2024,300,mine\nGEO,Georgia,GE,2024,120,mine\n"
    )
    with pytest.raises(UserError, match=r"^grid 'georgia' is ambiguous; it may be any of us:ga, GEO$"):
        find_grid("georgia", file)
    assert find_grid("ge", file) == find_grid("GEO", file)


def test_accelerators_by_name_and_short_name() -> None:
    assert find_accelerator("V100").watts == find_accelerator("tesla v100-sxm2-16gb").watts == 300
    assert find_accelerator("T4").watts == 70
    assert find_accelerator("GTX 750").watts == 55
    with pytest.raises(UserError, match="accelerator 'V1000' is unknown; nearest are v100"):
        find_accelerator("V1000")


def test_pue_as_a_number_or_of_an_operator() -> None:
    assert find_pue("1.58").value == 1.58
    world = find_pue("world average")
    assert world.value == 1.56
    assert "2024" in world.source
    assert find_pue("aws").value == 1.2
    for word, message in [("0.9", "PUE is 0.9; must"), ("nan", "PUE is nan"), ("mine", "PUE 'mine' is unknown; give a")]:
        with pytest.raises(UserError, match=message):
            find_pue(word)


def test_ways_to_send() -> None:
    assert {"wifi", "lte", "5g", "ble", "lora-sf7", "lora-sf12", "fixed"} <= set(routes())
    lte = find_route("LTE")
    assert lte.tail_j == pytest.approx(12.271)
    assert "recalled" in lte.radio_source
    assert find_route("5g").j_per_byte is None
    assert find_route("5g").kwh_per_gb == 0.0104
    assert find_route("ble").j_per_byte == pytest.approx(0.0064 * 3 * 8e-6)
    with pytest.raises(UserError, match="way to send 'pigeon' is unknown; known are wifi, lte"):
        find_route("pigeon")


def test_manufacture() -> None:
    phone = find_device("smartphone")
    assert (phone.kg, phone.lifetime_years) == (84.0, 2.5)
    assert find_device("server").lifetime_years is None
    with pytest.raises(UserError, match="device 'toaster' is unknown; known are smartphone"):
        find_device("toaster")


def test_every_row_has_a_source() -> None:
    for file in tables.DATA.glob("*.csv"):
        lines = file.read_text().splitlines()
        column = lines[0].split(",").index("source")
        assert column > 0
        assert all(line.count(",") >= column for line in lines)
    assert all(grid.source for grid in read_grids(tables.DATA / "grid.csv"))


@pytest.mark.parametrize("name", ["accelerators", "embodied", "transmission", "grid", "pue"])
def test_a_table_that_changed_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "data"
    shutil.copytree(tables.DATA, copy)
    monkeypatch.setattr(tables, "DATA", copy)
    tables.shipped_grids.cache_clear()
    file = copy / f"{name}.csv"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    ask = {
        "accelerators": lambda: find_accelerator("T4"),
        "embodied": lambda: find_device("laptop"),
        "transmission": lambda: find_route("wifi"),
        "grid": lambda: find_grid("FRA"),
        "pue": lambda: find_pue("AWS"),
    }
    with pytest.raises(UserError, match=r"damaged or changed: another digest than in checksums.json"):
        ask[name]()
    file.unlink()
    with pytest.raises(UserError, match=r"no such file|cannot be read"):
        ask[name]()
    tables.shipped_grids.cache_clear()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 'region' is missing"),
        ("region,year,g_per_kwh,source\n", "has no rows"),
        ("region,year,g_per_kwh\nx,2020,5\n", "column 'source' is missing"),
        ("region,year,g_per_kwh,source,colour\nx,2020,5,y,red\n", "unknown column 'colour'"),
        (GRID.replace("120", "much"), ":2: g_per_kwh is 'much'; expected a number"),
        (GRID.replace("120", "-1"), ":2: g_per_kwh is -1; must be finite and at least 0"),
        (GRID.replace("120", "nan"), ":2: g_per_kwh is nan; must be finite"),
        (GRID.replace("120", "inf"), ":2: g_per_kwh is inf; must be finite"),
        (GRID.replace("120", "120000"), ":2: g_per_kwh is 120000; must be at most 5000"),
        (GRID.replace("120", ""), ":2: g_per_kwh is empty; expected a number"),
        (GRID.replace("120", "1,200"), ":2: has 5 values; line 1 has 4 columns"),
        (GRID.replace("mine", ""), ":2: region is ''; must be there"),
        (GRID + "MINE,2023,100,other\n", ":3: region is 'MINE' and on line 2; must be there, and only once"),
        (GRID.replace("2024", "last"), ":2: year is 'last'; must be a year, or nothing"),
        (GRID.replace("2024", "20240"), ":2: year is '20240'; must be a year, or nothing"),
        ("region,year,g_per_kwh,source,pue\nx,2020,5,y,0.9\n", ":2: pue is 0.9; must be finite and at least 1"),
        ('region,year,g_per_kwh,source\n"x,2020,5,y\n', "not valid CSV"),
        ("PK\x03\x04", "unknown column"),
    ],
)
def test_a_damaged_grid_file(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        find_grid("mine", file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_grid_file_of_bytes_or_none_at_all(tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_bytes(b"\xff\xfe\x00region")
    with pytest.raises(UserError, match=r"grid\.csv"):
        find_grid("mine", file)
    with pytest.raises(UserError, match="no such file"):
        find_grid("mine", tmp_path / "other.csv")


def test_a_grid_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_text(GRID)
    grid = find_grid("Mine", file)
    assert (grid.g_per_kwh, grid.year, grid.source, grid.name) == (120.0, "2024", "own meter", "mine")
    with pytest.raises(UserError, match="grid 'FRA' is unknown"):
        find_grid("FRA", file)


def bounds(**classes: object) -> dict[str, object]:
    return {"id": "mine-1", "bounds_nj": classes}


SOUND = {"A": [0, 1], "B": [1, 10], "C": [10, None]}


def test_a_label_of_ones_own(tmp_path: Path) -> None:
    write_vouched_json(tmp_path / "label.json", bounds(**SOUND))
    found = load_bounds(tmp_path / "label.json")
    assert (found.id, found.letter(0.5), found.letter(10), found.factor) == ("mine-1", "A", "C", 10.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bounds(**{**SOUND, "B": [2, 10]}), "must rise from 0"),
        (bounds(**{**SOUND, "C": [10, 100]}), "the last open"),
        (bounds(**{**SOUND, "A": [1, 1]}), "must rise from 0"),
        (bounds(**{**SOUND, "B": [1, 0.5], "C": [0.5, None]}), "must rise from 0"),
        (bounds(**{**SOUND, "B": [1, None], "C": [None, None]}), "expected a letter and its two bounds"),
        (bounds(**{"A+": [0, 1], "B": [1, 10], "C": [10, None]}), "classes are A\\+, B, C; a class has one letter"),
        (bounds(A=[0, None]), "must rise from 0"),
        (bounds(), "must rise from 0"),
        ({"id": "x", "bounds_nj": [1, 5, 25]}, "expected a letter and its two bounds"),
        ({"id": "x", "bounds_nj": {"A": 1}}, "expected a letter and its two bounds"),
        ({"id": "x", "bounds_nj": {"A": ["no", 1]}}, "expected a letter and its two bounds"),
        ({"id": "x"}, "key 'bounds_nj' is missing"),
        ({"bounds_nj": SOUND}, "key 'id' is missing"),
    ],
)
def test_bounds_that_are_none(content: dict[str, object], message: str, tmp_path: Path) -> None:
    file = tmp_path / "label.json"
    write_vouched_json(file, content)
    with pytest.raises(UserError, match=message) as caught:
        load_bounds(file)
    assert str(file) in str(caught.value)


def test_a_label_that_was_changed_or_does_not_vouch_for_itself(tmp_path: Path) -> None:
    file = tmp_path / "label.json"
    shipped = (energy_label.DATA / "label-ofa-1.json").read_text()
    file.write_text(shipped.replace("625", "626", 1))
    with pytest.raises(UserError, match="damaged"):
        load_bounds(file)
    plain = json.loads(shipped)
    file.write_text(json.dumps({key: value for key, value in plain.items() if key not in ("sha256", "vouched")}))
    with pytest.raises(UserError, match="has no checksum"):
        load_bounds(file)
    file.write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        load_bounds(file)
    file.write_text("[]")
    with pytest.raises(UserError, match="expected a JSON object"):
        load_bounds(file)


def test_the_bounds_that_ship_never_change() -> None:
    found = load_bounds()
    assert found.upper_nj == (1, 5, 25, 125, 625, 3125)
    assert found.checksum == json.loads((energy_label.DATA / "label-ofa-1.json").read_text())["sha256"]
